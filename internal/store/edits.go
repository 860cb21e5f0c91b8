package store

import (
	"context"
	"encoding/json"
	"time"

	"tandem/internal/inbox"
)

// edit brings a stored message up to date. Compared is what Telegram sent before and now, both read by this version: so
// an edit that changes nothing does nothing, whichever version stored the message. One that changes words keeps what
// stood before, and makes itself seen. One that only tells where somebody is or what was ticked does neither. An edit
// that is older than one that was seen changes nothing.
func (l *ledger) edit(botID int64, u inbox.Update) (conversationID, id int64, added bool, err error) {
	m := *u.Edit
	if m.EditedAt == nil {
		at := fromMicros(l.now)
		m.EditedAt = &at
	}
	c, err := l.conversationOf(botID, m.ChatID, m.Customer)
	if err != nil {
		return 0, 0, false, err
	}
	conversationID = c.id
	var seen, wasOf, edits int64
	var wasContent string
	found, err := l.row(to(&id, &seen, &wasContent, &wasOf, &edits),
		`SELECT id, edit_seen, content, content_of, edits FROM messages
		WHERE conversation_id = $1 AND telegram_message_id = $2`, conversationID, m.MessageID)
	if err != nil {
		return 0, 0, false, err
	}
	if !found {
		if m.Content.Older, err = l.olderThanAll(m.Date); err != nil {
			return 0, 0, false, err
		}
		return l.addIncoming(botID, m)
	}
	at := micros(*m.EditedAt)
	if at < seen {
		return conversationID, id, false, nil
	}
	was, err := message(l.tx, id)
	if err != nil {
		return 0, 0, false, err
	}
	m = cleanMessage(m)
	before, err := l.wording(id, seen, u.Reread)
	if err != nil {
		return 0, 0, false, err
	}
	if before == nil {
		before = stored(was)
		if wasOf != seen { // what nobody has read is not known to be another
			before.Content.Entities, before.Content.Items, before.Content.Title =
				m.Content.Entities, m.Content.Items, m.Content.Title
		}
	}
	words := !inbox.SameWords(*before, m)

	m.Content.Older = isOlder(wasContent)
	if r := m.Content.Reply; was.Reply != nil && (r == nil || r.Text == "") {
		m.Content.Reply = was.Reply // in the words of the message that is stored, also when that is gone
	}
	content, forward := m.Content.Encode(), forwardOf(m)
	shown := words || m.Text != was.Text || m.Kind != was.Kind || m.Details != was.Details || content != wasContent ||
		forward != forwardOf(inbox.IncomingMessage{Forwarded: was.Forwarded})
	sameFiles := inbox.SameFiles(was.Attachments, m.Attachments)
	err = l.later(`UPDATE messages SET edit_seen = $1, content = $2, content_of = $1 WHERE id = $3`, at, content, id)
	if err == nil && shown {
		err = l.later(`UPDATE messages SET kind = $1, text = $2, search = $3, details = $4, forward_kind = $5,
			forward_name = $6 WHERE id = $7`,
			m.Kind, m.Text, fold(m.SearchText()), m.Details, forward.Kind, forward.Name, id)
	}
	if err == nil && !sameFiles {
		err = l.replaceFiles(botID, id, m.Attachments)
	}
	if err == nil && words {
		err = l.keepWording(id, edits, inbox.WordingOf(*before, m))
		if err == nil {
			err = l.later(`UPDATE messages SET edited_at = $1, edits = $2 WHERE id = $3`, at, edits+1, id)
		}
		if err == nil && !m.Content.Older && !inbox.Quiet(m.Kind) {
			err = l.showEdit(botID, c, id)
		}
	}
	if err == nil && (shown || !sameFiles) {
		l.event(inbox.MessageUpdated, botID, conversationID, id)
	}
	return conversationID, id, false, err
}

// olderThanAll says that a message is older than all that is stored: nobody could have kept it. One that is not was
// lost on its way, and what is left of it is news.
func (l *ledger) olderThanAll(date time.Time) (bool, error) {
	if date.IsZero() {
		return false, nil
	}
	first := l.now
	_, err := l.row(to(&first), `SELECT created_at FROM messages ORDER BY id LIMIT 1`)
	return micros(date) < first, err
}

// isOlder says whether stored content is that of a message that was older than all when it was edited.
func isOlder(content string) bool {
	var c inbox.Content
	return content != "" && json.Unmarshal([]byte(content), &c) == nil && c.Older
}

// wording is what an earlier update said that is shown now, read as this version reads it: nil where that update is not
// there any more.
func (l *ledger) wording(id, seen int64, reread func([]byte) *inbox.IncomingMessage) (*inbox.IncomingMessage, error) {
	if reread == nil {
		return nil, nil
	}
	raws, err := rawsOf(l.tx, id)
	for _, raw := range raws { // newest first
		m := reread(raw)
		if m == nil {
			continue
		}
		var at int64
		if m.EditedAt != nil {
			at = micros(*m.EditedAt)
		}
		if at == seen {
			clean := cleanMessage(*m)
			return &clean, err
		}
	}
	return nil, err
}

