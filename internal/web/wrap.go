package web

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// requestLimit is how long anything but a stream may take, from the first byte of its body to the last of the answer.
const requestLimit = 30 * time.Second

// outer is around the whole router: headers that every answer has, and the refusal of what other sites send.
func (s *Server) outer(next http.Handler) http.Handler {
	csrf := http.NewCrossOriginProtection()
	if b := s.config.BaseURL; b != nil {
		// Behind a proxy that changes Host, the browser's Origin is still this one.
		if err := csrf.AddTrustedOrigin(b.Scheme + "://" + b.Host); err != nil {
			s.log.Warn("WEB_BASE_URL cannot be an origin", "error", err)
		}
	}
	csrf.SetDenyHandler(s.wrap(route{path: "none", who: public, handle: func(http.ResponseWriter, *http.Request) error {
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
		rec := &recorder{ResponseWriter: w}
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
		control := http.NewResponseController(w)
		if as == stream {
			_ = control.SetReadDeadline(time.Time{})
		} else {
			_ = control.SetReadDeadline(start.Add(requestLimit))
			_ = control.SetWriteDeadline(start.Add(requestLimit))
			ctx, cancel := context.WithTimeout(r.Context(), requestLimit-5*time.Second)
			defer cancel()
			r = r.WithContext(ctx)
		}
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
	*r = (*r).WithContext(context.WithValue((*r).Context(), whoKey{}, who))
	return nil
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
	s.log.Error("a handler panicked", "route", rt.path, "panic", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
	if rec.status != 0 {
		panic(http.ErrAbortHandler) // the answer is cut off rather than taken for whole
	}
	s.fail(rec, r, as, &problem{Status: http.StatusInternalServerError, Detail: "this went wrong on our side; the log says how"})
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets a ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) code() int { return or(r.status, http.StatusOK) }
