package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/proctest"
	"tandem/internal/store/driver"
)

// gated is a database whose transactions wait until they are let through.
type gated struct {
	driver.Database
	entered chan struct{}         // one for each that has come
	let     chan error            // one for each that may begin, or must not
	during  func(context.Context) // nil, or called when its statements were given, before the commit
	after   func(error) error     // nil, or what its outcome is told as
}

func (g *gated) Write(ctx context.Context, f func(driver.Conn) error) error {
	g.entered <- struct{}{}
	select {
	case err := <-g.let:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	err := g.Database.Write(ctx, func(c driver.Conn) error {
		err := f(c)
		if err == nil && g.during != nil {
			g.during(ctx)
		}
		if err == nil {
			err = ctx.Err()
		}
		return err
	})
	if g.after != nil {
		err = g.after(err)
	}
	return err
}

func (g *gated) Diagnose(err error) *driver.Trouble {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return &driver.Trouble{Reason: "cut off", Mends: driver.NextCall}
	}
	return g.Database.Diagnose(err)
}

// outcome is what AddAnswer gave.
type outcome struct {
	inbox.Message
	created bool
	err     error
}

// crowd is answers that come while a commit is under way, so that they share the next one.
type crowd struct {
	t    *testing.T
	s    *Store
	gate *gated
	wg   sync.WaitGroup
}

var author = inbox.Author{Kind: inbox.ByAPI, ID: "1", Name: "a program"}

