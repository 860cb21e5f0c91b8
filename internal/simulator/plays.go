package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"
)

// What a customer can do beside writing: choose a part of what he replies to, send a rich message, open a topic, react.

// TextQuote is the part of a message that somebody chose to reply to.
type TextQuote struct {
	Text     string `json:"text"`
	Position int    `json:"position"` // in UTF-16 units
	IsManual bool   `json:"is_manual"`
}

// ForumTopic is what a service message says that makes a topic.
type ForumTopic struct {
	Name      string `json:"name"`
	IconColor int    `json:"icon_color"`
}

const (
	maxReactions = 3 // of a person with Premium; others have one
	maxTopicName = 128
	maxRichBytes = 256 << 10
)

// words is what can be read of a message.
func (m *Message) words() string {
	if m.Text != "" {
		return m.Text
	}
	return m.Caption
}

// quoteOf is the part of a message that the customer chose, nil for none.
func quoteOf(m *Message, part string) (*TextQuote, error) {
	if part == "" {
		return nil, nil
	}
	if m == nil {
		return nil, errors.New("a quote needs reply_to, a message of the chat")
	}
	before, _, found := strings.Cut(m.words(), part)
	if !found {
		return nil, fmt.Errorf("the quote %q is no part of message %d", part, m.MessageID)
	}
	return &TextQuote{Text: part, Position: len(utf16.Encode([]rune(before))), IsManual: true}, nil
}

// checkRich checks a RichMessage as far as its reader depends on it.
func checkRich(raw json.RawMessage) error {
	var rich struct {
		Blocks []json.RawMessage `json:"blocks"`
	}
	switch {
	case len(raw) > maxRichBytes:
		return fmt.Errorf("the rich message has %d bytes, at most %d are taken", len(raw), maxRichBytes)
	case json.Unmarshal(raw, &rich) != nil || len(rich.Blocks) == 0:
		return errors.New(`rich_message: want an object with "blocks", a list that is not empty`)
	}
	return nil
}

// openTopic makes a topic of a private chat, as the app does before the first message in it. The lock is held.
func (s *Server) openTopic(b *bot, ch *chat, name string) (*Message, error) {
	name = strings.TrimSpace(normalise(name))
	if name == "" || length(name) > maxTopicName {
		return nil, fmt.Errorf("a topic has a name of 1 to %d characters", maxTopicName)
	}
	from := ch.customer(0)
	m := &Message{From: &from, Chat: ch.Chat, Date: s.now().Unix(), IsTopicMessage: true, MessageThreadID: ch.NextMessage,
		ForumTopicCreated: &ForumTopic{Name: name, IconColor: 7322096}}
	ch.add(m)
	s.enqueue(b, "message", update("message", m), time.Unix(m.Date, 0).Add(retention))
	return m, nil
}

// topic is the service message that made it, nil if that is not there.
func (c *chat) topic(thread int64) *Message {
	if m := c.message(thread); m != nil && m.ForumTopicCreated != nil {
		return m
	}
	return nil
}

// React puts reactions to a message in place of those that the customer had put there; none takes them away.
func (s *Server) React(botID, chatID, messageID int64, emoji []string) (updateID int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.botByID(botID)
	if b == nil {
		return 0, errNoBot
	}
	ch := b.chat(chatID)
	if ch.message(messageID) == nil {
		return 0, fmt.Errorf("chat %d has no message %d", chatID, messageID)
	}
	if len(emoji) > maxReactions {
		return 0, fmt.Errorf("a person puts at most %d reactions to a message", maxReactions)
	}
	types := func(list []string) []map[string]string {
		out := []map[string]string{}
		for _, e := range list {
			out = append(out, map[string]string{"type": "emoji", "emoji": e})
		}
		return out
	}
	was := ch.Reactions[messageID]
	if ch.Reactions == nil {
		ch.Reactions = map[int64][]string{}
	}
	if ch.Reactions[messageID] = emoji; len(emoji) == 0 {
		delete(ch.Reactions, messageID)
	}
	id := s.enqueue(b, "message_reaction", update("message_reaction", map[string]any{
		"chat": ch.Chat, "message_id": messageID, "user": ch.customer(0), "date": s.now().Unix(),
		"old_reaction": types(was), "new_reaction": types(emoji),
	}), s.now().Add(retention))
	s.touch()
	return id, nil
}

// Shown is a message and what the customer has put to it, for whoever plays him.
type Shown struct {
	Message
	Reactions []string `json:"reactions,omitempty"`
}

// shown are the newest messages of a chat as its customer sees them.
func (s *Server) shown(botID, chatID int64) []Shown {
	messages := s.Messages(botID, chatID)
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Shown, len(messages))
	b := s.botByID(botID)
	for i, m := range messages {
		list[i] = Shown{Message: m}
		if b != nil {
			list[i].Reactions = b.chat(chatID).Reactions[m.MessageID]
		}
	}
	return list
}
