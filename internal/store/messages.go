package store

import (
	"context"
	"slices"
	"strings"
	"time"

	"tandem/internal/inbox"
)

const messageColumns = `m.id, m.bot_id, m.conversation_id, m.direction, m.kind, m.text,
	m.author_kind, m.author_id, m.author_name,
	m.created_at, m.telegram_date, m.edited_at, m.reply_to, m.thread_id, m.album_id, m.delivery, m.error,
	m.details, m.forward_kind, m.forward_name, m.deleted_at, m.edits, ` +
	changeColumn + `, ` + contentColumn

// changeColumn is the change of a message that Telegram has not taken yet: operation, state and error, and in the lines
// after them what it is to say.
const changeColumn = `(SELECT x.operation || ' ' || x.state || ' ' || x.error || '
' || x.text FROM changes x WHERE x.message_id = m.id)`

// changeOf reads a changeColumn.
func changeOf(column *string) *inbox.Change {
	if column == nil {
		return nil
	}
	said, text, _ := strings.Cut(*column, "\n")
	operation, said, _ := strings.Cut(said, " ")
	state, why, _ := strings.Cut(said, " ")
	return &inbox.Change{Operation: inbox.Operation(operation), State: inbox.DeliveryState(state), Error: why, Text: text}
}

// contentColumn is what was stored of an inbox.Content, "" where it belongs to another wording.
const contentColumn = `CASE WHEN m.content_of = m.edit_seen THEN m.content ELSE '' END`

func scanMessage(scan func(...any) error) (m inbox.Message, err error) {
	var created int64
	var date, edited *int64
	var forward inbox.Forward
	var content string
	var deleted int64
	var change *string
	err = scan(&m.ID, &m.BotID, &m.ConversationID, &m.Direction, &m.Kind, &m.Text,
		&m.Author.Kind, &m.Author.ID, &m.Author.Name,
		&created, &date, &edited, &m.ReplyTo, &m.ThreadID, &m.AlbumID, &m.Delivery, &m.Error,
		&m.Details, &forward.Kind, &forward.Name, &deleted, &m.Edits, &change, &content)
	m.CreatedAt, m.TelegramDate, m.EditedAt = fromMicros(created), fromMicrosPtr(date), fromMicrosPtr(edited)
	if deleted > 0 {
		m.DeletedAt = fromMicrosPtr(&deleted)
	}
	m.Change = changeOf(change)
	m.Attachments = []inbox.Attachment{}
	if forward.Kind != "" {
		m.Forwarded = &forward
	}
	m.SetContent(content)
	m.Say()
	return m, err
}

