package store

import (
	"bytes"
	"strings"

	"tandem/internal/inbox"
)

// known is what a batch of updates has to do with, and is asked for all at once. The ledger keeps it true.
type known struct {
	raw      map[int64][]byte // of updates, by Telegram's id
	chats    map[int64]*chat  // by Telegram's id
	messages map[telegramMessage]int64
}

// telegramMessage is how Telegram names a message.
type telegramMessage struct{ chat, message int64 }

// chat is what an update has to know of its conversation.
type chat struct {
	id       int64
	customer inbox.Customer
	former   []string
	status   inbox.ConversationStatus
	blocked  bool
	isNew    bool // made for this batch, and nothing has been said of it yet
}

const chatColumns = `id, chat_id, customer_id, customer_name, customer_username, customer_language, former_names,
	status, blocked`

func scanChat(scan func(...any) error) (c *chat, chatID int64, err error) {
	c = &chat{}
	var names string
	err = scan(&c.id, &chatID, &c.customer.ID, &c.customer.Name, &c.customer.Username, &c.customer.Language, &names,
		&c.status, &c.blocked)
	c.former = inbox.DecodeNames(names)
	return c, chatID, err
}

// askKnown asks for it.
func (l *ledger) askKnown(botID int64, updates []inbox.Update) error {
	k := &known{map[int64][]byte{}, map[int64]*chat{}, map[telegramMessage]int64{}}
	l.known = k
	var ids, chats, messages values
	for _, u := range updates {
		ids.add(u.ID)
		if chatID, _, ok := chatIn(u); ok {
			chats.add(chatID)
		}
		if m, ok := messageIn(u); ok {
			messages.addAs(m, m)
		}
	}
	err := among(l.tx, `SELECT update_id, raw FROM updates WHERE bot_id = $1 AND NOT superseded AND update_id IN `, ids,
		func(scan func(...any) error) error {
			var id int64
			var raw []byte
			err := scan(&id, &raw)
			k.raw[id] = raw
			return err
		}, botID)
	if err != nil {
		return err
	}
	err = among(l.tx, `SELECT `+chatColumns+` FROM conversations WHERE bot_id = $1 AND chat_id IN `, chats,
		func(scan func(...any) error) error {
			c, chatID, err := scanChat(scan)
			k.chats[chatID] = c
			return err
		}, botID)
	if err != nil {
		return err
	}
	for _, some := range messages.portions() {
		var rows strings.Builder
		args := []any{botID}
		for i, m := range some {
			if i == 0 { // which says the types of all
				rows.WriteString(`(CAST($2 AS BIGINT), CAST($3 AS BIGINT))`)
			} else {
				rows.WriteString(`, (` + places(len(args), 2) + `)`)
			}
			args = append(args, m.(telegramMessage).chat, m.(telegramMessage).message)
		}
		// CROSS JOIN has SQLite begin with what is looked for.
		err := l.c.Later(l.ctx, scanEach(func(scan func(...any) error) error {
			var id int64
			var m telegramMessage
			err := scan(&m.chat, &m.message, &id)
			k.messages[m] = id
			return err
		}), `WITH wanted (chat, message) AS (VALUES `+rows.String()+`)
			SELECT w.chat, w.message, m.id FROM wanted w CROSS JOIN conversations c CROSS JOIN messages m
			WHERE c.bot_id = $1 AND c.chat_id = w.chat
				AND m.conversation_id = c.id AND m.telegram_message_id = w.message`, args...)
		if err != nil {
			return err
		}
	}
	return nil
}

// chatIn is the chat that an update has to do with, if it has one, and what it says of the customer.
func chatIn(u inbox.Update) (chatID int64, customer inbox.Customer, ok bool) {
	switch {
	case u.Message != nil:
		return u.Message.ChatID, u.Message.Customer, true
	case u.Edit != nil:
		return u.Edit.ChatID, u.Edit.Customer, true
	case u.Reacted != nil:
		return u.Reacted.ChatID, u.Reacted.Customer, true
	case u.Blocked != nil:
		return u.Blocked.ChatID, u.Blocked.Customer, true
	}
	return 0, customer, false
}

