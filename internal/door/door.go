// Package door bounds what comes in at a port of HTTP: connections in all, and the memory of requests that have not
// been answered yet.
//
// It promises that whoever comes with a request finds a place. A connection is still while it waits for its client:
// for a first or a next request, for a header, for a body, or for an answer to be taken. Bytes that move take time
// off that, but a byte a second helps nobody. When the places run out, one gives way: of the address that has most
// still connections, the one that has been still the longest. A connection whose request is being answered never
// gives way, however many its address has, because a reverse proxy is one address. No rule knows an address by its
// number.
//
// What a request may cost by itself, in bytes and in time, is left to the handler.
package door

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of a port.
type Limits struct {
	MaxConns  int
	MaxMemory int64  // of requests under way: headers and bodies, in bytes; 0 is the usual
	Advice    string // what to do about too few connections, for the log
}

const (
	// usualMaxMemory is in bytes. An everyday request costs some 3 kB.
	usualMaxMemory = 4 << 20
	// bytesPerHeaderLine is what a line of a header costs beside its bytes: a place in a map, two strings, a slice.
	bytesPerHeaderLine = 160
	maxHeaderLines     = 250
	// bytesPerSecond is how many bytes are worth a second of waiting for them.
	bytesPerSecond = 16 << 10
	// maxStill is how long a connection may be still before it gives way to one that comes while there are places left.
	maxStill = time.Second
	// arrivalGrace is how long a new connection has in any case until its request counts as not coming.
	arrivalGrace = 20 * time.Millisecond
	// idleDivisor : of the time between two requests a quarter counts as still.
	idleDivisor = 4
	// writeBufferBytes is how much the kernel keeps for a client that takes nothing. By itself it keeps up to 4 MB, which
	// is memory, and as much work for nothing.
	writeBufferBytes = 128 << 10
	// warnEvery is the least time between two warnings of the same kind.
	warnEvery = time.Minute
	// fewerFor is for how long there are fewer places after the kernel had no more.
	fewerFor = time.Minute
)

// Door is a listener that keeps the limits, together with the server that it is given to; see Serve.
type Door struct {
	net.Listener
	// Changed, if it is set before Serve, is told how many connections there are whenever there is one more or less. It
	// is called by one at a time, and must not wait.
	Changed func(conns int)

	limits Limits
	log    *slog.Logger
	done   chan struct{}
	freed  chan struct{} // somebody has left or become still

	mu sync.Mutex
	// conns is a list, since all are looked at whenever one must give way. Of 2,048 a look takes 0.05 ms of a processor
	// (BenchmarkNearTheLimit), so there is no order to keep.
	conns      []*conn
	clients    map[netip.Prefix]*client
	memory     int64 // bytes that the requests of all cost
	fewerConns int   // connections that there may be until fewerUntil, because the kernel had no more
	fewerUntil time.Time
	gaveWay    int                  // connections that gave way since the last warning
	warnedAt   map[string]time.Time // by message
	closing    bool
	looks      int // at all connections
}

// New is a door before l. It needs Serve.
func New(l net.Listener, limits Limits, log *slog.Logger) *Door {
	limits.MaxMemory = cmp.Or(limits.MaxMemory, usualMaxMemory)
	return &Door{Listener: l, limits: limits, log: log, done: make(chan struct{}), freed: make(chan struct{}, 1),
		clients: map[netip.Prefix]*client{}, warnedAt: map[string]time.Time{}}
}

type connKey struct{}

// Serve serves s at this door until s is shut down. It makes itself a part of the server's handler and hooks.
func (d *Door) Serve(s *http.Server) error {
	s.Handler = d.watch(s.Handler)
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}
	s.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateIdle {
			c.(*conn).becomeIdle()
		}
	}
	return s.Serve(d)
}

func (d *Door) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(connKey{}).(*conn)
		c.setPhase(working)
		defer c.setPhase(flushing)
		if r.Body != nil && r.Body != http.NoBody {
			r = r.WithContext(r.Context())
			r.Body = body{r.Body, c}
		}
		next.ServeHTTP(w, r)
	})
}

// Open is how many connections there are.
func (d *Door) Open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.conns)
}

// CloseUnasked closes those on which nothing was asked yet. A browser opens some in advance, and a Shutdown of the
// server would wait five seconds for each.
func (d *Door) CloseUnasked() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		if c.phase == asking && !c.served {
			_ = c.Conn.Close()
		}
	}
}

// Close ends listening; see net.Listener.
func (d *Door) Close() error {
	d.mu.Lock()
	if !d.closing {
		d.closing = true
		close(d.done)
	}
	d.mu.Unlock()
	return d.Listener.Close()
}

