package web

import (
	"io"
	"net/http"
	"time"
)

// readAhead reads a body before anything else is done for its request, where a stranger may send one. Nothing of ours
// is there yet while it waits, and half of the stack is enough (docs/adr/0070-half-a-body.md).
func (s *Server) readAhead(w http.ResponseWriter, r *http.Request) *http.Request {
	rt, ok := s.ahead[r.Method+" "+r.URL.Path]
	if !ok || r.ContentLength == 0 || r.ContentLength > rt.maxBody {
		return r
	}
	size := r.ContentLength
	if size < 0 { // nobody knows: what is above the limit is left to the route, which refuses it
		size = rt.maxBody
	}
	b := &aheadBody{ReadCloser: r.Body, begun: time.Now()}
	_ = http.NewResponseController(w).SetReadDeadline(b.begun.Add(forInput(rt.maxTime)))
	b.read = make([]byte, 0, size)
	for b.err == nil && len(b.read) < cap(b.read) {
		var n int
		n, b.err = r.Body.Read(b.read[len(b.read):cap(b.read)])
		b.read = b.read[:len(b.read)+n]
	}
	r = r.WithContext(r.Context())
	r.Body = b
	return r
}

// aheadBody is a body of which all or the beginning has been read.
type aheadBody struct {
	io.ReadCloser
	begun time.Time
	read  []byte
	err   error // after read; nil when there may be more
}

func (b *aheadBody) Read(p []byte) (int, error) {
	switch {
	case len(b.read) > 0:
		n := copy(p, b.read)
		b.read = b.read[n:]
		return n, nil
	case b.err != nil:
		return 0, b.err
	}
	return b.ReadCloser.Read(p)
}

// begunAt is when the header of a request was there, by which its route's time counts.
func begunAt(r *http.Request) time.Time {
	if b, ok := r.Body.(*aheadBody); ok {
		return b.begun
	}
	return time.Now()
}

// readingAhead are the routes that take a body from whoever sends one.
func readingAhead(routes []route) map[string]route {
	ahead := map[string]route{}
	for _, rt := range routes {
		if rt.who == public && rt.method != http.MethodGet {
			ahead[rt.method+" "+rt.path] = rt
		}
	}
	return ahead
}
