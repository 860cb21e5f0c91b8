package store

import (
	"context"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"tandem/internal/exitcode"
	"tandem/internal/pgtest"
	"tandem/internal/store/storetest"
)

// TestSuiteThroughPooler : all but the lock works through a PgBouncer that gives each transaction another session.
func TestSuiteThroughPooler(t *testing.T) {
	t.Parallel()
	bouncer := pgtest.Bouncer(t, pgtest.URL(t))
	storetest.Run(t, func(t *testing.T) func() storetest.Store {
		through := edited(t, pgtest.URL(t), func(u *url.URL) { u.Host = hostOf(t, bouncer) })
		return func() storetest.Store { return running(t, through) }
	})
}

func hostOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// TestLockBesideThePooler : the lock is refused through PgBouncer and held beside it, in the same database only.
func TestLockBesideThePooler(t *testing.T) {
	t.Parallel()
	direct := pgtest.URL(t)
	through := pgtest.Bouncer(t, direct)
	_, err := running(t, through).PollLock(t.Context(), 1, "a", nil)
	if exitcode.Of(err) != exitcode.Config || !strings.Contains(err.Error(), "pooler") ||
		!strings.Contains(err.Error(), "BOT_LOCK_DATABASE_URL") {
		t.Errorf("the lock through PgBouncer: %v", err)
	}
	with := func(lock string) *Store {
		t.Helper()
		s := Open(through, slog.New(slog.DiscardHandler))
		t.Cleanup(s.Close)
		if err := s.LockThrough(lock); err != nil {
			t.Fatal(err)
		}
		if err := s.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s
	}
	mistyped := edited(t, direct, func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "s3cret") })
	for name, wrong := range map[string]struct{ lock, words string }{
		"the pooler again":    {through, "pooler"},
		"another database":    {pgtest.URL(t), "leads to database"},
		"a password mistyped": {mistyped, "refuses the password"},
	} {
		_, err := with(wrong.lock).PollLock(t.Context(), 1, "a", nil)
		if exitcode.Of(err) != exitcode.Config || !strings.HasPrefix(err.Error(), "BOT_LOCK_DATABASE_URL: ") ||
			!strings.Contains(err.Error(), wrong.words) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := with(direct)
	lock, err := s.PollLock(t.Context(), 1, "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.TakeOver(t.Context(), 1, "a"); err != nil {
		t.Errorf("taking over with the lock beside the pooler: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := with(direct).PollLock(short, 1, "b", nil); err == nil {
		t.Error("two have the lock")
	}
	lock.Release()
}
