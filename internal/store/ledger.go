package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"tandem/internal/inbox"
)

// ledger is a writing transaction that makes events. It begins by locking the row of counters, so only one such
// transaction is under way in the whole database. Events and messages are numbered in the order of their commits. What
// it reads stays true until it commits. And there is nothing to deadlock with.
type ledger struct {
	tx
	now         int64 // Unix microseconds, one time for all that the transaction writes
	lastEvent   int64
	lastMessage int64
	revoked     bool // a right has ended
	events      []inbox.Event
	seen        map[inbox.Event]bool
}

// change runs f in a ledger and, if it made events or ended a right, tells everybody after the commit.
func (s *Store) change(ctx context.Context, what string, f func(*ledger) error) error {
	eventful := false
	err := s.write(ctx, what, func(t tx) error {
		l := &ledger{tx: t, seen: map[inbox.Event]bool{}}
		found, err := l.row(to(&l.lastEvent, &l.lastMessage), s.db.LockCounters())
		if err != nil {
			return fmt.Errorf("lock counters: %w", err)
		}
		if !found {
			return errors.New("the row of counters is missing, which the schema makes: the database is damaged")
		}
		l.now = micros(time.Now())
		event, message := l.lastEvent, l.lastMessage
		if err := f(l); err != nil {
			return err
		}
		if l.lastEvent == event && l.lastMessage == message && !l.revoked {
			return nil
		}
		if err := l.storeEvents(); err != nil {
			return err
		}
		_, err = l.exec(`UPDATE counters SET last_event = $1, last_message = $2 WHERE id = 1`, l.lastEvent, l.lastMessage)
		if err != nil {
			return err
		}
		if l.revoked {
			if _, err := l.exec(`UPDATE counters SET revocations = revocations + 1 WHERE id = 1`); err != nil {
				return err
			}
		}
		eventful = true
		if notify := s.db.Notify(); notify != "" {
			_, err := l.exec(notify)
			return err
		}
		return nil
	})
	if err == nil && eventful {
		s.hint()
	}
	return err
}

// revoke notes that a right has ended, for streams that go on by it.
func (l *ledger) revoke() { l.revoked = true }

// event notes that something changed. Saying it twice in one transaction makes one event.
func (l *ledger) event(kind inbox.EventType, botID, conversationID, messageID int64) {
	e := inbox.Event{Type: kind, BotID: botID, ConversationID: conversationID, MessageID: messageID}
	if l.seen[e] {
		return
	}
	l.seen[e] = true
	l.lastEvent++
	e.Seq = l.lastEvent
	l.events = append(l.events, e)
}

func (l *ledger) nextMessage() int64 {
	l.lastMessage++
	return l.lastMessage
}

// storeEvents writes the events many at a time: a batch of updates makes hundreds. There are three statements for it
// and not one for each number, so that they stay prepared.
func (l *ledger) storeEvents() error {
	const columns = 6
	for events := l.events; len(events) > 0; {
		n := 1
		for _, atOnce := range []int{100, 10} {
			if len(events) >= atOnce {
				n = atOnce
				break
			}
		}
		var sql strings.Builder
		sql.WriteString(`INSERT INTO events (seq, type, bot_id, conversation_id, message_id, at) VALUES `)
		args := make([]any, 0, n*columns)
		for i, e := range events[:n] {
			if i > 0 {
				sql.WriteString(", ")
			}
			p := i * columns
			fmt.Fprintf(&sql, "($%d, $%d, $%d, $%d, $%d, $%d)", p+1, p+2, p+3, p+4, p+5, p+6)
			args = append(args, e.Seq, string(e.Type), e.BotID, e.ConversationID, e.MessageID, l.now)
		}
		if _, err := l.exec(sql.String(), args...); err != nil {
			return fmt.Errorf("store events: %w", err)
		}
		events = events[n:]
	}
	return nil
}

// micros is how each database holds a time.
func micros(t time.Time) int64 { return t.UnixMicro() }

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

func fromMicrosPtr(us *int64) *time.Time {
	if us == nil {
		return nil
	}
	t := fromMicros(*us)
	return &t
}
