package telegram

import (
	"strings"

	"tandem/internal/inbox"
)

// maxReply is how many characters are kept of what a message replies to. A quote has 1,024 at most.
const maxReply = 1_024

// replyOf fills in what a message replies to, in the words that Telegram gives with it.
func replyOf(f fields, m *inbox.IncomingMessage) {
	var reply inbox.Reply
	to, inChat := get[fields](f, "reply_to_message")
	external, elsewhere := get[fields](f, "external_reply")
	story, toStory := get[fields](f, "reply_to_story")
	switch {
	case inChat:
		if topic, ok := get[fields](to, "forum_topic_created"); ok {
			// Every message of a topic comes as a reply to the line that made the topic.
			name, _ := get[string](topic, "name")
			m.Content.Topic = oneLine(short(name, maxName))
			if !f.has("quote") {
				return
			}
		}
		m.ReplyTo, _ = get[int64](to, "message_id")
		reply = firstWords(to)
		reply.Origin = inbox.FromChat
		reply.From = senderOf(to)
		chosenItem(f, to, &reply)
	case elsewhere:
		reply = firstWords(external)
		reply.Origin = inbox.Elsewhere
		if from := originOf(external, "origin"); from != nil {
			reply.From = from.Name
		}
		if c, ok := get[fields](external, "chat"); ok && reply.From == "" {
			reply.From = chatName(c)
		}
	case toStory:
		c, _ := get[fields](story, "chat")
		reply = inbox.Reply{Origin: inbox.FromStory, From: chatName(c), Notice: inbox.KindName("story")}
	case !f.has("quote"):
		return
	default:
		reply.Origin = inbox.Elsewhere
	}
	if quote, ok := get[fields](f, "quote"); ok {
		if text, _ := get[string](quote, "text"); !inbox.Blank(text) {
			reply.Text, reply.Quoted, reply.Notice = short(text, maxReply), true, ""
		}
	}
	m.Content.Reply = &reply
}

// firstWords is the beginning of a message, or what this program says of one without words.
func firstWords(f fields) inbox.Reply {
	var m inbox.IncomingMessage
	delete(f, "pinned_message") // one in the other without end
	content(f, &m)
	shown := inbox.Message{Kind: m.Kind, Text: m.Text, Details: m.Details}
	shown.Say()
	r := inbox.ReplyTo(inbox.Message{Text: m.Text, Details: m.Details, Notice: shown.Notice, Attachments: m.Attachments})
	if m.Kind == inbox.KindUnknown { // Telegram gave no more than its number
		r.Notice = ""
	}
	return r
}

// chosenItem is the task or the option that the sender replied to, where he chose one.
func chosenItem(f, to fields, reply *inbox.Reply) {
	if id, ok := get[int64](f, "reply_to_checklist_task_id"); ok {
		for _, t := range as[taskList](to["checklist"]).Tasks {
			if t.ID == id {
				reply.Text, reply.Quoted = oneLine(t.Text), true
				return
			}
		}
	}
	if id, ok := get[string](f, "reply_to_poll_option_id"); ok {
		options, _ := get[[]fields](object(to["poll"]), "options")
		for _, o := range options {
			if have, _ := get[string](o, "persistent_id"); have == id {
				text, _ := get[string](o, "text")
				reply.Text, reply.Quoted = oneLine(text), true
				return
			}
		}
	}
}

// senderOf is the name of whoever wrote a message, "" if nobody says so.
func senderOf(f fields) string {
	if from, ok := get[fields](f, "from"); ok {
		if u := user(from); u.ID != 0 || strings.TrimSpace(u.FirstName+u.LastName+u.Username) != "" {
			return oneLine(personName(u))
		}
	}
	c, _ := get[fields](f, "sender_chat")
	return chatName(c)
}
