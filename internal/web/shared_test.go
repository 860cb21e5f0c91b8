package web

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"tandem/internal/inbox"
)

// TestSharedReads: those who ask for the same while it is read share the next read, which begins after all of them
// came, whoever of them may read first. Whoever has gone, or may not read, leaves the others alone.
func TestSharedReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads, now := 0, 0
		leave := make(chan struct{})
		read := func() (int, error) {
			reads++
			seen := now
			<-leave
			return seen, nil
		}
		anyway := func(<-chan struct{}) (func(), error) { return func() {}, nil }
		never := func(started <-chan struct{}) (func(), error) { <-started; return nil, errStarted }
		var s shared[string, int]
		var all sync.WaitGroup
		ask := func(least int, admit func(<-chan struct{}) (func(), error)) {
			all.Go(func() {
				if got, err := s.get(t.Context(), "k", admit, read); err != nil || got < least {
					t.Errorf("told of %d (%v), want %d or later", got, err, least)
				}
			})
			synctest.Wait()
		}
		ask(0, anyway)
		now = 1
		for range 50 {
			ask(1, never) // they have no right to read just now, and need none
		}
		ask(1, anyway)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.get(gone, "k", anyway, read); !errors.Is(err, context.Canceled) {
			t.Errorf("one who has gone: %v", err)
		}
		all.Go(func() {
			if got, err := s.get(t.Context(), "another", anyway, func() (int, error) { return 7, nil }); err != nil || got != 7 {
				t.Errorf("another thing: %d, %v", got, err)
			}
		})
		synctest.Wait()
		leave <- struct{}{}
		leave <- struct{}{}
		all.Wait()
		if reads != 2 {
			t.Errorf("%d reads, want 2", reads)
		}
		if _, err := s.get(t.Context(), "k", func(<-chan struct{}) (func(), error) { return nil, errTooManyReads },
			read); err != errTooManyReads {
			t.Errorf("one who may not read: %v", err)
		}
		if len(s.keys) != 0 {
			t.Errorf("%d keys are left", len(s.keys))
		}
	})
}

// TestSharedReadThatFails: what is wrong with the read is told to all who share it. What is wrong with the reader has
// the others read again.
func TestSharedReadThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		anyway := func(<-chan struct{}) (func(), error) { return func() {}, nil }
		for name, c := range map[string]struct {
			fail func(cancel func()) error
			want error
		}{
			"an error":            {func(func()) error { return inbox.ErrNotFound }, inbox.ErrNotFound},
			"a reader who goes":   {func(cancel func()) error { cancel(); return context.Canceled }, nil},
			"a reader who panics": {func(func()) error { panic("a bug") }, nil},
		} {
			var s shared[int, int]
			var all sync.WaitGroup
			hold, leave := make(chan struct{}), make(chan struct{})
			all.Go(func() { _, _ = s.get(t.Context(), 1, anyway, func() (int, error) { <-hold; return 0, nil }) })
			synctest.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			admitted := false
			all.Go(func() { // the first one who waits is not let in before the second one is there
				defer func() { _ = recover() }()
				first := func(<-chan struct{}) (func(), error) { <-leave; admitted = true; return func() {}, nil }
				_, _ = s.get(ctx, 1, first, func() (int, error) { return 0, c.fail(cancel) })
			})
			synctest.Wait()
			all.Go(func() {
				second := func(started <-chan struct{}) (func(), error) {
					if !admitted {
						<-started
						return nil, errStarted
					}
					return func() {}, nil
				}
				got, err := s.get(t.Context(), 1, second, func() (int, error) { return 9, nil })
				if c.want == nil && (err != nil || got != 9) || c.want != nil && !errors.Is(err, c.want) {
					t.Errorf("%s: the second one gets %d, %v", name, got, err)
				}
			})
			synctest.Wait()
			close(hold)
			synctest.Wait()
			close(leave)
			all.Wait()
			cancel()
			if len(s.keys) != 0 {
				t.Errorf("%s: %d keys are left", name, len(s.keys))
			}
		}
	})
}