// newCrowd has a store with so many conversations, of the chats from 1 on. Each has one message.
func newCrowd(t *testing.T, db database, url string, conversations int) *crowd {
	t.Helper()
	s := Open(url, slog.New(slog.DiscardHandler))
	t.Cleanup(s.Close)
	if err := s.Connect(t.Context()); err != nil { // and no Run, which would use the gate
		t.Fatal(err)
	}
	statement(t, s, db.poison)
	tenure, err := s.TakeOver(t.Context(), 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	var updates []inbox.Update
	for i := range conversations {
		id := int64(i + 1)
		updates = append(updates, inbox.Update{ID: id, Raw: []byte("x"), Message: &inbox.IncomingMessage{ChatID: id,
			MessageID: 1, Kind: "text", Text: "hi", Customer: inbox.Customer{ID: id, Name: "n"}, ThreadID: id - 1}})
	}
	if err := s.StoreUpdates(t.Context(), tenure, updates, int64(conversations+1)); err != nil {
		t.Fatal(err)
	}
	c := &crowd{t: t, s: s, gate: &gated{Database: s.db, entered: make(chan struct{}, 1000), let: make(chan error, 1000)}}
	s.db = c.gate
	return c
}

// add asks for an answer, and returns when the store knows of it. get waits for its outcome.
func (c *crowd) add(ctx context.Context, conversation int64, a inbox.Answer) (get func() outcome) {
	c.t.Helper()
	if a.Author == (inbox.Author{}) {
		a.Author = author
	}
	before := c.waiting()
	got := make(chan outcome, 1)
	c.wg.Go(func() {
		var o outcome
		o.Message, o.created, o.err = c.s.AddAnswer(ctx, conversation, a)
		got <- o
	})
	proctest.Eventually(c.t, 10*time.Second, "the store knows of an answer", func() bool { return c.waiting() > before })
	return sync.OnceValue(func() outcome { return <-got })
}

func (c *crowd) waiting() int {
	w := &c.s.answers
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.storing {
		return len(w.waiting) + 1
	}
	return 0
}

// first begins a commit of its own, behind which the others gather.
func (c *crowd) first() (get func() outcome) {
	c.t.Helper()
	get = c.add(context.Background(), 1, inbox.Answer{Text: "first"})
	<-c.gate.entered
	return get
}

// let lets so many transactions through.
func (c *crowd) let(n int) {
	for range n {
		c.gate.let <- nil
	}
}

// settled waits until nothing is stored any more, and lets all later ones through.
func (c *crowd) settled() {
	c.t.Helper()
	c.wg.Wait()
	proctest.Eventually(c.t, 10*time.Second, "nothing is being stored", func() bool { return c.waiting() == 0 })
	c.s.db = c.gate.Database
}

// check holds what is stored against the texts of all answers in their order. Events and messages have no gap.
func (c *crowd) check(before int64, texts ...string) {
	c.t.Helper()
	c.settled()
	events, err := c.s.Events(c.t.Context(), before, 1000)
	if err != nil {
		c.t.Fatal(err)
	}
	var have []string
	last := int64(0)
	for i, e := range events {
		m, err := c.s.Message(c.t.Context(), e.MessageID)
		if err != nil {
			c.t.Fatal(err)
		}
		if e.Type != inbox.MessageCreated || e.Seq != before+int64(i)+1 || last > 0 && e.MessageID != last+1 {
			c.t.Errorf("event %d is %+v", i, e)
		}
		last = e.MessageID
		have = append(have, fmt.Sprintf("%.20s", m.Text))
	}
	if strings.Join(have, ",") != strings.Join(texts, ",") {
		c.t.Errorf("stored %v\nwant %v", have, texts)
	}
}

func (c *crowd) lastEvent() int64 {
	c.t.Helper()
	n, err := c.s.LastEvent(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// TestAnswersShareACommit : those that come together are stored by one transaction, and each has its own outcome.
func TestAnswersShareACommit(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db database, url string) {
		c := newCrowd(t, db, url, 5)
		ctx := context.Background()
		before := c.lastEvent()
		long := strings.Repeat("many words ", 1000)
		topic := int64(77)
		first := c.first()
		good := c.add(ctx, 2, inbox.Answer{Text: "good", Key: "k"})
		unknown := c.add(ctx, 99, inbox.Answer{Text: "to nobody", Key: "k2"})
		again := c.add(ctx, 2, inbox.Answer{Text: "good", Key: "k"})
		other := c.add(ctx, 2, inbox.Answer{Text: "another", Key: "k"})
		others := c.add(ctx, 3, inbox.Answer{Text: "another", Key: "k", Author: inbox.Author{Kind: inbox.ByAPI, ID: "2"}})
		wrong := c.add(ctx, 2, inbox.Answer{Text: "reply", ReplyTo: 5})
		reply := c.add(ctx, 5, inbox.Answer{Text: "reply", ReplyTo: 5})
		parts := c.add(ctx, 2, inbox.Answer{Text: long})
		inTopic := c.add(ctx, 4, inbox.Answer{Text: "there", Topic: &topic})
		afterRefused := c.add(ctx, 4, inbox.Answer{Text: "to somebody", Key: "k2"})
		var queued []func() outcome
		for i := range 8 {
			queued = append(queued, c.add(ctx, 3, inbox.Answer{Text: fmt.Sprint(i)}))
		}
		leaving, cancel := context.WithCancel(ctx)
		left := c.add(leaving, 4, inbox.Answer{Text: "nobody waits for it"})
		cancel()
		if o := left(); !errors.Is(o.err, context.Canceled) {
			t.Errorf("one that has left: %+v", o)
		}
		c.let(2)
		for name, get := range map[string]func() outcome{"first": first, "good": good, "of another": others,
			"reply": reply, "parts": parts, "topic": inTopic, "after one that was refused": afterRefused} {
			if o := get(); o.err != nil || !o.created {
				t.Errorf("%s: %+v", name, o)
			}
		}
		if o := again(); o.err != nil || o.created || o.ID != good().ID || o.Text != "good" {
			t.Errorf("the same again: %+v", o)
		}
		if o := other(); !errors.Is(o.err, inbox.ErrKeyReused) {
			t.Errorf("another with the same key: %+v", o)
		}
		if o := unknown(); !errors.Is(o.err, inbox.ErrNotFound) {
			t.Errorf("to nobody: %+v", o)
		}
		if o := wrong(); !errors.Is(o.err, inbox.ErrConflict) {
			t.Errorf("a reply to another conversation: %+v", o)
		}
		if n := len(c.gate.entered); n != 1 { // and the first one, which was taken out
			t.Errorf("%d transactions after the first", n)
		}
		c.check(before, "first", "good", "another", "reply", long[:20], "there", "to somebody",
			"0", "1", "2", "3", "4", "5", "6", "7")
		if o := queued[7](); o.Waits == nil || o.Waits.Text != "8 messages of this conversation go before it" {
			t.Errorf("the last of nine: %+v", o.Waits)
		}
		for _, get := range append(queued, first, good, others, reply, parts, inTopic, afterRefused) {
			// What AddAnswer told is what is read afterwards, but for those that have come behind it meanwhile.
			told := get().Message
			read, err := c.s.Message(ctx, told.ID)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprintf("%+v", plain(told)) != fmt.Sprintf("%+v", plain(read)) {
				t.Errorf("told %.500s\nread %.500s", fmt.Sprint(plain(told)), fmt.Sprint(plain(read)))
			}
		}
		if o := reply(); o.Reply == nil || o.Reply.Text != "hi" || o.ThreadID != 4 {
			t.Errorf("the reply: %+v", o.Message)
		}
		if o := parts(); len(o.Parts) != 3 {
			t.Errorf("parts: %+v", o.Parts)
		}
		if o := good(); o.ThreadID != 1 {
			t.Errorf("the topic of the customer's last message: %+v", o.Message)
		}
	})
}

// plain is m with nothing that another look would show as another address.
func plain(m inbox.Message) (flat []any) {
	for _, p := range []*int64{m.ReplyTo, m.TopicID} {
		if p != nil {
			flat = append(flat, *p)
		}
	}
	if m.Reply != nil {
		flat = append(flat, m.Reply.Text, m.Reply.From, m.Reply.Origin)
	}
	if m.Waits != nil {
		flat = append(flat, m.Waits.Reason, m.Waits.Text)
	}
	m.Reply, m.ReplyTo, m.TopicID, m.Waits = nil, nil, nil, nil
	return append(flat, m)
}

// TestOnePoisonousAnswer : what the database refuses harms only itself.
func TestOnePoisonousAnswer(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db database, url string) {
		c := newCrowd(t, db, url, 3)
		before := c.lastEvent()
		first := c.first()
		var gets []func() outcome
		for i, text := range []string{"one", "poison", "three"} {
			gets = append(gets, c.add(context.Background(), int64(i+1), inbox.Answer{Text: text, Key: text}))
		}
		c.let(5)
		for i, get := range append(gets, first) {
			if o := get(); (o.err != nil) != (i == 1) || i == 1 && !strings.Contains(o.err.Error(), "poison") {
				t.Errorf("%d: %+v", i, o)
			}
		}
		c.check(before, "first", "one", "three")
	})
}

