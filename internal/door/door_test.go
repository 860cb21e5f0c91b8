package door

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/proctest"
)

func TestMain(m *testing.M) { proctest.Main(m, nil, func() error { return goleak.Find() }) }

const soon = 20 * time.Second

// rig is a server behind a door. Its handler answers /, works at /work until it is released, reads the body at /body,
// and answers more than any buffer holds at /large.
type rig struct {
	*testing.T
	door    *Door
	log     *strings.Builder
	release chan struct{}
}

func open(t *testing.T, most Limits) *rig {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return openOn(t, l, most)
}

func openOn(t *testing.T, l net.Listener, most Limits) *rig {
	t.Helper()
	r := &rig{T: t, log: &strings.Builder{}, release: make(chan struct{})}
	r.door = New(l, most, slog.New(slog.NewTextHandler(r.log, nil)))
	m := http.NewServeMux()
	m.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	m.HandleFunc("/work", func(_ http.ResponseWriter, _ *http.Request) { <-r.release })
	m.HandleFunc("/body", func(_ http.ResponseWriter, q *http.Request) { _, _ = io.Copy(io.Discard, q.Body) })
	m.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 64<<20)) })
	server := &http.Server{Handler: m, MaxHeaderBytes: 32 << 10}
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.door.Serve(server) })
	t.Cleanup(func() {
		server.Close()
		wg.Wait()
		proctest.Eventually(t, soon, "nothing is left of any connection", func() bool {
			r.door.mu.Lock()
			defer r.door.mu.Unlock()
			return len(r.door.conns) == 0 && len(r.door.clients) == 0 && r.door.memory == 0
		})
	})
	return r
}

// dial is a connection from 127.0.0.FROM on which text was sent.
func (r *rig) dial(from byte, text string) *peer {
	r.Helper()
	d := net.Dialer{Timeout: soon, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}}
	c, err := d.Dial("tcp", r.door.Addr().String())
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(soon))
	p := &peer{r, c, bufio.NewReader(c)}
	p.send(text)
	return p
}

type peer struct {
	r *rig
	net.Conn
	in *bufio.Reader
}

func (p *peer) send(text string) { _, _ = io.WriteString(p.Conn, text) }

// get asks and wants the answer.
func (p *peer) get(path string) {
	p.r.Helper()
	p.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
	p.answer()
}

func (p *peer) answer() {
	p.r.Helper()
	a, err := http.ReadResponse(p.in, nil)
	if err != nil {
		p.r.Errorf("no answer: %v", err)
		return
	}
	_, _ = io.Copy(io.Discard, a.Body)
	if a.StatusCode != 200 {
		p.r.Errorf("the answer is %s", a.Status)
	}
}

// gone waits until the other side has closed.
func (p *peer) gone() {
	p.r.Helper()
	if _, err := io.Copy(io.Discard, p.in); isTimeout(err) {
		p.r.Error("a connection that should have given way is open")
	}
}

// there fails when the other side has closed.
func (p *peer) there(what string) {
	p.r.Helper()
	_ = p.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := p.in.Peek(1); !isTimeout(err) {
		p.r.Errorf("%s was closed: %v", what, err)
	}
	_ = p.SetReadDeadline(time.Now().Add(soon))
}

func isTimeout(err error) bool {
	t, ok := err.(net.Error)
	return ok && t.Timeout()
}

// count waits until there are n connections that are like that.
func (r *rig) count(n int, what string, like func(c *conn) bool) {
	r.Helper()
	proctest.Eventually(r, soon, fmt.Sprintf("%d connections %s", n, what), func() bool {
		r.door.mu.Lock()
		defer r.door.mu.Unlock()
		have := 0
		for _, c := range r.door.conns {
			if like(c) {
				have++
			}
		}
		return have == n
	})
}