// stored is a message as it would be read again.
func stored(m inbox.Message) *inbox.IncomingMessage {
	return &inbox.IncomingMessage{
		Kind: m.Kind, Text: m.Text, Details: m.Details, Forwarded: m.Forwarded, Attachments: m.Attachments,
		EditedAt: m.EditedAt, Content: inbox.Content{Entities: m.Entities, Title: m.Title, Items: m.Items},
	}
}

func (l *ledger) replaceFiles(botID, id int64, files []inbox.Attachment) error {
	err := l.dropFiles(id)
	if err == nil {
		err = l.later(`DELETE FROM attachments WHERE message_id = $1`, id)
	}
	if err == nil {
		err = l.addAttachments(botID, id, files)
	}
	if err == nil {
		_, err = l.queueFiles(id)
	}
	return err
}

// keepWording keeps what a message said that was edited so often before. Of many the first stays, and the latest ones.
func (l *ledger) keepWording(id, edits int64, w inbox.Wording) error {
	var entities string
	if len(w.Entities) > 0 {
		entities = inbox.Content{Entities: w.Entities}.Encode()
	}
	err := l.later(`INSERT INTO wordings (message_id, n, kind, text, details, content, until)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, id, edits+1, w.Kind, w.Text, w.Details, entities, micros(w.Until))
	if err != nil || edits < inbox.MaxWordings {
		return err
	}
	return l.later(`DELETE FROM wordings WHERE message_id = $1 AND n > 1 AND n <= $2`, id, edits+2-inbox.MaxWordings)
}

// editedBefore keeps what a message said before that a version has edited which keeps nothing.
func (l *ledger) editedBefore(u inbox.UnreadMessage, now inbox.IncomingMessage) (some bool, err error) {
	if len(u.Before) == 0 {
		return false, nil
	}
	var edits, last int64
	err = l.one(to(&edits, &last), `SELECT edits,
		COALESCE((SELECT until FROM wordings WHERE message_id = $1 ORDER BY n DESC LIMIT 1), 0)
		FROM messages WHERE id = $1`, u.ID)
	if err != nil {
		return false, err
	}
	for i := range u.Before {
		was, next := cleanMessage(u.Before[i]), now
		if i+1 < len(u.Before) {
			next = cleanMessage(u.Before[i+1])
		}
		if next.EditedAt == nil || micros(*next.EditedAt) <= last || inbox.SameWords(was, next) {
			continue
		}
		if err := l.keepWording(u.ID, edits, inbox.WordingOf(was, next)); err != nil {
			return false, err
		}
		edits, some = edits+1, true
	}
	if some {
		err = l.later(`UPDATE messages SET edits = $1 WHERE id = $2`, edits, u.ID)
	}
	return some, err
}

// answeredWithin is how many messages after an edited one are looked at for an answer.
const answeredWithin = 1000

// showEdit brings a conversation in which words were changed back before everybody, unless it waits for an answer
// anyhow: one that is closed, or in which the words were answered, is open and the first of the list.
func (l *ledger) showEdit(botID int64, c *chat, id int64) error {
	var due bool
	err := l.one(to(&due), `SELECT c.status <> 'open' OR EXISTS (SELECT 1 FROM (
			SELECT m.direction, m.author_kind, m.deleted_at FROM messages m
			WHERE m.conversation_id = c.id AND m.id > $2 ORDER BY m.id DESC LIMIT $3) since
		WHERE direction = 'out' AND author_kind <> 'bot' AND deleted_at = 0)
		FROM conversations c WHERE c.id = $1`, c.id, id, answeredWithin)
	if err != nil || !due {
		return err
	}
	c.status = inbox.Open
	l.event(inbox.ConversationUpdated, botID, c.id, 0)
	return l.later(`UPDATE conversations SET status = 'open', moved = $1, moved_by = $2, updated_at = $3 WHERE id = $4`,
		l.nextMessage(), id, l.now, c.id)
}

// Edits lists what a message said before; see inbox.OperatorStore.
func (s *Store) Edits(
	ctx context.Context, messageID int64, limit int, after int64,
) (items []inbox.Wording, next int64, err error) {
	limit = pageSize(limit)
	err = s.read(ctx, "list what a message said before", func(t tx) error {
		found, err := all(t, scanPlace, `SELECT n, n, 200 + OCTET_LENGTH(text) + OCTET_LENGTH(details)
				+ 3 * OCTET_LENGTH(content)
			FROM wordings WHERE message_id = $1 AND n > $2 ORDER BY n LIMIT $3`, messageID, after, limit+1)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			var id int64
			return t.one(to(&id), `SELECT id FROM messages WHERE id = $1`, messageID)
		}
		found, next = cut(found, limit)
		items, err = all(t, func(scan func(...any) error) (w inbox.Wording, err error) {
			var content string
			var until int64
			err = scan(&w.N, &w.Kind, &w.Text, &w.Details, &content, &until)
			w.Until = fromMicros(until)
			var m inbox.Message
			m.SetContent(content)
			w.Entities = m.Entities
			w.Say()
			return w, err
		}, `SELECT n, kind, text, details, content, until FROM wordings
			WHERE message_id = $1 AND n >= $2 AND n <= $3 ORDER BY n`, messageID, found[0].at, found[len(found)-1].at)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return items, next, nil
}
