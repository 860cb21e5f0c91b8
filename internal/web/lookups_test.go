package web

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"tandem/internal/inbox"
)

// registry is a store of tokens that says how often it was asked, and answers when it may.
type registry struct {
	inbox.OperatorStore
	leave  chan struct{}
	tokens map[string]inbox.Token
	event  int64
	rounds int
	most   int // credentials of one round
	panics bool
}

func (r *registry) LookUp(_ context.Context, c inbox.Credentials) (inbox.Known, error) {
	if r.panics {
		panic("a bug")
	}
	r.rounds++
	r.most = max(r.most, len(c.Tokens)+len(c.Sessions)+len(c.Operators))
	known := inbox.Known{LastEvent: r.event, Tokens: map[string]inbox.Token{}}
	for _, hash := range c.Tokens {
		if token, ok := r.tokens[string(hash)]; ok {
			known.Tokens[string(hash)] = token
		}
	}
	<-r.leave
	return known, nil
}

// TestLookupsTogether : all who ask while one round is under way are answered by the next ones, of a bounded size. What
// has changed meanwhile is known then: a right that has ended is not found.
func TestLookupsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &registry{leave: make(chan struct{}), tokens: map[string]inbox.Token{}}
		for i := range 250 {
			store.tokens[fmt.Sprint(i)] = inbox.Token{ID: int64(i)}
		}
		l := &lookups{store: store}
		var all sync.WaitGroup
		all.Go(func() {
			if token, err := l.TokenByHash(t.Context(), []byte("7")); err != nil || token.ID != 7 {
				t.Errorf("before it ends: %+v, %v", token, err)
			}
		})
		synctest.Wait()
		delete(store.tokens, "7")
		store.event = 5
		for i := range 250 {
			all.Go(func() {
				token, err := l.TokenByHash(t.Context(), fmt.Append(nil, i))
				if i == 7 && !errors.Is(err, inbox.ErrNotFound) || i != 7 && (err != nil || token.ID != int64(i)) {
					t.Errorf("token %d: %+v, %v", i, token, err)
				}
			})
		}
		all.Go(func() {
			if event, err := l.LastEvent(t.Context()); err != nil || event != 5 {
				t.Errorf("the last event is %d, %v", event, err)
			}
		})
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Operator(gone, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("one who has gone: %v", err)
		}
		synctest.Wait()
		close(store.leave)
		all.Wait()
		if store.rounds > 4 || store.most > maxLookups {
			t.Errorf("%d rounds of at most %d, want 4 of at most %d", store.rounds, store.most, maxLookups)
		}
	})
}

// TestLookupsBounded : those who wait are bounded, and a panic is that of those who asked.
func TestLookupsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &registry{leave: make(chan struct{})}
		l := &lookups{store: store}
		var all sync.WaitGroup
		all.Go(func() { _, _ = l.LastEvent(t.Context()) })
		synctest.Wait() // it is under way
		for range maxLookupsWaiting {
			all.Go(func() { _, _ = l.LastEvent(t.Context()) })
		}
		synctest.Wait()
		if _, err := l.LastEvent(t.Context()); inbox.KindOf(err) != inbox.Busy {
			t.Errorf("one too many: %v", err)
		}
		close(store.leave)
		all.Wait()
		store.panics = true
		all.Go(func() {
			defer func() {
				if _, ok := recover().(*readPanic); !ok {
					t.Error("the panic did not come to the one who asked")
				}
			}()
			_, _ = l.LastEvent(t.Context())
		})
		all.Wait()
		store.panics = false
		if _, err := l.LastEvent(t.Context()); err != nil {
			t.Errorf("after it: %v", err)
		}
	})
}
