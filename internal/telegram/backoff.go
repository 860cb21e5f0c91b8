package telegram

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff gives growing delays. Each is uniform between half of its turn's delay and all of it, so that many who failed
// together do not come back together.
type backoff struct {
	min, max time.Duration
	failures int // since the last reset
}

// next is the delay after one more failure.
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
