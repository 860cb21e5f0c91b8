package test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/proctest"
	"tandem/internal/simulator/simtest"
)

// replicas are n webs on one database, and one bot.
func replicas(t *testing.T, n int) []*rig {
	t.Helper()
	tg, address := simtest.Start(t), pgtest.URL(t)
	first := newRigWith(t, tg, address).start().waitWeb().waitPolling()
	all := []*rig{first}
	for len(all) < n {
		r := newRigWith(t, tg, address, "ENABLE_TELEGRAM_BOT=false").start().waitWeb()
		all = append(all, r)
	}
	first.api("GET", "/conversations", nil, nil)
	for _, r := range all {
		r.bearer = first.bearer
		r.waitReady()
	}
	return all
}

// TestAnyReplicaServesAnybody: what one web was told holds in the others at once.
func TestAnyReplicaServesAnybody(t *testing.T) {
	t.Parallel()
	webs := replicas(t, 3)
	a, b, c := webs[0], webs[1], webs[2]
	a.roundTrip(7, "hello")

	// The link is made by the command, opened at one replica, and the session is everybody's: cookies know no port.
	link := lastLine(a.web("operator", "add", "alice"))
	browser := signIn(t, "http://"+b.addr, link)
	page := func(r *rig) int {
		browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		response, err := browser.Get("http://" + r.addr + "/fragments/list")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	for i, r := range webs {
		if code := page(r); code != 200 {
			t.Errorf("signed in at replica 1, replica %d says %d", i, code)
		}
	}
	u, _ := url.Parse(link)
	if code, _ := c.get(u.RequestURI()); code == 200 {
		t.Error("a link that was used at one replica can be opened at another")
	}

	// One key, many replicas at once: one message.
	conversation := a.conversation(7)
	ids := make(chan int64, 12)
	var posts sync.WaitGroup
	for i := range cap(ids) {
		posts.Go(func() {
			var m inbox.Message
			code, body, err := webs[i%3].tryAPI("POST", fmt.Sprintf("/conversations/%d/messages", conversation.ID),
				map[string]string{"text": "once"}, &m, "Idempotency-Key", "k")
			if code != 202 || err != nil {
				t.Errorf("replica %d: %d %s %v", i%3, code, body, err)
			}
			ids <- m.ID
		})
	}
	posts.Wait()
	for first := <-ids; len(ids) > 0; {
		if id := <-ids; id != first {
			t.Errorf("one key made messages %d and %d", first, id)
		}
	}

	response, err := browser.PostForm("http://"+c.addr+"/sign-out", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	for i, r := range webs {
		if code := page(r); code == 200 {
			t.Errorf("signed out at replica 2, replica %d still answers", i)
		}
	}
	for _, r := range webs {
		r.stop()
	}
}

// TestAStreamGoesOnAtAnotherReplica cuts a stream again and again, and continues it at another web each time. It has
// each event once.
func TestAStreamGoesOnAtAnotherReplica(t *testing.T) {
	t.Parallel()
	webs := replicas(t, 3)
	webs[0].tg.Customer(7, "hello")
	c := webs[0].conversation(7)
	const answers = 60
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range answers {
			if !webs[n%3].answerUntilTaken(c.ID, fmt.Sprint("answer ", n), fmt.Sprint("key ", n)) {
				return
			}
		}
	}()
	var seen []int64
	created := 0
	window := 300 * time.Millisecond
	for turn, end := 0, time.Now().Add(2*soon); created < answers+1; turn++ {
		if time.Now().After(end) {
			t.Fatalf("%d of %d answers were seen", created, answers)
		}
		last := "0"
		if len(seen) > 0 {
			last = strconv.FormatInt(seen[len(seen)-1], 10)
		}
		ctx, cut := context.WithTimeout(t.Context(), window)
		request, _ := http.NewRequestWithContext(ctx, "GET", "http://"+webs[turn%3].addr+"/api/v1/events?after=0", nil)
		request.Header.Set("Authorization", "Bearer "+webs[0].bearer)
		request.Header.Set("Last-Event-ID", last)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			cut()
			window *= 2 // the time was up before the answer began: this machine needs more
			continue
		}
		lines := bufio.NewScanner(response.Body)
		var id int64
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case name == "id":
				id, _ = strconv.ParseInt(value, 10, 64)
			case name == "event" && value == "message.created":
				created++
			case name == "event" && value == "reset":
				t.Fatal("a stream was told to read again")
			case lines.Text() == "" && id != 0:
				seen = append(seen, id)
				id = 0
			}
		}
		response.Body.Close()
		cut()
	}
	<-done
	for i, id := range seen {
		if id != int64(i)+1 {
			t.Fatalf("event %d has number %d: %v", i, id, seen)
		}
	}
}

// balancer is the least that people put before several webs. It asks each for /readyz ten times a second, and takes
// turns between those that are ready. It tries nothing again.
type balancer struct {
	backends []*backend
	next     atomic.Int64
	failed   atomic.Pointer[string]
}

