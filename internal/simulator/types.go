package simulator

import (
	"encoding/json"
	"strconv"
	"time"
)

// User of Telegram, in the Bot API's words.
type User struct {
	ID           int64  `json:"id"`
	IsBot        bool   `json:"is_bot"`
	FirstName    string `json:"first_name"`
	LastName     string `json:"last_name,omitempty"`
	Username     string `json:"username,omitempty"`
	LanguageCode string `json:"language_code,omitempty"`
}

// Chat in the Bot API's words. Type is private, group, supergroup or channel.
type Chat struct {
	ID        int64  `json:"id"`
	Type      string `json:"type"`
	Title     string `json:"title,omitempty"`
	FirstName string `json:"first_name,omitempty"`
	LastName  string `json:"last_name,omitempty"`
	Username  string `json:"username,omitempty"`
	IsForum   bool   `json:"is_forum,omitempty"`
}

// Entity marks a part of a text; offset and length count UTF-16 units.
type Entity struct {
	Type   string `json:"type"`
	Offset int    `json:"offset"`
	Length int    `json:"length"`
}

// Message in the Bot API's words. Dates are Unix seconds.
type Message struct {
	MessageID       int64           `json:"message_id"`
	MessageThreadID int64           `json:"message_thread_id,omitempty"`
	IsTopicMessage  bool            `json:"is_topic_message,omitempty"`
	From            *User           `json:"from,omitempty"`
	Chat            Chat            `json:"chat"`
	Date            int64           `json:"date"`
	EditDate        int64           `json:"edit_date,omitempty"`
	MediaGroupID    string          `json:"media_group_id,omitempty"`
	ReplyToMessage  *Message        `json:"reply_to_message,omitempty"`
	Text            string          `json:"text,omitempty"`
	Entities        []Entity        `json:"entities,omitempty"`
	Photo           []PhotoSize     `json:"photo,omitempty"`
	Document        *Media          `json:"document,omitempty"`
	Voice           *Media          `json:"voice,omitempty"`
	Audio           *Media          `json:"audio,omitempty"`
	Video           *Media          `json:"video,omitempty"`
	VideoNote       *Media          `json:"video_note,omitempty"`
	Animation       *Media          `json:"animation,omitempty"`
	Sticker         *Media          `json:"sticker,omitempty"`
	Caption         string          `json:"caption,omitempty"`
	ReplyMarkup     json.RawMessage `json:"reply_markup,omitempty"`

	Quote             *TextQuote      `json:"quote,omitempty"`
	RichMessage       json.RawMessage `json:"rich_message,omitempty"`
	ForumTopicCreated *ForumTopic     `json:"forum_topic_created,omitempty"`
}

// bot is all that the server knows of one bot. The fields with names for JSON are kept in the state file.
type bot struct {
	ID         int64           `json:"id"`
	Username   string          `json:"username"`
	NextUpdate int64           `json:"next_update"` // the queue's tail: the id that the next update gets
	Queue      []queued        `json:"queue"`
	Allowed    []string        `json:"allowed_updates"` // nil is Telegram's default
	Webhook    string          `json:"webhook,omitempty"`
	Confirmed  int64           `json:"confirmed"` // the highest offset that confirmed something
	Chats      []*chat         `json:"chats"`
	Files      []*file         `json:"files,omitempty"`
	Commands   json.RawMessage `json:"commands,omitempty"`

	tokens       map[string]bool
	callbacks    map[string]time.Time // unanswered, with their dates
	waiting      *poll
	lastOffset   int64
	lastPoll     time.Time // real time
	lastConflict time.Time // real time of the last 409 that was not held back
	stats        PollStats
	open         int // getUpdates calls being served
	rates        rates
}

// chat is one chat with one bot.
type chat struct {
	Chat
	LanguageCode string     `json:"language_code,omitempty"`
	NextMessage  int64      `json:"next_message"`
	Messages     []*Message `json:"messages"` // the newest maxMessages, by id
	Blocked      bool       `json:"blocked,omitempty"`
	Deactivated  bool       `json:"deactivated,omitempty"`
	NotStarted   bool       `json:"not_started,omitempty"`

	Reactions map[int64][]string `json:"reactions,omitempty"` // of the customer, by message

	typingUntil time.Time
	rates       rates
}

// maxMessages are kept of a chat; an older one is "not found" to a reply or an edit.
const maxMessages = 1000

// queued is an update on its way to the bot.
type queued struct {
	ID      int64           `json:"id"`
	Body    json.RawMessage `json:"body"` // the update without its id
	Expires time.Time       `json:"expires"`
}

// json is the update as the bot sees it.
func (q queued) json() []byte {
	b := append(make([]byte, 0, len(q.Body)+32), `{"update_id":`...)
	b = strconv.AppendInt(b, q.ID, 10)
	if len(q.Body) > 2 {
		b = append(b, ',')
	}
	return append(b, q.Body[1:]...)
}
