package store

import (
	"context"
	"fmt"
	"time"

	"tandem/internal/inbox"
)

// deletable is how long Telegram deletes what a bot has sent.
const deletable = 48 * time.Hour

// sentPart is a part of an answer, as its delivery has it.
type sentPart struct {
	id, part, needs, at int64
	state               inbox.DeliveryState
	text                string
}

// partsOf are the parts of an answer, and how many of them are in which state.
func (l *ledger) partsOf(messageID int64) (list []sentPart, in map[inbox.DeliveryState]int, err error) {
	list, err = all(l.tx, func(scan func(...any) error) (p sentPart, err error) {
		return p, scan(&p.id, &p.part, &p.needs, &p.at, &p.state, &p.text)
	}, `SELECT id, part, needs, updated_at, state, text FROM deliveries
		WHERE message_id = $1 AND operation = 'send' ORDER BY part`, messageID)
	in = map[inbox.DeliveryState]int{}
	for _, p := range list {
		in[p.state]++
	}
	return list, in, err
}

// changeable is ErrConflict for what can be neither edited nor deleted as things are.
func (l *ledger) changeable(m inbox.Message, in map[inbox.DeliveryState]int) error {
	switch {
	case m.Direction != inbox.Out:
		return conflict("only an answer can be changed; this is the customer's")
	case m.DeletedAt != nil:
		return conflict("it was deleted")
	case in[inbox.Sending] > 0:
		return conflict("it is being sent just now")
	case in[inbox.Unknown] > 0:
		return conflict("it is not known whether the customer has it")
	case m.Change != nil && m.Change.State == inbox.Sending:
		return conflict("it is being changed just now")
	}
	return nil
}

// EditAnswer changes the words of an answer; see inbox.OperatorStore.
func (s *Store) EditAnswer(ctx context.Context, messageID int64, text string) (inbox.Message, error) {
	text = inbox.CleanText(text)
	var m inbox.Message
	err := s.change(ctx, "edit an answer", func(l *ledger) (err error) {
		if m, err = message(l.tx, messageID); err != nil {
			return err
		}
		parts, in, err := l.partsOf(messageID)
		if err == nil {
			err = l.changeable(m, in)
		}
		if err != nil {
			return err
		}
		if len(parts) == 0 { // it is to be sent later
			if inbox.Blank(text) {
				return conflict("an answer that shows nothing is not sent; take it back instead")
			}
			if err = l.sayInstead(m, text); err == nil {
				m, err = message(l.tx, messageID)
			}
			return err
		}
		if sent := in[inbox.Sent]; sent > 0 && sent < len(parts) {
			return conflict("only a part of it was delivered: send the rest first, or write anew")
		}
		shape := make([]inbox.SentPart, len(parts))
		for i, p := range parts {
			shape[i] = inbox.SentPart{Text: p.text, Files: p.needs == int64(inbox.SendsFiles)}
		}
		fit, err := inbox.FitText(text, shape)
		if err != nil {
			return err
		}
		for len(fit) < len(parts) && !shape[len(fit)].Files {
			fit = append(fit, "") // a part that goes
		}
		if in[inbox.Sent] == 0 {
			err = l.rewrite(m, parts, fit, text)
		} else {
			err = l.queueEdit(m, parts, fit, text, shape)
		}
		if err == nil {
			m, err = message(l.tx, messageID)
		}
		return err
	})
	if err != nil {
		return inbox.Message{}, err
	}
	return m, nil
}

// rewrite gives an answer other words of which nothing was sent. Nobody has seen the ones before.
func (l *ledger) rewrite(m inbox.Message, parts []sentPart, fit []string, text string) error {
	for i, words := range fit {
		sql, args := `UPDATE deliveries SET text = $1, updated_at = $2 WHERE id = $3`, []any{words, l.now, parts[i].id}
		if words == "" && parts[i].needs == 0 {
			sql, args = `DELETE FROM deliveries WHERE id = $1`, []any{parts[i].id}
		}
		if err := l.later(sql, args...); err != nil {
			return err
		}
	}
	if err := l.sayInstead(m, text); err != nil {
		return err
	}
	return l.giveTurn(m.ConversationID)
}

// sayInstead gives a message other words. Its entities were those of the former ones.
func (l *ledger) sayInstead(m inbox.Message, text string) error {
	said := inbox.IncomingMessage{Kind: m.Kind, Text: text, Details: m.Details, Attachments: m.Attachments}
	l.event(inbox.MessageUpdated, m.BotID, m.ConversationID, m.ID)
	return l.later(`UPDATE messages SET text = $1, search = $2 WHERE id = $3`, text, fold(said.SearchText()), m.ID)
}

