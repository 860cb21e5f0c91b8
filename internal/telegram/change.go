package telegram

import (
	"cmp"
	"context"

	"tandem/internal/inbox"
)

// Edits and deletions of what was sent. To do one twice is to do it once, so one of which nobody knows what became is
// tried again.

type editText struct {
	ChatID    int64  `json:"chat_id"`
	MessageID int64  `json:"message_id"`
	Text      string `json:"text,omitempty"`
	Caption   string `json:"caption,omitempty"` // in place of text, where there is a file
}

type deleteMessages struct {
	ChatID     int64   `json:"chat_id"`
	MessageIDs []int64 `json:"message_ids"`
}

// attemptChange asks Telegram for one, and says what became of it.
func (s *sender) attemptChange(d inbox.Delivery) inbox.Outcome {
	if len(d.Targets) == 0 {
		return inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, Operation: d.Operation, State: inbox.Failed,
			Error: "it is not known any more as what it was sent"}
	}
	ctx, cancel := context.WithTimeout(s.life.work, s.times.sendLimit)
	defer cancel()
	var method string
	var params any
	edit := editText{ChatID: d.ChatID, MessageID: d.Targets[0]}
	switch {
	case d.Operation == inbox.Edit && d.Caption:
		method, edit.Caption, params = "editMessageCaption", d.Text, &edit
	case d.Operation == inbox.Edit:
		method, edit.Text, params = "editMessageText", d.Text, &edit
	case len(d.Targets) == 1:
		method, params = "deleteMessage", &edit
	default:
		method, params = "deleteMessages", deleteMessages{d.ChatID, d.Targets}
	}
	resp := s.client.call(ctx, method, params, maxResponseBytes)
	o := s.outcome(d, resp)
	switch {
	case resp.class == refused && resp.changedAlready():
		o.State, o.Error, o.Unreachable = inbox.Sent, "", inbox.Reachable
	case resp.class == refused && o.Unreachable == inbox.Reachable:
		o.Error = cmp.Or(resp.unchangeable(), o.Error)
	case o.State == inbox.Unknown:
		s.mu.Lock()
		o.State, o.RetryAt = inbox.Queued, s.pauseTo
		s.mu.Unlock()
	}
	if o.State == inbox.Sent {
		o.TelegramMessageID = d.Targets[0]
	}
	return o
}
