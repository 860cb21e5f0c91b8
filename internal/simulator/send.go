package simulator

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// chatOf is the chat that a call is for, or the refusal. The lock is held.
func (s *Server) chatOf(c call) (*chat, *response) {
	given := strings.TrimSpace(c.params["chat_id"])
	if given == "" {
		r := badRequest("chat_id is empty")
		return nil, &r
	}
	for _, ch := range c.bot.Chats {
		if strconv.FormatInt(ch.ID, 10) == given || ch.Username != "" && "@"+ch.Username == given && ch.Type != "private" {
			return ch, nil
		}
	}
	r := badRequest("chat not found")
	return nil, &r
}

// sendMessage checks in Telegram's order: what the text is made of, the chat, the reply, the text, and last
// what only the addressee's side knows.
func (s *Server) sendMessage(c call) response {
	text, refused := plain(c.params, "text", "message text is empty")
	if refused != nil {
		return *refused
	}
	ch, m, refused := s.newMessage(c)
	if refused != nil {
		return *refused
	}
	m.Text = normalise(text)
	switch {
	case blank(m.Text):
		return badRequest("text must be non-empty")
	case length(m.Text) > maxText:
		return badRequest("message is too long")
	}
	m.Entities = entitiesOf(m.Text)
	return s.deliver(c, ch, m, Sent{Method: "sendMessage", Text: m.Text})
}

// plain is the parameter name as a text. The simulator reads no markup, and says so rather than letting through
// what the real server would refuse.
func plain(p params, name, empty string) (string, *response) {
	text := p[name]
	var r response
	switch {
	case text == "" && empty != "":
		r = badRequest(empty)
	case len(text) > maxTextBytes:
		r = badRequest("text is too long")
	case p["parse_mode"] != "" && !strings.EqualFold(p["parse_mode"], "none"):
		r = badRequest("can't parse entities: the simulator reads no " + p["parse_mode"] + ", send plain text")
	default:
		return text, nil
	}
	return "", &r
}

// newMessage makes a bot's message without its content.
func (s *Server) newMessage(c call) (*chat, *Message, *response) {
	ch, refused := s.chatOf(c)
	if refused != nil {
		return nil, nil, refused
	}
	from := c.bot.user()
	m := &Message{From: &from, Chat: ch.Chat, Date: s.now().Unix()}
	if thread := c.params.int("message_thread_id", 0); thread != 0 {
		known := slices.ContainsFunc(ch.Messages, func(o *Message) bool { return o.MessageThreadID == thread })
		if thread == 1 || !known {
			r := badRequest("message thread not found")
			return nil, nil, &r
		}
		m.MessageThreadID, m.IsTopicMessage = thread, true
	}
	if id, optional := c.params.replyTo(); id != 0 {
		to := ch.message(id)
		if to == nil && !optional {
			r := badRequest("message to be replied not found")
			return nil, nil, &r
		}
		m.ReplyToMessage = to.quoted()
	}
	if markup := c.params["reply_markup"]; markup != "" {
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(markup), &object) != nil {
			r := badRequest("object expected as reply markup")
			return nil, nil, &r
		}
		if object["inline_keyboard"] != nil { // the only one that comes back with a message
			m.ReplyMarkup = json.RawMessage(markup)
		}
	}
	return ch, m, nil
}

// deliver stores a finished message, or refuses it for what is wrong with the addressee or the rate.
func (s *Server) deliver(c call, ch *chat, m *Message, sent Sent) response {
	switch {
	case ch.Deactivated:
		return forbidden("user is deactivated")
	case ch.Blocked && ch.Type == "private":
		return forbidden("bot was blocked by the user")
	case ch.Blocked:
		return forbidden("bot was kicked from the " + ch.Type + " chat")
	case ch.NotStarted:
		return forbidden("bot can't initiate conversation with a user")
	}
	now := s.now()
	wait := max(ch.rates.wait(now, s.opts.ChatRate), c.bot.rates.wait(now, s.opts.BotRate))
	if wait > 0 {
		return tooMany(int(math.Ceil(wait.Seconds())))
	}
	ch.rates.note(now)
	c.bot.rates.note(now)
	ch.typingUntil = time.Time{}
	ch.add(m)
	sent.At, sent.BotID, sent.ChatID, sent.ThreadID, sent.MessageID = now, c.bot.ID, ch.ID, m.MessageThreadID, m.MessageID
	if m.ReplyToMessage != nil {
		sent.ReplyTo = m.ReplyToMessage.MessageID
	}
	if len(s.rec.sent) == maxSent {
		s.rec.sent = append(s.rec.sent[:0:0], s.rec.sent[maxSent/2:]...)
	}
	s.rec.sent = append(s.rec.sent, sent)
	s.touch()
	return success(m)
}

