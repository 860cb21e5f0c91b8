package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/store/driver"
)

// statement runs a statement that no method of a store would.
func statement(t *testing.T, s *Store, sql string, args ...any) {
	t.Helper()
	err := s.write(t.Context(), "test", func(x tx) error {
		_, err := x.exec(sql, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPoisonousUpdate : what the database refuses does not hold up what comes with it and after it.
func TestPoisonousUpdate(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db database, url string) {
		s := running(t, url)
		statement(t, s, db.poison)
		tenure, err := s.TakeOver(t.Context(), 1, "test")
		if err != nil {
			t.Fatal(err)
		}
		before, _ := s.LastEvent(t.Context())
		var updates []inbox.Update
		for i, text := range []string{"one", "poison", "three"} {
			id := int64(i + 1)
			updates = append(updates, inbox.Update{ID: id, Raw: []byte(text), Reply: "reply to " + text,
				Message: &inbox.IncomingMessage{
					ChatID: id, MessageID: id, Kind: "text", Text: text, Customer: inbox.Customer{ID: id, Name: "n"}}})
		}
		if err := s.StoreUpdates(t.Context(), tenure, updates, 4); err != nil {
			t.Fatal(err)
		}
		have := customerTexts(t, s)
		slices.Sort(have)
		if !slices.Equal(have, []string{"one", "three"}) {
			t.Errorf("have %v", have)
		}
		var problem string
		err = s.read(t.Context(), "test", func(x tx) error {
			return x.one(to(&problem), `SELECT problem FROM updates WHERE update_id = 2 AND conversation_id IS NULL`)
		})
		if err != nil || !strings.Contains(problem, "poison") {
			t.Errorf("the update is kept with problem %q, %v", problem, err)
		}
		events, err := s.Events(t.Context(), before, 100)
		if err != nil || len(events) != 6 { // a conversation, a message and a reply, of two
			t.Errorf("have %d events, %v", len(events), err)
		}
		for i, e := range events {
			if e.Seq != before+int64(i)+1 {
				t.Errorf("event %d has number %d", i, e.Seq)
			}
		}
		if again, err := s.TakeOver(t.Context(), 1, "test"); err != nil || again.NextOffset != 4 {
			t.Errorf("the offset is %d, %v", again.NextOffset, err)
		}
	})
}

// cutOff is a database whose next commit happens, but whose answer does not arrive.
type cutOff struct {
	driver.Database
	armed bool
}

func (c *cutOff) Write(ctx context.Context, f func(driver.Conn) error) error {
	err := c.Database.Write(ctx, f)
	if err == nil && c.armed {
		c.armed = false
		return fmt.Errorf("commit: %w", io.ErrUnexpectedEOF)
	}
	return err
}

func (c *cutOff) Diagnose(err error) *driver.Trouble {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return &driver.Trouble{Reason: "cut off", Mends: driver.NextCall}
	}
	return c.Database.Diagnose(err)
}

// TestClaimCutOff : a claim that was committed without our knowing is handed out by the next one, once.
func TestClaimCutOff(t *testing.T) {
	t.Parallel()
	s := Open(databases["sqlite"].url(t), slog.New(slog.DiscardHandler))
	defer s.Close()
	if err := s.Connect(t.Context()); err != nil { // and no Run, which would look at s.db too
		t.Fatal(err)
	}
	tenure, err := s.TakeOver(t.Context(), 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	for id := range int64(3) {
		err := s.StoreUpdates(t.Context(), tenure, []inbox.Update{{ID: id, Raw: []byte("x"), Reply: fmt.Sprint(id),
			Message: &inbox.IncomingMessage{ChatID: id, MessageID: 1}}}, id+1)
		if err != nil {
			t.Fatal(err)
		}
	}
	first, _, err := s.ClaimDeliveries(t.Context(), tenure, 1, nil)
	if err != nil || len(first) != 1 {
		t.Fatal(first, err)
	}
	cut := &cutOff{Database: s.db, armed: true}
	s.db = cut
	defer func() { s.db = cut.Database }()
	if list, _, err := s.ClaimDeliveries(t.Context(), tenure, 1, nil); err == nil {
		t.Fatalf("the cut was not felt: %v", list)
	}
	var texts []string
	for range 3 {
		list, _, err := s.ClaimDeliveries(t.Context(), tenure, 10, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			texts = append(texts, d.Text)
			if d.Attempt != 1 {
				t.Errorf("%q: attempt %d", d.Text, d.Attempt)
			}
		}
	}
	if !slices.Equal(texts, []string{"1", "2"}) {
		t.Errorf("claimed %v, want 1 (cut off) and 2, each once", texts)
	}
	outcome := inbox.Outcome{DeliveryID: first[0].ID, Attempt: first[0].Attempt, State: inbox.Sent, TelegramMessageID: 9}
	cut.armed = true
	if err := s.RecordOutcome(t.Context(), tenure, outcome); err == nil {
		t.Fatal("the cut was not felt")
	}
	if err := s.RecordOutcome(t.Context(), tenure, outcome); err != nil {
		t.Errorf("the same outcome again: %v", err)
	}
}

// TestPruneOld : old events are gone, and a reader from before is told so.
func TestPruneOld(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, _ database, url string) {
		s := running(t, url)
		f := newFill(t, s)
		f.mustStore()
		old, _ := s.LastEvent(t.Context())
		if _, _, err := s.AddAnswer(t.Context(), 1,
			inbox.Answer{Text: "a", Key: "k", Author: inbox.Author{Kind: inbox.ByAPI, ID: "1"}}); err != nil {
			t.Fatal(err)
		}
		// The events so far, the key, and a session are of eight days ago.
		past := micros(time.Now().Add(-8 * 24 * time.Hour))
		statement(t, s, `UPDATE events SET at = $1 WHERE seq <= $2`, past, old)
		statement(t, s, `UPDATE idempotency_keys SET created_at = $1`, past)
		if err := s.CommitSession(t.Context(), "s", nil, time.Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		if err := s.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Events(t.Context(), old-1, 10); !errors.Is(err, inbox.ErrReset) {
			t.Errorf("from before what was pruned: %v", err)
		}
		list, err := s.Events(t.Context(), old, 10)
		if err != nil || len(list) != 1 || list[0].Seq != old+1 {
			t.Errorf("from after it: %v, %v", list, err)
		}
		for _, table := range []string{"idempotency_keys", "sessions"} {
			var n int
			err := s.read(t.Context(), "test", func(x tx) error { return x.one(to(&n), `SELECT COUNT(*) FROM `+table) })
			if err != nil || n != 0 {
				t.Errorf("%s has %d rows left, %v", table, n, err)
			}
		}
		f.mustStore()
	})
}

// planned is a database that has SQLite explain each statement before it runs, and notes what reads a whole table.
type planned struct {
	driver.Database
	mu    sync.Mutex
	scans map[string]string // by statement
}

func (p *planned) Read(ctx context.Context, w driver.Way, f func(driver.Conn) error) error {
	return p.Database.Read(ctx, w, func(c driver.Conn) error { return f(planConn{c, p}) })
}

func (p *planned) Write(ctx context.Context, f func(driver.Conn) error) error {
	return p.Database.Write(ctx, func(c driver.Conn) error { return f(planConn{c, p}) })
}

type planConn struct {
	driver.Conn
	p *planned
}

func (c planConn) Query(ctx context.Context, sql string, args ...any) (driver.Rows, error) {
	c.explain(ctx, sql, args)
	return c.Conn.Query(ctx, sql, args...)
}

func (c planConn) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	c.explain(ctx, sql, args)
	return c.Conn.Exec(ctx, sql, args...)
}

