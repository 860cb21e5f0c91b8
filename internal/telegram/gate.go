package telegram

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// backoff gives growing delays, each uniform between half of its turn's delay and all of it, so that many
// who failed together do not come back together.
type backoff struct {
	min, max time.Duration
	failures int
}

func (b *backoff) next() time.Duration {
	d := b.min << min(b.failures, 16)
	d = min(d, b.max)
	b.failures++
	return d/2 + rand.N(d/2+1)
}

func (b *backoff) reset() { b.failures = 0 }

// sleep waits for d or until ctx ends, and says whether it was d.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// gate keeps polling and sending from trying each for itself while Telegram cannot be reached: whoever meets
// trouble shuts it, one probe opens it. So an outage makes only those deliveries unknown that were under way
// when it began, and the number of requests does not depend on how much is waiting.
type gate struct {
	mu     sync.Mutex
	reason string        // "" while it is open
	opened chan struct{} // closed while it is open
	shutCh chan struct{} // gets a word when it was shut
}

func newGate() *gate {
	g := &gate{opened: make(chan struct{}), shutCh: make(chan struct{}, 1)}
	close(g.opened)
	return g
}

// shut closes the gate for a reason in words.
func (g *gate) shut(reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reason == "" {
		g.opened = make(chan struct{})
	}
	g.reason = reason
	select {
	case g.shutCh <- struct{}{}:
	default:
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reason != "" {
		g.reason = ""
		close(g.opened)
	}
}

func (g *gate) isOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reason == ""
}

// wait returns when the gate is open, or ctx has ended; it says whether it is open.
func (g *gate) wait(ctx context.Context) bool {
	for {
		g.mu.Lock()
		opened, open := g.opened, g.reason == ""
		g.mu.Unlock()
		if open {
			return ctx.Err() == nil
		}
		select {
		case <-opened:
		case <-ctx.Done():
			return false
		}
	}
}

// run opens the gate again each time it was shut, once probe gets an answer. It returns an error where the
// answer is that the token is not known any more, else nil when ctx ends.
func (g *gate) run(ctx context.Context, times timing, probe func(context.Context) answer, opened func(answer)) error {
	for {
		select {
		case <-g.shutCh:
		case <-ctx.Done():
			return nil
		}
		pause := times.backoff()
		for !g.isOpen() {
			if !sleep(ctx, pause.next()) {
				return nil
			}
			a := probe(ctx)
			switch a.class {
			case taken, flooded: // one who asks for a pause is there, and says so to each kind of request itself
				g.open()
				opened(a)
			case unauthorized:
				return refusedToken(a)
			}
		}
	}
}