func accepted(*conn) bool        { return true }
func atWork(c *conn) bool        { return c.phase == working }
func isWaiting(c *conn) bool     { return c.phase == working && c.waitingCalls > 0 }
func betweenTwo(c *conn) bool    { return c.phase == idle }
func halfAHeader(c *conn) bool   { return c.phase == asking && c.cost > 0 }
func request(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n" }

func TestTheLongestStillOfTheAddressWithMostGivesWay(t *testing.T) {
	r := open(t, Limits{MaxConns: 16, Advice: "do this"})
	var few, many []*peer
	for range 5 {
		few = append(few, r.dial(3, ""))
	}
	r.count(5, "are there", accepted)
	for i := range 10 {
		many = append(many, r.dial(2, ""))
		r.count(6+i, "are there", accepted)
	}
	// Before, only a part of them would count first where the machine is slow.
	r.count(15, "have been still for long", func(c *conn) bool { return c.stillFor(time.Now()) > maxStill })
	r.dial(4, "").get("/")
	many[0].gone()
	for i, p := range many[1:] {
		p.there(fmt.Sprintf("connection %d of the address with most", i+1))
	}
	for _, p := range few {
		p.there("a connection that had been still for longer, of an address with fewer")
	}
	r.door.mu.Lock()
	defer r.door.mu.Unlock()
	if log := r.log.String(); !strings.Contains(log, "give way") || !strings.Contains(log, "limit=16") ||
		!strings.Contains(log, `next="do this"`) {
		t.Errorf("the log says %q", log)
	}
}

// How many connections there are is told with each that comes, gives way or goes.
func TestHowManyThereAreIsTold(t *testing.T) {
	var told []int
	r := open(t, Limits{MaxConns: 4})
	r.door.mu.Lock()
	r.door.Changed = func(conns int) { told = append(told, conns) }
	r.door.mu.Unlock()
	var peers []*peer
	for i := range 3 {
		peers = append(peers, r.dial(2, ""))
		r.count(i+1, "are there", accepted)
	}
	peers[0].Close()
	r.count(2, "are there", accepted)
	r.door.mu.Lock()
	defer r.door.mu.Unlock()
	if want := []int{1, 2, 3, 2}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

// One address, as a reverse proxy is one, with more requests than there are places: each is answered.
func TestNobodyAtWorkGivesWay(t *testing.T) {
	r := open(t, Limits{MaxConns: 16})
	var at []*peer
	for range 16 {
		at = append(at, r.dial(2, request("/work")))
	}
	r.count(16, "are at work", atWork)
	for range 16 {
		at = append(at, r.dial(2, request("/work")))
	}
	close(r.release)
	for _, p := range at {
		p.answer()
	}
}

// Who asks and is answered keeps a connection in the middle of a flood from the same address, also of such that send a
// byte now and then.
func TestWhoIsServedStaysInAFlood(t *testing.T) {
	r := open(t, Limits{MaxConns: 16})
	good := r.dial(2, "")
	good.get("/")
	var slow []*peer
	for range 8 {
		slow = append(slow, r.dial(2, "GET / HTTP/1.1\r\nX: "))
	}
	r.count(8, "are in the middle of a header", halfAHeader)
	for range 200 {
		for _, p := range slow {
			p.send("x")
		}
		p := r.dial(2, "").LocalAddr().String()
		proctest.Eventually(t, soon, "it is taken in", func() bool {
			r.door.mu.Lock()
			defer r.door.mu.Unlock()
			for _, c := range r.door.conns {
				if c.RemoteAddr().String() == p {
					return true
				}
			}
			return false
		})
		good.get("/")
	}
	for _, p := range slow {
		p.gone()
	}
}

// A body that hardly moves, an answer that is not read, a connection between two requests: all of them give way.
func TestWhatIsStillGivesWay(t *testing.T) {
	for _, c := range []struct {
		name, text string
		like       func(*conn) bool
	}{
		{"a body", "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nx", isWaiting},
		{"a chunked body", "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nx", isWaiting},
		{"an answer", request("/large"), isWaiting},
		{"between two requests", request("/"), betweenTwo},
		{"half a header", "GET / HTTP/1.1\r\nHost:", halfAHeader},
		{"half of the next header", request("/") + "GET / HTTP/1.1\r\nHost:", func(c *conn) bool {
			return c.phase == idle && c.cost > 0
		}},
		{"nothing", "", accepted},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := open(t, Limits{MaxConns: 16})
			still := r.dial(2, c.text)
			r.count(1, "are still", c.like)
			var at []*peer
			for range 15 {
				at = append(at, r.dial(3, request("/work")))
			}
			r.count(15, "are at work", func(c *conn) bool { return atWork(c) && !isWaiting(c) })
			if c.name == "a body" {
				still.send("x")
			}
			r.dial(4, "").get("/")
			still.gone()
			close(r.release)
			for _, p := range at {
				p.answer()
			}
		})
	}
}