// queueEdit has Telegram asked to change those parts that say something else.
func (l *ledger) queueEdit(
	m inbox.Message, parts []sentPart, fit []string, text string, shape []inbox.SentPart,
) error {
	if err := l.dropChange(m); err != nil {
		return err
	}
	some := false
	for i, words := range fit {
		operation := inbox.Edit
		if words == "" && !shape[i].Files {
			operation = inbox.Delete
		} else if words == parts[i].text {
			continue
		}
		if err := l.queueChange(m, operation, parts[i].part, words); err != nil {
			return err
		}
		some = true
	}
	if !some {
		return nil
	}
	return l.begin(m, inbox.Edit, text)
}

// DeleteAnswer takes an answer back, or has Telegram asked to delete it; see inbox.OperatorStore.
func (s *Store) DeleteAnswer(ctx context.Context, messageID int64) (m inbox.Message, done bool, err error) {
	err = s.change(ctx, "delete an answer", func(l *ledger) (err error) {
		if m, err = message(l.tx, messageID); err != nil {
			return err
		}
		if done = m.Direction == inbox.Out && m.DeletedAt != nil; done {
			return nil
		}
		parts, in, err := l.partsOf(messageID)
		if err == nil {
			err = l.changeable(m, in)
		}
		if err != nil {
			return err
		}
		if done = in[inbox.Sent] == 0; done {
			err = l.takeBack(m)
		} else {
			err = l.queueDelete(m, parts)
		}
		if err == nil {
			m, err = message(l.tx, messageID)
		}
		return err
	})
	if err != nil {
		return inbox.Message{}, false, err
	}
	return m, done, nil
}

// queueDelete has Telegram asked to delete each part that was sent. What was not sent of it is not sent any more.
func (l *ledger) queueDelete(m inbox.Message, parts []sentPart) error {
	for _, p := range parts {
		if p.state == inbox.Sent && l.now-p.at > deletable.Microseconds() {
			return conflict("it was sent more than 48 hours ago, and Telegram deletes nothing older")
		}
	}
	if err := l.dropChange(m); err != nil {
		return err
	}
	for _, p := range parts {
		err := error(nil)
		if p.state == inbox.Sent {
			err = l.queueChange(m, inbox.Delete, p.part, "")
		} else {
			err = l.later(`DELETE FROM deliveries WHERE id = $1`, p.id)
		}
		if err != nil {
			return err
		}
	}
	if err := l.sumUp(m.BotID, m.ConversationID, m.ID); err != nil {
		return err
	}
	return l.begin(m, inbox.Delete, "")
}

// dropChange ends a change that is not under way: another one takes its place, or none.
func (l *ledger) dropChange(m inbox.Message) error {
	if m.Change == nil {
		return nil
	}
	l.event(inbox.MessageUpdated, m.BotID, m.ConversationID, m.ID)
	err := l.later(`DELETE FROM deliveries WHERE message_id = $1 AND operation <> 'send'`, m.ID)
	if err == nil {
		err = l.later(`DELETE FROM changes WHERE message_id = $1`, m.ID)
	}
	if err == nil {
		err = l.giveTurn(m.ConversationID)
	}
	return err
}

func (l *ledger) queueChange(m inbox.Message, operation inbox.Operation, part int64, words string) error {
	return l.later(`INSERT INTO deliveries (bot_id, conversation_id, message_id, operation, part, text, state,
			turn, attempt, not_before, epoch, error, needs, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, 'queued', FALSE, 0, 0, 0, '', $7, $8, $8)`,
		m.BotID, m.ConversationID, m.ID, string(operation), part, words, int64(inbox.ChangesSent), l.now)
}

// begin notes a change whose deliveries are queued.
func (l *ledger) begin(m inbox.Message, operation inbox.Operation, text string) error {
	err := l.later(`INSERT INTO changes (message_id, operation, text, state, error, created_at)
		VALUES ($1, $2, $3, 'queued', '', $4)`, m.ID, string(operation), text, l.now)
	if err != nil {
		return err
	}
	l.event(inbox.MessageUpdated, m.BotID, m.ConversationID, m.ID)
	return l.giveTurn(m.ConversationID)
}

// changeState notes how far a change is.
func (l *ledger) changeState(
	botID, conversationID, messageID int64, state inbox.DeliveryState, why string,
) error {
	l.event(inbox.MessageUpdated, botID, conversationID, messageID)
	return l.later(`UPDATE changes SET state = $1, error = $2 WHERE message_id = $3`, string(state), why, messageID)
}

