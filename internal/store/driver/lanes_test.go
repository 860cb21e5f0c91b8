package driver

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"tandem/internal/proctest"
)

// TestShare: of few connections as of many each is in one lane, all together are no more than there may be, and a
// search never has the last one to itself if there are two.
func TestShare(t *testing.T) {
	for n := 1; n <= 60; n++ {
		sum, seen := 0, map[*Lane]bool{}
		lanes := Share(n)
		for _, l := range lanes {
			if !seen[l] {
				seen[l] = true
				sum += cap(l.slots)
			}
		}
		if sum != n {
			t.Errorf("of %d connections %d are used", n, sum)
		}
		for w := Pages; w < Ways && n > 1; w++ {
			if lanes[w] == lanes[Search] {
				t.Errorf("of %d connections searches share with %s", n, wayNames[w])
			}
		}
	}
}

// TestMaxWaiting: those who wait are bounded, and one too many is told at once.
func TestMaxWaiting(t *testing.T) {
	l := NewLane(1)
	leave, err := l.Enter(t.Context(), Access)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range maxWaiting[Writes] {
		wg.Go(func() { _, _ = l.Enter(ctx, Writes) })
	}
	proctest.Eventually(t, 20*time.Second, "all wait", func() bool { return l.waiting.Load() == maxWaiting[Writes] })
	var full *FullError
	if _, err := l.Enter(t.Context(), Writes); !errors.As(err, &full) || full.waited != 0 {
		t.Errorf("one too many: %v", err)
	}
	cancel()
	wg.Wait()
	leave()
	if leave, err := l.Enter(t.Context(), Access); err != nil {
		t.Error(err)
	} else {
		leave()
	}
}
