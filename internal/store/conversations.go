package store

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"tandem/internal/inbox"
	"tandem/internal/store/driver"
)

const (
	maxPage  = 200
	maxQuery = 200 // characters of a search that count
	// pageBytes ends a page early: so much is in memory for each reader that is slow to take it.
	pageBytes = 512 << 10
	// brief is how many characters of a last message are read where only its beginning is wanted.
	brief = 1000
	// readTogether is how many conversations that a search found are read in one statement.
	readTogether = 25
)

const conversationColumns = `c.id, c.bot_id, c.chat_id,
	c.customer_id, c.customer_name, c.customer_username, c.customer_language,
	c.status, c.blocked, c.unreachable, c.created_at, c.updated_at, c.last_message_id, c.former_names,
	CASE WHEN c.moved > c.last_message_id THEN c.moved_by ELSE 0 END, ` + teamColumns

// listPlace is where a conversation stands in the list, newest first. Both numbers are from the counter of messages, so
// that it is right also where a program has written that knows last_message_id alone. It is that of an index, word for
// word.
const listPlace = `(CASE WHEN c.moved > c.last_message_id THEN c.moved ELSE c.last_message_id END)`

// lastMessageColumns are messageColumns of a message that may not be there.
const lastMessageColumns = `COALESCE(m.id, 0), COALESCE(m.bot_id, 0), COALESCE(m.conversation_id, 0),
	COALESCE(m.direction, ''), COALESCE(m.kind, ''), COALESCE(m.text, ''),
	COALESCE(m.author_kind, ''), COALESCE(m.author_id, ''), COALESCE(m.author_name, ''), COALESCE(m.created_at, 0),
	m.telegram_date, m.edited_at, m.reply_to, COALESCE(m.thread_id, 0), COALESCE(m.album_id, ''),
	COALESCE(m.delivery, ''), COALESCE(m.error, ''),
	COALESCE(m.details, ''), COALESCE(m.forward_kind, ''), COALESCE(m.forward_name, ''), COALESCE(m.deleted_at, 0),
	COALESCE(m.edits, 0), ` + changeColumn + `, COALESCE(` + contentColumn + `, '')`

// briefColumns are lastMessageColumns with the beginning of the text, and with no content that is long.
var briefColumns = strings.NewReplacer(
	`COALESCE(m.text, '')`, fmt.Sprintf(`COALESCE(SUBSTR(m.text, 1, %d), '')`, brief),
	contentColumn, fmt.Sprintf(`CASE WHEN m.content_of = m.edit_seen AND OCTET_LENGTH(m.content) <= %d
		THEN m.content ELSE '' END`, 4*brief),
).Replace(lastMessageColumns)

// conversationSize is about how many bytes a conversation has in memory, and its last message if that is wanted whole.
const (
	conversationSize = `(1500 + OCTET_LENGTH(c.customer_name) + OCTET_LENGTH(c.customer_username) +
		OCTET_LENGTH(c.former_names) + OCTET_LENGTH(c.tags))`
	withLastSize = `(` + conversationSize + ` + COALESCE(` + messageSize + `, 0))`
)

// Conversations lists those in which anything was written, in the order of the view; see inbox.OperatorStore.
func (s *Store) Conversations(
	ctx context.Context, f inbox.ConversationFilter,
) (items []inbox.Conversation, next int64, err error) {
	limit := pageSize(f.Limit)
	order, start := orderOf(f)
	where := `WHERE ` + order.beyond("$1")
	args := []any{start}
	where, args = inView(f, where, args)
	if f.Status != "" {
		args = append(args, string(f.Status))
		where += fmt.Sprintf(` AND c.status = $%d`, len(args))
	}
	columns, size := lastMessageColumns, withLastSize
	if f.Brief {
		columns, size = briefColumns, conversationSize
	}
	// The first step finds where each is and how large it is, which reads no last message.
	find := `SELECT c.id, ` + order.column + ` AS place, ` + size + ` AS size
		FROM conversations c LEFT JOIN messages m ON m.id = c.last_message_id ` + where
	if f.Query != "" {
		err = s.readBy(ctx, driver.Search, "search", func(t tx) error {
			found, err := conversationsWith(t, s.db, termsOf(f.Query), find, args, limit)
			if err != nil {
				return err
			}
			found, next = cut(found, limit)
			items = make([]inbox.Conversation, 0, len(found))
			for some := range slices.Chunk(found, readTogether) {
				list, err := conversationsOf(t, columns, some)
				if err != nil {
					return err
				}
				items = append(items, list...)
			}
			if f.Brief {
				return addEdited(t, items)
			}
			return nil
		})
	} else {
		err = s.read(ctx, "list conversations", func(t tx) (err error) {
			found, err := all(t, scanPlace, find+fmt.Sprintf(` ORDER BY %s LIMIT $%d`, order.by(), len(args)+1),
				append(slices.Clone(args), limit+1)...)
			if err != nil {
				return err
			}
			found, next = cut(found, limit)
			items = make([]inbox.Conversation, 0, len(found))
			if len(found) == 0 {
				return nil
			}
			items, err = conversations(t, columns,
				where+` AND `+order.upTo(fmt.Sprintf("$%d", len(args)+1))+` ORDER BY `+order.by(),
				append(slices.Clone(args), found[len(found)-1].at)...)
			if err == nil && f.Brief {
				err = addEdited(t, items)
			}
			return err
		})
	}
	if err != nil {
		return nil, 0, err
	}
	return items, next, nil
}

