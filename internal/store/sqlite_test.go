package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/store/driver"
	"tandem/internal/testenv"
)

// fill is a bot that stores message after message.
type fill struct {
	t      *testing.T
	s      *Store
	tenure inbox.Tenure
	want   []string // the texts that were stored, by the store's word
	next   int64
}

func newFill(t *testing.T, s *Store) *fill {
	t.Helper()
	tenure, err := s.TakeOver(t.Context(), 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	return &fill{t: t, s: s, tenure: tenure}
}

// store stores one message of about size bytes. A later one that succeeds is preceded by those that failed,
// as updates that were not acknowledged come again.
func (f *fill) store(size int) error {
	text := fmt.Sprintf("%d %s", f.next, strings.Repeat("x", size))
	u := inbox.Update{ID: f.next, Raw: []byte(text),
		Message: &inbox.IncomingMessage{ChatID: 7, MessageID: f.next, Kind: "text", Text: text, Date: time.Now()}}
	err := f.s.StoreUpdates(f.t.Context(), f.tenure, []inbox.Update{u}, f.next+1)
	if err == nil {
		f.want = append(f.want, text)
		f.next++
	}
	return err
}

func (f *fill) mustStore() {
	f.t.Helper()
	if err := f.store(10); err != nil {
		f.t.Fatal(err)
	}
}

// check : all that was stored is there once, and nothing else.
func (f *fill) check() {
	f.t.Helper()
	have := customerTexts(f.t, f.s)
	if len(have) != len(f.want) {
		f.t.Fatalf("have %d messages, want %d", len(have), len(f.want))
	}
	for i := range have {
		if have[i] != f.want[i] {
			f.t.Fatalf("message %d is %.20q, want %.20q", i, have[i], f.want[i])
		}
	}
}

func wantUnavailable(t *testing.T, err error, say string) {
	t.Helper()
	if !errors.Is(err, inbox.ErrUnavailable) || !strings.Contains(err.Error(), say) {
		t.Fatalf("want ErrUnavailable with %q, have: %v", say, err)
	}
}

// waitUnready waits until Ready says so.
func waitUnready(t *testing.T, s *Store, say string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := s.Ready()
		if err != nil && strings.Contains(err.Error(), say) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 20 s Ready is %v, want %q", err, say)
		}
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func waitReady(t *testing.T, s *Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestSQLiteLocked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tandem.db")
	s := running(t, "sqlite:"+path)
	f := newFill(t, s)
	f.mustStore()
	other, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	if _, err := other.Exec(`BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	wantUnavailable(t, f.store(10), "locked by another program")
	waitUnready(t, s, "locked by another program")
	began := time.Now()
	wantUnavailable(t, f.store(10), "locked by another program")
	if d := time.Since(began); d > time.Second {
		t.Errorf("a call while it is known to be locked took %v", d)
	}
	for began := time.Now(); time.Since(began) < driver.CheckTimeout+2*driver.RetryMax; { // longer than a probe takes
		f.check() // reading goes on
		wantUnavailable(t, s.Ready(), "locked by another program")
	}
	if _, err := other.Exec(`ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	waitReady(t, s)
	f.mustStore()
	f.check()
}

func TestSQLiteShortLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tandem.db")
	s := running(t, "sqlite:"+path)
	f := newFill(t, s)
	other, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	if _, err := other.Exec(`BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	stored := make(chan error, 1)
	go func() { stored <- f.store(10) }()
	select {
	case err := <-stored:
		t.Fatalf("did not wait for the lock: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	if _, err := other.Exec(`COMMIT`); err != nil {
		t.Fatal(err)
	}
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
	f.check()
}

func TestSQLiteDiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tandem-test", dir, "tmpfs", 0, "size=2m"); err != nil {
		testenv.Missing(t, "cannot mount a small tmpfs (run as root): "+err.Error())
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	s := running(t, "sqlite:"+filepath.Join(dir, "tandem.db"))
	f := newFill(t, s)
	f.mustStore()
	if err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		err = f.store(20_000)
	}
	wantUnavailable(t, err, "is full")
	waitUnready(t, s, "is full")
	f.check()
	for range 20 { // however often it is tried meanwhile, nothing that failed is stored
		if err := f.store(100_000); err != nil {
			wantUnavailable(t, err, "is full")
		}
	}
	f.check()
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
	waitReady(t, s)
	for range 5 {
		f.mustStore()
	}
	f.check()
	var sound string
	err = s.read(t.Context(), "test", func(x tx) error { return x.one(to(&sound), `PRAGMA integrity_check`) })
	if err != nil || sound != "ok" {
		t.Errorf("integrity: %q, %v", sound, err)
	}
}

func TestSQLiteReplaced(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do  func(path string) error
		say string
	}{
		"deleted":     {func(p string) error { return os.Remove(p) }, "was deleted while in use"},
		"wal deleted": {func(p string) error { return os.Remove(p + "-wal") }, "-wal was deleted while in use"},
		"moved away":  {func(p string) error { return os.Rename(p, p+".old") }, "was deleted while in use"},
		"replaced": {func(p string) error {
			content, err := os.ReadFile(p)
			if err == nil {
				err = os.WriteFile(p+".new", content, 0o600)
			}
			return errors.Join(err, os.Rename(p+".new", p))
		}, "was replaced while in use"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tandem.db")
			s, stop := stoppable(t, "sqlite:"+path)
			waitReady(t, s)
			f := newFill(t, s)
			f.mustStore()
			if err := c.do(path); err != nil {
				t.Fatal(err)
			}
			wantUnavailable(t, f.store(10), c.say)
			wantUnavailable(t, s.Ready(), c.say)
			_, err := s.Bots(t.Context())
			wantUnavailable(t, err, c.say)
			wantUnavailable(t, s.Ready(), c.say)
			stop()
			again := Open("sqlite:"+path, s.log) // as after a restart
			defer again.Close()
			if err := again.Connect(t.Context()); err != nil {
				t.Errorf("a restart: %v", err)
			}
		})
	}
}

// TestSQLiteReplacedIdle : nobody writes, and it is noticed all the same.
func TestSQLiteReplacedIdle(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tandem.db")
	s := running(t, "sqlite:"+path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	waitUnready(t, s, "was deleted while in use")
	if _, err := os.Stat(path); err == nil {
		t.Error("an empty one was made in its place")
	}
}

func TestSQLiteFiles(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "tandem.db")
	s := running(t, "sqlite:"+path)
	newFill(t, s).mustStore()
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o", suffix, mode)
		}
	}
	for sql, want := range map[string]string{`PRAGMA journal_mode`: "wal", `PRAGMA synchronous`: "2",
		`PRAGMA foreign_keys`: "1"} {
		var have string
		err := s.read(t.Context(), "test", func(x tx) error { return x.one(to(&have), sql) })
		if err != nil || have != want {
			t.Errorf("%s: %s, %v; want %s", sql, have, err, want)
		}
	}
}

func TestSQLiteSymbolicLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newFill(t, running(t, "sqlite:"+filepath.Join(dir, "true.db"))).mustStore()
	if err := os.Symlink("true.db", filepath.Join(dir, "link.db")); err != nil {
		t.Fatal(err)
	}
	newFill(t, running(t, "sqlite:"+filepath.Join(dir, "link.db"))).mustStore()
}

func TestSQLiteDamaged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tandem.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := started(t, "sqlite:"+path)
	waitUnready(t, s, "not an SQLite database")
}
