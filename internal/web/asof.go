package web

import (
	"encoding/json"
	"net/http"
	"sync"
)

// answers keeps what the reading part of the API answered, as of one event: every change that an answer could
// show has an event, so while the newest one is the same the answers are, too.
type answers struct {
	mu     sync.Mutex
	event  int64
	bodies map[string][]byte
	size   int // of all bodies, in bytes
}

// maxAnswers bounds what is kept, in bytes.
const maxAnswers = 4 << 20

func (a *answers) get(event int64, address string) ([]byte, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.event != event {
		return nil, false
	}
	body, ok := a.bodies[address]
	return body, ok
}

func (a *answers) put(event int64, address string, body []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bodies == nil || a.event != event || a.size+len(body) > maxAnswers {
		a.event, a.bodies, a.size = event, map[string][]byte{}, 0
	}
	if _, ok := a.bodies[address]; !ok && len(body) <= maxAnswers {
		a.bodies[address] = body
		a.size += len(body)
	}
}

// asOf answers with what read gives, again and again from memory while nothing has changed. The number of the
// newest event is read first: data that is newer than it belongs to an event that ends its use at once.
func (s *Server) asOf(read func(r *http.Request) (any, error)) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		event, err := s.store.LastEvent(r.Context())
		if err != nil {
			return err
		}
		address := r.URL.Path + "?" + r.URL.RawQuery
		body, ok := s.answers.get(event, address)
		if !ok {
			v, err := read(r)
			if err != nil {
				return err
			}
			if body, err = json.Marshal(v); err != nil {
				return err
			}
			s.answers.put(event, address, body)
		}
		writeBody(w, http.StatusOK, body)
		return nil
	}
}
