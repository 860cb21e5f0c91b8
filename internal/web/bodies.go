package web

import (
	"cmp"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// lateBody authenticates again when the end of a body came long after its beginning: who sends slowly must not do
// anything by a right that has ended since.
type lateBody struct {
	io.ReadCloser
	late  time.Time    // from then on the right that was read is too old to act on
	again func() error // authenticates
}

func (b *lateBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && time.Now().After(b.late) {
		if over := b.again(); over != nil {
			return n, &lateError{over}
		}
	}
	return n, err
}

// lateError is why somebody may not do any more what a body asks for.
type lateError struct{ error }

func (e *lateError) Unwrap() error { return e.error }

// recorder remembers the status of a response, bounds its size, and watches the request's body.
type recorder struct {
	http.ResponseWriter
	status int
	left   int64 // bytes that the response may still have, or noLimit
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
	switch {
	case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF): // the client sends no more, and may wait for a response
		b.recorder.whole = true
	case errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET): // it gave way to another, or hung up
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// lingerFor is how long the rest of a body that nobody wanted is thrown away before its connection is closed.
const lingerFor = 500 * time.Millisecond

// WriteHeader ends the connection where the rest of a body would have to be read before the next request. net/http
// waits for that rest before it sends the response, and whoever sends it slowly would keep what serves him.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
		if !r.whole {
			_ = http.NewResponseController(r.ResponseWriter).SetReadDeadline(time.Now().Add(lingerFor))
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
	if r.left != noLimit {
		if r.left -= int64(len(b)); r.left < 0 {
			panic(errTooMuch)
		}
	}
	return r.ResponseWriter.Write(b)
}

// errTooMuch is the panic of a response that is larger than its route may send. It is cut off, so that nobody takes it
// for the whole.
var errTooMuch = errors.New("the answer is larger than its route may send")

// Unwrap lets a ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) code() int { return cmp.Or(r.status, http.StatusOK) }
