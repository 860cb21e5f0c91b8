package inbox

import "strings"

// kindNames are what a person calls what was sent, by the name of its field in the Bot API.
var kindNames = map[string]string{
	"animation": "animation", "audio": "audio", "document": "document", "paid_media": "paid media",
	"live_photo": "live photo", "photo": "photo",
	"sticker": "sticker", "video": "video", "video_note": "video message", "voice": "voice message",
	"checklist": "checklist", "contact": "contact", "dice": "dice", "game": "game", "poll": "poll", "venue": "venue",
	"location": "location", "story": "story", "invoice": "invoice", "gift": "gift", "unique_gift": "gift",
	"giveaway": "giveaway", "giveaway_winners": "winners of a giveaway",
	"web_app_data": "data of a Mini App", "users_shared": "shared contacts", "chat_shared": "shared chat",
	"successful_payment": "payment", "refunded_payment": "refunded payment",
	"pinned_message": "pinned a message", "write_access_allowed": "allowed the bot to write",
	"message_auto_delete_timer_changed": "changed the timer that deletes messages",
	"proximity_alert_triggered":         "came close to somebody who shares a location",
	"connected_website":                 "signed in to a website with Telegram", "passport_data": "Telegram Passport data",
	"chat_background_set": "changed the background of the chat",
	"forum_topic_created": "new topic", "forum_topic_edited": "renamed the topic",
	"forum_topic_closed": "closed the topic", "forum_topic_reopened": "opened the topic again",
	KindText: "message", KindUnknown: "message",
}

const (
	KindText    = "text"
	KindUnknown = "unknown" // a message in which nothing was found
)

// KindName is what a person calls a kind: video_note is a video message.
func KindName(kind string) string {
	if name := kindNames[kind]; name != "" {
		return name
	}
	return strings.ReplaceAll(kind, "_", " ")
}

// notice is what this program says of a message of that kind and text: "" for words that somebody wrote.
func notice(kind, text string) string {
	switch name := KindName(kind); {
	case kind == KindText && Blank(text):
		return "a text that shows nothing"
	case kind == KindText:
		return ""
	case kind == KindUnknown:
		return "a message of a kind that this version does not know"
	case kindNames[kind] == "":
		return name + ": this version cannot show it"
	default:
		return name
	}
}

// Say fills in what this program says of the message. It depends on nothing but the message itself, so that a later
// version says it better of older messages too.
func (m *Message) Say() { m.Notice = notice(m.Kind, m.Text) }

// SearchText is all in which a search finds the message.
func (m IncomingMessage) SearchText() string {
	words := []string{m.Text, m.Details, notice(m.Kind, m.Text)}
	if m.Forwarded != nil {
		words = append(words, m.Forwarded.Name)
	}
	for _, a := range m.Attachments {
		words = append(words, a.Name)
	}
	return strings.TrimSpace(strings.Join(words, "\n"))
}
