package store

import (
	"errors"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
)

// TestTheLockOfASilentHolder : the line of the holder goes dead behind something that keeps both its ends open, as a
// balancer or a frozen process does. The holder knows first, then the server gives the lock to the next.
func TestTheLockOfASilentHolder(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	p, through := newProxy(t, address, nil)
	a, b := running(t, through), running(t, address)
	first, err := a.PollLock(t.Context(), 1, "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Release()
	if !first.Held() {
		t.Error("a lock just taken is not held")
	}
	const lastWord = 4 * time.Second // ago, at most: the holder asks that often
	p.frozen.Store(true)
	began := time.Now()
	second, err := b.PollLock(t.Context(), 1, "b", nil)
	took := time.Since(began)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Release()
	select {
	case <-first.Lost():
	default:
		t.Error("another has the lock before its holder knows that it has not")
	}
	if first.Held() {
		t.Error("two hold the lock")
	}
	if took < inbox.LockTrust-lastWord || took > 30*time.Second {
		t.Errorf("the next one had the lock after %v", took)
	}
	t.Logf("the next one had the lock after %v", took)
}

// TestALateTakeOver : one whose session was ended between taking the lock and taking over displaces nobody.
func TestALateTakeOver(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	a, b := running(t, address), running(t, address)
	first, err := a.PollLock(t.Context(), 1, "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Release()
	endSession(t, connect(t, address), "tandem bot 1 on a")
	second, err := b.PollLock(t.Context(), 1, "b", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Release()
	tenure, err := b.TakeOver(t.Context(), 1, "b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.TakeOver(t.Context(), 1, "a"); !errors.Is(err, inbox.ErrNoLock) {
		t.Errorf("a late take-over: %v", err)
	}
	if err := b.StoreUpdates(t.Context(), tenure, nil, 1); err != nil {
		t.Errorf("the one who has the lock: %v", err)
	}
}
