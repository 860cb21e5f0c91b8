package web

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"tandem/internal/inbox"
)

// keeping says whether what a route answers may come from memory.
type keeping bool

const (
	fresh keeping = false // each request is answered anew
	kept  keeping = true  // an answer is given again until the next event
)

// question is what a request to the reading part of the API asks, whatever words of the address it asks it with.
type question struct {
	key  string // the same for the same question, and as long as what is asked for and no longer
	read func(ctx context.Context) (any, error)
}

// answers keeps what the reading part of the API answered, as of one event: every change that an answer could
// show has an event or a time (changesBy), so while the newest one is the same the answers are, too.
type answers struct {
	mu     sync.Mutex
	event  int64
	bodies map[string]body
	size   int // of all that is kept, in bytes
	asked  map[asked]*asking
}

// asked is a question as of an event, and asking somebody's reading of the answer, for which others with the same wait.
type asked struct {
	event int64
	key   string
}

type asking struct {
	done chan struct{}
	body []byte // nil if there is none to share; set before done is closed
}

// body is what was answered.
type body struct {
	json  []byte
	until time.Time // it changes by itself then; the zero time for never
}

const (
	// maxAnswers bounds what is kept, in bytes, and maxAnswersKept the number of answers.
	maxAnswers     = 4 << 20
	maxAnswersKept = 2048
	// answerCosts is what an answer takes in memory beside its key and its body.
	answerCosts = 128
)

func (a *answers) get(event int64, key string, now time.Time) ([]byte, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.event != event {
		return nil, false
	}
	b, ok := a.bodies[key]
	return b.json, ok && (b.until.IsZero() || now.Before(b.until))
}

func (a *answers) put(event int64, key string, b body) {
	size := len(key) + cap(b.json) + answerCosts
	a.mu.Lock()
	defer a.mu.Unlock()
	if old, ok := a.bodies[key]; ok && a.event == event {
		a.size -= len(key) + cap(old.json) + answerCosts
		delete(a.bodies, key)
	}
	if a.bodies == nil || a.event != event || a.size+size > maxAnswers || len(a.bodies) >= maxAnswersKept {
		a.event, a.bodies, a.size = event, map[string]body{}, 0
	}
	if size <= maxAnswers {
		a.bodies[key] = b
		a.size += size
	}
}

// ask is the reading of the answer that is under way, or a new one, which the caller ends by told.
func (a *answers) ask(q asked) (one *asking, first bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if one = a.asked[q]; one != nil {
		return one, false
	}
	if a.asked == nil {
		a.asked = map[asked]*asking{}
	}
	one = &asking{done: make(chan struct{})}
	a.asked[q] = one
	return one, true
}

func (a *answers) told(q asked, one *asking) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.asked, q)
	close(one.done)
}

// changesBy is when an answer changes by itself, because what it says waits until then: the zero time for never. keep is
// false for what is not known here, so that nobody finds out late.
func changesBy(answer any) (until time.Time, keep bool) {
	see := func(m *inbox.Message) {
		if m != nil && m.Waits != nil && m.Waits.Until != nil && (until.IsZero() || m.Waits.Until.Before(until)) {
			until = *m.Waits.Until
		}
	}
	switch v := answer.(type) {
	case inbox.Conversation:
		see(v.LastMessage)
	case list[inbox.Conversation]:
		for i := range v.Items {
			see(v.Items[i].LastMessage)
		}
	case list[inbox.Message]:
		for i := range v.Items {
			see(&v.Items[i])
		}
	default:
		return time.Time{}, false
	}
	return until, true
}

// reading answers what parse finds in a request. Where the route is kept it does so again and again from memory while
// nothing has changed: the number of the newest event is read first, and data that is newer than it belongs to an event
// that ends its use at once.
func (s *Server) reading(parse func(r *http.Request) (question, error)) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		q, err := parse(r)
		if err != nil {
			return err
		}
		text, large, err := s.answer(r.Context(), routeOf(r).keep, q)
		if err != nil {
			return err
		}
		if large != nil {
			return s.writeLarge(w, r, large)
		}
		leave, err := s.room.take(r.Context(), who(r), len(text))
		if err != nil {
			return err
		}
		defer leave()
		writeBody(s.inPieces(w, r, len(text)), http.StatusOK, text)
		return nil
	}
}

// answer is what is read, or may be given as it was read, as of the newest event: as a body, or as what is too large for one.
func (s *Server) answer(ctx context.Context, keep keeping, q question) (text []byte, large streamed, err error) {
	if keep == fresh {
		text, large, _, err = q.answer(ctx)
		return text, large, err
	}
	event, err := s.store.LastEvent(ctx)
	if err != nil {
		return nil, nil, err
	}
	return s.answerAsOf(ctx, event, q)
}

// answerAsOf is what is kept, what somebody else reads just now, or what is read here.
func (s *Server) answerAsOf(ctx context.Context, event int64, q question) (text []byte, large streamed, err error) {
	if text, ok := s.answers.get(event, q.key, time.Now()); ok {
		return text, nil, nil
	}
	one, first := s.answers.ask(asked{event, q.key})
	if first {
		defer s.answers.told(asked{event, q.key}, one)
	} else {
		select {
		case <-one.done:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		if one.body != nil {
			return one.body, nil, nil
		}
	}
	text, large, v, err := q.answer(ctx)
	if err != nil || large != nil {
		return nil, large, err
	}
	if first {
		one.body = text
	}
	if until, known := changesBy(v); known {
		s.answers.put(event, q.key, body{text, until})
	}
	return text, nil, nil
}

// answer reads it: as a body, or as what is too large for one.
func (q question) answer(ctx context.Context) (text []byte, large streamed, v any, err error) {
	if v, err = q.read(ctx); err != nil {
		return nil, nil, nil, err
	}
	if l, ok := v.(streamed); ok && l.bytes() > maxAnswers/16 {
		return nil, l, v, nil
	}
	text, err = json.Marshal(v)
	return text, nil, v, err
}

// writeLarge writes what is not kept, and not even made whole.
func (s *Server) writeLarge(w http.ResponseWriter, r *http.Request, l streamed) error {
	leave, err := s.room.take(r.Context(), who(r), l.bytes())
	if err != nil {
		return err
	}
	defer leave()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	if err := l.stream(s.pieces(w, r)); err != nil {
		panic(http.ErrAbortHandler) // the reader is gone, or was too slow: it must not take this for the whole
	}
	return nil
}
