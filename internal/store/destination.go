package store

import (
	"context"
	"errors"
	"fmt"

	"tandem/internal/inbox"
)

// destination is where in a chat an answer goes.
type destination struct {
	thread  int64
	reply   int64 // the message to which it replies, 0 for none
	content inbox.Content
}

// answerBytes is what makes one answer another than that which used its key before. One that says nothing of where it
// goes has the bytes that earlier versions gave it.
func answerBytes(conversationID int64, a inbox.Answer) []byte {
	b := fmt.Appendf(nil, "%d\n%s", conversationID, a.Text)
	if a.ReplyTo != 0 {
		b = fmt.Appendf(b, "\x00reply %d", a.ReplyTo)
	} else if a.Topic != nil {
		b = fmt.Appendf(b, "\x00topic %d", *a.Topic)
	}
	if a.Silent {
		b = append(b, "\x00silent"...)
	}
	if !a.SendAt.IsZero() {
		b = fmt.Appendf(b, "\x00at %d", micros(a.SendAt))
	}
	return b
}

// placeOf is where an answer goes: to the topic of the message to which it replies, else to the one that was asked for,
// else to that in which the customer wrote last.
func (l *ledger) placeOf(conversationID, last int64, a inbox.Answer) (to destination, err error) {
	switch {
	case a.ReplyTo != 0:
		m, err := message(l.tx, a.ReplyTo)
		if errors.Is(err, inbox.ErrNotFound) || err == nil && m.ConversationID != conversationID {
			return to, conflict("the message to which it replies is none of this conversation")
		}
		reply := inbox.ReplyTo(m)
		return destination{thread: m.ThreadID, reply: m.ID, content: inbox.Content{Reply: &reply, Topic: m.Topic}}, err
	case a.Topic != nil:
		to.thread = *a.Topic
		return to, nil
	}
	to.thread = last
	return to, nil
}

// ToMainChat takes an answer out of its topic; see inbox.OperatorStore.
func (s *Store) ToMainChat(ctx context.Context, messageID int64) error {
	return s.change(ctx, "send an answer to the main chat", func(l *ledger) error {
		m, err := message(l.tx, messageID)
		if err != nil {
			return err
		}
		n, err := l.exec(`UPDATE messages SET thread_id = 0
			WHERE id = $1 AND direction = 'out' AND delivery IN ('failed', 'unknown')`, messageID)
		if err == nil && n == 0 {
			err = conflict("only an answer that failed or whose fate is unknown can be sent again")
		}
		if err == nil {
			l.event(inbox.MessageUpdated, m.BotID, m.ConversationID, messageID)
		}
		return err
	})
}
