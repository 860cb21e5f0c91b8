package inbox

import "encoding/json"

// MaxContent is how many bytes a Content may have where it is stored.
const MaxContent = 64 << 10

// MaxFirstWords is how many characters of a message stand for it where another one replies to it.
const MaxFirstWords = 200

// Content is what a message has beside its words. A store keeps it in one piece.
type Content struct {
	Entities []Entity `json:"entities,omitempty"` // of Text
	Reply    *Reply   `json:"reply,omitempty"`
	Topic    string   `json:"topic,omitempty"`   // name of the topic, where the message says it
	ViaBot   string   `json:"via_bot,omitempty"` // username of the bot that made it for the sender
	Title    string   `json:"title,omitempty"`   // of the items
	Items    []Item   `json:"items,omitempty"`
	Place    *Place   `json:"place,omitempty"`
	Pressed  *string  `json:"pressed,omitempty"`
	Button   string   `json:"button,omitempty"` // what stands on the button that was pressed
	Older    bool     `json:"older,omitempty"`  // an edit told of it, and it is older than all that is stored
}

// Entity is a part of a text that means something, as the Bot API's MessageEntity. It counts UTF-16 units.
type Entity struct {
	Type          string      `json:"type"`
	Offset        int         `json:"offset"`
	Length        int         `json:"length"`
	URL           string      `json:"url,omitempty"`
	User          *EntityUser `json:"user,omitempty"`
	Language      string      `json:"language,omitempty"`
	CustomEmojiID string      `json:"custom_emoji_id,omitempty"`
}

// EntityUser is whom a text_mention names.
type EntityUser struct {
	ID        int64  `json:"id"`
	IsBot     bool   `json:"is_bot"`
	FirstName string `json:"first_name"`
	LastName  string `json:"last_name,omitempty"`
	Username  string `json:"username,omitempty"`
}

// Reply says what a message replies to, in the words that came with it: what it replies to may not be stored.
type Reply struct {
	MessageID *int64      `json:"message_id"` // a message of the same conversation, nil if it is not stored
	Text      string      `json:"text"`       // the part that the sender chose, else the beginning
	Quoted    bool        `json:"quoted"`     // the sender chose the part
	From      string      `json:"from"`       // whose words, "" where nobody says so
	Origin    ReplyOrigin `json:"origin"`
	Notice    string      `json:"notice,omitempty"` // what this program says of it, where there are no words
}

// ReplyOrigin says where the message is to which another one replies.
type ReplyOrigin string

const (
	FromChat  ReplyOrigin = "chat" // the same one
	FromStory ReplyOrigin = "story"
	Elsewhere ReplyOrigin = "elsewhere" // another chat
)

// Item is a task of a checklist or an option of a poll.
type Item struct {
	Text  string `json:"text"`
	Done  *bool  `json:"done,omitempty"`  // of a task
	Votes *int64 `json:"votes,omitempty"` // for an option
}

// Reaction is what a customer put to a message. One without an emoji is a custom one, or of a kind that this version
// does not know: Name says what it is called.
type Reaction struct {
	Emoji         string `json:"emoji"`
	CustomEmojiID string `json:"custom_emoji_id"`
	Name          string `json:"name,omitempty"`
	By            string `json:"by"` // the name of whoever put it there
}

// MaxReactions is how many of one customer are kept at a message. Telegram lets a person put three.
const MaxReactions = 20

// Place is a point on the map, in degrees.
type Place struct {
	Latitude  float64 `json:"latitude"`
	Longitude float64 `json:"longitude"`
}

// Encode is the content as it is stored: "" for none, and never more than MaxContent bytes. What is past that is past
// Telegram's limits as well.
func (c Content) Encode() string {
	if c.Reply != nil && c.Reply.MessageID != nil { // which a column of its own holds
		r := *c.Reply
		r.MessageID = nil
		c.Reply = &r
	}
	for {
		b, err := json.Marshal(c)
		switch {
		case err != nil:
			return "" // no value of a Content makes one
		case string(b) == "{}":
			return ""
		case len(b) <= MaxContent:
			return string(b)
		case len(c.Entities) > 0:
			c.Entities = c.Entities[:len(c.Entities)/2]
		case len(c.Items) > 0:
			c.Items = c.Items[:len(c.Items)/2]
		default:
			return ""
		}
	}
}

// SetContent sets what was stored by Encode.
func (m *Message) SetContent(stored string) {
	var c Content
	if stored != "" && json.Unmarshal([]byte(stored), &c) != nil {
		c = Content{} // from a version whose form this one does not know
	}
	m.Entities, m.Topic, m.ViaBot, m.Items, m.Place = c.Entities, c.Topic, c.ViaBot, c.Items, c.Place
	m.Title, m.Pressed, m.Button, m.Older = c.Title, c.Pressed, c.Button, c.Older
	if m.Entities == nil {
		m.Entities = []Entity{}
	}
	m.Reactions = []Reaction{}
	m.Reply = c.Reply
	if m.Reply != nil {
		m.Reply.MessageID = m.ReplyTo
	}
}

// ReplyTo is a reply to a message of the same conversation, in its first words.
func ReplyTo(m Message) Reply {
	r := Reply{Text: m.Text, From: m.Author.Name, Origin: FromChat, Notice: m.Notice}
	if Blank(r.Text) {
		r.Text = m.Details
	}
	if Blank(r.Text) && len(m.Attachments) > 0 {
		r.Text = m.Attachments[0].Name
	}
	if runes := []rune(r.Text); len(runes) > MaxFirstWords {
		r.Text = string(runes[:MaxFirstWords])
	}
	return r
}
