package web

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/inbox"
)

func TestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newInFlight()
		reader := func(id int64) principal { return principal{identity: identity{inbox.ByAPI, id}} }
		ann, bo := reader(1), reader(2)
		ctx := context.Background()
		var releases []func()
		for range maxInFlightEach / (1 << 20) {
			release, err := f.acquire(ctx, ann, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			releases = append(releases, release)
		}
		if _, err := f.acquire(ctx, ann, smallInFlight); err != nil {
			t.Errorf("a small answer: %v", err)
		}
		if release, err := f.acquire(ctx, bo, 1<<20); err != nil {
			t.Errorf("another's answer: %v", err)
		} else {
			release()
			release() // once
		}
		if _, err := f.acquire(ctx, ann, 1<<20); err != errInFlightEach {
			t.Errorf("one too many of her own: %v", err)
		}
		got := make(chan error)
		go func() {
			release, err := f.acquire(ctx, ann, 1<<20)
			if err == nil {
				release()
			}
			got <- err
		}()
		synctest.Wait()
		releases[0]()
		if err := <-got; err != nil {
			t.Errorf("she waited, and then it fitted: %v", err)
		}
		for _, release := range releases[1:] {
			release()
		}
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		for i := range int64(maxInFlight / maxInFlightEach) {
			if _, err := f.acquire(ctx, reader(100+i), maxInFlightEach); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.acquire(ctx, bo, 1<<20); err != errInFlight {
			t.Errorf("all is in flight: %v", err)
		}
		if _, err := f.acquire(short, bo, 1<<20); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who gave up: %v", err)
		}
		for range maxInFlightWaiting / (1 << 20) {
			go func() { _, _ = f.acquire(ctx, bo, 1<<20) }()
		}
		synctest.Wait()
		if began := time.Now(); true {
			if _, err := f.acquire(ctx, bo, 1<<20); err != errInFlight || time.Since(began) > 0 {
				t.Errorf("too many wait: %v after %s", err, time.Since(began))
			}
		}
		time.Sleep(maxInFlightWait)
		synctest.Wait()
		if f.waitingBytes != 0 || len(f.waiting) != 0 || len(f.bytesOf) != maxInFlight/maxInFlightEach {
			t.Errorf("%d bytes wait, %d readers have some in flight", f.waitingBytes, len(f.bytesOf))
		}
	})
}
