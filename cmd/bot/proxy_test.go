package main

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"tandem/internal/exitcode"
	"tandem/internal/proctest"
	"tandem/internal/simulator/simtest"
)

const proxyPassword = "pr0xy-Pass"

// testProxy leads whatever it is asked for to one server, or answers as it is told.
type testProxy struct {
	addr    string
	tunnel  string // where CONNECT and SOCKS lead
	forward http.Handler

	mu     sync.Mutex
	asked  []string // for whom, and with what credentials
	status int      // of the answer to each request; 0 to serve it
}

func (p *testProxy) note(what string) (status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, what)
	return p.status
}

func (p *testProxy) has(words string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Contains(strings.Join(p.asked, "\n"), words)
}

func (p *testProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if status := p.note(r.Method + " " + r.Host + " " + r.Header.Get("Proxy-Authorization")); status != 0 {
		w.WriteHeader(status)
		return
	}
	if r.Method != http.MethodConnect {
		p.forward.ServeHTTP(w, r)
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n")
		p.join(conn)
	}
}

func (p *testProxy) join(conn net.Conn) {
	defer conn.Close()
	server, err := net.Dial("tcp", p.tunnel)
	if err != nil {
		return
	}
	defer server.Close()
	go func() { _, _ = io.Copy(server, conn); server.Close() }()
	_, _ = io.Copy(conn, server)
}

// socks is the least that a client of SOCKS5 needs (RFC 1928).
func (p *testProxy) socks(conn net.Conn) {
	in := bufio.NewReader(conn)
	head := make([]byte, 2)
	if _, err := io.ReadFull(in, head); err != nil {
		conn.Close()
		return
	}
	_, _ = io.CopyN(io.Discard, in, int64(head[1]))
	_, _ = conn.Write([]byte{5, 0})
	request := make([]byte, 5) // version, connect, reserved, a name, its length
	_, _ = io.ReadFull(in, request)
	name := make([]byte, int(request[4])+2)
	_, _ = io.ReadFull(in, name)
	status := p.note("SOCKS " + string(name[:len(name)-2]))
	_, _ = conn.Write([]byte{5, byte(status), 0, 1, 0, 0, 0, 0, 0, 0})
	if status != 0 {
		conn.Close()
		return
	}
	p.join(conn)
}

// proxies are one of HTTP and one of SOCKS before the simulator, which is also there with TLS, as example.com.
func proxies(t *testing.T, tg *simtest.Telegram) (web, socks *testProxy, certificate string) {
	t.Helper()
	target, err := url.Parse(tg.URL)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(target)
	secure := httptest.NewTLSServer(forward)
	t.Cleanup(secure.Close)
	certificate = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(certificate, block, 0o600); err != nil {
		t.Fatal(err)
	}
	tunnel := secure.Listener.Addr().String()
	web = &testProxy{tunnel: tunnel, forward: forward}
	server := httptest.NewServer(web)
	t.Cleanup(server.Close)
	web.addr = server.Listener.Addr().String()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	socks = &testProxy{tunnel: tunnel, addr: l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go socks.socks(conn)
		}
	}()
	return web, socks, certificate
}

// TestAProxy : each setting leads there, and the direct way is taken where a setting says so.
func TestAProxy(t *testing.T) {
	tg := simtest.Start(t)
	web, socks, certificate := proxies(t, tg)
	dead := proctest.FreeAddr(t)
	const secure, open = "https://example.com", "http://api.telegram.test"
	for name, c := range map[string]struct {
		api string
		env []string
		by  *testProxy // nil for the direct way
		say string
	}{
		"HTTPS_PROXY": {secure, []string{"HTTPS_PROXY=http://" + web.addr, "HTTP_PROXY=http://" + dead}, web,
			"CONNECT example.com:443"},
		"https_proxy, no scheme": {secure, []string{"https_proxy=" + web.addr}, web, "CONNECT example.com:443"},
		"HTTP_PROXY": {open, []string{"HTTP_PROXY=http://" + web.addr, "HTTPS_PROXY=http://" + dead}, web,
			"POST api.telegram.test"},
		"http_proxy": {open, []string{"http_proxy=http://" + web.addr}, web, "POST api.telegram.test"},
		"ALL_PROXY":  {secure, []string{"ALL_PROXY=http://" + web.addr}, web, "CONNECT example.com:443"},
		"all_proxy for http": {open, []string{"all_proxy=http://u:" + proxyPassword + "@" + web.addr + "/"}, web,
			"POST api.telegram.test Basic "},
		"with a password": {secure, []string{"HTTPS_PROXY=http://u:" + proxyPassword + "@" + web.addr}, web,
			"CONNECT example.com:443 Basic "},
		"the nearer one": {secure, []string{"HTTPS_PROXY=http://" + web.addr, "ALL_PROXY=http://" + dead}, web,
			"CONNECT example.com:443"},
		"socks5":            {secure, []string{"ALL_PROXY=socks5://" + socks.addr}, socks, "SOCKS example.com"},
		"socks5h":           {secure, []string{"HTTPS_PROXY=socks5h://" + socks.addr}, socks, "SOCKS example.com"},
		"for another":       {secure, []string{"HTTPS_PROXY=" + web.addr, "HTTP_PROXY=no proxy at all"}, web, "CONNECT"},
		"loopback":          {tg.URL, []string{"HTTP_PROXY=http://" + dead, "ALL_PROXY=http://" + dead}, nil, ""},
		"empty, as not set": {tg.URL, []string{"HTTP_PROXY=", "ALL_PROXY= "}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, p := range []*testProxy{web, socks} {
				p.mu.Lock()
				p.asked = nil
				p.mu.Unlock()
			}
			before := tg.Polls(0).Requests
			p := bot(t, t.TempDir(), c.api, append(c.env, "SSL_CERT_FILE="+certificate)...)
			p.WaitLine(patience, `"msg":"ready"`)
			proctest.Eventually(t, patience, "a poll", func() bool { return tg.Polls(0).Requests > before })
			if c.by != nil && !c.by.has(c.say) {
				t.Errorf("the proxy was asked for %q, want %q", c.by.asked, c.say)
			}
			if lines := strings.Join(p.Lines(), "\n"); strings.Contains(lines, proxyPassword) {
				t.Errorf("the password is in the log:\n%s", lines)
			}
		})
	}
	t.Run("NO_PROXY", func(t *testing.T) {
		for _, no := range []string{"NO_PROXY=.telegram.test,other", "no_proxy=api.telegram.test"} {
			p := bot(t, t.TempDir(), open, "HTTP_PROXY=http://"+web.addr, no)
			// The direct way leads nowhere: there is no such name.
			p.WaitLine(patience, "the name api.telegram.test cannot be resolved")
			if p.Count("the proxy at") > 0 {
				t.Errorf("%s: the proxy is named", no)
			}
		}
	})
}

