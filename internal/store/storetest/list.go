package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/inbox"
)

func said(kind inbox.EventType, conversation, message int64) string {
	return fmt.Sprintf("%s %d %d", kind, conversation, message)
}

func pages(t *testing.T, open Open) {
	f := setUp(t, open)
	for i := range int64(7) {
		f.receive(text(i+1, 1, "hi"))
	}
	f.receive(text(3, 2, "again"))
	var chats []int64
	for from := int64(0); ; {
		list, next, err := f.Conversations(t.Context(), inbox.ConversationFilter{Limit: 3, Before: from})
		must(t, err)
		for _, c := range list {
			chats = append(chats, c.ChatID)
			if c.LastMessage == nil || c.LastMessage.ID != c.LastMessageID {
				t.Errorf("the last message of %d is %+v", c.ChatID, c.LastMessage)
			}
		}
		if from = next; next == 0 {
			break
		}
	}
	same(t, "conversations", chats, []int64{3, 7, 6, 5, 4, 2, 1})

	var want, have []int64
	for i := range int64(6) {
		f.receive(text(1, 10+i, "more"))
	}
	for _, m := range f.messages(1) {
		want = append([]int64{m.ID}, want...)
	}
	for from := int64(0); ; {
		list, next, err := f.Messages(t.Context(), f.conversation(1).ID, 3, from)
		must(t, err)
		for _, m := range list {
			have = append(have, m.ID)
		}
		if from = next; next == 0 {
			break
		}
	}
	same(t, "messages", have, want)
}

// largePages : a page ends early at a number of bytes and goes on from there, and has one item at least.
func largePages(t *testing.T, open Open) {
	const most = 1 << 20 // bytes that nobody would call a page any more
	f := setUp(t, open)
	long := strings.Repeat("😀", inbox.MaxAnswer)
	var want []int64
	for i := range int64(10) {
		f.receive(text(i+1, 1, "x"))
		want = append([]int64{f.answer(i+1, long).ID}, want...)
	}
	f.indexed()
	for name, filter := range map[string]inbox.ConversationFilter{"all": {}, "open": {Status: inbox.Open},
		"a search": {Query: "X"}} {
		var have []int64
		pages := 0
		for filter.Limit = 200; pages == 0 || filter.Before != 0; pages++ {
			list, next, err := f.Conversations(t.Context(), filter)
			must(t, err)
			bytes := 0
			for _, c := range list {
				have = append(have, c.LastMessageID)
				bytes += len(c.LastMessage.Text)
			}
			if len(list) == 0 || bytes > most {
				t.Errorf("%s: a page has %d conversations and %d bytes", name, len(list), bytes)
			}
			filter.Before = next
		}
		if same(t, name, have, want); pages < 2 {
			t.Errorf("%s: %d bytes are in one page", name, len(want)*len(long))
		}
	}
	list, next, err := f.Conversations(t.Context(), inbox.ConversationFilter{Limit: 200, Brief: true})
	must(t, err)
	for _, c := range list {
		if m := c.LastMessage; len(m.Text) > len(long)/10 || !strings.HasPrefix(long, m.Text) || m.Text == "" {
			t.Errorf("the beginning of a message has %d bytes", len(m.Text))
		}
	}
	if len(list) != len(want) || next != 0 {
		t.Errorf("in brief a page has %d of %d conversations, and goes on from %d", len(list), len(want), next)
	}

	id := f.conversation(1).ID
	want = want[len(want)-1:]
	for range 9 {
		want = append([]int64{f.answer(1, long).ID}, want...)
	}
	var have []int64
	pages := 0
	for from := int64(0); ; {
		list, next, err := f.Messages(t.Context(), id, 200, from)
		must(t, err)
		bytes := 0
		for _, m := range list {
			if m.Direction == inbox.Out {
				have = append(have, m.ID)
			}
			bytes += len(m.Text)
		}
		if len(list) == 0 || bytes > most {
			t.Errorf("a page has %d messages and %d bytes", len(list), bytes)
		}
		if pages++; next == 0 {
			break
		}
		from = next
	}
	if same(t, "messages", have, want); pages < 2 {
		t.Errorf("%d bytes are in one page", len(want)*len(long))
	}
}

