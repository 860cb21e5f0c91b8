package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"tandem/internal/inbox"
)

// streamWriteTimeout is how long a reader may take to take what is written to it.
const streamWriteTimeout = 10 * time.Second

// events streams what happens (server-sent events, HTML Standard 9.2). A reader gives the number of the last event
// that it has, and gets all after it, each once and in the order of commits.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	after, given, err := startOf(r)
	if err != nil {
		return err
	}
	if s.stopping.Err() != nil {
		return &problem{http.StatusServiceUnavailable, "this server is stopping; try again"}
	}
	p := who(r)
	if !s.streams.tryAcquire(p) {
		return &problem{http.StatusTooManyRequests, "too many streams are open; close one, or try again later"}
	}
	defer s.streams.release(p)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	out := &sse{w: w, control: http.NewResponseController(w), ctx: ctx}
	defer context.AfterFunc(s.stopping, func() {
		cancel()
		out.hurry()
	})()

	// Subscribed first, read second: what is committed in between comes twice and is dropped once, instead of never.
	sub, err := s.hub.subscribe(ctx, p.grant, func() {
		cancel()
		out.hurry()
	})
	if err != nil {
		return err
	}
	defer s.hub.unsubscribe(sub)
	// The right may have ended between being let in and being subscribed.
	until, err := s.store.Grants(ctx, []inbox.Grant{p.grant})
	if err != nil {
		return err
	}
	if !until[0].After(time.Now()) {
		return overFor(p)
	}
	ends := time.NewTimer(min(time.Until(until[0]), time.Until(s.idleUntil(p))))
	defer ends.Stop()
	var first []inbox.Event
	if given {
		first, err = s.store.Events(ctx, after, maxEventsPerRead)
	}
	reset := errors.Is(err, inbox.ErrReset)
	if !given || reset {
		after, err = s.store.LastEvent(ctx)
	}
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	out.comment("retry: 1000\n\n")
	if reset {
		out.reset(after)
	}
	out.last = after
	for len(first) > 0 && out.send(first) && len(first) == maxEventsPerRead {
		if first, err = s.store.Events(ctx, out.last, maxEventsPerRead); err != nil {
			return nil // the reader comes back and goes on from there
		}
	}
	s.follow(ctx, out, sub, ends.C)
	return nil
}

// overFor is what whoever has no right any more is told.
func overFor(p principal) error {
	if p.session == nil {
		return errBadToken
	}
	return errNoToken
}

// startOf is the number of the last event that the reader has. Last-Event-ID, which a browser sends when it comes back
// by itself, is newer than the address.
func startOf(r *http.Request) (after int64, given bool, err error) {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || n < 0 {
			n = int64(^uint64(0) >> 1) // a number that we never gave: the answer is a reset
		}
		return n, true, nil
	}
	q, err := queryOf(r)
	if err != nil {
		return 0, false, err
	}
	if q.Get("after") == "" {
		return 0, false, nil
	}
	after, err = strconv.ParseInt(q.Get("after"), 10, 64)
	if err != nil || after < 0 {
		return 0, false, bad("after: want the number of an event, like 0 or 1234")
	}
	return after, true, nil
}

// follow writes what the hub sends until the reader leaves, may not read any more, or cannot be served.
func (s *Server) follow(ctx context.Context, out *sse, sub *subscriber, ends <-chan time.Time) {
	heartbeat := time.NewTicker(s.config.HeartbeatEvery)
	defer heartbeat.Stop()
	for out.err == nil && ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-ends:
			return
		case batch, ok := <-sub.batches:
			if !ok {
				if errors.Is(sub.why, inbox.ErrReset) {
					if newest, err := s.store.LastEvent(ctx); err == nil {
						out.reset(newest)
					}
				}
				return
			}
			if ctx.Err() == nil {
				out.send(batch)
			}
		case <-heartbeat.C:
			out.comment(": still here\n\n")
		}
	}
}

// sse writes a stream. After the first error it writes no more.
type sse struct {
	w       http.ResponseWriter
	control *http.ResponseController
	ctx     context.Context // ended when the stream is to end
	last    int64           // number of the last event that was written
	err     error
}

// send writes those of a batch that are newer than the last one written, and says whether that went well.
func (o *sse) send(batch []inbox.Event) bool {
	var b bytes.Buffer
	for _, e := range batch {
		if e.Seq <= o.last {
			continue
		}
		o.last = e.Seq
		data, _ := json.Marshal(struct {
			ConversationID int64 `json:"conversation_id,omitempty"`
			MessageID      int64 `json:"message_id,omitempty"`
			BotID          int64 `json:"bot_id,omitempty"`
			NoteID         int64 `json:"note_id,omitempty"`
		}{e.ConversationID, e.MessageID, e.BotID, e.NoteID})
		fmt.Fprintf(&b, "id: %d\nevent: %s\ndata: %s\n\n", e.Seq, e.Type, data)
		if b.Len() > 8<<10 { // a reader who takes nothing holds no more
			if !o.write(b.Bytes()) {
				return false
			}
			b.Reset()
		}
	}
	return o.write(b.Bytes())
}

func (o *sse) reset(newest int64) {
	o.write(fmt.Appendf(nil, "id: %d\nevent: reset\ndata: {}\n\n", newest))
}

func (o *sse) comment(text string) { o.write([]byte(text)) }

func (o *sse) write(b []byte) bool {
	if o.err != nil || len(b) == 0 {
		return o.err == nil
	}
	_ = o.control.SetWriteDeadline(time.Now().Add(streamWriteTimeout))
	if o.ctx.Err() != nil {
		o.hurry()
	}
	if _, o.err = o.w.Write(b); o.err == nil {
		o.err = o.control.Flush()
	}
	return o.err == nil
}

// hurry leaves a write under way just the time that a reader who keeps up needs.
func (o *sse) hurry() { _ = o.control.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)) }