// TestAProxyThatFails : it is named without its password, nothing else is blamed, and the bot goes on once it works.
func TestAProxyThatFails(t *testing.T) {
	tg := simtest.Start(t)
	web, socks, certificate := proxies(t, tg)
	dead := proctest.FreeAddr(t)
	const secure, open = "https://example.com", "http://api.telegram.test"
	user := "u:" + proxyPassword + "@"
	names := strings.NewReplacer("USER@", user, "WEB", web.addr, "SOCKS", socks.addr, "DEAD", dead)
	const cannot = " cannot be used: "
	for name, c := range map[string]struct {
		api, setting string
		status       int
		words        string
	}{
		"dead":           {secure, "HTTPS_PROXY=http://USER@DEAD", 0, "the proxy at DEAD" + cannot + "nothing listens"},
		"dead, for http": {open, "HTTP_PROXY=http://USER@DEAD", 0, "the proxy at DEAD" + cannot + "nothing listens"},
		"dead socks":     {secure, "ALL_PROXY=socks5://USER@DEAD", 0, "the proxy at DEAD" + cannot + "nothing listens"},
		"no such name": {secure, "ALL_PROXY=http://USER@no.such.test:3128", 0,
			"the proxy at no.such.test:3128" + cannot + "the name no.such.test cannot be resolved"},
		"403": {secure, "HTTPS_PROXY=http://USER@WEB", 403, "the proxy at WEB" + cannot + "it answered 403 Forbidden"},
		"502": {secure, "HTTPS_PROXY=http://USER@WEB", 502, "the proxy at WEB" + cannot + "it answered 502 Bad Gateway"},
		"404, for http": {open, "HTTP_PROXY=http://USER@WEB", 404,
			"HTTP 404 with an empty body instead of an answer of a Bot API server, by way of the proxy at WEB"},
		"407": {secure, "HTTPS_PROXY=http://WEB", 407, "the proxy at WEB" + cannot +
			"it answered 407 Proxy Authentication Required: it wants a user"},
		"407, for http":      {open, "HTTP_PROXY=http://USER@WEB", 407, "the proxy at WEB wants a user and a password"},
		"socks that refuses": {secure, "ALL_PROXY=socks5://SOCKS", 5, "the proxy at SOCKS" + cannot + "socks connect"},
		"not trusted": {secure, "HTTPS_PROXY=http://USER@WEB", -1,
			"the proxy at WEB" + cannot + "tls: failed to verify certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			env := []string{names.Replace(c.setting), "SSL_CERT_FILE=" + certificate}
			status := max(c.status, 0)
			if c.status < 0 {
				env[1] = "SSL_CERT_FILE=/dev/null"
			}
			for _, p := range []*testProxy{web, socks} {
				p.mu.Lock()
				p.status = status
				p.mu.Unlock()
			}
			p := bot(t, t.TempDir(), c.api, env...)
			p.WaitLine(patience, `"level":"WARN"`, names.Replace(c.words))
			if status > 0 {
				for _, p := range []*testProxy{web, socks} {
					p.mu.Lock()
					p.status = 0
					p.mu.Unlock()
				}
				p.WaitLine(patience, "Telegram answers again")
			}
			if lines := strings.Join(p.Lines(), "\n"); strings.Contains(lines, proxyPassword) {
				t.Errorf("the password is in the log:\n%s", lines)
			}
		})
	}
	for setting, called := range map[string]string{
		"HTTPS_PROXY=http://USER@host:port":               "HTTPS_PROXY",
		"https_proxy=ftp://USER@host":                     "https_proxy",
		"ALL_PROXY=http://u:x/" + proxyPassword + "@host": "ALL_PROXY",
		"ALL_PROXY=http://":                               "ALL_PROXY",
		"ALL_PROXY=:3128":                                 "ALL_PROXY",
	} {
		p := bot(t, t.TempDir(), secure, names.Replace(setting))
		if last := ends(t, p, exitcode.Config); !strings.Contains(last, called+": want the address of a proxy") ||
			strings.Contains(last, proxyPassword) {
			t.Errorf("%s: %s", setting, last)
		}
	}
}
