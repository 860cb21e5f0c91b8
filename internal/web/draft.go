package web

import (
	"bytes"
	"crypto/rand"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tandem/internal/inbox"
)

// draft is an answer from the form that was not stored: it comes back to the one who wrote it, whatever the reason.
type draft struct {
	Action, Text, Key string
	Say               string // what becomes of it
	Copy              bool   // only to be copied: whoever sent it may not have written it
	ReplyTo           int64  // as in the form
	Topic             *int64 // as in the form
}

const (
	// draftTimeout is how long the rest of a form may take that is refused already: a browser sends it with the header,
	// and who sends it slowly shall not keep what serves him.
	draftTimeout = time.Second
	sentOnce     = " It is sent once, however often you press."
)

// isAnswer says whether the request is an answer from the form.
func isAnswer(r *http.Request) bool {
	return r.Method == http.MethodPost &&
		strings.HasPrefix(r.URL.Path, "/conversations/") && strings.HasSuffix(r.URL.Path, "/answers")
}

// draftOf finds what was typed in a form that was refused with p, nil if there is nothing. It may have been sent by
// somebody who is not known, so it counts as in flight. The caller calls release when the response is written.
func (s *Server) draftOf(w http.ResponseWriter, r *http.Request, p *problem) (d *draft, release func()) {
	if !isAnswer(r) {
		return nil, func() {}
	}
	size := r.ContentLength
	if size < 0 || size > formBody {
		size = formBody
	}
	release, ok := s.inFlight.tryAcquire(who(r), inHTML*int(size))
	if !ok {
		return nil, func() {}
	}
	whole := p.Status != http.StatusRequestEntityTooLarge && p.Status != http.StatusRequestTimeout
	if r.PostForm == nil {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(draftTimeout))
		whole = readAnswer(r) == nil
	}
	d = &draft{Action: r.URL.RequestURI(), Text: inbox.CleanText(r.PostForm.Get("text")), Key: r.PostForm.Get("key")}
	if reply, topic := answerTo(r); reply > 0 || topic != nil {
		d.ReplyTo, d.Topic = reply, topic
	}
	if inbox.Blank(d.Text) {
		release()
		return nil, func() {}
	}
	if d.Key == "" || checkKey(d.Key) != nil {
		d.Key = rand.Text()
	}
	switch p.Status {
	case http.StatusUnauthorized:
		d.Say = "It is kept in this page. Sign in with a new link in another tab of this browser, " +
			"then press the button here." + sentOnce
	case http.StatusForbidden:
		d.Copy = true
		d.Say = "If you wrote it, copy it: open the inbox itself and paste it there."
	case http.StatusRequestEntityTooLarge:
		d.Say = "It is kept in this page. Make it shorter, then press the button."
	default:
		d.Say = "It is kept in this page. Press the button in a moment, or when this is mended." + sentOnce
	}
	if !whole {
		d.Say = "This is the beginning of it, as far as it was read. " + d.Say
	}
	return d, release
}

// readAnswer reads a form of which nothing is to be lost: with an error it has what came until then.
func readAnswer(r *http.Request) error {
	r.PostForm = url.Values{}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Body == nil || media != "application/x-www-form-urlencoded" {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, formBody))
	if err == nil && len(b) == formBody {
		err = &http.MaxBytesError{Limit: formBody}
	}
	if err != nil { // perhaps in the middle of an escape
		if i := bytes.LastIndexByte(b, '%'); i >= 0 && i >= len(b)-2 {
			b = b[:i]
		}
	}
	r.PostForm, _ = url.ParseQuery(string(b)) // all that it can read
	return formError(err)
}

// showAgain responds to a form whose text could not be stored: with the conversation, and the text in it under the same
// key. It is false if that cannot be shown either.
func (s *Server) showAgain(w http.ResponseWriter, r *http.Request, text, key string, err error) bool {
	if !inbox.TryLater(err) {
		return false
	}
	p := s.problemFor(r, page, err)
	w.Header().Set("Retry-After", "5")
	wrong := "Not stored yet: " + strings.TrimSuffix(sentence(p.Detail), ".") +
		". Your text is kept below; press Send again." + sentOnce
	if s.showConversation(w, r, p.Status, text, key, wrong) != nil {
		w.Header().Del("Retry-After")
		return false
	}
	return true
}
