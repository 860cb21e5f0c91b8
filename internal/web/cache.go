package web

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"tandem/internal/inbox"
)

// caching says whether the response of a route may come from memory.
type caching bool

const (
	fresh  caching = false // each request reads the store
	cached caching = true  // a response is given again until the next event
)

// readRequest is what a request to the reading part of the API asks for, however its address is written.
type readRequest struct {
	key string // equal for equal requests, and no longer than what is asked for
	// own says that the response has something that is of who asks alone: it is read for him, and for nobody else.
	own  bool
	read func(ctx context.Context) (any, error)
}

// responseCache has responses of the reading part of the API, as of one event. Every change that a response could show
// has an event, or a time (changesBy). So the responses are the same while the newest event is.
type responseCache struct {
	mu      sync.Mutex
	event   int64
	entries map[string]cacheEntry
	bytes   int // of all entries
	pending map[pendingKey]*pendingRead
}

type cacheEntry struct {
	json  []byte
	until time.Time // it changes by itself then; the zero time for never
}

// pendingKey is a read as of an event.
type pendingKey struct {
	event int64
	key   string
}

// pendingRead is a read under way. Others who ask for the same wait for it.
type pendingRead struct {
	done chan struct{}
	body []byte // nil if there is none to share; set before done is closed
}

const (
	maxCacheBytes   = 4 << 20
	maxCacheEntries = 2048
	// entryBytes is what an entry takes in memory beside its key and its body.
	entryBytes = 128
	// waitsAge is how long it counts why an answer waits. A bot that falls silent makes no event, nor does the queue of
	// others that gets shorter.
	waitsAge = time.Second
	// maxBodyBytes bounds what is made whole in memory. A larger list is written item by item.
	maxBodyBytes = maxCacheBytes / 16
)

func (c *responseCache) get(event int64, key string, now time.Time) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.event != event {
		return nil, false
	}
	e, ok := c.entries[key]
	return e.json, ok && (e.until.IsZero() || now.Before(e.until))
}

func (c *responseCache) put(event int64, key string, e cacheEntry) {
	size := len(key) + cap(e.json) + entryBytes
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.entries[key]; ok && c.event == event {
		c.bytes -= len(key) + cap(old.json) + entryBytes
		delete(c.entries, key)
	}
	if c.entries == nil || c.event != event || c.bytes+size > maxCacheBytes || len(c.entries) >= maxCacheEntries {
		c.event, c.entries, c.bytes = event, map[string]cacheEntry{}, 0
	}
	if size <= maxCacheBytes {
		c.entries[key] = e
		c.bytes += size
	}
}

// begin is the read that is under way. If there is none it is a new one, which the caller ends with finish.
func (c *responseCache) begin(k pendingKey) (p *pendingRead, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p = c.pending[k]; p != nil {
		return p, false
	}
	if c.pending == nil {
		c.pending = map[pendingKey]*pendingRead{}
	}
	p = &pendingRead{done: make(chan struct{})}
	c.pending[k] = p
	return p, true
}

func (c *responseCache) finish(k pendingKey, p *pendingRead) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, k)
	close(p.done)
}

// changesBy is when a response changes by itself because what it shows waits until then: the zero time for never. known
// is false for a type that it does not know: such a response is not cached, so that nobody finds out late.
func changesBy(response any, now time.Time) (until time.Time, known bool) {
	see := func(m *inbox.Message) {
		if m == nil || m.Delivery != inbox.Queued {
			return
		}
		next := now.Add(waitsAge)
		if m.Waits != nil && m.Waits.Until != nil && m.Waits.Until.Before(next) {
			next = *m.Waits.Until
		}
		if until.IsZero() || next.Before(until) {
			until = next
		}
	}
	switch v := response.(type) {
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
	case list[inbox.Wording]: // it has its events
	default:
		return time.Time{}, false
	}
	return until, true
}

// serveRead handles what parse finds in a request. If the route is cached, a response comes from memory while nothing
// has changed. The number of the newest event is read first. Data that is newer belongs to an event that ends its use.
func (s *Server) serveRead(
	parse func(*http.Request) (readRequest, error),
) func(http.ResponseWriter, *http.Request) error {
	return s.serveReadWith(parse, func(http.Header, []byte) {})
}

// serveReadWith is serveRead where the body has something to say in the header.
func (s *Server) serveReadWith(
	parse func(*http.Request) (readRequest, error), say func(http.Header, []byte),
) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		q, err := parse(r)
		if err != nil {
			return err
		}
		body, large, err := s.read(r.Context(), routeOf(r).cache, q)
		if err != nil {
			return err
		}
		if large != nil {
			return s.writeLarge(w, r, large)
		}
		release, err := s.inFlight.acquire(r.Context(), who(r), len(body))
		if err != nil {
			return err
		}
		defer release()
		say(w.Header(), body)
		writeBody(s.inChunks(w, r, len(body)), http.StatusOK, body)
		return nil
	}
}

// read is the response as of the newest event: a body, or what is too large for one.
func (s *Server) read(ctx context.Context, c caching, q readRequest) (body []byte, large largeResponse, err error) {
	if c == fresh || q.own {
		body, large, _, err = q.do(ctx)
		return body, large, err
	}
	event, err := s.store.LastEvent(ctx)
	if err != nil {
		return nil, nil, err
	}
	return s.readAsOf(ctx, event, q)
}

// readAsOf is what is cached, what somebody else reads just now, or what is read here.
func (s *Server) readAsOf(
	ctx context.Context, event int64, q readRequest,
) (body []byte, large largeResponse, err error) {
	if body, ok := s.cache.get(event, q.key, time.Now()); ok {
		return body, nil, nil
	}
	key := pendingKey{event, q.key}
	pending, first := s.cache.begin(key)
	if first {
		defer s.cache.finish(key, pending)
	} else {
		select {
		case <-pending.done:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		if pending.body != nil {
			return pending.body, nil, nil
		}
	}
	body, large, v, err := q.do(ctx)
	if err != nil || large != nil {
		return nil, large, err
	}
	if first {
		pending.body = body
	}
	if until, known := changesBy(v, time.Now()); known {
		s.cache.put(event, q.key, cacheEntry{body, until})
	}
	return body, nil, nil
}

// do reads the store: v as a body, or as what is too large for one.
func (q readRequest) do(ctx context.Context) (body []byte, large largeResponse, v any, err error) {
	if v, err = q.read(ctx); err != nil {
		return nil, nil, nil, err
	}
	if l, ok := v.(largeResponse); ok && l.bytes() > maxBodyBytes {
		return nil, l, v, nil
	}
	body, err = json.Marshal(v)
	return body, nil, v, err
}

// writeLarge writes a list that is not cached, and never whole in memory.
func (s *Server) writeLarge(w http.ResponseWriter, r *http.Request, l largeResponse) error {
	release, err := s.inFlight.acquire(r.Context(), who(r), l.bytes())
	if err != nil {
		return err
	}
	defer release()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	if err := l.writeItems(s.chunks(w, r)); err != nil {
		panic(http.ErrAbortHandler) // the reader is gone, or was too slow: it must not take this for the whole
	}
	return nil
}
