package store

import (
	"encoding/json"
	"fmt"

	"tandem/internal/inbox"
)

// react keeps what a customer put to a message. It is kept by Telegram's number of that, so it needs no message: one
// whose outcome is not written yet gets it when that is.
func (l *ledger) react(botID int64, r inbox.ReactionChange) (conversationID int64, err error) {
	c, err := l.conversationOf(botID, r.ChatID, r.Customer)
	if err != nil {
		return 0, err
	}
	conversationID = c.id
	for i := range r.Reactions {
		one := &r.Reactions[i]
		for _, s := range []*string{&one.Emoji, &one.CustomEmojiID, &one.Name, &one.By} {
			*s = inbox.CleanText(*s)
		}
	}
	b, err := json.Marshal(r.Reactions)
	if err != nil {
		return 0, err
	}
	at := microsOrZero(r.Date)
	var seen int64
	found, err := l.row(to(&seen), `SELECT seen FROM reactions WHERE conversation_id = $1 AND telegram_message_id = $2`,
		conversationID, r.MessageID)
	switch {
	case err != nil:
		return 0, err
	case found && at < seen: // one that is late
		return conversationID, nil
	case found:
		err = l.later(`UPDATE reactions SET list = $1, seen = $2 WHERE conversation_id = $3 AND telegram_message_id = $4`,
			string(b), at, conversationID, r.MessageID)
	default:
		err = l.later(`INSERT INTO reactions (conversation_id, telegram_message_id, list, seen) VALUES ($1, $2, $3, $4)`,
			conversationID, r.MessageID, string(b), at)
	}
	if err != nil {
		return 0, err
	}
	messageID, err := l.resolve(conversationID, r.MessageID)
	if err == nil && messageID != 0 {
		l.event(inbox.MessageUpdated, botID, conversationID, messageID)
	}
	return conversationID, err
}

// addReactions gives the listed messages of one conversation what the customer put to them.
func addReactions(t tx, list []inbox.Message) error {
	if len(list) == 0 {
		return nil
	}
	at := make(map[int64]int, len(list))
	first, last := list[0].ID, list[0].ID
	for i, m := range list {
		at[m.ID] = i
		first, last = min(first, m.ID), max(last, m.ID)
	}
	_, err := all(t, func(scan func(...any) error) (struct{}, error) {
		var id int64
		var stored string
		if err := scan(&id, &stored); err != nil {
			return struct{}{}, err
		}
		i, ok := at[id]
		if !ok {
			return struct{}{}, nil
		}
		var reactions []inbox.Reaction
		if err := json.Unmarshal([]byte(stored), &reactions); err != nil {
			return struct{}{}, fmt.Errorf("reactions to message %d: %w", id, err)
		}
		list[i].Reactions = append(list[i].Reactions, reactions...)
		return struct{}{}, nil
	}, `SELECT m.id, r.list FROM reactions r JOIN messages m
			ON m.conversation_id = r.conversation_id AND m.telegram_message_id = r.telegram_message_id
		WHERE r.conversation_id = $1 AND m.id >= $2 AND m.id <= $3
		UNION ALL SELECT d.message_id, r.list FROM reactions r JOIN deliveries d
			ON d.conversation_id = r.conversation_id AND d.telegram_message_id = r.telegram_message_id
		WHERE r.conversation_id = $1 AND d.message_id >= $2 AND d.message_id <= $3`, list[0].ConversationID, first, last)
	return err
}