type backend struct {
	proxy *httputil.ReverseProxy
	ready atomic.Bool
}

func newBalancer(t *testing.T, hosts []*host) (b *balancer, addr string) {
	t.Helper()
	b = &balancer{}
	ctx, cancel := context.WithCancel(context.Background())
	var checks sync.WaitGroup
	for _, h := range hosts {
		target := &url.URL{Scheme: "http", Host: h.addr}
		one := &backend{proxy: httputil.NewSingleHostReverseProxy(target)}
		one.proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 50}
		one.proxy.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) {
			words := fmt.Sprintf("%s %s at %s: %v", r.Method, r.URL.Path, target.Host, err)
			b.failed.CompareAndSwap(nil, &words)
			w.WriteHeader(http.StatusBadGateway)
		}
		checks.Go(func() {
			for ctx.Err() == nil {
				code, _ := h.get("/readyz")
				one.ready.Store(code == 200)
				select {
				case <-time.After(100 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
		b.backends = append(b.backends, one)
	}
	server := &http.Server{Addr: proctest.FreeAddr(t), Handler: b}
	checks.Go(func() { server.ListenAndServe() })
	t.Cleanup(func() { cancel(); server.Close(); checks.Wait() })
	return b, server.Addr
}

func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for range b.backends {
		if one := b.backends[int(b.next.Add(1))%len(b.backends)]; one.ready.Load() {
			one.proxy.ServeHTTP(w, r)
			return
		}
	}
	words := "no backend is ready"
	b.failed.CompareAndSwap(nil, &words)
	w.WriteHeader(http.StatusServiceUnavailable)
}

// TestARollingUpdate stops and starts three hosts one after the other, under 100 requests a second and messages both
// ways. No request fails, nothing is lost, nothing comes twice, and one polls.
func TestARollingUpdate(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 3)
	for _, h := range l.hosts {
		h.env = append(h.env, "WEB_DRAIN=2s")
		h.start()
	}
	for _, h := range l.hosts {
		h.waitWeb()
		h.bearer = l.hosts[0].token()
		h.waitReady()
	}
	b, addr := newBalancer(t, l.hosts)
	front := *l.hosts[0].rig
	front.addr = addr
	proctest.Eventually(t, soon, "the balancer has three webs", func() bool {
		return !slices.ContainsFunc(b.backends, func(one *backend) bool { return !one.ready.Load() })
	})
	l.tg.Customer(7, "in 0")
	c := front.conversation(7)

	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var asked, failed atomic.Int64
	began := time.Now()
	var firstFailure atomic.Pointer[string]
	load.Go(func() { // reading, 100 a second
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if ctx.Err() != nil {
				return
			}
			load.Go(func() {
				asked.Add(1)
				code, body, err := front.tryAPI("GET", "/conversations?limit=10", nil, nil)
				if code != 200 {
					failed.Add(1)
					words := fmt.Sprintf("%d %s %v", code, body, err)
					firstFailure.CompareAndSwap(nil, &words)
				}
			})
		}
	})
	in, out := 1, 0
	load.Go(func() { // customers and operators write
		for ctx.Err() == nil {
			if _, err := l.tg.CustomerWrites(7, fmt.Sprint("in ", in)); err != nil {
				t.Errorf("the customer: %v", err)
				return
			}
			in++
			code, body, err := front.tryAPI("POST", fmt.Sprintf("/conversations/%d/messages", c.ID),
				map[string]string{"text": fmt.Sprint("out ", out)}, nil)
			if code != 202 {
				t.Errorf("answer %d: %d %s %v", out, code, body, err)
				return
			}
			out++
			time.Sleep(100 * time.Millisecond) // the pace of the load
		}
	})
	for _, h := range l.hosts {
		h.web.Signal(syscall.SIGTERM)
		h.bot.Signal(syscall.SIGTERM)
		for _, p := range []*proctest.Process{h.web, h.bot} {
			if end := p.Wait(soon); end.Code != 0 {
				t.Errorf("host %d: init ended with %d", h.n, end.Code)
			}
		}
		h.start()
		h.waitReady()
	}
	stop()
	took := time.Since(began)
	load.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed, first: %s", failed.Load(), asked.Load(), *firstFailure.Load())
	}
	if words := b.failed.Load(); words != nil {
		t.Errorf("the balancer: %s", *words)
	}
	t.Logf("%d requests in %v (%.0f a second), %d messages in, %d answers",
		asked.Load(), took, float64(asked.Load())/took.Seconds(), in, out)
	var want []string
	for n := range in {
		want = append(want, fmt.Sprint("in ", n))
	}
	front.nothingLost(7, want)
	proctest.Eventually(t, 2*soon, "every answer is sent", func() bool {
		n := 0
		for _, m := range front.messages(c.ID) {
			if m.Direction == inbox.Out && m.Delivery == inbox.Sent {
				n++
			}
		}
		return n == out
	})
	if d := l.tg.Duplicates(); len(d) > 0 {
		t.Errorf("sent twice: %+v", d)
	}
	neverTwo(t, l.tg)
}
