package store

import (
	"context"

	"tandem/internal/inbox"
)

const (
	// rawsOfEach is how many of the newest updates of a message are looked at. One of them is the one that it shows.
	rawsOfEach = 5
	// rawBytes ends a step early: so much of raw updates is in memory at a time.
	rawBytes = 4 << 20
)

// UnreadMessages gives messages whose content is to be read from their raw updates; see inbox.BotStore.
func (s *Store) UnreadMessages(ctx context.Context, t inbox.Tenure, limit int) ([]inbox.UnreadMessage, error) {
	var list []inbox.UnreadMessage
	err := s.read(ctx, "look for messages to be read anew", func(tx tx) (err error) {
		// The condition of the partial index is repeated word for word, as SQLite does not infer it.
		list, err = all(tx, func(scan func(...any) error) (m inbox.UnreadMessage, err error) {
			return m, scan(&m.ID, &m.EditSeen)
		}, `SELECT id, edit_seen FROM messages
			WHERE bot_id = $1 AND direction = 'in' AND content_of <> edit_seen ORDER BY id DESC LIMIT $2`, t.BotID, limit)
		if err != nil {
			return err
		}
		bytes := 0
		for i := range list {
			list[i].Raws, err = rawsOf(tx, list[i].ID)
			if err != nil {
				return err
			}
			for _, raw := range list[i].Raws {
				bytes += len(raw)
			}
			if bytes > rawBytes {
				list = list[:i+1]
				break
			}
		}
		return nil
	})
	return list, err
}

// rawsOf are the newest updates of a message, newest first.
func rawsOf(t tx, id int64) ([][]byte, error) {
	return all(t, func(scan func(...any) error) (raw []byte, err error) {
		return raw, scan(&raw)
	}, `SELECT raw FROM updates WHERE message_id = $1 AND message_id IS NOT NULL ORDER BY id DESC LIMIT $2`,
		id, rawsOfEach)
}

// ReadAnew stores what was read; see inbox.BotStore.
func (s *Store) ReadAnew(ctx context.Context, t inbox.Tenure, list []inbox.UnreadMessage) error {
	return s.change(ctx, "read messages anew", func(l *ledger) error {
		if err := l.fence(t); err != nil {
			return err
		}
		for _, u := range list {
			if err := l.readAnew(t.BotID, u); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *ledger) readAnew(botID int64, u inbox.UnreadMessage) error {
	if u.Message == nil { // it keeps what it has
		_, err := l.exec(`UPDATE messages SET content_of = edit_seen WHERE id = $1 AND edit_seen = $2`, u.ID, u.EditSeen)
		return err
	}
	was, err := message(l.tx, u.ID)
	if err != nil {
		return err
	}
	m := cleanMessage(*u.Message)
	if was.ReplyTo != nil {
		if err := l.wordReply(m.Content.Reply, *was.ReplyTo); err != nil {
			return err
		}
	}
	var wasContent string
	if err := l.one(to(&wasContent), `SELECT content FROM messages WHERE id = $1`, u.ID); err != nil {
		return err
	}
	m.Content.Older = isOlder(wasContent)
	content, forward := m.Content.Encode(), forwardOf(m)
	n, err := l.exec(`UPDATE messages SET kind = $1, text = $2, search = $3, details = $4, forward_kind = $5,
		forward_name = $6, content = $7, content_of = edit_seen WHERE id = $8 AND edit_seen = $9`,
		m.Kind, m.Text, fold(m.SearchText()), m.Details, forward.Kind, forward.Name, content, u.ID, u.EditSeen)
	if err != nil || n == 0 { // it was edited meanwhile
		return err
	}
	files := len(was.Attachments) == 0 && len(m.Attachments) > 0
	if files {
		if err := l.addAttachments(botID, u.ID, m.Attachments); err != nil {
			return err
		}
	}
	edited, err := l.editedBefore(u, m)
	if err != nil {
		return err
	}
	if edited || files || content != "" || m.Kind != was.Kind || m.Text != was.Text || m.Details != was.Details ||
		forward != forwardOf(inbox.IncomingMessage{Forwarded: was.Forwarded}) {
		l.event(inbox.MessageUpdated, botID, was.ConversationID, u.ID)
	}
	return nil
}

// Unread counts the messages that are left to be read anew.
func (s *Store) Unread(ctx context.Context) (left int64, err error) {
	err = s.read(ctx, "count messages to be read anew", func(t tx) error {
		return t.one(to(&left), `SELECT COUNT(*) FROM messages WHERE direction = 'in' AND content_of <> edit_seen`)
	})
	return left, err
}