// Accept waits for the next connection, and for a place for it.
func (d *Door) Accept() (net.Conn, error) {
	for {
		d.waitForPlace()
		c, err := d.Listener.Accept()
		if err == nil {
			return d.enter(c), nil
		}
		if !isOutOfFiles(err) {
			return nil, err
		}
		d.outOfFiles(err)
	}
}

// waitForPlace waits until there is a place. A place is made from any connection that is still.
func (d *Door) waitForPlace() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.conns) >= d.places() && !d.closing {
		// Who has been still for long goes first. A proxy's connections come and go: many strangers with one each must
		// not take those.
		if d.giveWay(nil, maxStill) || d.giveWay(nil, maxStill/10) || d.giveWay(nil, arrivalGrace) {
			continue
		}
		if d.longestStill(nil, 0) == nil {
			d.warn("all connections are at work; the next one waits", "limit", d.places(), "next", d.limits.Advice)
		}
		d.mu.Unlock()
		select {
		case <-d.freed:
		case <-time.After(arrivalGrace):
		case <-d.done:
		}
		d.mu.Lock()
	}
}

// places is how many connections there may be now.
func (d *Door) places() int {
	if d.fewerConns > 0 && time.Now().Before(d.fewerUntil) {
		return min(d.fewerConns, d.limits.MaxConns)
	}
	return d.limits.MaxConns
}

// enter takes a connection in. The last places are made free ahead, from those that have been still for some time. So a
// crowd that comes at once need not take one from a client that thinks.
func (d *Door) enter(raw net.Conn) *conn {
	c := &conn{Conn: raw, door: d, phaseSince: time.Now()}
	if socket, ok := raw.(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = socket.SetWriteBuffer(writeBufferBytes)
	}
	from := network(raw.RemoteAddr())
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.from = d.clients[from]; c.from == nil {
		c.from = &client{network: from}
		d.clients[from] = c.from
	}
	c.from.conns++
	c.at = len(d.conns)
	d.conns = append(d.conns, c)
	d.changed()
	if most := d.places(); len(d.conns) > most-most/16 {
		d.giveWay(c, maxStill)
	}
	return c
}

// outOfFiles makes room where the kernel has no descriptor or no memory for another connection: places kept for others
// are in use, or the machine itself is out of them.
func (d *Door) outOfFiles(err error) {
	d.mu.Lock()
	d.fewerConns, d.fewerUntil = max(len(d.conns)-8, 1), time.Now().Add(fewerFor)
	for len(d.conns) > d.fewerConns && d.giveWay(nil, 0) {
	}
	d.warn("the system has no more room for connections; those that have been still the longest give way",
		"error", err, "connections", len(d.conns), "next", RaiseFileLimit)
	d.mu.Unlock()
	select {
	case <-time.After(arrivalGrace):
	case <-d.done:
	}
}

