package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/pgtest"
	"tandem/internal/proctest"
)

// memory is a line of /proc/PID/status in bytes: VmRSS now, VmHWM at most.
func (p process) memory(t *testing.T, name string) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name+":" {
			kb, _ := strconv.Atoi(f[1])
			return kb << 10
		}
	}
	t.Fatalf("no %s", name)
	return 0
}

// attack keeps n connections, each from an address that from gives, on which send does what it does; one that is closed
// is not opened again. It ends with the test.
func attack(t *testing.T, addr string, n int, from func(i int) string, send func(w io.Writer)) (conns []net.Conn) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	limit := make(chan struct{}, 8)
	for i := range n {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			d := net.Dialer{Timeout: soon, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from(i))}}
			c, err := d.Dial("tcp", addr)
			if err != nil {
				t.Errorf("dial: %v", err)
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			_ = c.SetWriteDeadline(time.Now().Add(soon))
			send(c)
		})
	}
	wg.Wait()
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
	})
	return conns
}

func oneAddress(int) string { return "127.0.0.1" }

func manyAddresses(i int) string { return fmt.Sprintf("127.0.%d.%d", 1+i/200, 1+i%200) }

// visits asks for /healthz again and again, each time on a connection of its own, until stop is closed, and says how
// long each took.
func visits(t *testing.T, addr string, stop chan struct{}) (took []time.Duration) {
	client := &http.Client{Timeout: soon, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		select {
		case <-stop:
			return took
		case <-time.After(5 * time.Millisecond):
		}
		begun := time.Now()
		response, err := client.Get("http://" + addr + "/healthz")
		if err != nil {
			t.Errorf("a visitor: %v", err)
			continue
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		took = append(took, time.Since(begun))
	}
}

func percentile(took []time.Duration, p int) time.Duration {
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[(len(took)-1)*p/100]
}

const (
	// strangersBound is how many bytes strangers may cost web beside what it has when idle.
	strangersBound = 64 << 20
	// crowd of connections that there is a place for.
	crowdOfStrangers = 2000
)

// Whatever strangers leave half said on all connections costs less than 64 MB, and a visitor does not notice.
func TestStrangersWhoSayHalf(t *testing.T) {
	big := strings.Repeat("x", 900<<10)
	head := "POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	for i, c := range []struct {
		name string
		send func(w io.Writer)
	}{
		{"forms", func(w io.Writer) { fmt.Fprintf(w, "%sContent-Length: 1000000\r\n\r\nsecret=%s", head, big) }},
		{"small forms", func(w io.Writer) { fmt.Fprintf(w, "%sContent-Length: 1000\r\n\r\nsecret=%s", head, big[:900]) }},
		{"chunked forms", func(w io.Writer) {
			fmt.Fprintf(w, "%sTransfer-Encoding: chunked\r\n\r\nf4240\r\nsecret=%s", head, big)
		}},
		{"answers without a sign-in", func(w io.Writer) {
			fmt.Fprintf(w, "POST /conversations/1/answers HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\ntext=%s", big)
		}},
		{"headers", func(w io.Writer) { fmt.Fprintf(w, "GET / HTTP/1.1\r\nHost: x\r\nCookie: a=%s", big[:30<<10]) }},
		{"headers of many lines", func(w io.Writer) {
			fmt.Fprint(w, "GET / HTTP/1.1\r\nHost: x\r\n")
			b := bufio.NewWriter(w)
			for i := range 8000 {
				fmt.Fprintf(b, "%x:\r\n", i)
			}
			b.Flush()
		}},
		{"long headers before a form", func(w io.Writer) {
			fmt.Fprintf(w, "%sCookie: a=%s\r\nContent-Length: 1000\r\n\r\nsecret=", head, big[:30<<10])
		}},
		{"addresses", func(w io.Writer) { fmt.Fprintf(w, "GET /%s", big[:30<<10]) }},
		{"next requests", func(w io.Writer) {
			fmt.Fprintf(w, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nCookie: a=%s", big[:30<<10])
		}},
		{"next requests of many lines", func(w io.Writer) {
			fmt.Fprintf(w, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n%s", strings.Repeat("a:\n", 1300))
		}},
		{"nothing", func(io.Writer) {}},
	} {
		where, from := "one address", oneAddress
		if i%2 == 1 {
			where, from = "many addresses", manyAddresses
		}
		t.Run(c.name+" from "+where, func(t *testing.T) {
			p := shipped(t, "sqlite:"+filepath.Join(t.TempDir(), "tandem.db"))
			idle := p.memory(t, "VmRSS")
			stop, done := make(chan struct{}), make(chan []time.Duration)
			go func() { done <- visits(t, p.addr, stop) }()
			attack(t, p.addr, crowdOfStrangers, from, c.send)
			end := time.Now().Add(time.Second)
			proctest.Eventually(t, soon, "a second has passed", func() bool { return time.Now().After(end) })
			close(stop)
			took := <-done
			if len(took) == 0 {
				t.Error("no visitor was served")
			}
			most := p.memory(t, "VmHWM") - idle
			if most > strangersBound {
				t.Errorf("it took %d MB more than when idle, want at most %d", most>>20, strangersBound>>20)
			}
			t.Logf("%d MB above idle (%d MB); %d visits, median %v, p99 %v",
				most>>20, idle>>20, len(took), percentile(took, 50), percentile(took, 99))
		})
	}
}

// Strangers who send half of a form and hang up, six times in a row, cost no more than those who stay.
func TestStrangersWhoComeAndGo(t *testing.T) {
	for _, c := range []struct {
		conns         int
		expect, reset bool
	}{
		{700, true, false}, {700, true, true}, {700, false, false}, {700, false, true},
		{crowdOfStrangers, true, false}, {crowdOfStrangers, true, true},
		{crowdOfStrangers, false, false}, {crowdOfStrangers, false, true},
	} {
		name, header := fmt.Sprint(c.conns), ""
		if c.expect {
			name, header = name+" who expect 100", "Expect: 100-continue\r\n"
		}
		if name += " closed by FIN"; c.reset {
			name = strings.TrimSuffix(name, "FIN") + "RST"
		}
		t.Run(name, func(t *testing.T) {
			p := shipped(t, "sqlite:"+filepath.Join(t.TempDir(), "tandem.db"))
			idle := p.memory(t, "VmRSS")
			for range 6 {
				hangUp(attack(t, p.addr, c.conns, oneAddress, halfAForm(header)), c.reset)
			}
			p.costsLittle(t, idle)
		})
	}
}

// The same while web has no processor: when it has one again, all of a round have gone and all of the next have come.
func TestStrangersWhoComeAndGoAtOnce(t *testing.T) {
	for _, reset := range []bool{false, true} {
		t.Run(fmt.Sprintf("by RST %v", reset), func(t *testing.T) {
			p := shipped(t, "sqlite:"+filepath.Join(t.TempDir(), "tandem.db"))
			idle := p.memory(t, "VmRSS")
			for range 6 {
				p.Signal(syscall.SIGSTOP) // the kernel takes them in
				conns := attack(t, p.addr, crowdOfStrangers, oneAddress, halfAForm("Expect: 100-continue\r\n"))
				p.Signal(syscall.SIGCONT)
				for _, conn := range conns { // it gets "100 Continue", since its form is being read, or it gave way
					_ = conn.SetReadDeadline(time.Now().Add(soon))
					if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
						t.Fatal("a form is not being read")
					}
				}
				p.Signal(syscall.SIGSTOP)
				hangUp(conns, reset)
			}
			p.Signal(syscall.SIGCONT)
			p.costsLittle(t, idle)
		})
	}
}

func halfAForm(header string) func(w io.Writer) {
	return func(w io.Writer) {
		fmt.Fprintf(w, "POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"+
			"Content-Length: 900\r\n%s\r\nsecret=%s", header, strings.Repeat("x", 400))
	}
}

func hangUp(conns []net.Conn, reset bool) {
	for _, conn := range conns {
		if reset {
			_ = conn.(*net.TCPConn).SetLinger(0)
		}
		conn.Close()
	}
}

// costsLittle is after strangers came: web is well, and never had more than their bound above what it had when idle.
func (p process) costsLittle(t *testing.T, idle int) {
	t.Helper()
	if code, body := get(t, "http://"+p.addr+"/healthz"); code != 200 {
		t.Errorf("/healthz after them: %d %s", code, body)
	}
	most := p.memory(t, "VmHWM") - idle
	if most > strangersBound {
		t.Errorf("it took %d MB more than when idle, want at most %d", most>>20, strangersBound>>20)
	}
	t.Logf("%d MB above idle (%d MB)", most>>20, idle>>20)
}

// At a low limit of open files web takes connections all the same: still ones give way, the database is reached, and
// the log says what to do. 64 is the least with which anybody would start it.
func TestFewOpenFiles(t *testing.T) {
	for _, c := range []struct {
		files int
		on    func(t *testing.T) string
	}{
		{64, sqlite}, {64, func(t *testing.T) string { return "DATABASE_URL=" + pgtest.URL(t) }}, {256, sqlite},
	} {
		t.Run(fmt.Sprint(c.files), func(t *testing.T) {
			database := c.on(t)
			p := process{Process: proctest.Start(t, proctest.Options{Path: "/bin/sh",
				Args: []string{"-c", fmt.Sprintf("ulimit -n %d && exec %s", c.files, proctest.RaceBin(t, "web"))},
				Env: []string{"RUN_DIR=" + t.TempDir(), "LOG_FORMAT=json", "WEB_ADDR=127.0.0.1:0",
					"WEB_OPS_ADDR=127.0.0.1:0", database}})}
			var line struct{ Addr string }
			parseLine(t, p.WaitLine(soon, `"msg":"ready"`), &line)
			p.addr = line.Addr
			address := "http://" + p.addr
			parseLine(t, p.WaitLine(soon, `"msg":"operations port"`), &line)
			// Before the database has opened all that it may open.
			attack(t, p.addr, 300, oneAddress, func(io.Writer) {})
			attack(t, line.Addr, 100, oneAddress, func(io.Writer) {})
			proctest.Eventually(t, soon, "the database is ready", func() bool {
				code, _ := get(t, address+"/readyz")
				return code == 200
			})
			if code, _, errs := runWeb(t, []string{"WEB_ADDR=" + p.addr}, "healthcheck"); code != 0 {
				t.Errorf("healthcheck: %d %s", code, errs)
			}
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 10 {
						if code, body := get(t, address+"/sign-in/none"); code != 410 { // which asks the database
							t.Errorf("a page: %d %s", code, body)
						}
					}
				})
			}
			wg.Wait()
			if code, body := get(t, "http://"+line.Addr+"/metrics"); code != 200 ||
				!strings.Contains(body, "tandem_database_up 1") {
				t.Errorf("/metrics: %d %.300s", code, body)
			}
			p.WaitLine(soon, `"level":"WARN"`, "give way", "WEB_NOFILE", "ulimit")
			if n := p.Count("too many open files"); n != 0 {
				t.Errorf("%d times too many files were open", n)
			}
			p.mustEnd(t, syscall.SIGTERM, soon)
		})
	}
}

