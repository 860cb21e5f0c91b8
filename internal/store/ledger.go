package store

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"tandem/internal/inbox"
)

// ledger is a writing transaction that makes events. It begins by locking the row of counters, so only one such
// transaction is under way in the whole database. Events and messages are numbered in the order of their commits. What
// it reads stays true until it commits. And there is nothing to deadlock with.
type ledger struct {
	tx
	pending     *pending
	known       *known // nil where nothing is known beforehand
	now         int64  // Unix microseconds, one time for all that the transaction writes
	lastEvent   int64
	lastMessage int64
	revoked     bool // a right has ended
	events      []inbox.Event
	seen        map[inbox.Event]bool
}

// change runs f in a ledger and, if it made events or ended a right, tells everybody after the commit.
func (s *Store) change(ctx context.Context, what string, f func(*ledger) error) error {
	return s.changeKnowing(ctx, what, nil, f)
}

// changeKnowing is change where f needs to know something first. What questions ask goes to the database together with
// the lock on the counters, and is answered when f begins. They are asked after the lock was had, as everything in a
// ledger is. But its time is from before, as nobody knows yet how long that will take.
func (s *Store) changeKnowing(ctx context.Context, what string, questions, f func(*ledger) error) error {
	eventful := false
	err := s.write(ctx, what, func(t tx) error {
		p := &pending{Conn: t.c}
		l := &ledger{tx: tx{t.ctx, p}, pending: p, now: micros(time.Now()), seen: map[inbox.Event]bool{}}
		found := false
		err := l.ask(to(&l.lastEvent, &l.lastMessage), &found, s.db.LockCounters())
		if err == nil && questions != nil {
			err = questions(l)
		}
		if err == nil {
			err = l.flush()
		}
		switch {
		case err != nil:
			return err
		case !found:
			return errors.New("the row of counters is missing, which the schema makes: the database is damaged")
		}
		l.now = micros(time.Now())
		p.now = l.now
		event, message := l.lastEvent, l.lastMessage
		if err := f(l); err != nil {
			return err
		}
		if err := p.settle(t.ctx); err != nil {
			return err
		}
		if l.lastEvent == event && l.lastMessage == message && !l.revoked {
			return nil
		}
		if err := l.storeEvents(); err != nil {
			return err
		}
		ended := 0
		if l.revoked {
			ended = 1
		}
		err = l.later(`UPDATE counters SET last_event = $1, last_message = $2, revocations = revocations + $3 WHERE id = 1`,
			l.lastEvent, l.lastMessage, ended)
		if err != nil {
			return err
		}
		eventful = true
		if notify := s.db.Notify(); notify != "" {
			return l.later(notify)
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
	l.note(inbox.Event{Type: kind, BotID: botID, ConversationID: conversationID, MessageID: messageID})
}

func (l *ledger) noteEvent(kind inbox.EventType, botID, conversationID, noteID int64) {
	l.note(inbox.Event{Type: kind, BotID: botID, ConversationID: conversationID, NoteID: noteID})
}

func (l *ledger) note(e inbox.Event) {
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

// storeEvents writes the events many at a time: a batch of updates makes hundreds.
func (l *ledger) storeEvents() error {
	rows := make([][]any, len(l.events))
	for i, e := range l.events {
		rows[i] = []any{e.Seq, string(e.Type), e.BotID, e.ConversationID, e.MessageID, l.now, e.NoteID}
	}
	return l.addRows(`INSERT INTO events (seq, type, bot_id, conversation_id, message_id, at, note_id)`, rows)
}

// maxPlaces bounds the placeholders of a statement. SQLite's driver looks for each of them from the first one on.
const maxPlaces = 700

// addRows adds many rows later. There are three statements for it and not one for each number, so that they stay
// prepared.
func (t tx) addRows(insert string, rows [][]any) error {
	for len(rows) > 0 {
		n := 1
		for _, atOnce := range []int{100, 10} {
			if len(rows) >= atOnce && atOnce*len(rows[0]) <= maxPlaces {
				n = atOnce
				break
			}
		}
		var sql strings.Builder
		sql.WriteString(insert + ` VALUES `)
		args := make([]any, 0, n*len(rows[0]))
		for i, row := range rows[:n] {
			if i > 0 {
				sql.WriteString(", ")
			}
			sql.WriteString("(" + places(len(args), len(row)) + ")")
			args = append(args, row...)
		}
		if err := t.later(sql.String(), args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// places are so many placeholders after the first ones.
func places(after, n int) string {
	var list strings.Builder
	for i := range n {
		if i > 0 {
			list.WriteString(", ")
		}
		list.WriteString("$" + strconv.Itoa(after+i+1))
	}
	return list.String()
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
