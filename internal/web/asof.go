package web

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
)

// question is what a request to the reading part of the API asks, whatever words of the address it asks it with.
type question struct {
	key  string // the same for the same question, and as long as what is asked for and no longer
	read func(ctx context.Context) (any, error)
}

// answers keeps what the reading part of the API answered, as of one event: every change that an answer could
// show has an event, so while the newest one is the same the answers are, too.
type answers struct {
	mu     sync.Mutex
	event  int64
	bodies map[string][]byte
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

const (
	// maxAnswers bounds what is kept, in bytes, and maxAnswersKept the number of answers.
	maxAnswers     = 4 << 20
	maxAnswersKept = 2048
	// answerCosts is what an answer takes in memory beside its key and its body.
	answerCosts = 128
)

func (a *answers) get(event int64, key string) ([]byte, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.event != event {
		return nil, false
	}
	body, ok := a.bodies[key]
	return body, ok
}

func (a *answers) put(event int64, key string, body []byte) {
	size := len(key) + cap(body) + answerCosts
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bodies == nil || a.event != event || a.size+size > maxAnswers || len(a.bodies) >= maxAnswersKept {
		a.event, a.bodies, a.size = event, map[string][]byte{}, 0
	}
	if _, ok := a.bodies[key]; !ok && size <= maxAnswers {
		a.bodies[key] = body
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

// asOf answers what parse finds in a request, again and again from memory while nothing has changed. The number of
// the newest event is read first: data that is newer than it belongs to an event that ends its use at once.
func (s *Server) asOf(parse func(r *http.Request) (question, error)) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		q, err := parse(r)
		if err != nil {
			return err
		}
		event, err := s.store.LastEvent(r.Context())
		if err != nil {
			return err
		}
		body, large, err := s.answer(r.Context(), event, q)
		if err != nil {
			return err
		}
		if large != nil {
			return s.writeLarge(w, r, large)
		}
		leave, err := s.room.take(r.Context(), who(r), len(body))
		if err != nil {
			return err
		}
		defer leave()
		writeBody(s.inPieces(w, r, len(body)), http.StatusOK, body)
		return nil
	}
}

// answer is what is kept, what somebody else reads just now, or what is read here: as a body, or as what is too large for one.
func (s *Server) answer(ctx context.Context, event int64, q question) (body []byte, large streamed, err error) {
	if body, ok := s.answers.get(event, q.key); ok {
		return body, nil, nil
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
	v, err := q.read(ctx)
	if err != nil {
		return nil, nil, err
	}
	if l, ok := v.(streamed); ok && l.bytes() > maxAnswers/16 {
		return nil, l, nil
	}
	if body, err = json.Marshal(v); err != nil {
		return nil, nil, err
	}
	if first {
		one.body = body
	}
	s.answers.put(event, q.key, body)
	return body, nil, nil
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
