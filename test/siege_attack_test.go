package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// target is what an attack is made on, and with.
type target struct {
	Web, WebOps, BotOps, Socket string // addresses, and the path of init's socket
	Everywhere                  bool   // each attacker has an address of its own
	Lure                        lure
	Tokens                      []string
}

// attack is what is done all at once by strangers, by hostile programs with a token, and by whoever reaches the other
// ports. Each attacker has one connection. When that has ended, he makes the next one a second later.
type attack struct {
	everywhere bool
	ctx        context.Context
	all        sync.WaitGroup
	counts     map[string]*attackers
	next       int // of the addresses that are used
}

type attackers struct{ n, open, most, made, refused atomic.Int64 }

func init() { helpers["attack"] = attackHelper }

// beginAttack begins the attack in a process of its own. So the well-behaved client does not wait for the attackers in
// its own process. end ends it and says what they did.
func beginAttack(t *testing.T, on target) (end func() string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	spec, err := json.Marshal(on)
	if err != nil {
		t.Fatal(err)
	}
	attackers := exec.Command(self, "@attack", string(spec))
	attackers.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said strings.Builder
	attackers.Stdout, attackers.Stderr = &said, &said
	hold, err := attackers.StdinPipe()
	if err == nil {
		err = attackers.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	end = sync.OnceValue(func() string {
		hold.Close()
		late := time.AfterFunc(soon, func() { _ = attackers.Process.Kill() })
		defer late.Stop()
		if err := attackers.Wait(); err != nil {
			t.Errorf("the attackers: %v", err)
		}
		return said.String()
	})
	t.Cleanup(func() { end() })
	return end
}

// attackHelper attacks until its standard input ends, which it does also when the test is killed.
func attackHelper(args []string) {
	var on target
	if err := json.Unmarshal([]byte(args[0]), &on); err != nil {
		panic(err)
	}
	a := &attack{everywhere: on.Everywhere, counts: map[string]*attackers{}}
	ctx, cancel := context.WithCancel(context.Background())
	a.ctx = ctx
	a.begin(on)
	_, _ = io.Copy(io.Discard, os.Stdin)
	cancel()
	a.all.Wait()
	fmt.Print(a.table())
}

func (a *attack) begin(on target) {
	ctx := a.ctx
	bearer := func(i int) string {
		return "Authorization: Bearer " + strings.TrimSpace(on.Tokens[i%len(on.Tokens)]) + "\r\n"
	}
	get := func(path string, headers string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: tandem\r\n" + headers + "\r\n"
	}
	web, webOps, botOps := on.Web, on.WebOps, on.BotOps

	// 1,000 idle and slow ones.
	a.tcp("idle", 500, web, func(c net.Conn, i int) { sink(c) })
	a.tcp("idle after a request", 200, web, func(c net.Conn, i int) { say(c, get("/healthz", "")); sink(c) })
	a.tcp("slow to ask", 284, web, func(c net.Conn, i int) {
		drip(ctx, c, get("/healthz", "X-Long: "+strings.Repeat("x", 1000)+"\r\n"))
	})
	a.tcp("slow to take 25 MB", 16, web, func(c net.Conn, i int) {
		say(c, get(fmt.Sprintf("/api/v1/conversations/%d/messages?limit=200&as=%d", on.Lure.Large, i), bearer(i)))
		pause(ctx, 15*time.Second)
	})
	// 300 half bodies.
	half := func(path, headers string, length int) func(net.Conn, int) {
		return func(c net.Conn, i int) {
			head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: tandem\r\n%sContent-Length: %d\r\n\r\n", path, headers, length)
			say(c, head+strings.Repeat("a", length-1000))
			sink(c)
		}
	}
	form, object := "Content-Type: application/x-www-form-urlencoded\r\n", "Content-Type: application/json\r\n"
	a.tcp("half a sign-in", 150, web, half("/sign-in", form, 1<<20))
	a.tcp("half an answer", 75, web, half("/conversations/1/answers", form, 1<<20))
	a.tcp("half an answer of a program", 75, web, half("/api/v1/conversations/1/messages", object+bearer(0), 500<<10))
	// 64 deaf streams.
	a.tcp("deaf", 64, web, func(c net.Conn, i int) {
		say(c, get("/api/v1/events?after=0", bearer(i)))
		pause(ctx, 15*time.Second)
	})
	// 8 slowest reads.
	a.tcp("slowest reads", 8, web, func(c net.Conn, i int) {
		q := url.QueryEscape(on.Lure.Slow[:len(on.Lure.Slow)-3] + fmt.Sprintf("%03d", rand.IntN(1000)))
		say(c, get("/api/v1/conversations?q="+q, bearer(i)+"Connection: close\r\n"))
		sink(c)
	})

	for name, addr := range map[string]string{"web's": webOps, "the bot's": botOps} {
		a.tcp(name+" operations port: idle", 100, addr, func(c net.Conn, i int) { sink(c) })
		a.tcp(name+" operations port: half a request", 100, addr, half("/metrics", "", 2000))
		a.tcp(name+" operations port: garbage", 50, addr, func(c net.Conn, i int) { say(c, garbage(2000)); sink(c) })
		a.tcp(name+" operations port: deaf", 8, addr, func(c net.Conn, i int) {
			say(c, strings.Repeat(get("/metrics", ""), 100))
			pause(ctx, 15*time.Second)
		})
	}
	socket := func(kind string, n int, f func(c net.Conn, i int)) {
		a.each("init's socket: "+kind, n, net.Dialer{}, "unix", on.Socket, f)
	}
	socket("idle", 100, func(c net.Conn, i int) { sink(c) })
	socket("half a line", 50, func(c net.Conn, i int) { say(c, "stat"); sink(c) })
	socket("garbage", 50, func(c net.Conn, i int) { say(c, garbage(2000)); sink(c) })
	socket("deaf", 8, func(c net.Conn, i int) { say(c, "status\n"); pause(ctx, 5*time.Second) })
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
					open := count.open.Add(1)
					for most := count.most.Load(); open > most; most = count.most.Load() {
						if count.most.CompareAndSwap(most, open) {
							break
						}
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
		fmt.Fprintf(&b, "%-40s %4d attackers, at most %4d connections at once, %5d made, %5d refused\n",
			kind, n.n.Load(), n.most.Load(), n.made.Load(), n.refused.Load())
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
