package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Customer is a chat to add, or what to change of one. An empty field keeps what is there.
type Customer struct {
	BotID        int64  `json:"bot_id,omitempty"` // 0 is the first bot
	ChatID       int64  `json:"chat_id"`
	Type         string `json:"type,omitempty"` // private when ""
	Title        string `json:"title,omitempty"`
	FirstName    string `json:"first_name,omitempty"`
	LastName     string `json:"last_name,omitempty"`
	Username     string `json:"username,omitempty"`
	LanguageCode string `json:"language_code,omitempty"`
	NotStarted   *bool  `json:"not_started,omitempty"` // known, but never wrote to the bot
	Deactivated  *bool  `json:"deactivated,omitempty"` // has deleted the account
}

// Incoming is a message of a customer to a bot.
type Incoming struct {
	BotID        int64         `json:"bot_id,omitempty"` // 0 is the first bot
	ChatID       int64         `json:"chat_id"`          // an unknown one is added
	FromID       int64         `json:"from_id,omitempty"`
	Text         string        `json:"text,omitempty"` // the caption of a file
	ReplyTo      int64         `json:"reply_to,omitempty"`
	Quote        string        `json:"quote,omitempty"` // the part of reply_to that he chose
	ThreadID     int64         `json:"message_thread_id,omitempty"`
	Topic        string        `json:"topic,omitempty"` // the name of a topic that is opened for it
	MediaGroupID string        `json:"media_group_id,omitempty"`
	Date         time.Time     `json:"date,omitzero"` // now when it is zero
	File         *IncomingFile `json:"file,omitempty"`
	// Rich is a RichMessage of the Bot API, in place of the text.
	Rich json.RawMessage `json:"rich_message,omitempty"`
	// Files are an album: a message for each, of which the first has the caption.
	Files []IncomingFile `json:"files,omitempty"`
}

// Put adds a chat, or changes one, and sends no update.
func (s *Server) Put(c Customer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.botByID(c.BotID)
	if b == nil {
		return errNoBot
	}
	if c.ChatID == 0 {
		return errors.New("chat_id is missing")
	}
	ch := b.chat(c.ChatID)
	for _, f := range []struct{ to, from *string }{
		{&ch.Type, &c.Type}, {&ch.Title, &c.Title}, {&ch.FirstName, &c.FirstName}, {&ch.LastName, &c.LastName},
		{&ch.Username, &c.Username}, {&ch.LanguageCode, &c.LanguageCode},
	} {
		if *f.from != "" {
			*f.to = *f.from
		}
	}
	if c.NotStarted != nil {
		ch.NotStarted = *c.NotStarted
	}
	if c.Deactivated != nil {
		ch.Deactivated = *c.Deactivated
	}
	s.touch()
	return nil
}

// CustomerWrites sends a text from the customer of a private chat to the first bot and returns the message.
func (s *Server) CustomerWrites(chatID int64, text string) (Message, error) {
	m, _, err := s.Receive(Incoming{ChatID: chatID, Text: text})
	return m, err
}

