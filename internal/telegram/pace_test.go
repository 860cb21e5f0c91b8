package telegram

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
)

// queueStore is the outbox in memory, with the order that storetest asks of a store: a conversation that was served
// goes behind those that wait.
type queueStore struct {
	inbox.BotStore
	mu     sync.Mutex
	line   []int64 // conversations that have something to send and nothing under way
	queued map[int64][]inbox.Delivery
	held   map[int64]time.Time
	sent   int
	failed []inbox.Outcome
	under  map[int64]inbox.Delivery
}

func newQueueStore() *queueStore {
	return &queueStore{
		queued: map[int64][]inbox.Delivery{}, held: map[int64]time.Time{}, under: map[int64]inbox.Delivery{},
	}
}

func (q *queueStore) add(conversation int64, texts ...string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queued[conversation]) == 0 {
		q.line = append(q.line, conversation)
	}
	for _, text := range texts {
		d := inbox.Delivery{ID: int64(q.sent+len(q.queued[conversation]))*100_000 + conversation,
			ConversationID: conversation, ChatID: conversation, Text: text}
		q.queued[conversation] = append(q.queued[conversation], d)
	}
}

func (q *queueStore) Ready() error { return nil }

func (q *queueStore) Subscribe() (<-chan struct{}, func()) { return nil, func() {} }

func (q *queueStore) ClaimDeliveries(_ context.Context, _ inbox.Tenure, limit int, notYet map[int64]time.Time) (
	claimed []inbox.Delivery, next time.Time, err error,
) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	var rest []int64
	for _, c := range q.line {
		at := later(q.held[c], notYet[c])
		if at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
		if len(claimed) == limit || at.After(now) {
			rest = append(rest, c)
			continue
		}
		d := q.queued[c][0]
		d.Attempt++
		q.queued[c][0], q.under[d.ID] = d, d
		claimed = append(claimed, d)
	}
	q.line = rest
	return claimed, next, nil
}

func (q *queueStore) ClaimProbe(ctx context.Context, t inbox.Tenure) ([]inbox.Delivery, time.Time, error) {
	return q.ClaimDeliveries(ctx, t, 1, nil)
}

func (q *queueStore) RecordOutcome(_ context.Context, _ inbox.Tenure, o inbox.Outcome) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.under[o.DeliveryID].ConversationID
	delete(q.under, o.DeliveryID)
	switch o.State {
	case inbox.Queued:
		q.held[c] = o.RetryAt
	case inbox.Sent:
		q.sent++
		q.queued[c] = q.queued[c][1:]
	default:
		q.failed = append(q.failed, o)
		q.queued[c] = q.queued[c][1:]
	}
	if len(q.queued[c]) > 0 {
		q.line = append(q.line, c)
	}
	return nil
}

func (q *queueStore) left() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, list := range q.queued {
		n += len(list)
	}
	return n
}

// pipes lead from a transport to a server without a network, which has no part in a clock of a test's own.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	p.conns <- far
	return near, nil
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// paced runs a sender on a clock that runs as fast as it can, against a simulator that takes 60 ms for each message and
// has limits of its own. It ends when the queue is empty, and says how long that took.
func paced(t *testing.T, limits Limits, o simulator.Options, q *queueStore, during func(*simulator.Server)) (
	sim *simulator.Server, took time.Duration,
) {
	sim, err := simulator.New(o)
	if err != nil {
		t.Fatal(err)
	}
	sim.AddBot(simtest.Token)
	for c := range q.queued {
		if err := sim.Put(simulator.Customer{ChatID: c, FirstName: "C"}); err != nil {
			t.Fatal(err)
		}
		if _, err := sim.CustomerWrites(c, "hi"); err != nil {
			t.Fatal(err)
		}
	}
	p := &pipes{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(60 * time.Millisecond)
		sim.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(p) }()
	defer server.Close()
	b := New(Options{Token: mustToken(t), APIURL: "http://telegram", Store: q, Limits: limits,
		Log: slog.New(slog.DiscardHandler)})
	b.endpoint.transport.DialContext = p.dial
	ctx, stop := context.WithCancel(t.Context())
	life := begin(ctx, nil, b.times)
	x := &tenure{Bot: b, life: life, client: unfenced(b.endpoint), breaker: newBreaker()}
	ended := make(chan error)
	began := time.Now()
	go func() { ended <- x.send() }()
	if during != nil {
		during(sim)
	}
	for q.left() > 0 {
		if time.Since(began) > time.Hour {
			t.Fatalf("%d are left", q.left())
		}
		time.Sleep(10 * time.Millisecond)
	}
	took = time.Since(began)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	life.end()
	b.endpoint.close()
	return sim, took
}

