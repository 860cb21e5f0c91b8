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
	Conns  int    // connections in all
	Memory int64  // of requests under way: headers and bodies, in bytes; 0 is the usual
	Next   string // what to do about too few connections, for the log
}

const (
	// memory is the usual limit. An everyday request costs some 3 kB.
	memory = 4 << 20
	// lineCost is what a line of a header costs beside its bytes: a place in a map, two strings, a slice.
	lineCost = 160
	// mostLines is how many lines a header may have.
	mostLines = 250
	// rate is how many bytes are worth a second of waiting for them.
	rate = 16 << 10
	// patience is how long a connection may be still before it gives way to one that comes while there are places left.
	patience = time.Second
	// arrival is how long a new one has in any case until its request counts as not coming.
	arrival = 20 * time.Millisecond
	// servedFor : one that has had an answer counts as still for a quarter of the time.
	servedFor = 4
	// writeBuffer is how many bytes the kernel keeps for a client that takes nothing. By itself it keeps up to 4 MB, which
	// is memory, and as much work for nothing.
	writeBuffer = 128 << 10
	// sayEvery bounds the log.
	sayEvery = time.Minute
)

// Door is a listener that keeps the limits, together with the server that it is given to; see Serve.
type Door struct {
	net.Listener
	most  Limits
	log   *slog.Logger
	done  chan struct{}
	freed chan struct{} // somebody has left or become still

	mu       sync.Mutex
	conns    []*conn // a list, since all are looked at whenever one must give way
	clients  map[netip.Prefix]*client
	memory   int64 // what all of them cost
	fewer    int   // connections that there may be until fewerEnd, because the kernel had no more
	fewerEnd time.Time
	gave     int // connections that gave way and were not told of yet
	said     map[string]time.Time
	closing  bool
	looks    int // at all connections
}

// New is a door before l. It needs Serve.
func New(l net.Listener, most Limits, log *slog.Logger) *Door {
	if most.Memory == 0 {
		most.Memory = memory
	}
	return &Door{Listener: l, most: most, log: log, done: make(chan struct{}), freed: make(chan struct{}, 1),
		clients: map[netip.Prefix]*client{}, said: map[string]time.Time{}}
}

type connKey struct{}

// Serve serves s at this door until s is shut down. It makes itself a part of the server's handler and hooks.
func (d *Door) Serve(s *http.Server) error {
	s.Handler = d.watch(s.Handler)
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	s.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateIdle {
			c.(*conn).rest()
		}
	}
	return s.Serve(d)
}

func (d *Door) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(connKey{}).(*conn)
		c.turn(working)
		defer c.turn(leaving)
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

// CloseUnasked closes those on which nothing was asked yet. A browser opens some in advance, and a Shutdown of the server
// would wait five seconds for each.
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
		d.room()
		c, err := d.Listener.Accept()
		if err == nil {
			return d.enter(c), nil
		}
		if !outOf(err) {
			return nil, err
		}
		d.none(err)
	}
}

// room waits until there is a place. A place is made from any connection that is still.
func (d *Door) room() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.conns) >= d.places() && !d.closing {
		// Who has been still for long first: many strangers with one connection each must not have a proxy's taken, which come and go.
		if d.giveWay(nil, patience) || d.giveWay(nil, patience/10) || d.giveWay(nil, arrival) {
			continue
		}
		if d.stillest(nil, 0) == nil {
			d.say("all connections are at work; the next one waits", "limit", d.places(), "next", d.most.Next)
		}
		d.mu.Unlock()
		select {
		case <-d.freed:
		case <-time.After(arrival):
		case <-d.done:
		}
		d.mu.Lock()
	}
}

// places is how many connections there may be now.
func (d *Door) places() int {
	if d.fewer > 0 && time.Now().Before(d.fewerEnd) {
		return min(d.fewer, d.most.Conns)
	}
	return d.most.Conns
}

