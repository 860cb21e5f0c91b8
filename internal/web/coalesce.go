package web

import (
	"context"
	"runtime/debug"
	"sync"
	"time"
)

// coalesced answers all who ask the same with one read at a time. Whoever comes while one is under way gets what the
// next one reads, which begins after he came: nobody is told what was true only before he asked. (With
// golang.org/x/sync/singleflight he would be.)
type coalesced[T any] struct {
	read func(context.Context) (T, error)

	mu      sync.Mutex
	reading bool
	next    *reading[T] // for those who came while another is under way
}

// coalescedTimeout is how long one read may take.
const coalescedTimeout = 5 * time.Second

type reading[T any] struct {
	done     chan struct{}
	value    T
	err      error
	panicked *readPanic
}

// readPanic is a panic of a read, which goes on in those who wait for it: nothing would recover it where it happened.
type readPanic struct {
	value any
	stack []byte
}

func coalesce[T any](read func(context.Context) (T, error)) *coalesced[T] {
	return &coalesced[T]{read: read}
}

// get is what is read from now on. It ends with ctx at the latest.
func (c *coalesced[T]) get(ctx context.Context) (T, error) {
	c.mu.Lock()
	one := c.next
	if one == nil {
		one = &reading[T]{done: make(chan struct{})}
		if c.reading {
			c.next = one
		} else {
			c.reading = true
			go c.run(one)
		}
	}
	c.mu.Unlock()
	select {
	case <-one.done:
		if one.panicked != nil {
			panic(one.panicked)
		}
		return one.value, one.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// run reads until nobody waits.
func (c *coalesced[T]) run(one *reading[T]) {
	for one != nil {
		c.readFor(one)
		c.mu.Lock()
		one, c.next = c.next, nil
		c.reading = one != nil
		c.mu.Unlock()
	}
}

func (c *coalesced[T]) readFor(one *reading[T]) {
	ctx, cancel := context.WithTimeout(context.Background(), coalescedTimeout)
	defer cancel()
	defer close(one.done)
	defer func() {
		if v := recover(); v != nil {
			one.panicked = &readPanic{v, debug.Stack()}
		}
	}()
	one.value, one.err = c.read(ctx)
}