// messageIn is the customer's message that an update brings or changes, if Telegram has numbered it.
func messageIn(u inbox.Update) (m telegramMessage, ok bool) {
	switch {
	case u.Message != nil:
		m = telegramMessage{u.Message.ChatID, u.Message.MessageID}
	case u.Edit != nil:
		m = telegramMessage{u.Edit.ChatID, u.Edit.MessageID}
	}
	return m, m.message != 0
}

// addChats makes the conversations that are missing, all at once. What is said of each is said when its first update
// comes to it.
func (l *ledger) addChats(botID int64, updates []inbox.Update) error {
	var rows [][]any
	var chats values
	for _, u := range updates {
		chatID, customer, ok := chatIn(u)
		if raw, found := l.known.raw[u.ID]; found && bytes.Equal(raw, u.Raw) || !ok || l.known.chats[chatID] != nil {
			continue
		}
		c := newChat(customer)
		c.isNew = true
		l.known.chats[chatID] = c
		rows = append(rows, l.chatRow(botID, chatID, c))
		chats.add(chatID)
	}
	if len(rows) == 0 {
		return nil
	}
	if err := l.addRows(insertChat, rows); err != nil {
		return err
	}
	err := among(l.tx, `SELECT chat_id, id FROM conversations WHERE bot_id = $1 AND chat_id IN `, chats,
		func(scan func(...any) error) error {
			var chatID, id int64
			err := scan(&chatID, &id)
			l.known.chats[chatID].id = id
			return err
		}, botID)
	if err != nil {
		return err
	}
	return l.flush()
}

func newChat(customer inbox.Customer) *chat {
	customer.Nameless = false
	return &chat{customer: cleanCustomer(customer), status: inbox.Open}
}

func cleanCustomer(c inbox.Customer) inbox.Customer {
	c.Name, c.Username, c.Language = inbox.CleanText(c.Name), inbox.CleanText(c.Username), inbox.CleanText(c.Language)
	return c
}

const insertChat = `INSERT INTO conversations (bot_id, chat_id, customer_id, customer_name, customer_username,
	customer_language, search, status, blocked, last_message_id, created_at, updated_at)`

func (l *ledger) chatRow(botID, chatID int64, c *chat) []any {
	is := c.customer
	return []any{botID, chatID, is.ID, is.Name, is.Username, is.Language, fold(is.SearchText(nil)), string(c.status),
		c.blocked, 0, l.now, l.now}
}

// chatOf is what is known of a chat, nil if it has no conversation yet.
func (l *ledger) chatOf(botID, chatID int64) (c *chat, err error) {
	if l.known != nil {
		return l.known.chats[chatID], nil
	}
	list, err := all(l.tx, func(scan func(...any) error) (*chat, error) {
		c, _, err := scanChat(scan)
		return c, err
	}, `SELECT `+chatColumns+` FROM conversations WHERE bot_id = $1 AND chat_id = $2`, botID, chatID)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// messageOf is the id of the message that Telegram knows by this number, 0 if it is not stored.
func (l *ledger) messageOf(c *chat, m telegramMessage) (id int64, err error) {
	if l.known != nil {
		return l.known.messages[m], nil
	}
	_, err = l.row(to(&id), `SELECT id FROM messages WHERE conversation_id = $1 AND telegram_message_id = $2`,
		c.id, m.message)
	return id, err
}

// rawOf is the update that is stored under an id.
func (l *ledger) rawOf(botID, updateID int64) (raw []byte, found bool, err error) {
	if l.known != nil {
		raw, found = l.known.raw[updateID]
		return raw, found, nil
	}
	found, err = l.row(to(&raw), `SELECT raw FROM updates WHERE bot_id = $1 AND update_id = $2 AND NOT superseded`,
		botID, updateID)
	return raw, found, err
}
