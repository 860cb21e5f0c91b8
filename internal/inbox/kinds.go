package inbox

import (
	"maps"
	"slices"
	"strings"
)

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
	"rich_message": "rich message", KindPressed: "pressed",
	"checklist_tasks_done": "ticked tasks of a checklist", "checklist_tasks_added": "added tasks to a checklist",
	"boost_added": "boosted the chat", "gift_upgrade_sent": "upgraded a gift",
	"video_chat_scheduled": "planned a call", "video_chat_started": "began a call",
	"video_chat_ended": "ended a call", "video_chat_participants_invited": "invited people to a call",
	KindText: "message", KindUnknown: "message",
}

// quiet are the kinds of what nobody wrote: service messages, and presses of buttons. Payments, gifts and contacts that
// were shared are service messages of Telegram as well, but somebody meant them for whoever reads.
var quiet = map[string]bool{KindPressed: true}

func init() {
	for _, kind := range []string{
		"pinned_message", "write_access_allowed", "message_auto_delete_timer_changed", "proximity_alert_triggered",
		"connected_website", "chat_background_set", "forum_topic_created", "forum_topic_edited", "forum_topic_closed",
		"forum_topic_reopened", "general_forum_topic_hidden", "general_forum_topic_unhidden", "checklist_tasks_done",
		"checklist_tasks_added", "boost_added", "video_chat_scheduled", "video_chat_started", "video_chat_ended",
		"video_chat_participants_invited", "new_chat_members", "left_chat_member", "new_chat_title", "new_chat_photo",
		"delete_chat_photo", "group_chat_created", "supergroup_chat_created", "channel_chat_created",
		"migrate_to_chat_id", "migrate_from_chat_id", "paid_message_price_changed", "direct_message_price_changed",
		"chat_owner_left", "chat_owner_changed",
	} {
		quiet[kind] = true
	}
}

// Quiet says that nobody wrote a message of that kind: it is a line among the others, and neither opens a conversation
// again nor moves it.
func Quiet(kind string) bool { return quiet[kind] }

// QuietKinds are the kinds of which Quiet is true.
func QuietKinds() []string { return slices.Sorted(maps.Keys(quiet)) }

const (
	KindText    = "text"
	KindUnknown = "unknown" // a message in which nothing was found
	KindPressed = "callback_query"
	kindRich    = "rich_message"
)

// KindName is what a person calls a kind: video_note is a video message.
func KindName(kind string) string {
	if name := kindNames[kind]; name != "" {
		return name
	}
	return strings.ReplaceAll(kind, "_", " ")
}

// notice is what this program says of a message of that kind and text: "" for words that somebody wrote.
func notice(kind, text, details string) string {
	switch name := KindName(kind); {
	case kind == KindText && details != "":
		return "with it"
	case kind == KindText && Blank(text):
		return "a text that shows nothing"
	case kind == KindText, kind == kindRich && !Blank(text):
		return ""
	case kind == KindUnknown:
		return "a message of a kind that this version does not know"
	case kindNames[kind] == "" && !quiet[kind]:
		return name + ": this version cannot show it"
	default:
		return name
	}
}

// Say fills in what this program says of the message. It depends on nothing but the message itself, so that a later
// version says it better of older messages too.
func (m *Message) Say() {
	m.Notice = notice(m.Kind, m.Text, m.Details)
	m.Service = Quiet(m.Kind) || m.Older
	if topic := m.ThreadID; topic != 0 {
		m.TopicID = &topic
	}
}

// SearchText is all in which a search finds the message.
func (m IncomingMessage) SearchText() string {
	words := []string{m.Text, m.Details, notice(m.Kind, m.Text, m.Details)}
	for _, e := range m.Content.Entities {
		words = append(words, e.URL)
	}
	if m.Forwarded != nil {
		words = append(words, m.Forwarded.Name)
	}
	for _, a := range m.Attachments {
		words = append(words, a.Name)
	}
	return strings.TrimSpace(strings.Join(words, "\n"))
}
