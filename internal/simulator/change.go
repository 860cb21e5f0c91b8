package simulator

import (
	"encoding/json"
	"slices"
	"time"
)

// editMessageCaption changes the text at a file.
func (s *Server) editMessageCaption(c call) response {
	text, refused := plain(c.params, "caption", "")
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
	case m.Text != "":
		return badRequest("there is no caption in the message to edit")
	case length(text) > maxCaption:
		return badRequest("message caption is too long")
	case m.Caption == text:
		return badRequest("message is not modified: specified new message content and reply markup are exactly " +
			"the same as a current content and reply markup of the message")
	}
	m.Caption, m.EditDate = text, s.now().Unix()
	s.touch()
	return success(m)
}

// deleteMessages deletes those that are there, up to a hundred.
func (s *Server) deleteMessages(c call) response {
	ch, refused := s.chatOf(c)
	if refused != nil {
		return *refused
	}
	var ids []int64
	if json.Unmarshal([]byte(c.params["message_ids"]), &ids) != nil || len(ids) == 0 || len(ids) > 100 {
		return badRequest("message identifiers are not specified")
	}
	for _, id := range ids {
		if m := ch.message(id); m != nil && s.now().Sub(time.Unix(m.Date, 0)) > 48*time.Hour {
			return badRequest("message can't be deleted")
		}
	}
	ch.Messages = slices.DeleteFunc(ch.Messages, func(m *Message) bool { return slices.Contains(ids, m.MessageID) })
	s.touch()
	return success(true)
}
