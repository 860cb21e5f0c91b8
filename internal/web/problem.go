package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"tandem/internal/inbox"
)

// problem is an error as its reader sees it: a problem document (RFC 9457), or the words of a page.
type problem struct {
	Status int
	Detail string // what is wrong and what to do, in words
}

func (p *problem) Error() string { return p.Detail }

var (
	errSignedOut = &problem{Status: http.StatusUnauthorized, Detail: "you are not signed in"}
	errNoToken   = &problem{Status: http.StatusUnauthorized,
		Detail: "send the header Authorization: Bearer TOKEN; `web token create NAME` makes a token"}
	errBadToken = &problem{Status: http.StatusUnauthorized,
		Detail: "this token is unknown or was revoked; `web token create NAME` makes a new one"}
	errTooSlow = &problem{Status: http.StatusRequestTimeout,
		Detail: "the request took too long to arrive; nothing was changed, try again"}
	errOurs = &problem{Status: http.StatusInternalServerError, Detail: "this went wrong on our side; the log says how"}
)

// problemOf finds the problem for any error; false when its cause must be logged because nobody else will see it.
func problemOf(err error) (p *problem, told bool) {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p, true
	case errors.As(err, &tooLarge):
		return &problem{http.StatusRequestEntityTooLarge, tooLong(tooLarge.Limit)}, true
	case errors.Is(err, inbox.ErrNotFound):
		return &problem{http.StatusNotFound, "there is no such conversation or message"}, true
	case errors.Is(err, inbox.ErrKeyReused):
		return &problem{http.StatusUnprocessableEntity, inbox.ErrKeyReused.Error() + "; use a new key for a new answer"}, true
	case errors.Is(err, inbox.ErrUnfit):
		return &problem{http.StatusUnprocessableEntity, cmp.Or(reason(err), "it does not fit")}, true
	case errors.Is(err, inbox.ErrConflict):
		return &problem{http.StatusConflict, cmp.Or(reason(err), "this cannot be done as things are now")}, true
	case inbox.KindOf(err) == inbox.Busy, inbox.KindOf(err) == inbox.TooLong:
		return &problem{http.StatusServiceUnavailable, err.Error()}, true
	case errors.Is(err, inbox.ErrUnavailable):
		return &problem{http.StatusServiceUnavailable, publicError(err).Error()}, true
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &problem{http.StatusServiceUnavailable, "this took too long; try again"}, true
	}
	return errOurs, false
}

func tooLong(limit int64) string {
	return fmt.Sprintf("the body has more than %d bytes, which is what this address takes", limit)
}

// fail answers with an error.
func (s *Server) fail(w *recorder, r *http.Request, as form, err error) {
	p := s.problemFor(r, as, err)
	if _, told := problemOf(err); !told {
		s.log.Error("request failed", "method", r.Method, "error", err)
	}
	if kind := inbox.KindOf(err); kind == inbox.TooLong || kind == inbox.Busy {
		s.metrics.givenUp.WithLabelValues(string(kind)).Inc()
	}
	if w.status != 0 {
		return // too late to say it
	}
	switch p.Status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "5")
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "30")
		if p == errTooManyReads {
			w.Header().Set("Retry-After", "2")
		}
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", challenge(p))
	}
	switch {
	case as == api || as == stream:
		writeProblem(w, p)
	case as == fragment:
		s.failFragment(w, p, err)
	default:
		s.failPage(w, r, p, err)
	}
}

// problemFor is problemOf for the one who asks.
func (s *Server) problemFor(r *http.Request, as form, err error) *problem {
	p, _ := problemOf(err)
	var e *inbox.Error
	if errors.Is(err, inbox.ErrUnavailable) && errors.As(err, &e) && who(r).kind == inbox.ByOperator {
		p = &problem{p.Status, e.Error()} // operators may know what the inbox runs on
		if as == page || as == fragment {
			p.Detail = cmp.Or(e.Reason, p.Detail) // below a title that says the rest
		}
	}
	return p
}

func challenge(p *problem) string {
	if p == errBadToken {
		return `Bearer realm="tandem", error="invalid_token"`
	}
	return `Bearer realm="tandem"`
}

func writeProblem(w http.ResponseWriter, p *problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{"about:blank", http.StatusText(p.Status), p.Status, p.Detail})
}