// Messages lists a conversation newest first; see inbox.OperatorStore.
func (s *Store) Messages(
	ctx context.Context, conversationID int64, limit int, from int64,
) (items []inbox.Message, next int64, err error) {
	limit = pageSize(limit)
	err = s.read(ctx, "list messages", func(t tx) (err error) {
		// The first step finds how large each is, which reads none of it.
		found, err := all(t, scanPlace, `SELECT m.id, m.id, `+messageSize+` FROM messages m
			WHERE m.conversation_id = $1 AND m.id < $2 ORDER BY m.id DESC LIMIT $3`, conversationID, before(from), limit+1)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			var id int64
			return t.one(to(&id), `SELECT id FROM conversations WHERE id = $1`, conversationID)
		}
		found, next = cut(found, limit)
		items, err = messages(t, `WHERE m.conversation_id = $1 AND m.id < $2 AND m.id >= $3 ORDER BY m.id DESC`,
			conversationID, before(from), found[len(found)-1].id)
		if err == nil {
			err = addReactions(t, items)
		}
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return items, next, nil
}

// messageSize is about how many bytes a message has in memory, learnt without reading it.
const messageSize = `(500 + OCTET_LENGTH(m.text) + OCTET_LENGTH(m.author_name) + OCTET_LENGTH(m.error) +
	OCTET_LENGTH(m.details) + OCTET_LENGTH(m.forward_name) + 3 * OCTET_LENGTH(m.content))`

// Message is the one with that id.
func (s *Store) Message(ctx context.Context, id int64) (inbox.Message, error) {
	var m inbox.Message
	err := s.read(ctx, "read a message", func(t tx) error {
		list, err := messages(t, `WHERE m.id = $1`, id)
		if err == nil && len(list) == 0 {
			err = inbox.ErrNotFound
		}
		if err == nil {
			err = addReactions(t, list)
		}
		if err == nil {
			m = list[0]
		}
		return err
	})
	return m, err
}

func message(t tx, id int64) (inbox.Message, error) {
	list, err := messages(t, `WHERE m.id = $1`, id)
	if err != nil {
		return inbox.Message{}, err
	}
	if len(list) == 0 {
		return inbox.Message{}, inbox.ErrNotFound
	}
	return list[0], nil
}

// messages reads with their attachments.
func messages(t tx, where string, args ...any) ([]inbox.Message, error) {
	list, err := all(t, scanMessage, `SELECT `+messageColumns+` FROM messages m `+where, args...)
	if err == nil {
		err = addAsides(t, list)
	}
	if err != nil {
		return nil, err
	}
	return list, addAttachmentsOf(t, list, `SELECT m.id FROM messages m `+where, args...)
}

// addAttachmentsOf reads the attachments of the listed messages, whose ids are what the query gives.
func addAttachmentsOf(t tx, list []inbox.Message, ids string, args ...any) error {
	if len(list) == 0 {
		return nil
	}
	at := make(map[int64]int, len(list))
	for i, m := range list {
		at[m.ID] = i
	}
	_, err := all(t, func(scan func(...any) error) (struct{}, error) {
		id, a, err := scanAttachment(scan)
		if i, ok := at[id]; ok && err == nil {
			list[i].Attachments = append(list[i].Attachments, a)
		}
		return struct{}{}, err
	}, `SELECT `+attachmentColumns+` FROM `+attachmentTables+`
		WHERE a.message_id IN (`+ids+`) ORDER BY a.message_id, a.id`, args...)
	return err
}

// addAsides reads what is told of the listed messages beside what their rows have. It is asked for together.
func addAsides(t tx, list []inbox.Message) error {
	var tells []func() error
	for _, ask := range []func(tx, []inbox.Message) (func() error, error){askWaits, askParts, askScheduled, askTopics} {
		tell, err := ask(t, list)
		if err != nil {
			return err
		}
		tells = append(tells, tell)
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, tell := range tells {
		if err := tell(); err != nil {
			return err
		}
	}
	return nil
}

// askParts asks for the parts of the listed answers that have several. tell gives them.
func askParts(t tx, list []inbox.Message) (tell func() error, err error) {
	parts := map[int64][]inbox.Part{}
	var long values
	for i := range list {
		if list[i].Direction == inbox.Out && len(list[i].Text) > inbox.MaxPart { // bytes, so it may be one part all the same
			long.add(list[i].ID)
		}
	}
	err = among(t, `SELECT message_id, part, state, error FROM deliveries
		WHERE operation = 'send' AND message_id IN `, long, func(scan func(...any) error) error {
		var message int64
		var p inbox.Part
		err := scan(&message, &p.Part, &p.Delivery, &p.Error)
		p.Part++
		if p.Delivery != inbox.Failed && p.Delivery != inbox.Unknown {
			p.Error = "" // why it is tried again, which Waits tells
		}
		parts[message] = append(parts[message], p)
		return err
	})
	return func() error {
		for i := range list {
			if p := parts[list[i].ID]; len(p) > 1 {
				slices.SortFunc(p, func(a, b inbox.Part) int { return a.Part - b.Part })
				list[i].Parts = p
			}
		}
		return nil
	}, err
}

// RetryAnswer queues failed and unknown parts again; see inbox.OperatorStore.
func (s *Store) RetryAnswer(ctx context.Context, messageID int64) (inbox.Message, error) {
	var m inbox.Message
	err := s.change(ctx, "retry an answer", func(l *ledger) (err error) {
		if m, err = message(l.tx, messageID); err != nil {
			return err
		}
		n, err := l.exec(`UPDATE deliveries
			SET state = 'queued', error = '', not_before = 0, paused_until = 0, held = 0, updated_at = $1
			WHERE message_id = $2 AND state IN ('failed', 'unknown')`, l.now, messageID)
		if err != nil {
			return err
		}
		if n == 0 {
			return conflict("only an answer that failed or whose fate is unknown can be sent again")
		}
		if err := l.giveTurn(m.ConversationID); err != nil {
			return err
		}
		if err := l.sumUp(m.BotID, m.ConversationID, messageID); err != nil {
			return err
		}
		m, err = message(l.tx, messageID)
		return err
	})
	if err != nil {
		return inbox.Message{}, err
	}
	return m, nil
}

// TakeBack keeps an answer from being sent; see inbox.OperatorStore.
func (s *Store) TakeBack(ctx context.Context, messageID int64) (inbox.Message, error) {
	var m inbox.Message
	err := s.change(ctx, "take an answer back", func(l *ledger) (err error) {
		if m, err = message(l.tx, messageID); err != nil || m.DeletedAt != nil {
			return err
		}
		_, in, err := l.partsOf(messageID)
		if err == nil {
			err = l.changeable(m, in)
		}
		if err == nil && in[inbox.Sent] > 0 {
			err = conflict("the customer has it, or a part of it, already")
		}
		if err == nil {
			err = l.takeBack(m)
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

// takeBack removes the deliveries of an answer of which nothing was sent, so that no program sends one.
func (l *ledger) takeBack(m inbox.Message) error {
	if err := l.later(`DELETE FROM deliveries WHERE message_id = $1`, m.ID); err != nil {
		return err
	}
	if err := l.unschedule(m.ID); err != nil {
		return err
	}
	err := l.later(`UPDATE messages SET deleted_at = $1, delivery = 'failed', error = 'it was taken back' WHERE id = $2`,
		l.now, m.ID)
	if err != nil {
		return err
	}
	if err := l.giveTurn(m.ConversationID); err != nil {
		return err
	}
	l.event(inbox.MessageUpdated, m.BotID, m.ConversationID, m.ID)
	if err := l.waitsAgain(m.ConversationID); err != nil {
		return err
	}
	return l.waitsChanged(`d.conversation_id = $1`, m.ConversationID)
}

// Queue counts what has not been sent.
func (s *Store) Queue(ctx context.Context) (inbox.QueueStats, error) {
	var q inbox.QueueStats
	err := s.read(ctx, "count deliveries", func(t tx) error {
		q = inbox.QueueStats{}
		_, err := all(t, func(scan func(...any) error) (struct{}, error) {
			var state inbox.DeliveryState
			var n, oldest int64
			err := scan(&state, &n, &oldest)
			switch state {
			case inbox.Queued:
				q.Queued, q.Oldest = n, fromMicrosPtr(&oldest)
			case inbox.Sending:
				q.Sending = n
			case inbox.Failed:
				q.Failed = n
			case inbox.Unknown:
				q.Unknown = n
			}
			return struct{}{}, err
		}, `SELECT state, COUNT(*), MIN(created_at) FROM deliveries WHERE state <> 'sent' GROUP BY state`)
		return err
	})
	return q, err
}

// Bots lists those that ever ran; see inbox.OperatorStore.
func (s *Store) Bots(ctx context.Context) ([]inbox.BotStatus, error) {
	var list []inbox.BotStatus
	err := s.read(ctx, "list bots", func(t tx) (err error) {
		list, err = all(t, func(scan func(...any) error) (b inbox.BotStatus, err error) {
			var since, heartbeat int64
			var retry, sends *int64
			err = scan(&b.ID, &b.Username, &b.Name, &b.State, &b.Reason, &b.Instance, &since, &heartbeat, &retry, &sends,
				&b.FilesPaused)
			b.Since, b.HeartbeatAt = fromMicros(since), fromMicros(heartbeat)
			b.RetryAt, b.SendsAt = fromMicrosPtr(retry), fromMicrosPtr(sends)
			return b, err
		}, `SELECT id, username, name, state, reason, instance, since, heartbeat_at, NULLIF(retry_at, 0), NULLIF(sends_at, 0),
				files_paused
			FROM bots ORDER BY heartbeat_at DESC, id`)
		return err
	})
	return list, err
}

// microsOrZero is 0 for no time.
func microsOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return micros(t)
}

func microsPtr(t *time.Time) *int64 {
	if t == nil || t.IsZero() {
		return nil
	}
	us := micros(*t)
	return &us
}