// isOutOfFiles says whether accept(2) failed for want of descriptors or memory.
func isOutOfFiles(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// giveWay closes the connection that has been still the longest of the address that has most of those, if there is one
// that has been so for at least minStill. A new one is not asked.
func (d *Door) giveWay(fresh *conn, minStill time.Duration) bool {
	victim := d.longestStill(fresh, minStill)
	for victim != nil && victim.serverIsLate() {
		victim.sparedAt = time.Now()
		victim = d.longestStill(fresh, minStill)
	}
	if victim == nil {
		return false
	}
	d.end(victim)
	d.warn("connections are near their limit; those that have been still the longest give way",
		"limit", d.places(), "next", d.limits.Advice)
	return true
}

// longestStill is the connection that giveWay closes, unless it is the server that is late.
func (d *Door) longestStill(fresh *conn, minStill time.Duration) (victim *conn) {
	now := time.Now()
	d.looks++
	for _, c := range d.conns {
		still := c.stillFor(now)
		if c == fresh || still < max(0, minStill) || now.Sub(c.sparedAt) <= arrivalGrace {
			continue
		}
		f := c.from
		if f.lookedAtIn != d.looks {
			f.lookedAtIn, f.stillConns, f.longestStill, f.stillest = d.looks, 0, -1, nil
		}
		f.stillConns++
		if still > f.longestStill {
			f.longestStill, f.stillest = still, c
		}
	}
	for _, from := range d.clients {
		if from.lookedAtIn != d.looks {
			continue
		}
		if victim == nil || from.stillConns > victim.from.stillConns ||
			from.stillConns == victim.from.stillConns && from.longestStill > victim.from.longestStill {
			victim = from.stillest
		}
	}
	return victim
}

// freeMemory closes connections until what requests cost is within its limit: of the address that costs most, the one
// that has been still the longest for what it costs. One that costs no more than its share is left alone: all can have
// that. c has just become more expensive, and goes when the others that are above it are at work.
func (d *Door) freeMemory(c *conn) {
	share := d.limits.MaxMemory / int64(d.limits.MaxConns)
	for d.memory > d.limits.MaxMemory {
		now := time.Now()
		var victim *conn
		var maxWeight float64
		for _, o := range d.conns {
			still := o.stillFor(now)
			if still < 0 || o.cost <= share || victim != nil && o.from.cost < victim.from.cost {
				continue
			}
			weight := still.Seconds() * float64(o.cost)
			if victim == nil || o.from.cost > victim.from.cost || weight > maxWeight {
				victim, maxWeight = o, weight
			}
		}
		if victim == nil {
			victim = c
		}
		if victim.closed || victim.cost <= share {
			return
		}
		d.end(victim)
		d.warn("requests under way take too much memory; those that have been still the longest are closed",
			"limit_bytes", d.limits.MaxMemory)
	}
}

// end closes a connection at once. What it costs is free from now on: who serves it gets an error from its next call.
func (d *Door) end(c *conn) {
	d.gaveWay++
	d.forget(c)
	_ = c.Conn.Close()
}

func (d *Door) forget(c *conn) {
	if c.closed {
		return
	}
	d.charge(c, -c.cost)
	c.closed = true
	last := len(d.conns) - 1
	d.conns[c.at] = d.conns[last]
	d.conns[c.at].at = c.at
	d.conns[last] = nil
	d.conns = d.conns[:last]
	if c.from.conns--; c.from.conns == 0 {
		delete(d.clients, c.from.network)
	}
	d.changed()
	d.wake()
}

func (d *Door) changed() {
	if d.Changed != nil {
		d.Changed(len(d.conns))
	}
}

func (d *Door) wake() {
	select {
	case d.freed <- struct{}{}:
	default:
	}
}

// warn logs a warning unless the same was just logged.
func (d *Door) warn(message string, facts ...any) {
	if last, ok := d.warnedAt[message]; ok && time.Since(last) < warnEvery {
		return
	}
	d.warnedAt[message] = time.Now()
	d.log.Warn(message, append(facts, "gave_way", d.gaveWay)...)
	d.gaveWay = 0
}

// network is the address of a client as far as it counts as one: of IPv6 the half that a provider gives to a customer.
func network(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits)
	return p
}

// client is an address with connections.
type client struct {
	network netip.Prefix
	conns   int
	cost    int64 // of all its requests

	// What a look at all connections found.
	lookedAtIn   int // which look that was, by door.looks
	stillConns   int
	longestStill time.Duration
	stillest     *conn // the one that has been still for longestStill
}

// phase is where a connection is between two requests.
type phase int

const (
	asking   phase = iota // a request is not whole yet, or none was begun on a new connection
	working               // a handler has it
	flushing              // the handler is through; the rest of the answer is on its way
	idle                  // between two requests
)

// conn is one connection. Its fields are the door's to guard.
type conn struct {
	net.Conn
	door *Door
	from *client
	at   int // its index in door.conns

	phase         phase
	phaseSince    time.Time
	waitingCalls  int // that wait for the client, in a handler
	waitingWrites int // those of them that write
	blockedSince  time.Time
	waited        time.Duration // of the handler for the client, less what the bytes that moved are worth
	served        bool          // a request was answered
	sparedAt      time.Time     // when the server was found to be late
	cost          int64         // bytes of memory of the request under way
	headerLines   int           // of it so far
	costAhead     int64         // what of the cost may belong to the next request
	closed        bool
}

// stillFor is for how long the connection has waited for its client, below zero when it does not.
func (c *conn) stillFor(now time.Time) time.Duration {
	switch {
	case c.phase == idle:
		return now.Sub(c.phaseSince) / idleDivisor
	case c.phase != working:
		return now.Sub(c.phaseSince)
	case c.waitingCalls > 0:
		return c.waited + now.Sub(c.blockedSince)
	}
	return -1
}

// serverIsLate says whether it is the server that had no time, and not the client: what the client sent is not read, or
// it has taken all that was written. After an answer the server may also wait for the rest of a body. That takes no
// longer than maxStill where nobody is still.
func (c *conn) serverIsLate() bool {
	s, ok := c.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	writes := c.phase == flushing || c.phase == working && c.waitingWrites > 0
	queue := uint(unix.TIOCINQ) // tcp(7)
	if writes {
		queue = unix.TIOCOUTQ
	}
	n, failed := 0, error(nil)
	err = raw.Control(func(fd uintptr) { n, failed = unix.IoctlGetInt(int(fd), queue) })
	if err != nil || failed != nil {
		return false
	}
	if writes {
		return n == 0 && (c.phase == working || time.Since(c.phaseSince) < maxStill)
	}
	return n > 0
}

