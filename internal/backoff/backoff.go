// Package backoff gives the waits between attempts: how long to wait, and a wait that a context ends. When to give up
// is its caller's to say. A library (cenkalti/backoff) has retry loops and policies beside the two functions that are
// needed here, and no wait that a context ends.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff gives growing waits. Each is between half of its turn's time and all of it, so that many who failed together
// do not come back together. It is not for several goroutines at once.
type Backoff struct {
	Min, Max time.Duration // of the first turn, and of the longest
	Failures int           // so far; a caller may begin with more than none
}

// Next counts a failure and says how long to wait after it: Min, twice as long with each failure, at most Max.
func (b *Backoff) Next() time.Duration {
	d := min(b.Min<<min(b.Failures, 16), b.Max)
	b.Failures++
	return d/2 + rand.N(d/2+1)
}

// Reset begins again, after a success.
func (b *Backoff) Reset() { b.Failures = 0 }

// Sleep waits for d or until ctx ends, and says whether ctx goes on. A d of zero or less only asks that.
func Sleep(ctx context.Context, d time.Duration) bool {
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