func status(t *testing.T, open Open) {
	f := setUp(t, open)
	for i := range int64(4) {
		f.receive(text(i+1, 1, "hi"))
	}
	for _, chat := range []int64{2, 3} {
		_, err := f.SetConversationStatus(t.Context(), f.conversation(chat).ID, inbox.Closed)
		must(t, err)
	}
	for s, want := range map[inbox.ConversationStatus][]int64{inbox.Open: {4, 1}, inbox.Closed: {3, 2}, "": {4, 3, 2, 1}} {
		list, next, err := f.Conversations(t.Context(), inbox.ConversationFilter{Limit: 200, Status: s})
		must(t, err)
		var chats []int64
		for _, c := range list {
			chats = append(chats, c.ChatID)
		}
		same(t, "status "+string(s), chats, want)
		if next != 0 {
			t.Errorf("the list of all says that it goes on")
		}
	}
}

func search(t *testing.T, open Open) {
	f := setUp(t, open)
	for chat, c := range map[int64]struct{ name, username, text string }{
		1: {"Жанна Д'Арк", "zhanna", "Где мой ЗАКАЗ?"},
		2: {"Bob", "bob_2000", "100% wool, c:\\dir"},
		3: {"Σίσυφος", "", "ΣΊΣΥΦΟΣ rolls"},
	} {
		u := text(chat, 1, c.text)
		u.Message.Customer = inbox.Customer{ID: chat, Name: c.name, Username: c.username}
		f.receive(u)
	}
	f.answer(2, "We have it in grün")
	f.indexed()
	for query, want := range map[string]int64{
		"жанна": 1, "ЖАННА": 1, "мой заказ": 1, "ZHANNA": 1, "BOB_2": 2, "100%": 2, `C:\DIR`: 2, "GRÜN": 2,
		"σίσυφος": 3, "Σίσυφοσ": 3, " bob ": 2,
		"bob%": 0, "b_b": 0, "100_": 0, "d\\i": 0, "nobody": 0, "'; DROP TABLE messages; --": 0,
	} {
		list, _, err := f.Conversations(t.Context(), inbox.ConversationFilter{Limit: 10, Query: query})
		must(t, err)
		switch {
		case want == 0 && len(list) != 0:
			t.Errorf("%q found %d", query, list[0].ChatID)
		case want != 0 && (len(list) != 1 || list[0].ChatID != want):
			t.Errorf("%q found %d conversations, want that of %d", query, len(list), want)
		}
	}
}

