package web

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// Large responses are in memory until their readers have taken them. These bound how much that is, in bytes.
const (
	// smallInFlight is up to what size a response does not count.
	smallInFlight      = 32 << 10
	maxInFlight        = 16 << 20
	maxInFlightEach    = 4 << 20 // of one operator or token
	maxInFlightWaiting = 8 << 20 // of responses that are ready and wait
	maxInFlightWait    = 5 * time.Second
)

var (
	errInFlight = &problem{http.StatusServiceUnavailable,
		"this server is busy: too many large answers are on their way; try again in a moment"}
	errInFlightEach = &problem{http.StatusTooManyRequests,
		"too many large answers to you are on their way; take those first, then try again"}
)

// inFlight counts the bytes of large responses that their readers have not taken yet: in all, and of each reader. It is
// a weighted semaphore in which nobody waits behind a reader who has too much in flight himself.
type inFlight struct {
	mu           sync.Mutex
	bytes        int
	bytesOf      map[identity]int
	waiting      []*inFlightWaiter // in the order in which they came
	waitingBytes int
}

type inFlightWaiter struct {
	who   identity
	bytes int
	in    chan struct{} // closed when it is in flight
}

func newInFlight() *inFlight { return &inFlight{bytesOf: map[identity]int{}} }

// acquire waits until so many bytes more may be in flight. The caller calls release when the reader has them.
func (f *inFlight) acquire(ctx context.Context, p principal, bytes int) (release func(), err error) {
	if bytes <= smallInFlight {
		return func() {}, nil
	}
	w := &inFlightWaiter{p.identity, min(bytes, maxInFlightEach), make(chan struct{})}
	release = sync.OnceFunc(func() { f.release(w) })
	f.mu.Lock()
	if f.fits(w) {
		f.add(w)
		f.mu.Unlock()
		return release, nil
	}
	if f.waitingBytes+w.bytes > maxInFlightWaiting {
		f.mu.Unlock()
		return nil, errInFlight
	}
	f.waiting = append(f.waiting, w)
	f.waitingBytes += w.bytes
	f.mu.Unlock()
	timeout := time.NewTimer(maxInFlightWait)
	defer timeout.Stop()
	select {
	case <-w.in:
		return release, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timeout.C:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, other := range f.waiting {
		if other == w {
			f.waiting = append(f.waiting[:i], f.waiting[i+1:]...)
			f.waitingBytes -= w.bytes
			if err == nil {
				err = errInFlight
				if f.bytesOf[w.who]+w.bytes > maxInFlightEach {
					err = errInFlightEach
				}
			}
			return nil, err
		}
	}
	return release, nil // it got in at this very moment
}

// tryAcquire is acquire without waiting.
func (f *inFlight) tryAcquire(p principal, bytes int) (release func(), ok bool) {
	if bytes <= smallInFlight {
		return func() {}, true
	}
	w := &inFlightWaiter{who: p.identity, bytes: min(bytes, maxInFlightEach)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.fits(w) {
		return nil, false
	}
	f.add(w)
	return sync.OnceFunc(func() { f.release(w) }), true
}

func (f *inFlight) fits(w *inFlightWaiter) bool {
	return f.bytes+w.bytes <= maxInFlight && f.bytesOf[w.who]+w.bytes <= maxInFlightEach
}

func (f *inFlight) add(w *inFlightWaiter) {
	f.bytes += w.bytes
	f.bytesOf[w.who] += w.bytes
}

// release lets in all that fit now.
func (f *inFlight) release(w *inFlightWaiter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bytes -= w.bytes
	if f.bytesOf[w.who] -= w.bytes; f.bytesOf[w.who] == 0 {
		delete(f.bytesOf, w.who)
	}
	still := f.waiting[:0]
	for _, next := range f.waiting {
		if f.fits(next) {
			f.add(next)
			f.waitingBytes -= next.bytes
			close(next.in)
			continue
		}
		still = append(still, next)
	}
	clear(f.waiting[len(still):])
	f.waiting = still
}
