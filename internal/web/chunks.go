package web

import (
	"io"
	"net/http"
	"time"
)

// A reader takes so much in so much time, or is cut off. What the kernel takes for him counts as taken.
const (
	chunkBytes   = 64 << 10
	chunkTimeout = 5 * time.Second
)

// chunkWriter writes a response chunk by chunk, and gives its reader time for each.
type chunkWriter struct {
	w       io.Writer
	control *http.ResponseController
	end     time.Time // of the whole, zero for none
}

func (s *Server) chunks(w http.ResponseWriter, r *http.Request) *chunkWriter {
	c := &chunkWriter{w: w, control: http.NewResponseController(w)}
	if d, ok := r.Context().Deadline(); ok {
		c.end = d.Add(chunkTimeout)
	}
	return c
}

func (c *chunkWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		deadline := time.Now().Add(chunkTimeout)
		if !c.end.IsZero() && c.end.Before(deadline) {
			deadline = c.end
		}
		_ = c.control.SetWriteDeadline(deadline)
		var written int
		written, err = c.w.Write(b[:min(len(b), chunkBytes)])
		n, b = n+written, b[written:]
	}
	return n, err
}

// inChunks is w for a body of that size.
func (s *Server) inChunks(w http.ResponseWriter, r *http.Request, bytes int) http.ResponseWriter {
	if bytes <= smallInFlight {
		return w
	}
	return chunked{w, s.chunks(w, r)}
}

type chunked struct {
	http.ResponseWriter
	chunks *chunkWriter
}

func (c chunked) Write(b []byte) (int, error) { return c.chunks.Write(b) }
