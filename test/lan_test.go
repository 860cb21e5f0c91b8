package test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"tandem/internal/pgtest"
	"tandem/internal/proctest"
	"tandem/internal/simulator/simtest"
	"tandem/internal/testenv"
)

// lan is a database and a Telegram with hosts around them. Each host is a network namespace with two cables, one to the
// database and one to Telegram, which can be cut without a word to either end: packets are dropped, nothing is reset.
type lan struct {
	t     *testing.T
	id    string
	tg    *simtest.Telegram
	pg    *pgtest.Instance
	hosts []*host
}

// host runs `init web` and `init bot`, as two containers of one Pod do.
type host struct {
	*rig // its settings, and web's API
	lan  *lan
	n    int
	ns   string
	web  *proctest.Process
	bot  *proctest.Process
}

const (
	dbCable = "d" // the letter in the names of its two ends
	tgCable = "t"
)

// newLAN makes n hosts on which nothing runs yet. Only root can.
func newLAN(t *testing.T, n int, settings ...string) *lan {
	t.Helper()
	if os.Getuid() != 0 {
		testenv.Missing(t, "only root can make network namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		testenv.Missing(t, "the ip command is not installed (Debian: apt-get install iproute2)")
	}
	l := &lan{t: t, id: fmt.Sprintf("td%04x", rand.IntN(1<<16)), tg: simtest.Start(t)}
	l.pg = pgtest.Server(t, append([]string{"listen_addresses=*", "fsync=on"}, settings...)...)
	net := l.bridges()
	telegram := l.publish(fmt.Sprintf("198.19.%d.1:0", net))
	u, err := url.Parse(l.pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.Host = fmt.Sprintf("198.18.%d.1:%s", net, u.Port())
	for i := range n {
		h := &host{lan: l, n: i, ns: fmt.Sprintf("%sh%d", l.id, i)}
		l.ip("netns", "add", h.ns)
		t.Cleanup(func() { ip("netns", "del", h.ns) })
		l.ip("-n", h.ns, "link", "set", "lo", "up")
		for cable, subnet := range subnets {
			l.ip("link", "add", h.plug(cable), "type", "veth", "peer", "name", cable+"0", "netns", h.ns)
			l.ip("link", "set", h.plug(cable), "master", l.id+cable, "up")
			l.ip("-n", h.ns, "addr", "add", fmt.Sprintf("%s.%d.%d/24", subnet, net, 11+i), "dev", cable+"0")
			l.ip("-n", h.ns, "link", "set", cable+"0", "up")
		}
		h.rig = newRigWith(t, l.tg, u.String(), "TELEGRAM_API_URL="+telegram, "WEB_ADDR=:8080")
		h.addr = fmt.Sprintf("198.19.%d.%d:8080", net, 11+i)
		l.hosts = append(l.hosts, h)
	}
	return l
}

// subnets of the cables, from what is set aside for tests of networks (RFC 2544).
var subnets = map[string]string{dbCable: "198.18", tgCable: "198.19"}

var choosing sync.Mutex

// bridges makes the two networks, with a third byte in their addresses that nobody else uses.
func (l *lan) bridges() (third int) {
	l.t.Helper()
	choosing.Lock()
	defer choosing.Unlock()
	for third = rand.IntN(256); ; third = rand.IntN(256) {
		used, err := ip("addr", "show", "to", fmt.Sprintf("%s.%d.0/24", subnets[dbCable], third))
		if err == nil && used == "" {
			break
		}
	}
	for cable, subnet := range subnets {
		bridge := l.id + cable
		if out, err := ip("link", "add", bridge, "type", "bridge"); err != nil {
			testenv.Untested(l.t, "this kernel lets the test make no bridge: "+out)
		}
		l.t.Cleanup(func() { ip("link", "del", bridge) })
		l.ip("addr", "add", fmt.Sprintf("%s.%d.1/24", subnet, third), "dev", bridge)
		l.ip("link", "set", bridge, "up")
	}
	return third
}

// publish serves the simulated Telegram at an address of the hosts' network, too.
func (l *lan) publish(addr string) string {
	l.t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		l.t.Fatal(err)
	}
	server := &http.Server{Handler: l.tg.Server}
	var done sync.WaitGroup
	done.Go(func() { server.Serve(listener) })
	l.t.Cleanup(func() { server.Close(); done.Wait() })
	return "http://" + listener.Addr().String()
}

func ip(args ...string) (string, error) {
	out, err := exec.Command("ip", args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (l *lan) ip(args ...string) {
	l.t.Helper()
	if out, err := ip(args...); err != nil {
		l.t.Fatalf("ip %s: %v %s", strings.Join(args, " "), err, out)
	}
}

// plug is the end of a host's cable at the bridge.
func (h *host) plug(cable string) string { return fmt.Sprintf("%s%s%d", h.lan.id, cable, h.n) }

// cut lets a cable swallow all packets; heal lets it pass them again.
func (h *host) cut(cable string)  { h.port(cable, "0") }
func (h *host) heal(cable string) { h.port(cable, "3") }

func (h *host) port(cable, state string) {
	h.t.Helper()
	out, err := exec.Command("bridge", "link", "set", "dev", h.plug(cable), "state", state).CombinedOutput()
	if err != nil {
		h.t.Fatalf("set the port of %s: %v %s", h.plug(cable), err, out)
	}
}

func (h *host) start() *host {
	h.t.Helper()
	return h.startBot().startWeb()
}

func (h *host) startBot() *host {
	h.t.Helper()
	h.bot = h.init("bot")
	return h
}

func (h *host) startWeb() *host {
	h.t.Helper()
	h.web = h.init("web")
	return h
}

func (h *host) init(name string) *proctest.Process {
	h.t.Helper()
	return proctest.Start(h.t, proctest.Options{
		Path: bin(h.t, "init"), Args: []string{name}, Env: h.env, Under: proctest.PID1,
		Net: filepath.Join("/run/netns", h.ns),
	})
}

// signal sends it to every process of the bot's container.
func (h *host) signal(sig syscall.Signal) {
	h.t.Helper()
	for _, p := range h.bot.Tree() {
		if sig == syscall.SIGSTOP {
			proctest.Freeze(h.t, p.PID)
			continue
		}
		if err := syscall.Kill(p.PID, sig); err != nil && err != syscall.ESRCH {
			h.t.Fatal(err)
		}
	}
}

// botProcess is the bot itself, the child of its init.
func (h *host) botProcess() (proctest.Proc, bool) {
	for _, p := range h.bot.Tree() {
		if p.Name == "bot" {
			return p, true
		}
	}
	return proctest.Proc{}, false
}

// polls says whether this host's bot was the last it said of itself one that polls.
func (h *host) polls() bool {
	if h.bot == nil || !h.bot.Running() {
		return false
	}
	polls := false
	for _, line := range h.bot.Lines() {
		switch {
		case !strings.Contains(line, `"process":"bot"`):
			if strings.Contains(line, `"msg":"bot ended`) {
				polls = false
			}
		case strings.Contains(line, `"msg":"ready"`):
			polls = true
		case strings.Contains(line, "stopped polling"), strings.Contains(line, "standing by"),
			strings.Contains(line, `"msg":"stopped"`):
			polls = false
		}
	}
	return polls
}

// poller waits until one of the hosts but the given one polls, and returns it.
func (l *lan) poller(but *host) *host {
	l.t.Helper()
	var found *host
	proctest.Eventually(l.t, soon, "another host polls", func() bool {
		for _, h := range l.hosts {
			if h != but && h.polls() {
				found = h
				return true
			}
		}
		return false
	})
	return found
}

// standsBy waits until the host's bot has said so, in a line after the given one.
func (h *host) standsBy(from int) {
	h.t.Helper()
	h.bot.WaitLineFrom(from, 2*soon, "standing by")
}