// Receive sends a message to a bot. It returns the message and the id of its update, 0 when the bot does not
// get it: its kind is not allowed, or it is older than a day. Of an album it is the first message.
func (s *Server) Receive(in Incoming) (Message, int64, error) {
	if len(in.Files) > 0 {
		return s.receiveAlbum(in)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.botByID(in.BotID)
	switch {
	case b == nil:
		return Message{}, 0, errNoBot
	case in.ChatID == 0:
		return Message{}, 0, errors.New("chat_id is missing")
	}
	text := normalise(in.Text)
	if in.File != nil {
		if err := in.File.check(); err != nil {
			return Message{}, 0, err
		}
	}
	if in.Rich != nil {
		if err := checkRich(in.Rich); err != nil {
			return Message{}, 0, err
		}
		if in.File != nil || text != "" {
			return Message{}, 0, errors.New("a rich message has its words and files in itself")
		}
	} else if in.File == nil && blank(text) {
		return Message{}, 0, errors.New("a message without anything to see: Telegram's apps send none")
	}
	ch := b.chat(in.ChatID)
	if ch.Blocked && ch.Type == "private" {
		s.setBlocked(b, ch, false) // an app unblocks before it sends
	}
	ch.NotStarted = false
	from := ch.customer(in.FromID)
	to := ch.message(in.ReplyTo)
	quote, err := quoteOf(to, in.Quote)
	if err != nil {
		return Message{}, 0, err
	}
	if in.Topic != "" {
		made, err := s.openTopic(b, ch, in.Topic)
		if err != nil {
			return Message{}, 0, err
		}
		in.ThreadID = made.MessageID
	}
	if to == nil {
		to = ch.topic(in.ThreadID) // as Telegram has it
	}
	m := &Message{From: &from, Chat: ch.Chat, Date: in.Date.Unix(), MessageThreadID: in.ThreadID,
		IsTopicMessage: in.ThreadID != 0, MediaGroupID: in.MediaGroupID, ReplyToMessage: to.quoted(),
		Quote: quote, RichMessage: in.Rich}
	if in.Date.IsZero() {
		m.Date = s.now().Unix()
	}
	if in.File != nil {
		m.Caption = text
		s.attach(b, m, *in.File)
	} else if in.Rich == nil {
		m.Text, m.Entities = text, entitiesOf(text)
	}
	ch.add(m)
	body := update("message", m)
	id := s.enqueue(b, "message", body, time.Unix(m.Date, 0).Add(retention))
	s.touch()
	return *m, id, nil
}

// Edit changes the text of a customer's message.
func (s *Server) Edit(botID, chatID, messageID int64, text string) (Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.botByID(botID)
	if b == nil {
		return Message{}, errNoBot
	}
	m := b.chat(chatID).message(messageID)
	if m == nil || m.From == nil || m.From.ID == b.ID {
		return Message{}, fmt.Errorf("message %d is none that the customer of chat %d can edit", messageID, chatID)
	}
	switch {
	case m.ForumTopicCreated != nil:
		return Message{}, fmt.Errorf("message %d is none that the customer of chat %d can edit", messageID, chatID)
	case m.Text != "" || m.RichMessage != nil:
		m.Text, m.RichMessage = normalise(text), nil
		m.Entities = entitiesOf(m.Text)
	default:
		m.Caption = normalise(text)
	}
	m.EditDate = s.now().Unix()
	s.enqueue(b, "edited_message", update("edited_message", m), time.Unix(m.EditDate, 0).Add(retention))
	s.touch()
	return *m, nil
}

// Press sends a callback query: the customer pressed a button with that data below a message of the bot.
func (s *Server) Press(botID, chatID, messageID int64, data string) (queryID string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.botByID(botID)
	if b == nil {
		return "", errNoBot
	}
	ch := b.chat(chatID)
	m := ch.message(messageID)
	if m == nil {
		return "", fmt.Errorf("chat %d has no message %d", chatID, messageID)
	}
	queryID = strconv.FormatUint(s.rng.Uint64()>>1, 10)
	b.callbacks[queryID] = s.now()
	s.enqueue(b, "callback_query", update("callback_query", map[string]any{
		"id": queryID, "from": ch.customer(0), "message": m, "data": data,
		"chat_instance": strconv.FormatInt(chatID^b.ID, 10),
	}), s.now().Add(callbackLife))
	return queryID, nil
}

// Block lets the customer block the bot (or, in a group, remove it) and Unblock take it back; both send
// my_chat_member if that changes anything.
func (s *Server) Block(botID, chatID int64) error   { return s.block(botID, chatID, true) }
func (s *Server) Unblock(botID, chatID int64) error { return s.block(botID, chatID, false) }

func (s *Server) block(botID, chatID int64, blocked bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.botByID(botID)
	if b == nil {
		return errNoBot
	}
	s.setBlocked(b, b.chat(chatID), blocked)
	return nil
}

func (s *Server) setBlocked(b *bot, ch *chat, blocked bool) {
	if ch.Blocked == blocked {
		return
	}
	ch.Blocked = blocked
	member := func(kicked bool) map[string]any {
		if kicked {
			return map[string]any{"user": b.user(), "status": "kicked", "until_date": 0}
		}
		return map[string]any{"user": b.user(), "status": "member"}
	}
	s.enqueue(b, "my_chat_member", update("my_chat_member", map[string]any{
		"chat": ch.Chat, "from": ch.customer(0), "date": s.now().Unix(),
		"old_chat_member": member(!blocked), "new_chat_member": member(blocked),
	}), s.now().Add(retention))
	s.touch()
}

// Batch runs send and hands all that it queues to a waiting poll as one response.
func (s *Server) Batch(send func() error) error {
	s.mu.Lock()
	s.batching++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.batching--
		for _, b := range s.bots {
			s.wake(b)
		}
	}()
	return send()
}

// Messages are the newest messages of a chat, oldest first, as they stand now.
func (s *Server) Messages(botID, chatID int64) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Message{}
	if b := s.botByID(botID); b != nil {
		for _, ch := range b.Chats {
			for _, m := range ch.Messages {
				if ch.ID == chatID {
					out = append(out, *m)
				}
			}
		}
	}
	return out
}

func update(kind string, value any) []byte {
	body, err := json.Marshal(map[string]any{kind: value})
	if err != nil {
		panic(err) // our own types marshal
	}
	return body
}

// chat finds a chat or adds it: a positive id is a person, a negative one a group.
func (b *bot) chat(id int64) *chat {
	for _, ch := range b.Chats {
		if ch.ID == id {
			return ch
		}
	}
	number := strconv.FormatInt(max(id, -id), 10)
	ch := &chat{Chat: Chat{ID: id, Type: "private", FirstName: "Customer " + number}, NextMessage: 1}
	if id < 0 {
		ch.Chat = Chat{ID: id, Type: "group", Title: "Group " + number}
	}
	b.Chats = append(b.Chats, ch)
	return ch
}

// customer is who writes in the chat; in a group somebody must be named, or it is user 1.
func (c *chat) customer(id int64) User {
	if c.Type == "private" {
		return User{ID: c.ID, FirstName: c.FirstName, LastName: c.LastName, Username: c.Username,
			LanguageCode: c.LanguageCode}
	}
	id = max(id, 1)
	return User{ID: id, FirstName: "Member " + strconv.FormatInt(id, 10)}
}

// add gives m the chat's next id and keeps it.
func (c *chat) add(m *Message) {
	m.MessageID = c.NextMessage
	c.NextMessage++
	if len(c.Messages) >= maxMessages {
		c.Messages = slices.Delete(c.Messages, 0, maxMessages/10)
	}
	c.Messages = append(c.Messages, m)
}

func (c *chat) message(id int64) *Message {
	i, ok := slices.BinarySearchFunc(c.Messages, id, func(m *Message, id int64) int { return int(m.MessageID - id) })
	if !ok {
		return nil
	}
	return c.Messages[i]
}

// quoted is the message as it stands in a reply to it: without its own reply.
func (m *Message) quoted() *Message {
	if m == nil {
		return nil
	}
	q := *m
	q.ReplyToMessage = nil
	return &q
}