// What requests cost is bounded, by whatever means it grows; who asks for little is served meanwhile.
func TestTheMemoryOfRequests(t *testing.T) {
	const most = 100 << 10
	for name, text := range map[string]string{
		"header":      "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 9<<10),
		"lines":       "GET / HTTP/1.1\r\n" + strings.Repeat("a:\n", 200),
		"body":        "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 50<<10),
		"next header": request("/") + "GET / HTTP/1.1\r\n" + strings.Repeat("a:\n", 200),
		"held header": "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n" + strings.Repeat("a:\r\n", 200) + "\r\n",
		// Its header comes in one piece with the request before, and is whole.
		"header of the next": request("/") + "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n" +
			strings.Repeat("a:\r\n", 200) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, Limits{MaxConns: 60, MaxMemory: most})
			for i := range 50 {
				r.dial(byte(2+i%5), text)
			}
			proctest.Eventually(t, soon, "some gave way", func() bool { return r.door.Open() < 25 })
			r.dial(4, "").get("/")
			r.door.mu.Lock()
			defer r.door.mu.Unlock()
			var sum int64
			for _, c := range r.door.conns {
				sum += c.cost
			}
			if sum != r.door.memory || sum > most {
				t.Errorf("the connections cost %d bytes, %d by the books; want at most %d", sum, r.door.memory, most)
			}
			if log := r.log.String(); !strings.Contains(log, "too much memory") {
				t.Errorf("the log says %q", log)
			}
		})
	}
}

func TestAHeaderOfTooManyLines(t *testing.T) {
	r := open(t, Limits{MaxConns: 16})
	p := r.dial(2, "GET / HTTP/1.1\r\nHost: x\r\n"+strings.Repeat("a: b\r\n", maxHeaderLines-10)+"\r\n")
	p.answer()
	p = r.dial(2, "GET / HTTP/1.1\r\nHost: x\r\n"+strings.Repeat("a: b\r\n", maxHeaderLines+1)+"\r\n")
	if line, err := p.in.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 431 ") {
		t.Errorf("%q, %v; want 431", line, err)
	}
}

