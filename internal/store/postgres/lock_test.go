package postgres

import (
	"testing"
	"time"

	"tandem/internal/inbox"
)

// TestTrustEnds : a holder that was not confirmed for long, as one that was frozen, does not trust its lock.
func TestTrustEnds(t *testing.T) {
	l := &advisoryLock{lost: make(chan struct{})}
	for ago, want := range map[time.Duration]bool{
		0: true, inbox.LockKnown: true, inbox.LockTrust: false, time.Minute: false,
	} {
		at := time.Now().Add(-ago)
		l.confirmed.Store(&at)
		if have := l.Held(); have != want {
			t.Errorf("confirmed %v ago: held %v, want %v", ago, have, want)
		}
	}
}