// most is how many of these moments lie within any span.
func most(at []time.Time, span time.Duration) (n int) {
	slices.SortFunc(at, time.Time.Compare)
	first := 0
	for i := range at {
		for at[i].Sub(at[first]) >= span {
			first++
		}
		n = max(n, i-first+1)
	}
	return n
}

// TestTenThousandTextsLeaveAtTelegramsPace : 10,000 texts to 2,000 customers are gone in the time that Telegram's
// limits ask for and 5 % more, and Telegram never has to ask for a pause.
func TestTenThousandTextsLeaveAtTelegramsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const customers, each = 2000, 5
		q := newQueueStore()
		for c := int64(1); c <= customers; c++ {
			q.add(c, "1", "2", "3", "4", "5")
		}
		sim, took := paced(t, TelegramLimits, simulator.Options{ChatRate: 1, BotRate: 30}, q, nil)
		calls := sim.Calls("sendMessage")
		var at []time.Time
		for _, c := range calls {
			at = append(at, c.At)
			if c.Status != 200 {
				t.Fatalf("a response of %d", c.Status)
			}
		}
		if n := most(at, time.Second); n > 30 {
			t.Errorf("%d left within a second", n)
		}
		if bar := time.Duration(customers*each) * time.Second * 100 / 30 / 95; took > bar {
			t.Errorf("it took %v, want at most %v", took, bar)
		}
		t.Logf("%d texts took %v: %.2f a second", customers*each, took, customers*each/took.Seconds())
		if q.sent != customers*each || len(q.failed) > 0 {
			t.Errorf("%d were sent, and %d failed", q.sent, len(q.failed))
		}
	})
}

// TestABurstToOneChat : three leave at once, the others a second apart, and nobody else waits for them.
func TestABurstToOneChat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueueStore()
		q.add(1, "1", "2", "3", "4", "5", "6")
		q.add(2, "a")
		sim, took := paced(t, TelegramLimits, simulator.Options{}, q, nil)
		var one []time.Time
		for i, s := range sim.Sent() {
			if s.ChatID == 1 {
				one = append(one, s.At)
			} else if i > 2 {
				t.Errorf("the other customer's message was number %d", i+1)
			}
		}
		if burst := one[2].Sub(one[0]); burst > 500*time.Millisecond {
			t.Errorf("the first three took %v", burst)
		}
		if n := most(one[3:], time.Second); n != 1 || took < 3*time.Second || took > 4*time.Second {
			t.Errorf("%d within a second, after the burst; all took %v", n, took)
		}
	})
}

// TestALongQueueOfOneIsNoneOfTheOthers : fifty customers with much to get, and one who is answered meanwhile.
func TestALongQueueOfOneIsNoneOfTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueueStore()
		q.add(1000, "before")
		for c := int64(1); c <= 50; c++ {
			q.add(c, slices.Repeat([]string{"x"}, 20)...)
		}
		var asked time.Time
		sim, _ := paced(t, TelegramLimits, simulator.Options{BotRate: 30}, q, func(*simulator.Server) {
			time.Sleep(10 * time.Second)
			asked = time.Now()
			q.add(1000, "now")
		})
		for _, s := range sim.Sent() {
			if s.Text == "now" && s.At.Sub(asked) > 3*time.Second { // one turn of all, and the look at the queue
				t.Errorf("it left after %v", s.At.Sub(asked))
			}
		}
	})
}
