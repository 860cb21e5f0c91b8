package web

import (
	"context"
	"testing"
	"testing/synctest"

	"tandem/internal/inbox"
)

// TestReadLimit: one reader has so many reads at once and no more, waits in order, and nobody else waits for him.
func TestReadLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := newFairStore(nil).limit
		as := func(id int64) context.Context {
			return context.WithValue(context.Background(), whoKey{}, principal{identity: identity{inbox.ByAPI, id}})
		}
		for _, search := range []bool{false, true} {
			most := map[bool]int{false: maxReadsEach, true: maxSearchesEach}[search]
			var releases []func()
			for range most {
				release, err := limit.acquire(as(1), search)
				if err != nil {
					t.Fatal(err)
				}
				releases = append(releases, release)
			}
			results := make(chan error, maxWaitingEach+1)
			for range maxWaitingEach + 1 {
				go func() {
					release, err := limit.acquire(as(1), search)
					if err == nil {
						release()
					}
					results <- err
				}()
			}
			synctest.Wait()
			if err := <-results; err != errTooManyReads || len(results) > 0 {
				t.Errorf("one too many waits: %v, and %d more", err, len(results))
			}
			if release, err := limit.acquire(as(2), search); err != nil {
				t.Errorf("somebody else: %v", err)
			} else {
				release()
			}
			releases[0]()
			for range maxWaitingEach {
				if err := <-results; err != nil {
					t.Errorf("waited in vain: %v", err)
				}
			}
			for _, release := range releases[1:] {
				release()
			}
		}
		if len(limit.queues) > 0 {
			t.Errorf("%d queues are left", len(limit.queues))
		}
		if release, err := limit.acquire(context.Background(), true); err != nil {
			t.Error(err)
		} else {
			release()
		}
	})
}