// TestWhoeverLeavesAGroup : one who leaves harms nobody. What nobody waits for is given up.
func TestWhoeverLeavesAGroup(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db database, url string) {
		c := newCrowd(t, db, url, 3)
		before := c.lastEvent()
		first := c.first()
		one, cancelOne := context.WithCancel(context.Background())
		two, cancelTwo := context.WithCancel(context.Background())
		leaves := c.add(one, 1, inbox.Answer{Text: "one", Key: "one"})
		stays := c.add(two, 2, inbox.Answer{Text: "two"})
		c.let(1)
		<-c.gate.entered
		cancelOne()
		if o := leaves(); !errors.Is(o.err, context.Canceled) {
			t.Errorf("who has left: %+v", o)
		}
		c.let(1)
		if o := stays(); o.err != nil {
			t.Errorf("who has stayed: %+v", o)
		}
		again := c.add(context.Background(), 1, inbox.Answer{Text: "one", Key: "one"})
		<-c.gate.entered
		c.let(1)
		if o := again(); o.err != nil || o.created {
			t.Errorf("who has left comes again: %+v", o)
		}
		cancelTwo()

		// The next group is left by all, while its statements are under way.
		three, cancelThree := context.WithCancel(context.Background())
		given := make(chan struct{})
		c.gate.during = func(ctx context.Context) {
			c.gate.during = nil
			close(given)
			<-ctx.Done()
		}
		gone := c.add(three, 3, inbox.Answer{Text: "three"})
		<-c.gate.entered
		c.let(1)
		<-given
		cancelThree()
		if o := gone(); !errors.Is(o.err, context.Canceled) {
			t.Errorf("who has left a group of his own: %+v", o)
		}
		c.check(before, first().Text, "one", "two")
	})
}

// TestAnswersThatAreCutOff : after a commit whose answer did not arrive, and after one that did not happen, the same
// answers again are stored once.
func TestAnswersThatAreCutOff(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db database, url string) {
		c := newCrowd(t, db, url, 3)
		before := c.lastEvent()
		group := func() (gets []func() outcome) {
			for i := range 3 {
				gets = append(gets, c.add(context.Background(), int64(i+1),
					inbox.Answer{Text: fmt.Sprint(i), Key: fmt.Sprint(i)}))
			}
			return gets
		}
		first := c.first()
		gets := group()
		c.let(1)
		<-c.gate.entered
		c.gate.let <- io.ErrUnexpectedEOF // before the transaction
		for _, get := range gets {
			if o := get(); !errors.Is(o.err, inbox.ErrUnavailable) {
				t.Errorf("no transaction: %+v", o)
			}
		}
		second := c.first()
		gets = group()
		c.let(1)
		<-c.gate.entered
		second()
		c.gate.after = func(error) error { c.gate.after = nil; return io.ErrUnexpectedEOF }
		c.let(1)
		for _, get := range gets {
			if o := get(); !errors.Is(o.err, inbox.ErrUnavailable) {
				t.Errorf("a commit that was cut off: %+v", o)
			}
		}
		third := c.first()
		gets = group()
		c.let(2)
		for i, get := range gets {
			if o := get(); o.err != nil || o.created || o.Text != fmt.Sprint(i) {
				t.Errorf("again: %+v", o)
			}
		}
		first()
		third()
		c.check(before, "first", "first", "0", "1", "2", "first")
	})
}

// TestTooManyAnswers : those that wait are bounded, in number and in bytes of a commit.
func TestTooManyAnswers(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, databases["sqlite"], databases["sqlite"].url(t), 1)
	c.first()
	big := strings.Repeat("x", maxAnswersBytes/4)
	for range maxAnswersWaiting {
		c.add(context.Background(), 1, inbox.Answer{Text: big})
	}
	_, _, err := c.s.AddAnswer(t.Context(), 1, inbox.Answer{Text: "one more", Author: author})
	if inbox.KindOf(err) != inbox.Busy {
		t.Errorf("one too many: %v", err)
	}
	c.let(1)
	<-c.gate.entered
	if left := c.waiting(); left != maxAnswersWaiting-4+1 {
		t.Errorf("%d wait beside those that are stored", left)
	}
	c.let(1000)
	c.settled()
}
