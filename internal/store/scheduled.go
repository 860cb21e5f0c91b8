package store

import (
	"context"
	"fmt"
	"time"

	"tandem/internal/inbox"
)

// An answer that is to be sent later has no deliveries until it is due: so no bot, of whatever version, sends it early,
// and what is written meanwhile goes first.

// schedule keeps when an answer is due.
func (l *ledger) schedule(o *outgoing) error {
	return l.later(`INSERT INTO scheduled (message_id, conversation_id, due, silent) VALUES ($1, $2, $3, $4)`,
		o.id, o.conversation, o.due, o.silent)
}

// unschedule is for an answer that was taken back.
func (l *ledger) unschedule(messageID int64) error {
	return l.later(`DELETE FROM scheduled WHERE message_id = $1`, messageID)
}

// askScheduled asks which of the listed answers wait for their time. tell says so.
func askScheduled(t tx, list []inbox.Message) (tell func() error, err error) {
	due := map[int64]int64{}
	var queued values
	for i := range list {
		if list[i].Delivery == inbox.Queued {
			queued.add(list[i].ConversationID)
		}
	}
	err = among(t, `SELECT message_id, due FROM scheduled WHERE conversation_id IN `, queued,
		func(scan func(...any) error) error {
			var message, at int64
			err := scan(&message, &at)
			due[message] = at
			return err
		})
	return func() error {
		for i := range list {
			if at, ok := due[list[i].ID]; ok {
				until := fromMicros(at)
				list[i].Waits = &inbox.Waits{Reason: inbox.WaitsScheduled, Text: "It is to be sent later", Until: &until}
			}
		}
		return nil
	}, err
}

// dueAtOnce is how many answers join the queue in one transaction.
const dueAtOnce = 50

// QueueDue has answers join the queue whose time has come; see inbox.OperatorStore.
func (s *Store) QueueDue(ctx context.Context) error {
	for {
		var first *int64
		err := s.lookUp(ctx, "look for answers that are due", func(t tx) error {
			return t.one(to(&first), `SELECT MIN(due) FROM scheduled`)
		})
		if err != nil || first == nil || fromMicros(*first).After(time.Now()) {
			return err
		}
		if err := s.change(ctx, "queue answers that are due", (*ledger).queueDue); err != nil {
			return err
		}
	}
}

func (l *ledger) queueDue() error {
	type one struct {
		outgoing
		deleted int64
	}
	due, err := all(l.tx, func(scan func(...any) error) (o one, err error) {
		return o, scan(&o.id, &o.bot, &o.conversation, &o.deleted, &o.text, &o.silent)
	}, `SELECT m.id, m.bot_id, m.conversation_id, m.deleted_at, m.text, s.silent
		FROM scheduled s JOIN messages m ON m.id = s.message_id
		WHERE s.due <= $1 ORDER BY s.due, m.id LIMIT $2`, l.now, dueAtOnce)
	if err != nil {
		return err
	}
	for _, o := range due {
		if err := l.unschedule(o.id); err != nil {
			return err
		}
		if o.deleted != 0 { // by a page of the version before, which knows no schedule
			continue
		}
		var deliveries [][]any
		for i, part := range inbox.SplitText(o.text) {
			deliveries = append(deliveries, o.delivery(i, part, l.now))
		}
		if err := l.addRows(addDeliveries, deliveries); err != nil {
			return err
		}
		if err := l.giveTurn(o.conversation); err != nil {
			return fmt.Errorf("answer %d: %w", o.id, err)
		}
		l.event(inbox.MessageUpdated, o.bot, o.conversation, o.id)
	}
	return nil
}

// addDeliveries adds rows of delivery.
const addDeliveries = `INSERT INTO deliveries (bot_id, conversation_id, message_id, operation, part, text, state,
	turn, attempt, not_before, epoch, error, created_at, updated_at, silent, needs)`

// delivery is the row of one part of an answer.
func (o *outgoing) delivery(part int, text string, now int64) []any {
	return []any{o.bot, o.conversation, o.id, "send", part, text, "queued", false, 0, 0, 0, "", now, now, o.silent,
		o.needs()}
}