func (c planConn) Insert(ctx context.Context, sql string, args ...any) (int64, error) {
	c.explain(ctx, sql, args)
	return c.Conn.Insert(ctx, sql, args...)
}

func (c planConn) Later(ctx context.Context, got func(driver.Rows) error, sql string, args ...any) error {
	c.explain(ctx, sql, args)
	return c.Conn.Later(ctx, got, sql, args...)
}

func (c planConn) explain(ctx context.Context, sql string, args []any) {
	r, err := c.Conn.Query(ctx, "EXPLAIN QUERY PLAN "+sql, args...)
	if err != nil {
		return
	}
	defer r.Close()
	for r.Next() {
		var id, parent, unused int
		var detail string
		if r.Scan(&id, &parent, &unused, &detail) != nil ||
			!strings.HasPrefix(detail, "SCAN ") && !strings.Contains(detail, "TEMP B-TREE") {
			continue
		}
		c.p.mu.Lock()
		c.p.scans[sql] += detail + "; "
		c.p.mu.Unlock()
	}
}

// TestPlans : nothing that happens for each message or page reads a whole table, or sorts, however much is
// stored or queued. (Measured with 100,000 queued answers of one conversation: a claim and its outcome take
// 7 ms with SQLite and 9 ms with PostgreSQL, as with one.)
func TestPlans(t *testing.T) {
	t.Parallel()
	s := Open(databases["sqlite"].url(t), slog.New(slog.DiscardHandler))
	defer s.Close()
	if err := s.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	for w := range s.limits {
		s.limits[w] = time.Minute // each statement is explained before it runs
	}
	p := &planned{Database: s.db, scans: map[string]string{}}
	s.db = p
	ctx := t.Context()
	tenure, err := s.TakeOver(ctx, 1, "test")
	errs := []error{err}
	do := func(err error) { errs = append(errs, err) }
	u := inbox.Update{ID: 1, Raw: []byte("x"), Reply: "r", Greeting: true,
		Message: &inbox.IncomingMessage{ChatID: 1, MessageID: 1, ReplyTo: 5, Text: "t",
			Attachments: []inbox.Attachment{{Kind: "photo"}}}}
	do(s.StoreUpdates(ctx, tenure, []inbox.Update{u}, 2))
	u.ID, u.Edit, u.Message = 2, u.Message, nil
	now := time.Now()
	u.Edit.Text, u.Edit.EditedAt, u.Edit.Attachments = "e", &now, nil
	do(s.StoreUpdates(ctx, tenure, []inbox.Update{u, {ID: 3, Blocked: &inbox.BlockedChange{ChatID: 1, Blocked: true}}}, 4))
	m, _, err := s.AddAnswer(ctx, 1, inbox.Answer{Text: "a", Key: "k", Author: inbox.Author{Kind: inbox.ByAPI, ID: "1"}})
	do(err)
	for {
		list, _, err := s.ClaimDeliveries(ctx, tenure, 10, nil)
		if do(err); len(list) == 0 {
			break
		}
		do(s.RecordOutcome(ctx, tenure, inbox.Outcome{DeliveryID: list[0].ID, Attempt: list[0].Attempt, State: inbox.Failed,
			Unreachable: inbox.BlockedBot}))
	}
	_, err = s.RetryAnswer(ctx, m.ID)
	do(err)
	for _, status := range []inbox.ConversationStatus{"", inbox.Open} {
		_, _, err = s.Conversations(ctx, inbox.ConversationFilter{Limit: 10, Status: status, Query: "a", Before: 1000})
		do(err)
	}
	op, err := s.IssueSignIn(ctx, "Amy", []byte("amy's"), now)
	do(err)
	for _, view := range inbox.Views {
		_, _, err = s.Conversations(ctx, inbox.ConversationFilter{Limit: 10, View: view, Operator: op.ID, Before: 1000})
		do(err)
	}
	_, _, err = s.Conversations(ctx, inbox.ConversationFilter{Limit: 10, View: inbox.ViewOpen, Tag: "vip"})
	do(err)
	_, err = s.Counts(ctx, op.ID)
	do(err)
	_, err = s.UnreadBy(ctx, op.ID, []int64{1})
	do(err)
	do(s.MarkRead(ctx, op.ID, 1, 1, true))
	until := now.Add(time.Hour)
	_, err = s.ChangeConversation(ctx, 1, inbox.ConversationChange{Assignee: &op.ID, AddTag: "vip", SnoozedUntil: &until})
	do(err)
	_, err = s.WakeConversations(ctx)
	do(err)
	_, err = s.AddNote(ctx, 1, inbox.Note{Text: "n"})
	do(err)
	_, _, err = s.Notes(ctx, 1, 10, 100)
	do(err)
	_, _, err = s.Beside(ctx, 1, 1, 10)
	do(err)
	_, err = s.SetConversationStatus(ctx, 1, inbox.Closed)
	do(err)
	_, _, err = s.Messages(ctx, 1, 10, 100)
	do(err)
	_, err = s.Events(ctx, 1, 10)
	do(err)
	do(s.ReportBot(ctx, tenure, inbox.BotReport{State: inbox.BotPolling}))
	_, err = s.IssueSignIn(ctx, "Ann", []byte("h"), now)
	do(err)
	do(s.CommitSession(ctx, "k", nil, now))
	do(s.Prune(ctx))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for sql, detail := range p.scans {
		switch {
		case strings.Contains(detail, "SCAN e"), strings.Contains(detail, "SCAN oldest"), // a page of events, cut before
			strings.Contains(detail, "SCAN older"),    // those that go before an answer, cut before
			strings.Contains(detail, "SCAN since"),    // those after a message that was edited, cut before
			strings.Contains(sql, ") found ORDER BY"), // what a search found, cut before
			strings.Contains(sql, "MAX(seq)"),
			strings.Contains(detail, "SCAN unread"), // in one conversation, cut before
			// Where a foreign key is violated already, which none is, as they are checked at once.
			strings.Contains(detail, "SCAN files") && strings.Contains(sql, "INSERT INTO conversations"),
			sql == countsSQL,                                                                   // a few rows for each operator
			strings.Contains(sql, isSnoozed), strings.Contains(sql, "FROM operators ORDER BY"), // as many as people make
			strings.Contains(detail, "CONSTANT ROW"), strings.Contains(detail, "VALUES CLAUSE"):
		default:
			t.Errorf("%s\n%s", detail, sql)
		}
	}
}

