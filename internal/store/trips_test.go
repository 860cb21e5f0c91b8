package store

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
)

// meter stands between a store and a PostgreSQL server, and counts what the client says.
type meter struct {
	mu         sync.Mutex
	trips      int      // how often it waits for an answer
	statements []string // that are run; those that are prepared have no text
}

func newMeter(t *testing.T, address string) (*meter, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{}
	var target string
	through := edited(t, address, func(u *url.URL) { target, u.Host = u.Host, l.Addr().String() })
	var all sync.WaitGroup
	var conns []net.Conn
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			m.mu.Lock()
			conns = append(conns, client, server)
			m.mu.Unlock()
			all.Go(func() { defer client.Close(); _, _ = io.Copy(client, server) })
			all.Go(func() { defer server.Close(); m.listen(io.TeeReader(client, server)) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		m.mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		m.mu.Unlock()
		all.Wait()
	})
	return m, through
}

// listen reads what a client says (PostgreSQL's manual: Message Formats).
func (m *meter) listen(client io.Reader) {
	message := func(head int) (body []byte, err error) {
		h := make([]byte, head)
		if _, err = io.ReadFull(client, h); err != nil {
			return nil, err
		}
		rest := make([]byte, binary.BigEndian.Uint32(h[head-4:])-4)
		_, err = io.ReadFull(client, rest)
		return append(h, rest...), err
	}
	if _, err := message(4); err != nil { // the startup message alone has no type
		return
	}
	for {
		body, err := message(5)
		if err != nil {
			return
		}
		m.mu.Lock()
		switch text := string(body[5:]); body[0] {
		case 'Q':
			if !strings.HasPrefix(text, "-- ping") { // the pool's, of a connection that was idle for a second
				m.trips++
				m.statements = append(m.statements, text)
			}
		case 'E':
			m.statements = append(m.statements, "")
		case 'S':
			m.trips++
		}
		m.mu.Unlock()
	}
}

// TestRoundTrips : each answer of PostgreSQL is waited for while nobody else in the whole database can write. So how
// often that is, and how many statements the server is given, is bounded for all that is done for each message.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	m, address := newMeter(t, pgtest.URL(t))
	s := Open(address, slog.New(slog.DiscardHandler))
	defer s.Close()
	if err := s.Connect(t.Context()); err != nil { // and no Run, which would ask for things beside it
		t.Fatal(err)
	}
	for w := range s.limits {
		s.limits[w] = time.Minute
	}
	ctx := t.Context()
	tenure, err := s.TakeOver(ctx, 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	update := int64(0)
	receive := func(customers int64) error {
		var updates []inbox.Update
		for range 100 {
			update++
			chat := update % customers
			updates = append(updates, inbox.Update{ID: update, Raw: fmt.Append(nil, update),
				Message: &inbox.IncomingMessage{ChatID: chat, MessageID: update, Kind: "text", Text: "hello",
					Customer: inbox.Customer{ID: chat, Name: "Ada"}}})
		}
		return s.StoreUpdates(ctx, tenure, updates, update+1)
	}
	claim := func() (list []inbox.Delivery, err error) {
		list, _, err = s.ClaimDeliveries(ctx, tenure, 10, nil)
		return list, err
	}
	var claimed []inbox.Delivery
	type step struct {
		what              string
		trips, statements int // at most
		do                func() error
	}
	steps := []step{
		{"100 updates of known customers", 2, 40, func() error { return receive(40) }},
		{"100 updates of others", 3, 60, func() error { return receive(1000) }},
		{"an answer", 2, 17, func() error {
			_, _, err := s.AddAnswer(ctx, 1, inbox.Answer{Text: "good day", Author: inbox.Author{Kind: inbox.ByAPI}})
			return err
		}},
		{"a claim of 10", 3, 20, func() error {
			list, err := claim()
			claimed = append(claimed, list...)
			if err == nil && len(list) != 10 {
				err = fmt.Errorf("%d were claimed", len(list))
			}
			return err
		}},
		{"a claim of none", 1, 3, func() error { // all others wait for those that are being sent
			list, err := claim()
			if err == nil && len(list) != 0 {
				err = fmt.Errorf("%d were claimed", len(list))
			}
			return err
		}},
		{"an outcome", 2, 13, func() error {
			d := claimed[0]
			claimed = claimed[1:]
			return s.RecordOutcome(ctx, tenure,
				inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, State: inbox.Sent, TelegramMessageID: d.ID})
		}},
		{"a report of the bot", 2, 10, func() error {
			return s.ReportBot(ctx, tenure, inbox.BotReport{State: inbox.BotPolling})
		}},
		{"a page of messages", 5, 8, func() error { _, _, err := s.Messages(ctx, 1, 50, 0); return err }},
		{"a page of conversations", 4, 10, func() error {
			_, _, err := s.Conversations(ctx, inbox.ConversationFilter{Limit: 50, Brief: true})
			return err
		}},
		{"a session", 1, 4, func() error { return s.CommitSession(ctx, "k", nil, time.Now().Add(time.Hour)) }},
	}
	finish := func() error { // lets the next round claim 10 again
		for _, d := range claimed {
			err := s.RecordOutcome(ctx, tenure,
				inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, State: inbox.Sent, TelegramMessageID: d.ID})
			if err != nil {
				return err
			}
		}
		claimed = nil
		return nil
	}
	// In the first round statements are prepared, and in a later one too where the pool has another connection for it.
	// So the best of some rounds counts.
	const rounds = 4
	trips, statements := make([]int, len(steps)), make([]int, len(steps))
	for round := range rounds {
		for k, one := range steps {
			for i := int64(1); i <= 10 && one.what == "a claim of 10"; i++ {
				_, _, err := s.AddAnswer(ctx, i, inbox.Answer{Text: "good day", Author: inbox.Author{Kind: inbox.ByAPI}})
				if err != nil {
					t.Fatal(err)
				}
			}
			m.mu.Lock()
			m.trips, m.statements = 0, nil
			m.mu.Unlock()
			if err := one.do(); err != nil {
				t.Fatalf("%s: %v", one.what, err)
			}
			m.mu.Lock()
			if round == 0 || m.trips < trips[k] {
				trips[k], statements[k] = m.trips, len(m.statements)
			}
			m.mu.Unlock()
		}
		if err := finish(); err != nil {
			t.Fatal(err)
		}
	}
	for k, one := range steps {
		t.Logf("%s: %d round trips, %d statements", one.what, trips[k], statements[k])
		if trips[k] > one.trips || statements[k] > one.statements {
			t.Errorf("%s: %d round trips and %d statements, want at most %d and %d",
				one.what, trips[k], statements[k], one.trips, one.statements)
		}
	}
}