// enter takes a connection in. The last places are made free ahead, from those that have been still for some time, so that a
// crowd that comes at once need not take one from a client that thinks.
func (d *Door) enter(raw net.Conn) *conn {
	c := &conn{Conn: raw, door: d, since: time.Now()}
	if socket, ok := raw.(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = socket.SetWriteBuffer(writeBuffer)
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
	if most := d.places(); len(d.conns) > most-most/16 {
		d.giveWay(c, patience)
	}
	return c
}

// none makes room where the kernel has no descriptor or no memory for another connection: places kept for others are in
// use, or the machine itself is out of them.
func (d *Door) none(err error) {
	d.mu.Lock()
	d.fewer, d.fewerEnd = max(len(d.conns)-8, 1), time.Now().Add(sayEvery)
	for len(d.conns) > d.fewer && d.giveWay(nil, 0) {
	}
	d.say("the system has no more room for connections; those that have been still the longest give way",
		"error", err, "connections", len(d.conns), "next", MoreFiles)
	d.mu.Unlock()
	select {
	case <-time.After(20 * time.Millisecond):
	case <-d.done:
	}
}

// outOf says whether accept(2) failed for want of descriptors or memory.
func outOf(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// giveWay closes the connection that has been still the longest of the address that has most of those, if there is one
// that has been so for at least that long. A new one is not asked.
func (d *Door) giveWay(fresh *conn, least time.Duration) bool {
	victim := d.stillest(fresh, least)
	for victim != nil && victim.late() {
		victim.spared = time.Now() // it is we who are late
		victim = d.stillest(fresh, least)
	}
	if victim == nil {
		return false
	}
	d.end(victim)
	d.say("connections are near their limit; those that have been still the longest give way", "limit", d.places(), "next", d.most.Next)
	return true
}

// stillest is the connection that giveWay closes, unless its client has just written.
func (d *Door) stillest(fresh *conn, least time.Duration) (victim *conn) {
	now := time.Now()
	d.looks++
	for _, c := range d.conns {
		still := c.still(now)
		if c == fresh || still < max(0, least) || now.Sub(c.spared) <= arrival {
			continue
		}
		f := c.from
		if f.look != d.looks {
			f.look, f.still, f.longest, f.first = d.looks, 0, -1, nil
		}
		f.still++
		if still > f.longest {
			f.longest, f.first = still, c
		}
	}
	for _, from := range d.clients {
		if from.look != d.looks {
			continue
		}
		if victim == nil || from.still > victim.from.still || from.still == victim.from.still && from.longest > victim.from.longest {
			victim = from.first
		}
	}
	return victim
}

// relieve closes connections until what requests cost is within its limit: of the address that costs most, the one that
// has been still the longest for what it costs. One that costs no more than its share is left alone: all can have
// that. c has just become more expensive, and goes when the others that are above it are at work.
func (d *Door) relieve(c *conn) {
	share := d.most.Memory / int64(d.most.Conns)
	for d.memory > d.most.Memory {
		now := time.Now()
		var victim *conn
		var most float64
		for _, o := range d.conns {
			still := o.still(now)
			if still < 0 || o.cost <= share || victim != nil && o.from.cost < victim.from.cost {
				continue
			}
			if weight := still.Seconds() * float64(o.cost); victim == nil || o.from.cost > victim.from.cost || weight > most {
				victim, most = o, weight
			}
		}
		if victim == nil {
			victim = c
		}
		if victim.closed || victim.cost <= share {
			return
		}
		d.end(victim)
		d.say("requests under way take too much memory; those that have been still the longest are closed", "limit_bytes", d.most.Memory)
	}
}

// end closes a connection at once. What it costs is free from now on: who serves it gets an error from its next call.
func (d *Door) end(c *conn) {
	d.gave++
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
	d.wake()
}

func (d *Door) wake() {
	select {
	case d.freed <- struct{}{}:
	default:
	}
}

// say logs a warning unless it was just said.
func (d *Door) say(message string, facts ...any) {
	if last, ok := d.said[message]; ok && time.Since(last) < sayEvery {
		return
	}
	d.said[message] = time.Now()
	d.log.Warn(message, append(facts, "gave_way", d.gave)...)
	d.gave = 0
}

// network is the address of a client as far as it counts as one: of IPv6 the half that a provider gives to one customer.
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

	// What the last look at all connections found.
	look    int           // which one that was
	still   int           // how many are still
	longest time.Duration // for how long at most
	first   *conn         // which one
}

// phase is where a connection is between two requests.
type phase int

const (
	asking  phase = iota // a request is not whole yet, or none was begun on a new connection
	working              // a handler has it
	leaving              // the handler is through; the rest of the answer is on its way
	resting              // between two requests
)

// conn is one connection. Its fields are the door's to guard.
type conn struct {
	net.Conn
	door *Door
	from *client
	at   int // in door.conns

	phase   phase
	since   time.Time     // when that began
	waits   int           // calls that wait for the client, in a handler
	writes  int           // those of them that write
	blocked time.Time     // since when
	debt    time.Duration // how long the handler has waited for the client, less what the bytes that moved are worth
	served  bool          // a request was answered
	spared  time.Time     // when it was found that something had come that the server had not read
	cost    int64         // memory of the request under way
	lines   int           // of its header so far
	ahead   int64         // what of the cost may belong to the next one
	closed  bool
}

// still is for how long the connection has waited for its client, below zero when it does not.
func (c *conn) still(now time.Time) time.Duration {
	switch {
	case c.phase == resting:
		return now.Sub(c.since) / servedFor
	case c.phase != working:
		return now.Sub(c.since)
	case c.waits > 0:
		return c.debt + now.Sub(c.blocked)
	}
	return -1
}

// late says whether it is the server that had no time, and not the client: what that sent is not read, or it has taken all that was
// written. After an answer the server may also wait for the rest of a body, which takes no longer than patience where nobody is still.
func (c *conn) late() bool {
	s, ok := c.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	writes := c.phase == leaving || c.phase == working && c.writes > 0
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
		return n == 0 && (c.phase == working || time.Since(c.since) < patience)
	}
	return n > 0
}

