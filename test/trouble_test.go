package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/proctest"
	"tandem/internal/simulator"
	"tandem/internal/testenv"
)

const (
	customers        = 10
	messagesPerEvent = 25 // each way, of all customers together
)

// trouble is three hosts, a database with a replica, and who writes while they have trouble.
type trouble struct {
	*lan
	seed             uint64
	random           *rand.Rand
	events           int
	begun            atomic.Int64 // events that have
	primary, replica *pgtest.Instance
	conversations    [customers]inbox.Conversation
	counts           map[string]int
}

// troubles are what can happen to a host, more often than not the one that polls, or to all.
var troubles = []struct {
	name string
	do   func(x *trouble, h *host)
}{
	{"bot killed", func(x *trouble, h *host) {
		if p, ok := h.botProcess(); ok {
			syscall.Kill(p.PID, syscall.SIGKILL)
		}
	}},
	{"bot's init killed", func(x *trouble, h *host) {
		h.bot.Signal(syscall.SIGKILL)
		h.bot.Wait(soon)
		x.pause(0, 2*time.Second)
		h.startBot()
	}},
	{"bot's container killed", func(x *trouble, h *host) {
		h.signal(syscall.SIGSTOP)
		h.bot.Kill()
		x.pause(0, 2*time.Second)
		h.startBot()
	}},
	{"web's container killed", func(x *trouble, h *host) {
		h.web.Kill()
		x.pause(0, time.Second)
		h.startWeb()
	}},
	{"line to the database cut", func(x *trouble, h *host) {
		h.cut(dbCable)
		x.pause(time.Second, 18*time.Second)
		h.heal(dbCable)
	}},
	{"line to Telegram cut", func(x *trouble, h *host) {
		h.cut(tgCable)
		x.pause(time.Second, 12*time.Second)
		h.heal(tgCable)
	}},
	{"host killed while its line to Telegram is cut", func(x *trouble, h *host) {
		h.cut(tgCable)
		x.pause(0, 3*time.Second)
		h.bot.Kill()
		x.pause(0, 3*time.Second)
		h.heal(tgCable)
		h.startBot()
	}},
	{"bot frozen", func(x *trouble, h *host) {
		h.signal(syscall.SIGSTOP)
		x.pause(time.Second, 18*time.Second)
		h.signal(syscall.SIGCONT)
	}},
	{"bot frozen, its session ended", func(x *trouble, h *host) {
		h.signal(syscall.SIGSTOP)
		x.endLockSession()
		x.pause(time.Second, 6*time.Second)
		h.signal(syscall.SIGCONT)
	}},
	{"database restarted", func(x *trouble, h *host) { x.primary.Stop(); x.primary.Start() }},
	{"database killed", func(x *trouble, h *host) { x.primary.Kill(); x.primary.Start() }},
	{"failover", func(x *trouble, h *host) {
		x.primary.Kill()
		x.replica.Promote()
		x.primary, x.replica = x.replica, x.replica.ReplicaInPlaceOf(x.primary)
	}},
	{"rolling update", func(x *trouble, h *host) {
		for _, h := range x.hosts {
			for _, p := range []*proctest.Process{h.web, h.bot} {
				p.Signal(syscall.SIGTERM)
				if end := p.Wait(soon); end.Code != 0 {
					x.t.Errorf("host %d: init ended with %d after SIGTERM", h.n, end.Code)
				}
			}
			h.start()
		}
	}},
	{"three bots started at once", func(x *trouble, h *host) {
		for _, h := range x.hosts {
			h.bot.Kill()
		}
		var all sync.WaitGroup
		for _, h := range x.hosts {
			all.Go(func() { h.startBot() })
		}
		all.Wait()
	}},
}

// TestThreeHostsInTrouble is make chaos, in short: random trouble while messages go both ways. Every message is stored
// once and in order. Every answer is sent once and in order, or said to be unknown. CHAOS is the number of events.
func TestThreeHostsInTrouble(t *testing.T) {
	t.Parallel()
	events := 6
	if testing.Short() {
		events = 2
	}
	if s := os.Getenv("CHAOS"); s != "" {
		var err error
		if events, err = strconv.Atoi(s); err != nil || events < 1 {
			t.Fatalf("CHAOS: %q is no number of events", s)
		}
	}
	x := newTrouble(t, events)
	perCustomer := events*messagesPerEvent/customers + 1 // the first one has no answer
	var writers sync.WaitGroup
	for i := range x.conversations {
		writers.Go(func() { x.write(i, perCustomer) })
	}
	for n := range events {
		x.begun.Store(int64(n + 1))
		x.event(n)
	}
	writers.Wait()
	x.settle()

	front, unknown := x.hosts[0].rig, 0
	for i, c := range x.conversations {
		unknown += checkChat(t, front, i, c, perCustomer, false)
	}
	if limit := events * sendsInFlight; unknown > limit {
		t.Errorf("%d answers are unknown, want at most %d", unknown, limit)
	}
	for _, d := range x.tg.Duplicates() {
		t.Errorf("sent twice: %+v", d)
	}
	for _, h := range x.hosts {
		if h.bot.Count("another program polls") > 0 {
			t.Errorf("host %d takes one of the others for a stranger", h.n)
		}
	}
	t.Logf("%d events: %v; %d messages and %d answers, %d of them unknown",
		events, x.counts, customers*perCustomer, customers*(perCustomer-1), unknown)
}

