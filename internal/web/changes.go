package web

import (
	"errors"
	"fmt"
	"net/http"

	"tandem/internal/inbox"
)

// What was sent is edited and deleted here: by programs, and on a page of its own that needs no script.

// patchMessage changes the words of an answer.
func (s *Server) patchMessage(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Text *string `json:"text"`
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if in.Text == nil {
		return unprocessable("text: it is missing")
	}
	id, err := pathID(r)
	if err != nil {
		return err
	}
	m, err := s.store.EditAnswer(r.Context(), id, *in.Text)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, m)
}

// deleteMessage takes an answer back of which nothing was sent, or has Telegram asked to delete it.
func (s *Server) deleteMessage(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	m, done, err := s.store.DeleteAnswer(r.Context(), id)
	if err != nil {
		return err
	}
	status := http.StatusAccepted
	if done {
		status = http.StatusOK
	}
	return writeJSON(w, status, m)
}

type changePage struct {
	layout
	Address string
	Back    string // address of the message
	Text    string
	Max     int
	Error   string
	Sent    bool // the customer has it
}

// changePage is where an answer is edited and deleted.
func (s *Server) changePage(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	m, err := s.store.Message(r.Context(), id)
	if err != nil {
		return err
	}
	text := m.Text
	if m.Change != nil && m.Change.Operation == inbox.Edit {
		text = m.Change.Text // what was wanted
	}
	return s.showChange(w, r, http.StatusOK, m, text, "")
}

func (s *Server) showChange(
	w http.ResponseWriter, r *http.Request, status int, m inbox.Message, text, wrong string,
) error {
	if m.Direction != inbox.Out {
		return &problem{http.StatusConflict, "only an answer can be changed; this is the customer's"}
	}
	return s.renderLarge(w, r, status, "change", changePage{
		layout:  layout{Title: "Edit or delete an answer", Operator: who(r).name},
		Address: fmt.Sprintf("/messages/%d/change", m.ID),
		Back:    messageLink(m.ConversationID, m.ID, ""), Text: text, Max: inbox.MaxAnswer, Error: sentence(wrong),
		Sent: m.Delivery == inbox.Sent,
	}, inHTML*(len(text)+sizeOfMessage(&m)))
}

// changeForm edits or deletes. What was typed comes back with the reason where it cannot be done.
func (s *Server) changeForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	id, err := pathID(r)
	if err != nil {
		return err
	}
	text := r.PostForm.Get("text")
	var m inbox.Message
	switch r.PostForm.Get("do") {
	case "edit":
		m, err = s.store.EditAnswer(r.Context(), id, text)
	case "delete":
		m, _, err = s.store.DeleteAnswer(r.Context(), id)
	default:
		return bad("do: want edit or delete")
	}
	if errors.Is(err, inbox.ErrConflict) || errors.Is(err, inbox.ErrUnfit) {
		p, _ := problemOf(err)
		if m, err = s.store.Message(r.Context(), id); err != nil {
			return err
		}
		if !r.PostForm.Has("text") {
			text = m.Text
		}
		return s.showChange(w, r, p.Status, m, text, p.Detail)
	}
	if err != nil {
		return err
	}
	http.Redirect(w, r, messageLink(m.ConversationID, m.ID, ""), http.StatusSeeOther)
	return nil
}

// changeWords say how far a change is, "" for none.
func changeWords(m inbox.Message) string {
	c := m.Change
	if c == nil {
		return ""
	}
	what := map[inbox.Operation][3]string{
		inbox.Edit:   {"New words for it wait to be sent", "It is being changed", "It was not changed"},
		inbox.Delete: {"It waits to be deleted", "It is being deleted", "It was not deleted"},
	}[c.Operation]
	switch c.State {
	case inbox.Queued:
		return what[0] + "."
	case inbox.Sending:
		return what[1] + "."
	case inbox.Unknown:
		return what[2] + ", as far as is known: " + c.Error + "."
	}
	return sentence(what[2] + ": " + c.Error)
}