func (c *conn) turn(p phase) {
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	c.phase, c.since, c.debt, c.waits, c.writes = p, time.Now(), 0, 0, 0
	c.door.wake()
}

// rest is after an answer. What was read ahead belongs to the next request.
func (c *conn) rest() {
	c.turn(resting)
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	c.served, c.lines = true, 0
	c.door.charge(c, c.ahead-c.cost)
}

// Read counts what a header costs.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n == 0 {
		return n, err
	}
	lines := bytes.Count(p[:n], []byte{'\n'})
	cost := int64(n + lineCost*lines)
	if !c.came(p[:n], lines, cost) {
		const words = "431 Request Header Fields Too Large"
		// There may be no room for it: of a client that takes none of the answers before.
		_ = c.Conn.SetWriteDeadline(time.Now().Add(patience))
		_, _ = c.Conn.Write([]byte("HTTP/1.1 " + words + "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" + words))
		_ = c.CloseWrite()
		return 0, io.EOF
	}
	return n, err
}

// came counts what was read. It says whether the header still has no more lines than it may. Those of what follows it, which
// is a body or the next requests, do not count.
func (c *conn) came(p []byte, lines int, cost int64) bool {
	d := c.door
	d.mu.Lock()
	defer d.mu.Unlock()
	end := endOfHeader(p)
	switch {
	case len(p) == 1: // the server looks for a byte in the background
		c.ahead += cost
	case end == len(p):
		c.ahead = 0
	default: // what comes after the header is its body, or the next request
		c.ahead = cost
	}
	if c.phase == resting {
		c.phase, c.since = asking, time.Now()
	}
	if c.phase != asking {
		return true
	}
	d.charge(c, cost)
	if end >= 0 {
		lines = bytes.Count(p[:end], []byte{'\n'})
	}
	if c.lines += lines; c.lines > mostLines {
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
		d.relieve(c)
	}
}

// Write notes how long the client takes to take it.
func (c *conn) Write(p []byte) (written int, err error) {
	for {
		piece := p[written:min(len(p), written+rate)]
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
	if c.waits == 0 {
		c.blocked = time.Now()
	}
	c.waits++
	c.writes += writes
	c.door.wake()
}

// moved ends a wait in which n bytes came or went, cost of which are kept.
func (c *conn) moved(n int, cost int64, writes int) {
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	now := time.Now()
	c.debt = max(0, c.debt+now.Sub(c.blocked)-time.Duration(n)*time.Second/rate)
	c.blocked = now
	c.waits, c.writes = max(0, c.waits-1), max(0, c.writes-writes)
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
