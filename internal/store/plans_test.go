package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/store/driver"
)

// explained is a database that has each statement explained before it runs.
type explained struct {
	driver.Database

	mu    sync.Mutex
	plans map[string]string // of each statement
}

func (e *explained) Read(ctx context.Context, w driver.Way, f func(driver.Conn) error) error {
	return e.Database.Read(ctx, w, func(c driver.Conn) error { return f(explainedConn{c, e}) })
}

func (e *explained) Write(ctx context.Context, f func(driver.Conn) error) error {
	return e.Database.Write(ctx, func(c driver.Conn) error { return f(explainedConn{c, e}) })
}

type explainedConn struct {
	driver.Conn
	of *explained
}

func (c explainedConn) Query(ctx context.Context, sql string, args ...any) (driver.Rows, error) {
	if err := c.explain(ctx, sql, args); err != nil {
		return nil, err
	}
	return c.Conn.Query(ctx, sql, args...)
}

func (c explainedConn) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if err := c.explain(ctx, sql, args); err != nil {
		return 0, err
	}
	return c.Conn.Exec(ctx, sql, args...)
}

func (c explainedConn) Insert(ctx context.Context, sql string, args ...any) (int64, error) {
	if err := c.explain(ctx, sql, args); err != nil {
		return 0, err
	}
	return c.Conn.Insert(ctx, sql, args...)
}

func (c explainedConn) Later(ctx context.Context, got func(driver.Rows) error, sql string, args ...any) error {
	if err := c.explain(ctx, sql, args); err != nil {
		return err
	}
	return c.Conn.Later(ctx, got, sql, args...)
}

var explainable = regexp.MustCompile(`^\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b`)

func (c explainedConn) explain(ctx context.Context, sql string, args []any) error {
	if !explainable.MatchString(sql) {
		return nil
	}
	r, err := c.Conn.Query(ctx, "EXPLAIN "+sql, args...)
	if err != nil {
		return fmt.Errorf("explain %s: %w", sql, err)
	}
	defer r.Close()
	var plan strings.Builder
	for r.Next() {
		var line string
		if err := r.Scan(&line); err != nil {
			return err
		}
		plan.WriteString(line + "\n")
	}
	c.of.mu.Lock()
	c.of.plans[sql] += plan.String()
	c.of.mu.Unlock()
	return r.Err()
}

// many are 100,000 messages of 5,000 customers, with their words.
var many = []string{
	`INSERT INTO conversations (bot_id, chat_id, customer_id, customer_name, customer_username, customer_language, search,
			status, blocked, last_message_id, created_at, updated_at)
			SELECT 1, 1000 + i, 1000 + i, 'Customer ' || i, '', '', '', 'open', FALSE, 95000 + i, 0, 0
			FROM generate_series(1, 5000) i`,
	`INSERT INTO messages (id, bot_id, conversation_id, direction, kind, text, search, author_kind, author_id, author_name,
			created_at, telegram_message_id, edit_seen, thread_id, album_id, delivery, error, content_of)
			SELECT i, 1, c.id, 'in', 'text', 'message number ' || i, '', 'customer', '', '', i, i, 0, 0, '', '', '', 0
			FROM generate_series(1, 100000) i JOIN conversations c ON c.chat_id = 1001 + (i - 1) % 5000`,
	`INSERT INTO updates (bot_id, update_id, superseded, kind, raw, problem, received_at, message_id)
			SELECT 1, i, FALSE, 'message', 'x', '', i, i FROM generate_series(1, 100000) i`,
	`DELETE FROM events`,
	`INSERT INTO events (seq, type, bot_id, conversation_id, message_id, at)
			SELECT i, 'message.created', 1, 1, i, i FROM generate_series(1, 100000) i`,
	`INSERT INTO deliveries (bot_id, conversation_id, message_id, operation, part, text, state, turn, attempt, not_before,
			epoch, error, created_at, updated_at)
			SELECT 1, 1, i, 'send', 0, '', 'sent', FALSE, 1, 0, 1, '', 0, 0 FROM generate_series(1, 50000) i`,
	`INSERT INTO message_words (id, keys, words)
			SELECT i, ARRAY[i % 1000, 5000 + i % 77, 9000 + i, 7], 'message number ' || i FROM generate_series(1, 100000) i`,
	`INSERT INTO name_words (id, keys, words)
			SELECT i, ARRAY[i % 1000, 5000 + i % 77, 9000 + i, 7], 'customer ' || i FROM generate_series(1, 5000) i`,
	`DELETE FROM words_todo`,
	`UPDATE counters SET last_message = 100000, last_event = 100000`,
	`ANALYZE`,
}

