package web

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// TestCoalescedReads: a hundred who ask while one read is under way cost one more, and each is told what was true
// after he asked.
func TestCoalescedReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads, now := 0, 0
		leave := make(chan struct{})
		c := coalesce(func(context.Context) (int, error) {
			reads++
			seen := now
			<-leave
			return seen, nil
		})
		var all sync.WaitGroup
		ask := func(least int) {
			all.Go(func() {
				if got, err := c.get(t.Context()); err != nil || got < least {
					t.Errorf("told of %d (%v), want %d or later", got, err, least)
				}
			})
		}
		ask(0)
		synctest.Wait()
		now = 1
		for range 100 {
			ask(1)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.get(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("one who has gone: %v", err)
		}
		synctest.Wait()
		leave <- struct{}{}
		leave <- struct{}{}
		all.Wait()
		if reads != 2 {
			t.Errorf("%d reads, want 2", reads)
		}
	})
}
