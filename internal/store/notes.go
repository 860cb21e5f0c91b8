package store

import (
	"context"
	"fmt"
	"slices"

	"tandem/internal/inbox"
)

const noteColumns = `n.id, n.conversation_id, n.after_message, n.text, n.author_kind, n.author_id, n.author_name,
	n.mentions, n.created_at`

func scanNote(scan func(...any) error) (n inbox.Note, err error) {
	var mentions string
	var created int64
	err = scan(&n.ID, &n.ConversationID, &n.AfterMessage, &n.Text, &n.Author.Kind, &n.Author.ID, &n.Author.Name,
		&mentions, &created)
	n.Mentions, n.CreatedAt = inbox.DecodeColleagues(mentions), fromMicros(created)
	return n, err
}

// AddNote stores a note; see inbox.OperatorTeam.
func (s *Store) AddNote(ctx context.Context, conversationID int64, n inbox.Note) (inbox.Note, error) {
	n.Text = inbox.CleanText(n.Text)
	if inbox.Blank(n.Text) {
		return inbox.Note{}, fmt.Errorf("add a note: %w", conflict("it is empty"))
	}
	err := s.change(ctx, "add a note", func(l *ledger) error {
		var bot int64
		if err := l.one(to(&bot), `SELECT bot_id FROM conversations WHERE id = $1`, conversationID); err != nil {
			return err
		}
		team, err := operators(l.tx, `ORDER BY id`)
		if err != nil {
			return err
		}
		n.ConversationID, n.AfterMessage = conversationID, l.lastMessage
		n.CreatedAt, n.Mentions = fromMicros(l.now), inbox.Mentioned(n.Text, team)
		n.ID, err = l.insert(`INSERT INTO notes
			(conversation_id, after_message, text, author_kind, author_id, author_name, mentions, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			conversationID, l.lastMessage, n.Text, string(n.Author.Kind), n.Author.ID, n.Author.Name,
			inbox.EncodeColleagues(n.Mentions), l.now)
		if err != nil {
			return err
		}
		for _, op := range n.Mentions {
			err := l.later(`INSERT INTO note_mentions (operator_id, note_id) VALUES ($1, $2)`, op.ID, n.ID)
			if err != nil {
				return err
			}
		}
		l.noteEvent(inbox.NoteCreated, bot, conversationID, n.ID)
		return nil
	})
	if err != nil {
		return inbox.Note{}, err
	}
	return n, nil
}

// Notes lists newest first; see inbox.OperatorTeam.
func (s *Store) Notes(
	ctx context.Context, conversationID int64, limit int, from int64,
) (items []inbox.Note, next int64, err error) {
	limit = pageSize(limit)
	err = s.read(ctx, "list notes", func(t tx) (err error) {
		found, err := all(t, scanPlace, `SELECT n.id, n.id, 300 + OCTET_LENGTH(n.text) FROM notes n
			WHERE n.conversation_id = $1 AND n.id < $2 ORDER BY n.id DESC LIMIT $3`, conversationID, before(from), limit+1)
		if err != nil {
			return err
		}
		items = []inbox.Note{}
		if len(found) == 0 {
			var id int64
			return t.one(to(&id), `SELECT id FROM conversations WHERE id = $1`, conversationID)
		}
		found, next = cut(found, limit)
		items, err = all(t, scanNote, `SELECT `+noteColumns+` FROM notes n
			WHERE n.conversation_id = $1 AND n.id < $2 AND n.id >= $3 ORDER BY n.id DESC`,
			conversationID, before(from), found[len(found)-1].id)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return items, next, nil
}

// Beside is what stands between messages; see inbox.OperatorTeam.
func (s *Store) Beside(
	ctx context.Context, conversationID, from int64, limit int,
) (notes []inbox.Note, did []inbox.Activity, err error) {
	err = s.read(ctx, "read what was said and done beside a conversation", func(t tx) (err error) {
		notes, err = all(t, scanNote, `SELECT `+noteColumns+` FROM notes n
			WHERE n.conversation_id = $1 AND n.after_message >= $2 ORDER BY n.id DESC LIMIT $3`, conversationID, from, limit)
		if err != nil {
			return err
		}
		did, err = all(t, func(scan func(...any) error) (a inbox.Activity, err error) {
			var created int64
			err = scan(&a.ID, &a.AfterMessage, &a.Kind, &a.Detail, &a.Author.Kind, &a.Author.ID, &a.Author.Name, &created)
			a.CreatedAt = fromMicros(created)
			return a, err
		}, `SELECT a.id, a.after_message, a.kind, a.detail, a.author_kind, a.author_id, a.author_name, a.created_at
			FROM activities a WHERE a.conversation_id = $1 AND a.after_message >= $2 ORDER BY a.id DESC LIMIT $3`,
			conversationID, from, limit)
		return err
	})
	slices.Reverse(notes)
	slices.Reverse(did)
	return notes, did, err
}
