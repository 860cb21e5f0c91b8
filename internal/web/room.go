package web

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"tandem/internal/inbox"
)

// Large answers are in memory until their readers have taken them. These bound how much that is, in bytes.
const (
	smallAnswer  = 32 << 10 // up to here nobody asks for room
	roomForAll   = 16 << 20
	roomForOne   = 4 << 20 // of one operator or token
	roomToWait   = 8 << 20 // of answers that are ready and wait for room
	roomPatience = 5 * time.Second
	// A reader takes so much in so much time, or is cut off. What the kernel takes for him counts as taken.
	pieceOfAnswer = 64 << 10
	pieceLimit    = 5 * time.Second
)

var (
	errNoRoom    = &problem{http.StatusServiceUnavailable, "this server is busy: too many large answers are on their way; try again in a moment"}
	errNoOwnRoom = &problem{http.StatusTooManyRequests, "too many large answers to you are on their way; take those first, then try again"}
)

// room counts the bytes of large answers.
type room struct {
	mu      sync.Mutex
	all     int
	of      map[streamer]int
	waiting []*roomWaiter // in the order in which they came
	queued  int           // bytes of those that wait
}

type roomWaiter struct {
	who  streamer
	size int
	in   chan struct{} // closed when there is room
}

func newRoom() *room { return &room{of: map[streamer]int{}} }

// take waits for room for size bytes. Who got it calls leave when his reader has them.
func (m *room) take(ctx context.Context, p principal, size int) (leave func(), err error) {
	if size <= smallAnswer {
		return func() {}, nil
	}
	w := &roomWaiter{streamer{p.kind, p.id}, min(size, roomForOne), make(chan struct{})}
	leave = sync.OnceFunc(func() { m.leave(w) })
	m.mu.Lock()
	if m.fits(w) {
		m.enter(w)
		m.mu.Unlock()
		return leave, nil
	}
	if m.queued+w.size > roomToWait {
		m.mu.Unlock()
		return nil, errNoRoom
	}
	m.waiting = append(m.waiting, w)
	m.queued += w.size
	m.mu.Unlock()
	limit := time.NewTimer(roomPatience)
	defer limit.Stop()
	select {
	case <-w.in:
		return leave, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-limit.C:
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, other := range m.waiting {
		if other == w {
			m.waiting = append(m.waiting[:i], m.waiting[i+1:]...)
			m.queued -= w.size
			if err == nil {
				err = errNoRoom
				if m.of[w.who]+w.size > roomForOne {
					err = errNoOwnRoom
				}
			}
			return nil, err
		}
	}
	return leave, nil // there was room in this very moment
}

// try takes room if there is some.
func (m *room) try(p principal, size int) (leave func(), ok bool) {
	if size <= smallAnswer {
		return func() {}, true
	}
	w := &roomWaiter{who: streamer{p.kind, p.id}, size: min(size, roomForOne)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.fits(w) {
		return nil, false
	}
	m.enter(w)
	return sync.OnceFunc(func() { m.leave(w) }), true
}

func (m *room) fits(w *roomWaiter) bool {
	return m.all+w.size <= roomForAll && m.of[w.who]+w.size <= roomForOne
}

func (m *room) enter(w *roomWaiter) {
	m.all += w.size
	m.of[w.who] += w.size
}

// leave lets those in that fit now: nobody waits behind somebody who has too much under way himself.
func (m *room) leave(w *roomWaiter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all -= w.size
	if m.of[w.who] -= w.size; m.of[w.who] == 0 {
		delete(m.of, w.who)
	}
	still := m.waiting[:0]
	for _, next := range m.waiting {
		if m.fits(next) {
			m.enter(next)
			m.queued -= next.size
			close(next.in)
			continue
		}
		still = append(still, next)
	}
	clear(m.waiting[len(still):])
	m.waiting = still
}

// pieces writes an answer bit by bit, and gives its reader time for each.
type pieces struct {
	w       io.Writer
	control *http.ResponseController
	end     time.Time // of the whole, zero for none
}

func (s *Server) pieces(w http.ResponseWriter, r *http.Request) *pieces {
	p := &pieces{w: w, control: http.NewResponseController(w)}
	if d, ok := r.Context().Deadline(); ok {
		p.end = d.Add(pieceLimit)
	}
	return p
}

func (p *pieces) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		limit := time.Now().Add(pieceLimit)
		if !p.end.IsZero() && p.end.Before(limit) {
			limit = p.end
		}
		_ = p.control.SetWriteDeadline(limit)
		var done int
		done, err = p.w.Write(b[:min(len(b), pieceOfAnswer)])
		n, b = n+done, b[done:]
	}
	return n, err
}

// inPieces is w for a body of that size.
func (s *Server) inPieces(w http.ResponseWriter, r *http.Request, size int) http.ResponseWriter {
	if size <= smallAnswer {
		return w
	}
	return pieced{w, s.pieces(w, r)}
}

type pieced struct {
	http.ResponseWriter
	pieces *pieces
}

func (p pieced) Write(b []byte) (int, error) { return p.pieces.Write(b) }

// sizes of what lists are made of, about.
func sizeOfMessage(m *inbox.Message) int {
	n := 500 + len(m.Text) + len(m.Details) + len(m.Notice) + len(m.Author.Name) + len(m.Error)
	for _, a := range m.Attachments {
		n += 200 + len(a.Name) + len(a.FileID)
	}
	return n
}

func sizeOfConversation(c *inbox.Conversation) int {
	n := 500 + len(c.Customer.Name) + len(c.Customer.Username)
	if c.LastMessage != nil {
		n += sizeOfMessage(c.LastMessage)
	}
	return n
}

// list is one page of a listing; NextCursor is null on the last one.
type list[T any] struct {
	Items      []T     `json:"items"`
	NextCursor *string `json:"next_cursor"`
	size       int
}

func newList[T any](items []T, next *string, size func(*T) int) list[T] {
	l := list[T]{Items: items, NextCursor: next}
	if items == nil {
		l.Items = []T{}
	}
	for i := range items {
		l.size += size(&items[i])
	}
	return l
}

func (l list[T]) bytes() int { return l.size }

// stream writes the same as json.Marshal gives, one item after the other, and forgets each.
func (l list[T]) stream(w io.Writer) error {
	open := `{"items":[`
	for i := range l.Items {
		b, err := json.Marshal(l.Items[i])
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, open); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		var none T
		open, l.Items[i] = ",", none
	}
	if len(l.Items) > 0 {
		open = ""
	}
	b, err := json.Marshal(l.NextCursor)
	if err != nil {
		return err
	}
	_, err = w.Write(append([]byte(open+`],"next_cursor":`), append(b, "}\n"...)...))
	return err
}

// streamed is an answer that may be too large to be made whole.
type streamed interface {
	bytes() int
	stream(w io.Writer) error
}
