package store

import (
	"context"
	"fmt"
	"math"
	"strings"

	"tandem/internal/inbox"
)

const (
	maxPage  = 200
	maxQuery = 200 // characters of a search that count
)

const conversationColumns = `c.id, c.bot_id, c.chat_id, c.customer_id, c.customer_name, c.customer_username, c.customer_language,
	c.status, c.blocked, c.created_at, c.updated_at, c.last_message_id`

// lastMessageColumns are messageColumns of a message that may not be there.
const lastMessageColumns = `COALESCE(m.id, 0), COALESCE(m.bot_id, 0), COALESCE(m.conversation_id, 0), COALESCE(m.direction, ''), COALESCE(m.kind, ''),
	COALESCE(m.text, ''), COALESCE(m.author_kind, ''), COALESCE(m.author_id, ''), COALESCE(m.author_name, ''), COALESCE(m.created_at, 0),
	m.telegram_date, m.edited_at, m.reply_to, COALESCE(m.thread_id, 0), COALESCE(m.album_id, ''), COALESCE(m.delivery, ''), COALESCE(m.error, ''),
	COALESCE(m.details, ''), COALESCE(m.forward_kind, ''), COALESCE(m.forward_name, '')`

// Conversations lists newest first those in which anything was written; see inbox.OperatorStore.
func (s *Store) Conversations(ctx context.Context, f inbox.ConversationFilter) (items []inbox.Conversation, next int64, err error) {
	limit := pageSize(f.Limit)
	where := `WHERE c.last_message_id > 0 AND c.last_message_id < $1`
	args := []any{before(f.Before)}
	if f.Status != "" {
		args = append(args, string(f.Status))
		where += fmt.Sprintf(` AND c.status = $%d`, len(args))
	}
	if f.Query != "" {
		args = append(args, pattern(f.Query))
		n := len(args)
		where += fmt.Sprintf(` AND (c.search LIKE $%d ESCAPE '\' OR EXISTS
			(SELECT 1 FROM messages s WHERE s.conversation_id = c.id AND s.search LIKE $%d ESCAPE '\'))`, n, n)
	}
	args = append(args, limit+1)
	where += fmt.Sprintf(` ORDER BY c.last_message_id DESC LIMIT $%d`, len(args))

	err = s.read(ctx, "list conversations", func(t tx) (err error) {
		items, err = conversations(t, where, args...)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	items, next = page(items, limit, func(c inbox.Conversation) int64 { return c.LastMessageID })
	return items, next, nil
}

// Conversation is the one with that id.
func (s *Store) Conversation(ctx context.Context, id int64) (inbox.Conversation, error) {
	var c inbox.Conversation
	err := s.read(ctx, "read a conversation", func(t tx) (err error) {
		c, err = conversation(t, id)
		return err
	})
	return c, err
}

func conversation(t tx, id int64) (inbox.Conversation, error) {
	list, err := conversations(t, `WHERE c.id = $1`, id)
	if err != nil {
		return inbox.Conversation{}, err
	}
	if len(list) == 0 {
		return inbox.Conversation{}, inbox.ErrNotFound
	}
	return list[0], nil
}

// conversations reads with their last messages.
func conversations(t tx, where string, args ...any) ([]inbox.Conversation, error) {
	var last []inbox.Message
	var owner []int // of each message, an index into the list
	n := 0
	list, err := all(t, func(scan func(...any) error) (c inbox.Conversation, err error) {
		var created, updated int64
		m, err := scanMessage(func(dest ...any) error {
			return scan(append([]any{&c.ID, &c.BotID, &c.ChatID, &c.Customer.ID, &c.Customer.Name, &c.Customer.Username, &c.Customer.Language,
				&c.Status, &c.Blocked, &created, &updated, &c.LastMessageID}, dest...)...)
		})
		c.CreatedAt, c.UpdatedAt = fromMicros(created), fromMicros(updated)
		if m.ID != 0 {
			last, owner = append(last, m), append(owner, n)
		}
		n++
		return c, err
	}, `SELECT `+conversationColumns+`, `+lastMessageColumns+` FROM conversations c LEFT JOIN messages m ON m.id = c.last_message_id `+where, args...)
	if err != nil {
		return nil, err
	}
	err = addAttachmentsOf(t, last, `SELECT c.last_message_id FROM conversations c `+where, args...)
	for i := range last {
		list[owner[i]].LastMessage = &last[i]
	}
	return list, err
}

// SetConversationStatus opens or closes a conversation; one that is so already does not change.
func (s *Store) SetConversationStatus(ctx context.Context, id int64, status inbox.ConversationStatus) (inbox.Conversation, error) {
	var c inbox.Conversation
	if status != inbox.Open && status != inbox.Closed {
		return c, fmt.Errorf("set the status of a conversation: %w", conflict("it is open or closed"))
	}
	err := s.change(ctx, "set the status of a conversation", func(l *ledger) (err error) {
		if c, err = conversation(l.tx, id); err != nil || c.Status == status {
			return err
		}
		if _, err := l.exec(`UPDATE conversations SET status = $1, updated_at = $2 WHERE id = $3`, string(status), l.now, id); err != nil {
			return err
		}
		l.event(inbox.ConversationUpdated, c.BotID, id, 0)
		c, err = conversation(l.tx, id)
		return err
	})
	if err != nil {
		return inbox.Conversation{}, err
	}
	return c, nil
}

// fold makes text comparable whatever its case. It is stored beside the text and not left to the databases:
// SQLite folds ASCII alone, and PostgreSQL does what its locale says, which for C is the same.
// Upper case first, for letters with two lower cases, such as the Greek sigma.
func fold(s string) string { return strings.ToLower(strings.ToUpper(s)) }

// pattern finds q anywhere, taken literally.
func pattern(q string) string {
	q = inbox.CleanText(strings.TrimSpace(q))
	if r := []rune(q); len(r) > maxQuery {
		q = string(r[:maxQuery])
	}
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(fold(q)) + "%"
}

func pageSize(limit int) int { return min(max(limit, 1), maxPage) }

func before(id int64) int64 {
	if id <= 0 {
		return math.MaxInt64
	}
	return id
}

// page cuts the one item too many off that was read to see whether there are more.
func page[T any](items []T, limit int, id func(T) int64) ([]T, int64) {
	if len(items) <= limit {
		return items, 0
	}
	items = items[:limit]
	return items, id(items[limit-1])
}