// What follows a header in the same packet is no part of it: requests that are sent ahead, or a body of many lines.
func TestLinesAfterTheHeader(t *testing.T) {
	r := open(t, Limits{MaxConns: 16})
	p := r.dial(2, strings.Repeat(request("/"), 1000))
	for range 1000 {
		p.answer()
	}
	body := strings.Repeat("\n", 3*maxHeaderLines)
	p.send(fmt.Sprintf("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	p.answer()
	p.send("GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("a: b\r\n", maxHeaderLines+1) + "\r\n")
	if line, err := p.in.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 431 ") {
		t.Errorf("%q, %v; want 431", line, err)
	}
}

// deafListener gives connections on which a write waits until they are closed, as it does where the client takes
// nothing and every buffer is full.
type deafListener struct {
	net.Listener
	writing chan struct{} // closed with the first write
}

func (l deafListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil || !c.RemoteAddr().(*net.TCPAddr).IP.Equal(net.IPv4(127, 0, 0, 2)) {
		return c, err
	}
	return &deafConn{Conn: c, writing: l.writing, closed: make(chan struct{})}, nil
}

type deafConn struct {
	net.Conn
	writing, closed chan struct{}
	once            sync.Once
}

func (c *deafConn) Write([]byte) (int, error) {
	close(c.writing)
	<-c.closed
	return 0, net.ErrClosed
}

func (c *deafConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// Who is refused and does not take it holds up nobody else.
func TestARefusalThatIsNotTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	writing := make(chan struct{})
	r := openOn(t, deafListener{l, writing}, Limits{MaxConns: 2})
	r.dial(2, "GET / HTTP/1.1\r\nHost: x\r\n"+strings.Repeat("a: b\r\n", maxHeaderLines+1))
	select {
	case <-writing:
	case <-time.After(soon):
		t.Fatal("no refusal")
	}
	// The second of these wants its place, which frees it.
	r.dial(3, request("/work"))
	r.dial(3, request("/")).answer()
	close(r.release)
}

func TestEndOfHeader(t *testing.T) {
	for text, want := range map[string]int{
		"": -1, "\n": -1, "a\r\n": -1, "a\r\n\r": -1, "a\r\n\r\n": 5, "a\n\n": 3, "a\n\r\nb": 4, "a\r\nb\r\n\r\nc\r\n\r\n": 8,
		"\r\n\r\n": 4,
	} {
		if got := endOfHeader([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

// An address is one of IPv4, and of IPv6 the network that one customer of a provider has.
func TestNetwork(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "127.0.0.1": "127.0.0.1/32",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "::1": "::/64", "fe80::1": "fe80::/64",
	} {
		for _, zone := range []string{"", "eth0"} {
			if got := network(&net.TCPAddr{IP: net.ParseIP(ip), Zone: zone, Port: 7}).String(); got != want {
				t.Errorf("%s%%%s: %s, want %s", ip, zone, got, want)
			}
		}
	}
}

// A stop does not wait for connections on which nothing was asked, and ends one that waits for a place.
func TestTheEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	begun, release := make(chan bool, 2), make(chan struct{})
	d := New(l, Limits{MaxConns: 2}, slog.New(slog.DiscardHandler))
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		begun <- true
		<-release
	})}
	ended := make(chan error)
	go func() { ended <- d.Serve(server) }()
	r := &rig{T: t, door: d}
	busy := r.dial(2, request("/"))
	<-begun
	other := r.dial(2, request("/"))
	<-begun // and Accept waits for one of them
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	down := make(chan error)
	go func() { down <- server.Shutdown(ctx) }()
	if err := <-ended; err != http.ErrServerClosed {
		t.Errorf("serving ended with %v", err)
	}
	d.CloseUnasked()
	close(release)
	busy.answer()
	other.answer()
	if err := <-down; err != nil {
		t.Errorf("the shutdown: %v", err)
	}
}

// BenchmarkNearTheLimit: what a connection costs that comes when all but the last places are taken by those that are
// still.
func BenchmarkNearTheLimit(b *testing.B) {
	d := New(nil, Limits{MaxConns: 2048}, slog.New(slog.DiscardHandler))
	long := time.Now().Add(-time.Hour)
	enter := func(i int) {
		d.enter(pretended{from: &net.TCPAddr{IP: net.IPv4(127, 0, byte(i>>6), 1)}}).phaseSince = long
	}
	for i := range 2048 - 2048/16 {
		enter(i)
	}
	for i := 0; b.Loop(); i++ {
		enter(i % 2048)
	}
}

// pretended is a connection without a client.
type pretended struct {
	net.Conn
	from net.Addr
}

func (p pretended) RemoteAddr() net.Addr { return p.from }
func (p pretended) Close() error         { return nil }
