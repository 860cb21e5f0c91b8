package test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// attack is what strangers, hostile programs with a token and whoever reaches the other ports do, all at once. Each
// attacker has one connection; when that has ended he makes the next one a second later.
type attack struct {
	everywhere bool
	ctx        context.Context
	end        func()
	all        sync.WaitGroup
	counts     map[string]*attackers
	next       int // of the addresses that are used
}

type attackers struct{ n, open, most, made, refused atomic.Int64 }

func beginAttack(t *testing.T, r *rig, everywhere bool, lure lure, tokens []string) *attack {
	t.Helper()
	a := &attack{everywhere: everywhere, counts: map[string]*attackers{}}
	ctx, cancel := context.WithCancel(context.Background())
	a.ctx, a.end = ctx, func() { cancel(); a.all.Wait() }
	t.Cleanup(a.end)
	bearer := func(i int) string {
		return "Authorization: Bearer " + strings.TrimSpace(tokens[i%len(tokens)]) + "\r\n"
	}
	get := func(path string, headers string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: tandem\r\n" + headers + "\r\n"
	}
	web, webOps, botOps := r.addr, setting(r.env, "WEB_OPS_ADDR="), setting(r.env, "BOT_OPS_ADDR=")

	// 1,000 idle and slow ones.
	a.tcp("idle", 500, web, func(c net.Conn, i int) { sink(c) })
	a.tcp("idle after a request", 200, web, func(c net.Conn, i int) { say(c, get("/healthz", "")); sink(c) })
	a.tcp("slow to ask", 284, web, func(c net.Conn, i int) { drip(ctx, c, get("/healthz", "X-Long: "+strings.Repeat("x", 1000)+"\r\n")) })
	a.tcp("slow to take 25 MB", 16, web, func(c net.Conn, i int) {
		say(c, get(fmt.Sprintf("/api/v1/conversations/%d/messages?limit=200&as=%d", lure.large, i), bearer(i)))
		pause(ctx, 15*time.Second)
	})
	// 300 half bodies.
	half := func(path, headers string, length int) func(net.Conn, int) {
		return func(c net.Conn, i int) {
			say(c, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: tandem\r\n%sContent-Length: %d\r\n\r\n", path, headers, length)+strings.Repeat("a", length-1000))
			sink(c)
		}
	}
	form, object := "Content-Type: application/x-www-form-urlencoded\r\n", "Content-Type: application/json\r\n"
	a.tcp("half a sign-in", 150, web, half("/sign-in", form, 1<<20))
	a.tcp("half an answer", 75, web, half("/conversations/1/answers", form, 1<<20))
	a.tcp("half an answer of a program", 75, web, half("/api/v1/conversations/1/messages", object+bearer(0), 500<<10))
	// 64 deaf streams.
	a.tcp("deaf", 64, web, func(c net.Conn, i int) { say(c, get("/api/v1/events?after=0", bearer(i))); pause(ctx, 15*time.Second) })
	// 8 slowest reads.
	a.tcp("slowest reads", 8, web, func(c net.Conn, i int) {
		q := url.QueryEscape(lure.slow[:len(lure.slow)-3] + fmt.Sprintf("%03d", rand.IntN(1000)))
		say(c, get("/api/v1/conversations?q="+q, bearer(i)+"Connection: close\r\n"))
		sink(c)
	})

	for name, addr := range map[string]string{"web's": webOps, "the bot's": botOps} {
		a.tcp(name+" operations port: idle", 100, addr, func(c net.Conn, i int) { sink(c) })
		a.tcp(name+" operations port: half a request", 100, addr, half("/metrics", "", 2000))
		a.tcp(name+" operations port: garbage", 50, addr, func(c net.Conn, i int) { say(c, garbage(2000)); sink(c) })
		a.tcp(name+" operations port: deaf", 8, addr, func(c net.Conn, i int) { say(c, strings.Repeat(get("/metrics", ""), 100)); pause(ctx, 15*time.Second) })
	}
	socket := func(kind string, n int, f func(c net.Conn, i int)) {
		a.each("init's socket: "+kind, n, net.Dialer{}, "unix", filepath.Join(r.runDir, "init.sock"), f)
	}
	socket("idle", 100, func(c net.Conn, i int) { sink(c) })
	socket("half a line", 50, func(c net.Conn, i int) { say(c, "stat"); sink(c) })
	socket("garbage", 50, func(c net.Conn, i int) { say(c, garbage(2000)); sink(c) })
	socket("deaf", 8, func(c net.Conn, i int) { say(c, "status\n"); pause(ctx, 5*time.Second) })
	return a
}

// tcp adds n attackers of a kind.
func (a *attack) tcp(kind string, n int, addr string, f func(c net.Conn, i int)) {
	for range n {
		d := net.Dialer{Control: smallWindow}
		if a.everywhere {
			a.next++
			d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 1+byte(a.next>>16), byte(a.next>>8), byte(a.next))}
		}
		a.each(kind, 1, d, "tcp", addr, f)
	}
}

// smallWindow has the kernel keep little of what is not read.
func smallWindow(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
}

func (a *attack) each(kind string, n int, d net.Dialer, network, addr string, f func(c net.Conn, i int)) {
	count := a.counts[kind]
	if count == nil {
		count = &attackers{}
		a.counts[kind] = count
	}
	for range n {
		i := int(count.n.Add(1)) - 1
		a.all.Go(func() {
			for a.ctx.Err() == nil {
				if c, err := d.DialContext(a.ctx, network, addr); err != nil {
					count.refused.Add(1)
				} else {
					count.made.Add(1)
					for open, most := count.open.Add(1), count.most.Load(); open > most && !count.most.CompareAndSwap(most, open); most = count.most.Load() {
					}
					hangUp := context.AfterFunc(a.ctx, func() { c.Close() })
					f(c, i)
					hangUp()
					c.Close()
					count.open.Add(-1)
				}
				pause(a.ctx, time.Second/2+rand.N(time.Second))
			}
		})
	}
}

// table says of each kind how many connections it had.
func (a *attack) table() string {
	var b strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(a.counts)) {
		n := a.counts[kind]
		fmt.Fprintf(&b, "%-40s %4d attackers, at most %4d connections at once, %5d made, %5d refused\n", kind, n.n.Load(), n.most.Load(), n.made.Load(), n.refused.Load())
	}
	return b.String()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func say(c net.Conn, text string) { _, _ = io.WriteString(c, text) }

// sink waits until the other side ends it.
func sink(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// drip says text, but slowly.
func drip(ctx context.Context, c net.Conn, text string) {
	for i := range len(text) {
		if _, err := io.WriteString(c, text[i:i+1]); err != nil {
			return
		}
		pause(ctx, 300*time.Millisecond)
	}
}

func garbage(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.IntN(256))
	}
	return string(b)
}