// TestAGreetingAfterASilence : of the customer and of those who answer him.
func TestAGreetingAfterASilence(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, _ database, address string) {
		s := running(t, address)
		ctx := t.Context()
		tenure, err := s.TakeOver(ctx, 1, "test")
		if err != nil {
			t.Fatal(err)
		}
		id := int64(0)
		starts := func() (messages int) {
			t.Helper()
			id++
			u := inbox.Update{ID: id, Raw: fmt.Append(nil, id), Reply: "Welcome", Greeting: true,
				Message: &inbox.IncomingMessage{ChatID: 1, MessageID: id, Text: "/start"}}
			if err := s.StoreUpdates(ctx, tenure, []inbox.Update{u}, id+1); err != nil {
				t.Fatal(err)
			}
			list, _, err := s.Messages(ctx, 1, 200, 0)
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		age := func(by time.Duration) {
			t.Helper()
			err := s.write(ctx, "age", func(t tx) error {
				_, err := t.exec(`UPDATE messages SET created_at = created_at - $1`, by.Microseconds())
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if n := starts(); n != 2 {
			t.Errorf("the first: %d messages", n)
		}
		age(inbox.GreetAgainAfter - time.Minute)
		if n := starts(); n != 3 {
			t.Errorf("after less than the silence: %d messages", n)
		}
		if _, _, err := s.AddAnswer(ctx, 1, inbox.Answer{Text: "a", Author: inbox.Author{Kind: inbox.ByAPI}}); err != nil {
			t.Fatal(err)
		}
		age(inbox.GreetAgainAfter - time.Minute)
		if n := starts(); n != 5 {
			t.Errorf("after an answer: %d messages", n)
		}
		age(inbox.GreetAgainAfter)
		if n := starts(); n != 7 {
			t.Errorf("after the silence: %d messages", n)
		}
	})
}