// rates remembers the sends of the last second.
type rates struct{ recent []time.Time }

// wait is how long until one more send keeps to perSecond; a rate below one is one in that many seconds.
func (r *rates) wait(now time.Time, perSecond float64) time.Duration {
	if perSecond <= 0 {
		return 0
	}
	window, most := time.Second, int(perSecond)
	if perSecond < 1 {
		window, most = time.Duration(float64(time.Second)/perSecond), 1
	}
	r.recent = slices.DeleteFunc(r.recent, func(t time.Time) bool { return now.Sub(t) >= window })
	if len(r.recent) < most {
		return 0
	}
	return r.recent[len(r.recent)-most].Add(window).Sub(now)
}

func (r *rates) note(now time.Time) {
	r.recent = append(r.recent, now)
	if len(r.recent) > 1000 {
		r.recent = slices.Delete(r.recent, 0, 500)
	}
}

func (s *Server) editMessageText(c call) response {
	text, refused := plain(c.params, "text", "message text is empty")
	if refused != nil {
		return *refused
	}
	ch, refused := s.chatOf(c)
	if refused != nil {
		return *refused
	}
	m := ch.message(c.params.int("message_id", 0))
	text = normalise(text)
	switch {
	case m == nil:
		return badRequest("message to edit not found")
	case m.From == nil || m.From.ID != c.bot.ID:
		return badRequest("message can't be edited")
	case m.Text == "" && m.RichMessage == nil:
		return badRequest("there is no text in the message to edit")
	case blank(text):
		return badRequest("text must be non-empty")
	case length(text) > maxText:
		return badRequest("message is too long")
	case m.Text == text && string(m.ReplyMarkup) == c.params["reply_markup"]:
		return badRequest("message is not modified: specified new message content and reply markup are exactly " +
			"the same as a current content and reply markup of the message")
	}
	m.Text, m.Entities, m.EditDate = text, entitiesOf(text), s.now().Unix()
	m.ReplyMarkup = nil
	if markup := c.params["reply_markup"]; json.Valid([]byte(markup)) {
		m.ReplyMarkup = json.RawMessage(markup)
	}
	s.touch()
	return success(m)
}

func (s *Server) deleteMessage(c call) response {
	ch, refused := s.chatOf(c)
	if refused != nil {
		return *refused
	}
	m := ch.message(c.params.int("message_id", 0))
	switch {
	case m == nil:
		return badRequest("message to delete not found")
	case s.now().Sub(time.Unix(m.Date, 0)) > 48*time.Hour:
		return badRequest("message can't be deleted")
	}
	ch.Messages = slices.DeleteFunc(ch.Messages, func(o *Message) bool { return o == m })
	s.touch()
	return success(true)
}

func (s *Server) answerCallbackQuery(c call) response {
	id := c.params["callback_query_id"]
	at, known := c.bot.callbacks[id]
	if !known || s.now().Sub(at) > callbackLife {
		return badRequest("query is too old and response timeout expired or query ID is invalid")
	}
	delete(c.bot.callbacks, id)
	return success(true)
}

func (s *Server) sendChatAction(c call) response {
	ch, refused := s.chatOf(c)
	if refused != nil {
		return *refused
	}
	action := c.params["action"]
	known := []string{"typing", "upload_photo", "record_video", "upload_video", "record_voice", "upload_voice",
		"upload_document", "choose_sticker", "find_location", "record_video_note", "upload_video_note", "cancel"}
	if !slices.Contains(known, action) {
		return badRequest("wrong parameter action in request")
	}
	if ch.Blocked {
		return forbidden("bot was blocked by the user")
	}
	ch.typingUntil = time.Time{}
	if action != "cancel" {
		ch.typingUntil = s.now().Add(5 * time.Second)
	}
	s.touch()
	return success(true)
}