func (c *conn) setPhase(p phase) {
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	c.phase, c.phaseSince, c.waited, c.waitingCalls, c.waitingWrites = p, time.Now(), 0, 0, 0
	c.door.wake()
}

// becomeIdle is after an answer. What was read ahead belongs to the next request.
func (c *conn) becomeIdle() {
	c.setPhase(idle)
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	c.served, c.headerLines = true, 0
	c.door.charge(c, c.costAhead-c.cost)
}

// Read counts what a header costs.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n == 0 {
		return n, err
	}
	lines := bytes.Count(p[:n], []byte{'\n'})
	cost := int64(n + bytesPerHeaderLine*lines)
	if !c.came(p[:n], lines, cost) {
		const status = "431 Request Header Fields Too Large"
		// There may be no room for it: of a client that takes none of the answers before.
		_ = c.Conn.SetWriteDeadline(time.Now().Add(maxStill))
		_, _ = c.Conn.Write([]byte("HTTP/1.1 " + status + "\r\n" +
			"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" + status))
		_ = c.CloseWrite()
		return 0, io.EOF
	}
	return n, err
}

// came counts what was read. It says whether the header still has no more lines than it may. Lines of what follows the
// header, which is a body or the next requests, do not count.
func (c *conn) came(p []byte, lines int, cost int64) bool {
	d := c.door
	d.mu.Lock()
	defer d.mu.Unlock()
	end := endOfHeader(p)
	switch {
	case len(p) == 1: // the server looks for a byte in the background
		c.costAhead += cost
	case end == len(p):
		c.costAhead = 0
	default: // what comes after the header is its body, or the next request
		c.costAhead = cost
	}
	if c.phase == idle {
		c.phase, c.phaseSince = asking, time.Now()
	}
	if c.phase != asking {
		return true
	}
	d.charge(c, cost)
	if end >= 0 {
		lines = bytes.Count(p[:end], []byte{'\n'})
	}
	if c.headerLines += lines; c.headerLines > maxHeaderLines {
		return false
	}
	if end >= 0 { // the handler is called as soon as there is a processor
		c.phase = working
	}
	return true
}

// endOfHeader is where what follows the first empty line begins, -1 when there is none.
func endOfHeader(b []byte) int {
	for i := 0; ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return -1
		}
		i += n + 1
		if rest := bytes.TrimPrefix(b[i:], []byte{'\r'}); len(rest) > 0 && rest[0] == '\n' {
			return len(b) - len(rest) + 1
		}
	}
}

func (d *Door) charge(c *conn, cost int64) {
	if c.closed || cost == 0 {
		return
	}
	c.cost += cost
	c.from.cost += cost
	d.memory += cost
	if cost > 0 {
		d.freeMemory(c)
	}
}

// Write notes how long the client takes to read it.
func (c *conn) Write(p []byte) (written int, err error) {
	for {
		piece := p[written:min(len(p), written+bytesPerSecond)]
		c.wait(1)
		n, err := c.Conn.Write(piece)
		c.moved(n, 0, 1)
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// Close is by the server, or by us.
func (c *conn) Close() error {
	c.door.mu.Lock()
	c.door.forget(c)
	c.door.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite tells the client that there is no more; the server does so before it closes, that no answer is lost.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *conn) wait(writes int) {
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	if c.waitingCalls == 0 {
		c.blockedSince = time.Now()
	}
	c.waitingCalls++
	c.waitingWrites += writes
	c.door.wake()
}

// moved ends a wait in which n bytes came or went, cost of which are kept.
func (c *conn) moved(n int, cost int64, writes int) {
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	now := time.Now()
	c.waited = max(0, c.waited+now.Sub(c.blockedSince)-time.Duration(n)*time.Second/bytesPerSecond)
	c.blockedSince = now
	c.waitingCalls, c.waitingWrites = max(0, c.waitingCalls-1), max(0, c.waitingWrites-writes)
	c.door.charge(c, cost)
}

// body is a request's body.
type body struct {
	io.ReadCloser
	c *conn
}

func (b body) Read(p []byte) (int, error) {
	b.c.wait(0)
	n, err := b.ReadCloser.Read(p)
	b.c.moved(n, int64(n), 0)
	return n, err
}
