package web

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// protect is around the whole router: headers that every response has, and the refusal of what other sites send.
func (s *Server) protect(next http.Handler) http.Handler {
	csrf := http.NewCrossOriginProtection()
	if b := s.config.BaseURL; b != nil {
		// Behind a proxy that changes Host, the browser's Origin is still this one.
		if err := csrf.AddTrustedOrigin(b.Scheme + "://" + b.Host); err != nil {
			s.log.Warn("WEB_BASE_URL cannot be an origin", "error", err)
		}
	}
	deny := refusal(func(_ http.ResponseWriter, r *http.Request) error { return s.refuseOtherSite(r) })
	// The limits of a form: its text comes back, to be copied.
	deny.maxBody, deny.maxTime, deny.maxResponse = formBody, usual, listResponse
	csrf.SetDenyHandler(s.wrap(deny))
	protected := csrf.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "+
			"media-src 'self'; "+
			"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
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
		start := begunAt(r)
		rec := &recorder{ResponseWriter: w, left: rt.maxResponse, whole: r.Body == http.NoBody}
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
			s.log.Debug("request", "method", r.Method, "route", rt.path, "status", rec.code(), "took", time.Since(start),
				"remote", r.RemoteAddr)
		}()
		if rt.maxTime != noLimit {
			control := http.NewResponseController(w)
			_ = control.SetWriteDeadline(start.Add(rt.maxTime))
			early := start.Add(forInput(rt.maxTime))
			_ = control.SetReadDeadline(early)
			ctx, cancel := context.WithDeadline(r.Context(), early)
			defer cancel()
			r = r.WithContext(ctx)
		} else {
			_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		}
		if rt.maxBody > 0 && r.ContentLength > rt.maxBody {
			s.fail(rec, r, as, &http.MaxBytesError{Limit: rt.maxBody})
			return
		}
		r = rec.bound(r, rt.maxBody)
		r = r.WithContext(context.WithValue(r.Context(), routeKey{}, rt))
		admitted, err := s.admit(rt, rec, r)
		if err != nil {
			s.fail(rec, r, as, err)
			return
		}
		r = admitted // for an error or a panic, too
		if err := rt.handle(rec, r); err != nil {
			s.fail(rec, r, as, err)
		}
	})
}

// forInput is what of a request's time its body and the database have. Then they are given up, so that there is time to
// say so.
func forInput(maxTime time.Duration) time.Duration { return maxTime * 5 / 6 }

// admit keeps the access rule. The request that it returns says who makes it.
func (s *Server) admit(rt route, w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	if rt.who == public {
		return r, nil
	}
	who, err := s.authenticate(r, rt.who)
	if err != nil {
		return nil, err
	}
	if who.session != nil {
		s.noteUse(w, who)
	}
	admitted := r.WithContext(context.WithValue(r.Context(), whoKey{}, who))
	if r.Body != nil && r.Body != http.NoBody {
		admitted.Body = &lateBody{r.Body, time.Now().Add(s.config.MaxRightAge), func() error {
			_, err := s.authenticate(r, rt.who)
			return err
		}}
	}
	return admitted, nil
}

type routeKey struct{}

// routeOf is the route that a request goes.
func routeOf(r *http.Request) route {
	rt, _ := r.Context().Value(routeKey{}).(route)
	return rt
}

type whoKey struct{}

// who makes a request that was admitted.
func who(r *http.Request) principal {
	p, _ := r.Context().Value(whoKey{}).(principal)
	return p
}

func (s *Server) panicked(rec *recorder, r *http.Request, rt route, as form, v any) {
	if v == http.ErrAbortHandler {
		panic(v)
	}
	stack := debug.Stack()
	if p, ok := v.(*readPanic); ok {
		v, stack = p.value, p.stack
	}
	// The type, not the value, which may have a customer's text in it.
	what := fmt.Sprintf("%T", v)
	if v == errTooMuch {
		what = errTooMuch.Error()
	}
	s.log.Error("a handler panicked", "route", rt.path, "panic", what, "stack", string(stack))
	if rec.status != 0 {
		panic(http.ErrAbortHandler) // the answer is cut off rather than taken for whole
	}
	s.fail(rec, r, as, errOurs)
}