// conversationsOf reads up to readTogether conversations, in the order in which they were found.
func conversationsOf(t tx, columns string, found []place) ([]inbox.Conversation, error) {
	// It is always as many ids, so that the statement stays prepared.
	ids, marks := make([]any, readTogether), make([]string, readTogether)
	order := map[int64]int{}
	for i := range readTogether {
		ids[i], marks[i] = int64(0), fmt.Sprintf("$%d", i+1)
		if i < len(found) {
			ids[i], order[found[i].id] = found[i].id, i
		}
	}
	list, err := conversations(t, columns, `WHERE c.id IN (`+strings.Join(marks, ", ")+`)`, ids...)
	slices.SortFunc(list, func(a, b inbox.Conversation) int { return order[a.ID] - order[b.ID] })
	return list, err
}

// addEdited reads the beginnings of the messages whose edits put the conversations where they stand.
func addEdited(t tx, list []inbox.Conversation) error {
	for i := range list {
		m := list[i].Edited
		if m == nil {
			continue
		}
		var edited *int64
		found, err := t.row(to(&m.Kind, &m.Text, &m.Details, &edited),
			fmt.Sprintf(`SELECT kind, SUBSTR(text, 1, %[1]d), SUBSTR(details, 1, %[1]d), edited_at FROM messages
			WHERE id = $1`, brief), m.ID)
		if err != nil {
			return err
		}
		if !found {
			list[i].Edited = nil
			continue
		}
		m.EditedAt = fromMicrosPtr(edited)
		m.Say()
	}
	return nil
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
	list, err := conversations(t, lastMessageColumns, `WHERE c.id = $1`, id)
	if err != nil {
		return inbox.Conversation{}, err
	}
	if len(list) == 0 {
		return inbox.Conversation{}, inbox.ErrNotFound
	}
	return list[0], nil
}

// conversations reads with their last messages.
func conversations(t tx, columns, where string, args ...any) ([]inbox.Conversation, error) {
	var last []inbox.Message
	var owner []int // of each message, an index into the list
	n := 0
	list, err := all(t, func(scan func(...any) error) (c inbox.Conversation, err error) {
		var created, updated, edited int64
		var former string
		var team teamColumnValues
		m, err := scanMessage(func(dest ...any) error {
			columns := append([]any{&c.ID, &c.BotID, &c.ChatID,
				&c.Customer.ID, &c.Customer.Name, &c.Customer.Username, &c.Customer.Language,
				&c.Status, &c.Blocked, &c.Unreachable, &created, &updated, &c.LastMessageID, &former, &edited}, team.dest(&c)...)
			return scan(append(columns, dest...)...)
		})
		team.fill(&c, updated)
		if edited != 0 && columns == briefColumns {
			c.Edited = &inbox.Message{ID: edited}
		}
		c.FormerNames = inbox.DecodeNames(former)
		c.CreatedAt, c.UpdatedAt = fromMicros(created), fromMicros(updated)
		if !c.Blocked { // an older program takes back only that
			c.Unreachable = inbox.Reachable
		}
		if m.ID != 0 {
			last, owner = append(last, m), append(owner, n)
		}
		n++
		return c, err
	}, `SELECT `+conversationColumns+`, `+columns+`
		FROM conversations c LEFT JOIN messages m ON m.id = c.last_message_id `+where, args...)
	if err != nil {
		return nil, err
	}
	err = addAttachmentsOf(t, last, `SELECT c.last_message_id FROM conversations c `+where, args...)
	if err == nil {
		err = addAsides(t, last)
	}
	for i := range last {
		list[owner[i]].LastMessage = &last[i]
	}
	return list, err
}

// SetConversationStatus opens or closes a conversation; one that is so already does not change.
func (s *Store) SetConversationStatus(
	ctx context.Context, id int64, status inbox.ConversationStatus,
) (inbox.Conversation, error) {
	return s.ChangeConversation(ctx, id, inbox.ConversationChange{Status: &status})
}

// fold makes text comparable whatever its case. It is stored beside the text and not left to the databases: SQLite
// folds ASCII alone, and PostgreSQL does what its locale says, which for C is the same. Upper case comes first, for
// letters with two lower cases, such as the Greek sigma.
func fold(s string) string { return strings.ToLower(strings.ToUpper(s)) }

func pageSize(limit int) int { return min(max(limit, 1), maxPage) }

func before(id int64) int64 {
	if id <= 0 {
		return math.MaxInt64
	}
	return id
}

// place is where an item is in a list, and about how many bytes it has.
type place struct{ id, at, size int64 }

func scanPlace(scan func(...any) error) (p place, err error) {
	err = scan(&p.id, &p.at, &p.size)
	return p, err
}

// cut leaves what a page has: no more than limit, and no more bytes than pageBytes unless the first has more. next is
// where the list goes on, 0 at its end.
func cut(found []place, limit int) (page []place, next int64) {
	var bytes int64
	for i, p := range found {
		if bytes += p.size; i == limit || i > 0 && bytes > pageBytes {
			return found[:i], found[i-1].at
		}
	}
	return found, 0
}