func TestTooFewOpenFiles(t *testing.T) {
	t.Parallel()
	p := proctest.Start(t, proctest.Options{Path: "/bin/sh",
		Args: []string{"-c", "ulimit -n 32 && exec " + proctest.RaceBin(t, "web")},
		Env:  []string{"RUN_DIR=" + t.TempDir(), "LOG_FORMAT=json", "WEB_ADDR=127.0.0.1:0", sqlite(t)}})
	if end := p.Wait(soon); end.Code != 78 {
		t.Errorf("ended with %d, want 78", end.Code)
	}
	p.WaitLine(soon, `"level":"ERROR"`, `"limit":32`, "WEB_NOFILE")
}

// The limit is lowered under a web that runs, as when descriptors go to something that nobody foresaw: still
// connections give way, and the log says so.
func TestDescriptorsRunOut(t *testing.T) {
	t.Parallel()
	p := start(t, sqlite(t)).ready(t)
	attack(t, p.addr, 200, oneAddress, func(io.Writer) {})
	proctest.Eventually(t, soon, "web has 200 connections", func() bool { return p.descriptors(t) > 200 })
	lower := unix.Rlimit{Cur: uint64(p.descriptors(t)) - 50, Max: uint64(p.descriptors(t))}
	if err := unix.Prlimit(p.PID, unix.RLIMIT_NOFILE, &lower, nil); err != nil {
		t.Fatal(err)
	}
	// Until still connections have given way there may be no descriptor for SQLite either. Then web says so.
	proctest.Eventually(t, soon, "web has room for the database again", func() bool {
		code, _ := get(t, "http://"+p.addr+"/sign-in/none")
		return code == 410
	})
	for range 20 {
		if code, body := get(t, "http://"+p.addr+"/sign-in/none"); code != 410 {
			t.Errorf("a page: %d %s", code, body)
		}
	}
	p.WaitLine(soon, `"level":"WARN"`, "no more room", "too many open files", "WEB_NOFILE")
	p.mustEnd(t, syscall.SIGTERM, soon)
}

func (p process) descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID))
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}
