package web

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"

	"tandem/internal/inbox"
)

func readForm(r *http.Request) error { return formError(r.ParseForm()) }

func formError(err error) error {
	var tooLarge *http.MaxBytesError
	var late *lateError
	switch {
	case err == nil, errors.As(err, &tooLarge), errors.As(err, &late):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errTooSlow
	}
	return bad("the form could not be read")
}

// toMessage leads the browser to a message in its conversation.
func toMessage(w http.ResponseWriter, r *http.Request, m inbox.Message) {
	to := fmt.Sprintf("/conversations/%d%s#m%d", m.ConversationID, filterOf(r).encode(), m.ID)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// answerForm stores an answer that was sent without the page's script.
func (s *Server) answerForm(w http.ResponseWriter, r *http.Request) error {
	if err := readAnswer(r); err != nil {
		return err
	}
	text, key := r.PostForm.Get("text"), r.PostForm.Get("key")
	if err := checkKey(key); err != nil {
		return err
	}
	a := inbox.Answer{Text: text, Key: key}
	if a.ReplyTo, a.Topic = answerTo(r); a.ReplyTo < 0 {
		return bad("reply_to: want the id of a message")
	}
	m, _, err := s.addAnswer(r, a)
	var refused *problem
	if errors.As(err, &refused) && refused.Status == http.StatusUnprocessableEntity {
		return s.showConversation(w, r, refused.Status, text, "", refused.Detail)
	}
	if errors.Is(err, inbox.ErrKeyReused) {
		return s.showConversation(w, r, http.StatusUnprocessableEntity, text, "",
			"an answer was already sent from this page. To send this text as well, press Send")
	}
	if s.showAgain(w, r, text, key, err) {
		return nil
	}
	if err != nil {
		return err
	}
	toMessage(w, r, m)
	return nil
}

// answerTo is what a form says of where its answer goes: nothing where its fields are empty.
func answerTo(r *http.Request) (reply int64, topic *int64) {
	if v := r.PostForm.Get("reply_to"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			return -1, nil
		}
		reply = n
	}
	if n, err := strconv.ParseInt(r.PostForm.Get("topic_id"), 10, 64); err == nil {
		topic = &n
	}
	return reply, topic
}

func (s *Server) statusForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	id, err := pathID(r)
	if err != nil {
		return err
	}
	status := inbox.ConversationStatus(r.PostForm.Get("status"))
	if status != inbox.Open && status != inbox.Closed {
		return unprocessable("status: want open or closed")
	}
	change := inbox.ConversationChange{By: who(r).author(), Status: &status}
	if _, err := s.store.ChangeConversation(r.Context(), id, change); err != nil {
		return err
	}
	http.Redirect(w, r, fmt.Sprintf("/conversations/%d%s", id, filterOf(r).encode()), http.StatusSeeOther)
	return nil
}

func (s *Server) takeBackForm(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	m, err := s.store.TakeBack(r.Context(), id)
	if errors.Is(err, inbox.ErrConflict) {
		why, _ := problemOf(err)
		return &problem{http.StatusConflict, "this answer cannot be taken back any more. " + sentence(why.Detail)}
	}
	if err != nil {
		return err
	}
	toMessage(w, r, m)
	return nil
}

func (s *Server) retryForm(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	m, err := s.retry(r, id)
	if errors.Is(err, inbox.ErrConflict) {
		why, _ := problemOf(err)
		return &problem{http.StatusConflict, "this answer is on its way already, or was delivered: " +
			"go back and load the page again. " + sentence(why.Detail)}
	}
	if err != nil {
		return err
	}
	toMessage(w, r, m)
	return nil
}