func notFound(t *testing.T, open Open) {
	f := setUp(t, open)
	ctx := t.Context()
	for name, ask := range map[string]func() error{
		"Conversation":          func() error { _, err := f.Conversation(ctx, 9); return err },
		"SetConversationStatus": func() error { _, err := f.SetConversationStatus(ctx, 9, inbox.Open); return err },
		"Messages":              func() error { _, _, err := f.Messages(ctx, 9, 10, 0); return err },
		"Message":               func() error { _, err := f.Message(ctx, 9); return err },
		"AddAnswer": func() error {
			_, _, err := f.AddAnswer(ctx, 9, inbox.Answer{Text: "a", Author: ann})
			return err
		},
		"RetryAnswer":     func() error { _, err := f.RetryAnswer(ctx, 9); return err },
		"Operator":        func() error { _, err := f.Operator(ctx, 9); return err },
		"TokenByHash":     func() error { _, err := f.TokenByHash(ctx, []byte{1}); return err },
		"RevokeToken":     func() error { return f.RevokeToken(ctx, "x") },
		"SignInOperator":  func() error { _, err := f.SignInOperator(ctx, []byte{1}); return err },
		"RedeemSignIn":    func() error { _, err := f.RedeemSignIn(ctx, []byte{1}, false); return err },
		"SignOutOperator": func() error { return f.SignOutOperator(ctx, "x") },
		"RemoveOperator":  func() error { return f.RemoveOperator(ctx, "x") },
	} {
		if err := ask(); !errors.Is(err, inbox.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", name, err)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := f.Message(ended, 1); !errors.Is(err, context.Canceled) || errors.Is(err, inbox.ErrUnavailable) {
		t.Errorf("with an ended context: %v", err)
	}
	must(t, f.Ready())
}

func eventsFollow(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "a"), text(8, 1, "b"))
	list, err := f.Events(t.Context(), 0, 100)
	must(t, err)
	for i, e := range list {
		if e.Seq != int64(i+1) || e.BotID != botID || time.Since(e.At) > time.Minute {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if f.lastEvent() != int64(len(list)) {
		t.Errorf("the last event is %d of %d", f.lastEvent(), len(list))
	}
	some, err := f.Events(t.Context(), 1, 2)
	must(t, err)
	same(t, "two after the first", some, list[1:3])
	none, err := f.Events(t.Context(), f.lastEvent(), 10)
	must(t, err)
	if none == nil || len(none) != 0 {
		t.Errorf("after the last: %v", none)
	}
	for _, after := range []int64{f.lastEvent() + 1, -1} {
		if _, err := f.Events(t.Context(), after, 10); !errors.Is(err, inbox.ErrReset) {
			t.Errorf("after %d: %v, want ErrReset", after, err)
		}
	}
	must(t, f.Prune(t.Context())) // nothing is old enough
	again, err := f.Events(t.Context(), 0, 100)
	must(t, err)
	same(t, "after pruning", again, list)
}

func hints(t *testing.T, open Open) {
	handle := open(t)
	f := &fixture{t: t, Store: handle()}
	other := handle()
	f.takeOver()
	f.receive(text(7, 1, "a"))
	own, cancelOwn := f.Subscribe()
	defer cancelOwn()
	theirs, cancel := other.Subscribe()
	for i := range 5 {
		seen, err := other.LastEvent(t.Context())
		must(t, err)
		began := time.Now()
		f.answer(7, fmt.Sprint(i))
		for who, ch := range map[string]<-chan struct{}{"the writer": own, "the other": theirs} {
			for {
				last, err := other.LastEvent(t.Context())
				must(t, err)
				if last > seen {
					break
				}
				select {
				case <-ch:
				case <-time.After(5 * time.Second):
					t.Fatalf("%s got no hint", who)
				}
			}
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("a hint took %v", d)
		}
	}
	cancel()
	cancel()
}

// storm has writers on two handles and readers that follow the events meanwhile: each must see every event
// once and in order, whatever commits when.
func storm(t *testing.T, open Open) {
	const writers, each, readers = 8, 15, 3
	handle := open(t)
	f := &fixture{t: t, Store: handle()}
	second := handle()
	f.takeOver()
	for w := range int64(writers) {
		f.receive(text(w+1, 1, "hi"))
	}
	start := f.lastEvent()
	const total = writers * each
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	seen := make([][]inbox.Event, readers)
	for r := range readers {
		s := []Store{f.Store, second}[r%2]
		wg.Go(func() {
			hint, cancel := s.Subscribe()
			defer cancel()
			for after := start; len(seen[r]) < total; {
				list, err := s.Events(ctx, after, 7)
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range list {
					after = e.Seq
					seen[r] = append(seen[r], e)
				}
				if len(list) > 0 {
					continue
				}
				select {
				case <-hint:
				case <-ctx.Done():
					t.Errorf("reader %d has %d of %d events after a minute", r, len(seen[r]), total)
					return
				}
			}
		})
	}
	for w := range writers {
		s := []Store{f.Store, second}[w%2]
		c := f.conversation(int64(w) + 1).ID
		wg.Go(func() {
			for i := range each {
				if _, _, err := s.AddAnswer(ctx, c, inbox.Answer{Text: fmt.Sprint(i), Author: ann}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for r, list := range seen {
		for i, e := range list {
			if e.Seq != start+int64(i)+1 || e.Type != inbox.MessageCreated {
				t.Fatalf("reader %d: event %d is %+v", r, i, e)
			}
			if i > 0 && e.MessageID <= list[i-1].MessageID {
				t.Fatalf("message ids are not in the order of events: %d after %d", e.MessageID, list[i-1].MessageID)
			}
		}
	}
}
