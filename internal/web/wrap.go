package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// outer is around the whole router: headers that every answer has, and the refusal of what other sites send.
func (s *Server) outer(next http.Handler) http.Handler {
	csrf := http.NewCrossOriginProtection()
	if b := s.config.BaseURL; b != nil {
		// Behind a proxy that changes Host, the browser's Origin is still this one.
		if err := csrf.AddTrustedOrigin(b.Scheme + "://" + b.Host); err != nil {
			s.log.Warn("WEB_BASE_URL cannot be an origin", "error", err)
		}
	}
	// With the body and the answer of a form: its text comes back, to be copied.
	csrf.SetDenyHandler(s.wrap(route{path: "none", who: public, body: textForm, time: usual, answer: manyWords, handle: func(http.ResponseWriter, *http.Request) error {
		return &problem{Status: http.StatusForbidden, Detail: "this request came from another site and was refused; open the inbox itself and try again"}
	}}))
	protected := csrf.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin") // no-referrer would make the Origin of our own forms "null"
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		if s.draining.Load() {
			h.Set("Connection", "close")
		}
		if s.https() {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		protected.ServeHTTP(w, r)
	})
}

// wrap gives a route its limits, its access rule, its errors and its figures.
func (s *Server) wrap(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w, left: rt.answer, whole: r.Body == http.NoBody}
		as := rt.as
		if rt.path == "none" && strings.HasPrefix(r.URL.Path, "/api/") {
			as = api
		}
		defer func() {
			if v := recover(); v != nil {
				s.panicked(rec, r, rt, as, v)
			}
			s.metrics.request(rt, rec.code(), time.Since(start))
			// The route, not the path: a sign-in link has its secret in the path.
			s.log.Debug("request", "method", r.Method, "route", rt.path, "status", rec.code(), "took", time.Since(start), "remote", r.RemoteAddr)
		}()
		if rt.time != untilCut {
			control := http.NewResponseController(w)
			_ = control.SetWriteDeadline(start.Add(rt.time))
			// A body or a database that takes too long is given up before, so that there is time to say so.
			early := rt.time * 5 / 6
			_ = control.SetReadDeadline(start.Add(early))
			ctx, cancel := context.WithTimeout(r.Context(), early)
			defer cancel()
			r = r.WithContext(ctx)
		} else {
			_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		}
		if rt.body > 0 && r.ContentLength > rt.body {
			s.fail(rec, r, as, &http.MaxBytesError{Limit: rt.body})
			return
		}
		r = rec.bound(r, rt.body)
		r = r.WithContext(context.WithValue(r.Context(), routeKey{}, rt))
		if err := s.admit(rt, rec, &r); err != nil {
			s.fail(rec, r, as, err)
			return
		}
		if err := rt.handle(rec, r); err != nil {
			s.fail(rec, r, as, err)
		}
	})
}

// admit keeps the access rule, and puts who it is into the request.
func (s *Server) admit(rt route, w http.ResponseWriter, r **http.Request) error {
	if rt.who == public {
		return nil
	}
	who, err := s.whoIs(*r, rt.who)
	if err != nil {
		return err
	}
	if who.session != nil {
		s.keepAlive(w, who)
	}
	asked := *r
	*r = asked.WithContext(context.WithValue(asked.Context(), whoKey{}, who))
	if asked.Body != nil && asked.Body != http.NoBody {
		(*r).Body = &lateBody{asked.Body, time.Now(), func() error {
			_, err := s.whoIs(asked, rt.who)
			return err
		}}
	}
	return nil
}

// lateBody asks again who it is when the end of a body came long after its beginning: who sends slowly must not do anything by a
// right that has ended since.
type lateBody struct {
	io.ReadCloser
	admitted time.Time
	again    func() error
}

// lateAfter is when a right that was read is too old to act on.
const lateAfter = 500 * time.Millisecond

func (b *lateBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && time.Since(b.admitted) > lateAfter {
		if over := b.again(); over != nil {
			return n, &lateError{over}
		}
	}
	return n, err
}

// lateError is why somebody may not do any more what a body asks for.
type lateError struct{ error }

func (e *lateError) Unwrap() error { return e.error }

type routeKey struct{}

// routeOf is the route that a request goes.
func routeOf(r *http.Request) route {
	rt, _ := r.Context().Value(routeKey{}).(route)
	return rt
}

type whoKey struct{}

// who is the one that admit let in.
func who(r *http.Request) principal {
	p, _ := r.Context().Value(whoKey{}).(principal)
	return p
}

func (s *Server) panicked(rec *recorder, r *http.Request, rt route, as form, v any) {
	if v == http.ErrAbortHandler {
		panic(v)
	}
	// The type, not the value, which may have a customer's text in it.
	what := fmt.Sprintf("%T", v)
	if v == errTooMuch {
		what = errTooMuch.Error()
	}
	s.log.Error("a handler panicked", "route", rt.path, "panic", what, "stack", string(debug.Stack()))
	if rec.status != 0 {
		panic(http.ErrAbortHandler) // the answer is cut off rather than taken for whole
	}
	s.fail(rec, r, as, &problem{Status: http.StatusInternalServerError, Detail: "this went wrong on our side; the log says how"})
}

// recorder remembers the status of an answer, bounds its size, and watches the request's body.
type recorder struct {
	http.ResponseWriter
	status int
	left   int64 // bytes that the answer may still have; below zero: no limit
	whole  bool  // the body has been read to its end
}

// bound is r with a body of at most limit bytes.
func (r *recorder) bound(request *http.Request, limit int64) *http.Request {
	if r.whole {
		return request
	}
	request = request.WithContext(request.Context())
	request.Body = watchedBody{http.MaxBytesReader(r.ResponseWriter, request.Body, limit), r}
	return request
}

type watchedBody struct {
	io.ReadCloser
	recorder *recorder
}

func (b watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.recorder.whole = true
	}
	if errors.Is(err, net.ErrClosed) { // it gave way to another: nobody is there to be answered
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// linger is how long the rest of a body that nobody wanted is thrown away before its connection is closed.
const linger = 500 * time.Millisecond

// WriteHeader ends the connection where the rest of a body would have to be read first for the next request: net/http waits
// for it before it sends the answer, and whoever sends it slowly would keep what serves him.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
		if !r.whole {
			_ = http.NewResponseController(r.ResponseWriter).SetReadDeadline(time.Now().Add(linger))
			// This closes the connection with the care that the answer is not lost (RFC 9112, 9.6).
			_, _ = http.MaxBytesReader(r.ResponseWriter, io.NopCloser(strings.NewReader("x")), 0).Read(make([]byte, 1))
		}
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if r.left != untilCut {
		if r.left -= int64(len(b)); r.left < 0 {
			panic(errTooMuch)
		}
	}
	return r.ResponseWriter.Write(b)
}

// errTooMuch is the panic of an answer that is larger than its route's: a whole answer would be a wrong word.
var errTooMuch = errors.New("the answer is larger than its route may send")

// Unwrap lets a ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) code() int { return or(r.status, http.StatusOK) }
