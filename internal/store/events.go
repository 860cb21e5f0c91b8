package store

import (
	"context"
	"time"

	"tandem/internal/inbox"
)

const (
	keepEvents = 7 * 24 * time.Hour
	keepKeys   = 7 * 24 * time.Hour
	pruneChunk = 2000 // rows in one transaction, so that nobody waits long
)

// LastEvent is the number of the newest committed event.
func (s *Store) LastEvent(ctx context.Context) (int64, error) {
	var seq int64
	err := s.lookUp(ctx, "read the last event", func(t tx) error {
		return t.one(to(&seq), `SELECT last_event FROM counters WHERE id = 1`)
	})
	return seq, err
}

// Events returns up to limit events after the number given; see inbox.OperatorStore.
func (s *Store) Events(ctx context.Context, after int64, limit int) ([]inbox.Event, error) {
	var events []inbox.Event
	err := s.read(ctx, "read events", func(t tx) error {
		events = []inbox.Event{}
		// One statement is one snapshot: what is pruned between two would be missed without a word.
		r, err := t.c.Query(t.ctx, `
			SELECT c.last_event, c.pruned_event, e.seq, e.type, e.bot_id, e.conversation_id, e.message_id, e.at, e.note_id
			FROM counters c
			LEFT JOIN (SELECT seq, type, bot_id, conversation_id, message_id, at, note_id FROM events
				WHERE seq > $1 ORDER BY seq LIMIT $2) e ON TRUE
			WHERE c.id = 1
			ORDER BY e.seq`, after, limit)
		if err != nil {
			return err
		}
		defer r.Close()
		for r.Next() {
			var last, pruned int64
			var seq, bot, conversation, message, at, note *int64
			var kind *string
			if err := r.Scan(&last, &pruned, &seq, &kind, &bot, &conversation, &message, &at, &note); err != nil {
				return err
			}
			if after > last || after < pruned {
				return inbox.ErrReset
			}
			if seq == nil {
				continue
			}
			events = append(events, inbox.Event{
				Seq: *seq, Type: inbox.EventType(*kind), BotID: *bot,
				ConversationID: *conversation, MessageID: *message, At: fromMicros(*at), NoteID: *note,
			})
		}
		return r.Err()
	})
	if err != nil {
		return nil, err
	}
	return events, nil
}

// Prune removes expired sessions and links, and idempotency keys and events of more than a week ago.
func (s *Store) Prune(ctx context.Context) error {
	return s.prune(ctx, time.Now())
}

func (s *Store) prune(ctx context.Context, now time.Time) error {
	for _, old := range []struct {
		table, key, condition string
		before                time.Time
	}{
		{"sessions", "key", `expires_at <= $1`, now},
		{"signin_links", "hash", `expires_at <= $1`, now},
		{"idempotency_keys", "author_kind, author_id, key", `created_at <= $1`, now.Add(-keepKeys)},
	} {
		for more := true; more; {
			err := s.write(ctx, "prune", func(t tx) error {
				n, err := t.exec(s.db.DeleteSome(old.table, old.key, old.condition), micros(old.before), pruneChunk)
				more = n == pruneChunk
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	for more := true; more; {
		if err := s.pruneEvents(ctx, now.Add(-keepEvents), &more); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) pruneEvents(ctx context.Context, before time.Time, more *bool) error {
	return s.change(ctx, "prune events", func(l *ledger) error {
		var up *int64
		err := l.one(to(&up), `
			SELECT MAX(seq) FROM (SELECT seq, at FROM events ORDER BY seq LIMIT $1) oldest WHERE at <= $2`,
			pruneChunk, micros(before))
		if err != nil || up == nil {
			*more = false
			return err
		}
		n, err := l.exec(`DELETE FROM events WHERE seq <= $1`, *up)
		if err != nil {
			return err
		}
		*more = n == pruneChunk
		return l.later(`UPDATE counters SET pruned_event = $1 WHERE id = 1`, *up)
	})
}
