package telegram

import (
	"context"
	"sync"

	"tandem/internal/backoff"
)

// breaker is a circuit breaker between the bot and Telegram. While Telegram cannot be reached it keeps polling and
// sending from trying each for itself: whoever meets trouble trips it, and one probe resets it. So an outage makes only
// those deliveries unknown that were under way when it began, and the number of requests does not depend on how much is
// waiting.
//
// A breaker that is tripped lets nothing through. One that is not lets everything through. It is never called open or
// closed: an open circuit breaker lets nothing through, and an open door lets everybody through.
type breaker struct {
	mu      sync.Mutex
	tripped bool
	passes  chan struct{} // closed while it is not tripped
	trips   chan struct{} // gets a word when it was tripped
}

func newBreaker() *breaker {
	b := &breaker{passes: make(chan struct{}), trips: make(chan struct{}, 1)}
	close(b.passes)
	return b
}

// trip lets nothing through any more.
func (b *breaker) trip() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.tripped {
		b.tripped, b.passes = true, make(chan struct{})
	}
	select {
	case b.trips <- struct{}{}:
	default:
	}
}

// reset lets everything through again.
func (b *breaker) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tripped {
		b.tripped = false
		close(b.passes)
	}
}

func (b *breaker) isTripped() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tripped
}

// pass waits until the breaker is not tripped, or ctx has ended, and says whether to go on.
func (b *breaker) pass(ctx context.Context) bool {
	for {
		b.mu.Lock()
		tripped, passes := b.tripped, b.passes
		b.mu.Unlock()
		if !tripped {
			return ctx.Err() == nil
		}
		select {
		case <-passes:
		case <-ctx.Done():
			return false
		}
	}
}

// run resets the breaker each time that it was tripped, once probe shows that Telegram is there. It tells restored of
// that. It returns an error where the probe shows that the token is not known any more, else nil when ctx ends.
func (b *breaker) run(ctx context.Context, times timing, probe func(context.Context) response,
	restored func(response)) error {
	for {
		select {
		case <-b.trips:
		case <-ctx.Done():
			return nil
		}
		pause := times.backoff()
		for b.isTripped() {
			if !backoff.Sleep(ctx, pause.Next()) {
				return nil
			}
			resp := probe(ctx)
			switch resp.class {
			case taken, flooded: // one who asks for a pause is there, and says so to each kind of request itself
				b.reset()
				restored(resp)
			case unauthorized:
				return refusedToken(resp)
			}
		}
	}
}