// TestPlansOfPostgreSQL : with 100,000 messages, analysed, nothing that is done for each message, page or search reads
// a whole table that grows. (TestPlans looks at SQLite.)
func TestPlansOfPostgreSQL(t *testing.T) {
	t.Parallel()
	kind := databases["postgres"]
	address := kind.url(t)
	s := Open(address, slog.New(slog.DiscardHandler))
	defer s.Close()
	if err := s.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	for w := range s.limits {
		s.limits[w] = time.Minute // each statement is explained before it runs
	}
	ctx := t.Context()
	tenure, err := s.TakeOver(ctx, 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	beside := kind.open(t, address)
	defer beside.Close()
	for _, sql := range many {
		if _, err := beside.ExecContext(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	e := &explained{Database: s.db, plans: map[string]string{}}
	s.db = e
	var errs []error
	do := func(err error) { errs = append(errs, err) }
	u := inbox.Update{ID: 200_001, Raw: []byte("x"), Reply: "r", Message: &inbox.IncomingMessage{ChatID: 1001,
		MessageID: 200_001, ReplyTo: 5, Text: "message number t", Attachments: []inbox.Attachment{{Kind: "photo"}},
		Customer: inbox.Customer{ID: 1001, Name: "Customer 1"}}}
	do(s.StoreUpdates(ctx, tenure, []inbox.Update{u}, 200_002))
	u.ID, u.Edit, u.Message = 200_002, u.Message, nil
	now := time.Now()
	u.Edit.Text, u.Edit.EditedAt = "e", &now
	do(s.StoreUpdates(ctx, tenure, []inbox.Update{u}, 200_003))
	m, _, err := s.AddAnswer(ctx, 1, inbox.Answer{Text: "a", Key: "k", Author: inbox.Author{Kind: inbox.ByAPI, ID: "1"}})
	do(err)
	list, _, err := s.ClaimDeliveries(ctx, tenure, 10, nil)
	do(err)
	for _, d := range list {
		do(s.RecordOutcome(ctx, tenure, inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, State: inbox.Sent,
			TelegramMessageID: 900_000 + d.ID}))
	}
	for _, status := range []inbox.ConversationStatus{"", inbox.Open} {
		for _, words := range []string{"", "number message", "me", "nowhere"} {
			_, _, err = s.Conversations(ctx, inbox.ConversationFilter{Limit: 10, Status: status, Query: words, Before: 99_000})
			do(err)
		}
	}
	for _, words := range []string{"number message", "me", "nowhere", "1001", "@customer"} {
		_, err = s.Search(ctx, inbox.SearchQuery{Words: words, Limit: 50})
		do(err)
	}
	_, err = s.indexSome(ctx)
	do(err)
	_, err = s.WordsProgress(ctx)
	do(err)
	_, err = s.Conversation(ctx, 1)
	do(err)
	_, _, err = s.Messages(ctx, 1, 10, 0)
	do(err)
	_, err = s.Message(ctx, m.ID)
	do(err)
	_, err = s.Events(ctx, 99_000, 10)
	do(err)
	_, err = s.LastEvent(ctx)
	do(err)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if len(e.plans) < 40 {
		t.Errorf("only %d statements were explained", len(e.plans))
	}
	grows := regexp.MustCompile(`Seq Scan on ((message|name)_words|messages|conversations|updates|events|deliveries)\b`)
	for sql, plan := range e.plans {
		if found := grows.FindString(plan); found != "" {
			t.Errorf("%s:\n%s\n%s", found, sql, plan)
		}
	}
}