func newTrouble(t *testing.T, events int) *trouble {
	x := &trouble{seed: testenv.Seed(t), events: events, counts: map[string]int{}}
	x.random = rand.New(rand.NewPCG(x.seed, 1))
	x.lan = newLAN(t, 3, pgtest.ReplicaSettings...)
	x.primary, x.replica = x.pg, x.pg.Replica()
	address := bothOf(t, x.hosts[0].database, withPort(t, x.hosts[0].database, x.replica.URL()))
	for _, h := range x.hosts {
		h.env = append(h.env, "DATABASE_URL="+address)
		h.client = &http.Client{Timeout: 3 * time.Second} // another host is asked then
		h.start().waitWeb()
		h.bearer = x.hosts[0].token()
	}
	x.hosts[0].waitPolling()
	// As real ones do, so that something is under way whenever trouble comes.
	fault(x.tg, simulator.Delay(50), func(f *simulator.Fault) { f.Method = "sendMessage" })
	for i := range x.conversations {
		x.tg.Customer(chatID(i), "in 0")
		x.conversations[i] = x.hosts[0].conversation(chatID(i))
	}
	return x
}

// withPort is the first address with the port of the second.
func withPort(t *testing.T, address, other string) string {
	t.Helper()
	a, errA := url.Parse(address)
	b, errB := url.Parse(other)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	a.Host = net.JoinHostPort(a.Hostname(), b.Port())
	return a.String()
}

func (x *trouble) pause(least, most time.Duration) {
	time.Sleep(least + time.Duration(x.random.Int64N(int64(most-least))))
}

// event makes the n-th trouble and, in most cases, waits until all is well again.
func (x *trouble) event(n int) {
	h := x.hosts[x.random.IntN(len(x.hosts))]
	if x.random.IntN(3) > 0 {
		for _, other := range x.hosts {
			if other.polls() {
				h = other
			}
		}
	}
	kind := troubles[x.random.IntN(len(troubles))]
	x.t.Logf("%s event %d: %s (host %d)", time.Now().Format("15:04:05.000"), n+1, kind.name, h.n)
	x.counts[kind.name]++
	kind.do(x, h)
	if x.random.IntN(4) > 0 {
		proctest.Eventually(x.t, 2*soon, "one polls after "+kind.name, func() bool { return x.tg.Polls(0).Waiting > 0 })
	}
	x.pause(0, time.Second)
}

// endLockSession ends the session of whoever holds the polling lock, as an administrator or a failover does.
func (x *trouble) endLockSession() {
	ctx, cancel := context.WithTimeout(x.t.Context(), soon)
	defer cancel()
	admin, err := pgx.Connect(ctx, x.primary.URL())
	if err == nil {
		defer admin.Close(ctx)
		_, err = admin.Exec(ctx, endLockHolder)
	}
	if err != nil {
		x.t.Errorf("end the session that holds the lock: %v", err)
	}
}

// write plays a customer and the operator who answers, spread over all events.
func (x *trouble) write(i, n int) {
	pace := rand.New(rand.NewPCG(x.seed, uint64(100+i)))
	for k := 1; k < n; k++ {
		for x.begun.Load()*int64(n) < int64(k*x.events) {
			if x.t.Failed() {
				return
			}
			time.Sleep(20 * time.Millisecond) // not ahead of the events
		}
		time.Sleep(time.Duration(pace.IntN(500)) * time.Millisecond)
		if _, err := x.tg.CustomerWrites(chatID(i), fmt.Sprintf("in %d", k)); err != nil {
			x.t.Errorf("customer %d: %v", i, err)
			return
		}
		if !x.answerAnywhere(pace, x.conversations[i].ID, fmt.Sprintf("out %d", k), fmt.Sprintf("%d-%d", i, k)) {
			return
		}
	}
}

// answerAnywhere repeats an answer under one idempotency key at whatever host, until one has said that it has it.
func (x *trouble) answerAnywhere(pace *rand.Rand, conversationID int64, text, key string) bool {
	return answerAt(x.t, func() *rig { return x.hosts[pace.IntN(len(x.hosts))].rig }, conversationID, text, key)
}

// settle waits until nothing is on its way any more.
func (x *trouble) settle() {
	front := x.hosts[0].rig
	front.client = nil // as much patience as others have
	proctest.Eventually(x.t, 3*time.Minute, "nothing is queued or being sent any more", func() bool {
		return front.allDelivered(x.conversations[:])
	})
}
