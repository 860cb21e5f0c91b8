package store

import (
	"time"

	"tandem/internal/inbox"
)

// beyond is further ahead than anything is held back, in microseconds. A delivery that is held back until then was so
// by a clock that has been put right since. It is due.
const beyond = int64((inbox.MaxHold + 10*time.Minute) / time.Microsecond)

// addWaits says of each listed answer that is queued what it waits for.
func addWaits(t tx, list []inbox.Message) error {
	type head struct {
		message, notBefore, paused, sendsAt int64
		error                               string
	}
	heads := map[int64]*head{} // the delivery that is next, by conversation
	now := time.Now()
	for i := range list {
		m := &list[i]
		if m.Delivery != inbox.Queued {
			continue
		}
		h, known := heads[m.ConversationID]
		if !known {
			h = &head{}
			found, err := t.row(to(&h.message, &h.notBefore, &h.paused, &h.error, &h.sendsAt),
				`SELECT d.message_id, d.not_before, d.paused_until, d.error, b.sends_at
				FROM deliveries d JOIN bots b ON b.id = d.bot_id
				WHERE d.conversation_id = $1 AND d.turn AND d.state = 'queued'`, m.ConversationID)
			if err != nil {
				return err
			}
			if !found {
				h = nil
			}
			heads[m.ConversationID] = h
		}
		if h == nil {
			continue // the one before it is under way
		}
		why, until := h.error, fromMicros(h.paused)
		if why == "" {
			why = "Telegram asks for a pause"
		}
		if h.paused-h.notBefore > time.Minute.Microseconds() {
			why += "; it is tried again every hour"
		}
		if sendsAt := fromMicros(h.sendsAt); sendsAt.After(until) {
			why = "Telegram asks this bot for a pause in all that it sends; one message tries then whether it is over"
			until = sendsAt
		}
		if !until.After(now) {
			continue
		}
		m.Waits = &inbox.Waits{Reason: inbox.WaitsPaused, Text: why, Until: &until}
		if h.message != m.ID {
			m.Waits.Reason, m.Waits.Text = inbox.WaitsBehind, "An earlier answer has to go first, and waits: "+why
		}
	}
	return nil
}

// waitsAtOnce is how many answers are told of at most when what they wait for has changed.
const waitsAtOnce = 200

// waitsChanged makes an event for each queued answer that the condition finds. Its Waits has changed, and nothing else
// of it.
func (l *ledger) waitsChanged(condition string, arg int64) error {
	type answer struct{ bot, conversation, message int64 }
	list, err := all(l.tx, func(scan func(...any) error) (a answer, err error) {
		return a, scan(&a.bot, &a.conversation, &a.message)
	}, `SELECT DISTINCT d.bot_id, d.conversation_id, d.message_id FROM deliveries d
		WHERE d.state = 'queued' AND d.state IN ('queued', 'sending') AND `+condition+`
		ORDER BY d.message_id LIMIT $2`, arg, waitsAtOnce)
	for _, a := range list {
		l.event(inbox.MessageUpdated, a.bot, a.conversation, a.message)
	}
	return err
}
