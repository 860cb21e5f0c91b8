package web

import (
	"context"
	"errors"
	"sync"
)

// shared lets those who read the same thing at the same time share a read. Whoever comes while one is under way shares
// the next one, which begins after he came: nobody is told what was true only before he asked. One of those who wait
// reads for all of them, as soon as he may read at all. The others need no right to read of their own limits.
type shared[K comparable, V any] struct {
	mu   sync.Mutex
	keys map[K]*sharedKey[V]
}

type sharedKey[V any] struct{ running, next *sharedRead[V] }

type sharedRead[V any] struct {
	waiting       int // for its beginning, guarded by shared.mu
	started, done chan struct{}
	value         V // this and what follows is set before done is closed
	err           error
	again         bool // nothing came of it, for a reason that is the reader's alone
}

// errStarted : somebody else reads.
var errStarted = errors.New("another one reads this already")

// get is what is read from now on. admit waits until the caller may read, or until started is closed. Whatever it
// gives is nobody's to change.
func (s *shared[K, V]) get(
	ctx context.Context, key K,
	admit func(started <-chan struct{}) (release func(), err error), read func() (V, error),
) (V, error) {
	var none V
	for {
		one, before := s.join(key)
		if before != nil {
			select {
			case <-before.done:
			case <-one.started:
			case <-ctx.Done():
				s.leave(key, one)
				return none, ctx.Err()
			}
		}
		release, err := admit(one.started)
		if err == nil {
			if s.start(key, one) {
				defer release()
				return s.lead(ctx, key, one, read)
			}
			release()
		} else if err != errStarted {
			s.leave(key, one)
			return none, err
		}
		select {
		case <-one.done:
			if !one.again {
				return one.value, one.err
			}
		case <-ctx.Done():
			return none, ctx.Err()
		}
	}
}

// join has the caller wait for the next read, and says which one has to be over before.
func (s *shared[K, V]) join(key K) (one, before *sharedRead[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[key]
	if k == nil {
		if s.keys == nil {
			s.keys = map[K]*sharedKey[V]{}
		}
		k = &sharedKey[V]{}
		s.keys[key] = k
	}
	if k.next == nil {
		k.next = &sharedRead[V]{started: make(chan struct{}), done: make(chan struct{})}
	}
	k.next.waiting++
	return k.next, k.running
}

// leave is for one who waits no more.
func (s *shared[K, V]) leave(key K, one *sharedRead[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one.waiting--; one.waiting > 0 {
		return
	}
	if k := s.keys[key]; k != nil && k.next == one {
		k.next = nil
		s.forget(key, k)
	}
}

// forget is called with mu held.
func (s *shared[K, V]) forget(key K, k *sharedKey[V]) {
	if k.running == nil && k.next == nil {
		delete(s.keys, key)
	}
}

// start begins the read, unless somebody did so already. The one before it is over.
func (s *shared[K, V]) start(key K, one *sharedRead[V]) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[key]
	if k == nil || k.next != one {
		return false
	}
	k.running, k.next = one, nil
	close(one.started)
	return true
}

// lead reads for all who wait. An error that is the reader's own, or a panic, has the others read again.
func (s *shared[K, V]) lead(ctx context.Context, key K, one *sharedRead[V], read func() (V, error)) (V, error) {
	one.again = true
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		k := s.keys[key]
		k.running = nil
		s.forget(key, k)
		close(one.done)
	}()
	one.value, one.err = read()
	one.again = one.err != nil && ctx.Err() != nil
	return one.value, one.err
}