// changed stores how a delivery went that changes a message. Its row goes when Telegram has answered: what became of it
// is told by the message.
func (l *ledger) changed(botID, conversationID, messageID, part int64, o inbox.Outcome) error {
	switch o.State {
	case inbox.Queued: // its delivery is queued again already
		return l.changeState(botID, conversationID, messageID, inbox.Queued, "")
	case inbox.Failed, inbox.Unknown:
		why, err := l.failedPart(messageID, part, o.Error)
		if err == nil {
			err = l.later(`DELETE FROM deliveries WHERE message_id = $1 AND operation <> 'send'`, messageID)
		}
		if err == nil {
			err = l.changeState(botID, conversationID, messageID, o.State, why)
		}
		return err
	}
	// What the part says now.
	var operation inbox.Operation
	var words string
	err := l.one(to(&operation, &words), `SELECT operation, text FROM deliveries WHERE id = $1`, o.DeliveryID)
	if err != nil {
		return err
	}
	if operation == inbox.Edit {
		err = l.later(`UPDATE deliveries SET text = $1 WHERE message_id = $2 AND operation = 'send' AND part = $3`,
			words, messageID, part)
	}
	if err == nil {
		err = l.later(`DELETE FROM deliveries WHERE id = $1`, o.DeliveryID)
	}
	if err != nil {
		return err
	}
	var left int64
	var c inbox.Change
	err = l.one(to(&c.Operation, &c.Text, &left), `SELECT operation, text,
			(SELECT COUNT(*) FROM deliveries WHERE message_id = $1 AND operation <> 'send')
		FROM changes WHERE message_id = $1`, messageID)
	if err != nil || left > 0 {
		return err
	}
	return l.changedWhole(messageID, c)
}

// failedPart says which part of several was not changed.
func (l *ledger) failedPart(messageID, part int64, why string) (string, error) {
	var parts int64
	err := l.one(to(&parts), `SELECT COUNT(*) FROM deliveries WHERE message_id = $1 AND operation = 'send'`, messageID)
	if parts > 1 {
		why = fmt.Sprintf("part %d of %d was not changed: %s", part+1, parts, why)
	}
	return why, err
}

// changedWhole is the end of a change all of which Telegram has taken.
func (l *ledger) changedWhole(messageID int64, c inbox.Change) error {
	m, err := message(l.tx, messageID)
	if err != nil {
		return err
	}
	if err := l.later(`DELETE FROM changes WHERE message_id = $1`, messageID); err != nil {
		return err
	}
	l.event(inbox.MessageUpdated, m.BotID, m.ConversationID, m.ID)
	if c.Operation == inbox.Delete {
		return l.later(`UPDATE messages SET deleted_at = $1 WHERE id = $2`, l.now, messageID)
	}
	now := fromMicros(l.now)
	was := inbox.IncomingMessage{Kind: m.Kind, Text: m.Text, Details: m.Details, Attachments: m.Attachments}
	err = l.keepWording(messageID, m.Edits, inbox.WordingOf(was,
		inbox.IncomingMessage{Attachments: m.Attachments, EditedAt: &now}))
	if err == nil {
		err = l.sayInstead(m, c.Text)
	}
	if err == nil {
		err = l.later(`UPDATE messages SET edited_at = $1, edits = edits + 1 WHERE id = $2`, l.now, messageID)
	}
	if err == nil { // parts that it does not need any more were deleted
		err = l.later(`DELETE FROM deliveries WHERE message_id = $1 AND operation = 'send' AND needs = 0 AND part >= $2`,
			messageID, len(inbox.SplitText(c.Text)))
	}
	return err
}

// changeAgain queues what changes messages and was under way when its bot ended: to do it twice is to do it once. An
// older bot has called it unknown.
func (l *ledger) changeAgain(botID int64) error {
	type left struct{ id, message, conversation int64 }
	list, err := all(l.tx, func(scan func(...any) error) (d left, err error) {
		return d, scan(&d.id, &d.message, &d.conversation)
	}, `SELECT id, message_id, conversation_id FROM deliveries WHERE bot_id = $1 AND operation <> 'send'
		AND state IN ('sending', 'unknown', 'failed') AND state <> 'sent' ORDER BY id`, botID)
	for _, d := range list {
		if err := l.later(`UPDATE deliveries SET state = 'queued', error = '', turn = FALSE, not_before = 0, updated_at = $1
			WHERE id = $2`, l.now, d.id); err != nil {
			return err
		}
		if err := l.changeState(botID, d.conversation, d.message, inbox.Queued, ""); err != nil {
			return err
		}
		if err := l.giveTurn(d.conversation); err != nil {
			return err
		}
	}
	return err
}

// addTargets says of claimed edits and deletions what Telegram is to change.
func (l *ledger) addTargets(list []inbox.Delivery) error {
	for i := range list {
		d := &list[i]
		if d.Operation == inbox.Send {
			continue
		}
		var first *int64
		var needs int64
		_, err := l.row(to(&first, &needs), `SELECT telegram_message_id, needs FROM deliveries
			WHERE message_id = $1 AND operation = 'send' AND part = $2`, d.MessageID, d.Part)
		if err != nil {
			return err
		}
		if d.Targets = nil; first != nil {
			d.Targets = []int64{*first}
		}
		d.Caption = needs == int64(inbox.SendsFiles)
	}
	return nil
}
