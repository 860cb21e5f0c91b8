package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tandem/internal/exitcode"
	"tandem/internal/inbox"
	"tandem/internal/pgtest"
)

func edited(t *testing.T, raw string, edit func(u *url.URL)) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	edit(u)
	return u.String()
}

func TestPostgresRefused(t *testing.T) {
	t.Parallel()
	good := pgtest.URL(t)
	wantConfigError(t, edited(t, good, func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "s3cret") }),
		"refuses the password")
	wantConfigError(t, edited(t, good, func(u *url.URL) { u.User = url.UserPassword("nobody-known", "s3cret") }),
		"refuses")
	wantConfigError(t, edited(t, good, func(u *url.URL) { u.Path = "/nowhere" }), `no database "nowhere"`)
}

// TestPostgresEncoding : a database that cannot hold every letter is refused with what to do, whatever encoding it has.
func TestPostgresEncoding(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"SQL_ASCII", "LATIN1", "LATIN9", "WIN1252", "KOI8R", "EUC_JP", "MULE_INTERNAL"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			address := pgtest.Encoded(t, encoding)
			wantConfigError(t, address, encoding)
			wantConfigError(t, address, "createdb -E UTF8 -T template0")
			if encoding == "MULE_INTERNAL" { // PostgreSQL cannot translate it, and PgBouncer tells no reason
				return
			}
			wantConfigError(t, edited(t, address, func(u *url.URL) { u.RawQuery = "client_encoding=UTF8" }),
				"createdb -E UTF8 -T template0")
			wantConfigError(t, edited(t, address, func(u *url.URL) { u.Host = hostOf(t, pgtest.Bouncer(t, address)) }),
				"createdb -E UTF8 -T template0")
		})
	}
}

// TestPostgresClientEncoding : what others are used to is not asked of us.
func TestPostgresClientEncoding(t *testing.T) {
	address := pgtest.URL(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	set(t, address, "SET client_encoding = 'LATIN1'")
	for _, address := range []string{address, edited(t, address,
		func(u *url.URL) { u.RawQuery = "client_encoding=LATIN1" })} {
		s := running(t, address)
		if _, err := s.IssueSignIn(ctx, "Жанна 😀", []byte(address), time.Now().Add(time.Hour)); err != nil {
			t.Error(err)
		}
		if list, err := s.Operators(ctx); err != nil || len(list) != 1 || list[0].Name != "Жанна 😀" {
			t.Errorf("%+v, %v", list, err)
		}
	}
}

// set changes a setting of the database for sessions that begin later.
func set(t *testing.T, address, what string) {
	t.Helper()
	alter(t, connect(t, address), what)
}

// alter is set by a session that began before.
func alter(t *testing.T, c *pgx.Conn, what string) {
	t.Helper()
	database := pgx.Identifier{c.Config().Database}.Sanitize()
	if _, err := c.Exec(t.Context(), `ALTER DATABASE `+database+` `+what); err != nil {
		t.Fatal(err)
	}
}

// TestPostgresSetUpWrongly : what a database is set to keeps a new one from being used. The words say so and what to
// do, reading says the same, and it is waited for.
func TestPostgresSetUpWrongly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wrong, right string
		kind         inbox.Kind
		words        string
	}{
		"read only": {"SET default_transaction_read_only = on", "RESET default_transaction_read_only",
			inbox.ReadOnly, "RESET default_transaction_read_only"},
		"a schema that is not there": {"SET search_path = 'nowhere'", "RESET search_path", inbox.NotConfigured,
			"RESET search_path"},
		"no schema": {"SET search_path = ''", "RESET search_path", inbox.NotConfigured, "RESET search_path"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := pgtest.URL(t)
			admin := connect(t, address) // sessions keep what they began with
			set(t, address, c.wrong)
			s := started(t, address)
			waitUnready(t, s, c.words)
			says := func(what string, err error) {
				t.Helper()
				var e *inbox.Error
				if !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(e.Reason, c.words) || e.Reading {
					t.Errorf("%s: %v", what, err)
				}
			}
			for range 3 {
				_, err := s.Bots(t.Context())
				says("reading", err)
				says("ready", s.Ready())
				says("connecting", s.Connect(t.Context()))
			}
			alter(t, admin, c.right)
			waitReady(t, s)
			newFill(t, s).mustStore()
		})
	}
}

// TestPostgresMadeReadOnly : one in use can be read on, says what to do, and is written again when that was done.
func TestPostgresMadeReadOnly(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	s := running(t, address)
	newFill(t, s).mustStore()
	admin := connect(t, address)
	set(t, address, "SET default_transaction_read_only = on")
	_, err := admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	if err != nil {
		t.Fatal(err)
	}
	waitUnready(t, s, "RESET default_transaction_read_only")
	if _, err := s.Bots(t.Context()); err != nil || !inbox.CanRead(s.Ready()) {
		t.Errorf("reading: %v, %v", err, s.Ready())
	}
	alter(t, admin, "RESET default_transaction_read_only")
	waitReady(t, s)
	newFill(t, s).mustStore()
}

// TestPostgresConformingStrings : what a database is set to for others is not ours, through a pooler either.
func TestPostgresConformingStrings(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	set(t, address, "SET standard_conforming_strings = off")
	s := running(t, address)
	newFill(t, s).mustStore()
	s = running(t, edited(t, address, func(u *url.URL) { u.Host = hostOf(t, pgtest.Bouncer(t, address)) }))
	newFill(t, s).mustStore()
	s = running(t, edited(t, address, func(u *url.URL) { u.RawQuery = "standard_conforming_strings=off" }))
	newFill(t, s).mustStore()
}

func TestPostgresNameDoesNotResolve(t *testing.T) {
	t.Parallel()
	s := started(t, "postgres://u:s3cret@no-such-host.invalid/d")
	waitUnready(t, s, "does not resolve")
	if strings.Contains(s.Ready().Error(), "s3cret") {
		t.Error(s.Ready())
	}
}

// TestPostgresComesAndGoes : not there at first, there later, stopped, killed, each time there again.
func TestPostgresComesAndGoes(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	server.Stop()
	s := started(t, server.URL())
	waitUnready(t, s, "no PostgreSQL listens")
	if _, err := s.TakeOver(t.Context(), 1, "test"); !errors.Is(err, inbox.ErrUnavailable) {
		t.Errorf("while it is not there: %v", err)
	}
	server.Start()
	waitReady(t, s)
	f := newFill(t, s)
	hints, cancel := s.Subscribe()
	defer cancel()
	for name, end := range map[string]func(){"stopped": server.Stop, "killed": server.Kill} {
		f.mustStore()
		end()
		waitUnready(t, s, "")
		wantUnavailable(t, f.store(10), "")
		server.Start()
		began := time.Now()
		waitReady(t, s)
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("%s: ready %v after it was there again", name, d)
		}
		f.mustStore()
		f.check()
	}
	// Another process's commit is noticed again too.
	other := running(t, server.URL())
	seen, _ := s.LastEvent(t.Context())
	newFill(t, other)
	deadline := time.After(20 * time.Second)
	for last := seen; last == seen; last, _ = s.LastEvent(t.Context()) {
		select {
		case <-hints:
		case <-deadline:
			t.Fatal("no hint after the server came back")
		}
	}
}

// TestPostgresEmptied : the server comes back without our tables, as with a new volume.
func TestPostgresEmptied(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	s := running(t, address)
	newFill(t, s).mustStore()
	admin := connect(t, address)
	if _, err := admin.Exec(t.Context(), `DROP SCHEMA public CASCADE; CREATE SCHEMA public`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Bots(t.Context()); !errors.Is(err, inbox.ErrUnavailable) {
		t.Errorf("without tables: %v", err)
	}
	waitReady(t, s)
	newFill(t, s).mustStore()
}

func connect(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// endSession ends the session that calls itself so.
func endSession(t *testing.T, admin *pgx.Conn, application string) {
	t.Helper()
	var n int
	err := admin.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND application_name = $1`, application).Scan(&n)
	if err != nil || n == 0 {
		t.Fatalf("end the session of %q: %d, %v", application, n, err)
	}
}

// TestPostgresPollLock ends the session of the holder again and again: the lock goes to the other, the holder
// is told, and with the epoch there are never two that may write.
func TestPostgresPollLock(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	admin := connect(t, address)
	const bot = 1 << 53
	application := func(instance string) string { return fmt.Sprintf("tandem bot %d on %s", bot, instance) }
	var turns atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	holder := make(chan string)
	told := make(chan string, 1000)
	for _, name := range []string{"host-a:1", "host-b:2"} {
		s := running(t, address)
		wg.Go(func() {
			for ctx.Err() == nil {
				lock, err := s.PollLock(ctx, bot, name, func(h string) {
					select {
					case told <- h:
					default:
					}
				})
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				tenure, err := s.TakeOver(ctx, bot, name)
				if err != nil {
					lock.Release()
					continue
				}
				turns.Add(1)
				select {
				case holder <- name:
				case <-ctx.Done():
				}
				select {
				case <-lock.Lost():
				case <-ctx.Done():
				}
				// However late it knows: once the other has taken over, nothing of it is written.
				bots, err := s.Bots(ctx)
				if err == nil && bots[0].Instance != name {
					if err := s.StoreUpdates(ctx, tenure, nil, 999); !errors.Is(err, inbox.ErrFenced) {
						t.Errorf("a late write of %s: %v", name, err)
					}
				}
				lock.Release()
			}
		})
	}
	const rounds = 50
	for i := range rounds {
		var name string
		select {
		case name = <-holder:
		case <-time.After(20 * time.Second):
			t.Fatalf("nobody has the lock, round %d", i)
		}
		if i == 0 { // later ones are held too shortly to be seen
			select {
			case h := <-told:
				if h != application(name)+" at 127.0.0.1" {
					t.Errorf("told to wait for %q while %s has the lock", h, name)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("nobody was told for whom he waits")
			}
		}
		endSession(t, admin, application(name))
	}
	<-holder
}

func TestPostgresPollLockRelease(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	a, b := running(t, address), running(t, address)
	for range 3 {
		first, err := a.PollLock(t.Context(), 1, "a", nil)
		if err != nil {
			t.Fatal(err)
		}
		other, err := b.PollLock(t.Context(), 2, "b", nil) // another bot does not wait
		if err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		if _, err := b.PollLock(short, 1, "b", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while it is held: %v", err)
		}
		cancel()
		select {
		case <-first.Lost():
			t.Error("lost while held")
		default:
		}
		first.Release()
		first.Release()
		second, err := b.PollLock(t.Context(), 1, "b", nil)
		if err != nil {
			t.Fatal(err)
		}
		second.Release()
		other.Release()
	}
}

// proxy stands between a store and the server. It can swallow everything without closing anything, as a
// network does that drops packets, and change what the server says.
type proxy struct {
	listener net.Listener
	frozen   atomic.Bool
	change   func([]byte)
	mu       sync.Mutex
	conns    []net.Conn
	wg       sync.WaitGroup
}

func newProxy(t *testing.T, address string, change func([]byte)) (*proxy, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, change: change}
	var target string
	through := edited(t, address, func(u *url.URL) { target, u.Host = u.Host, l.Addr().String() })
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				c.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, c, server)
			p.mu.Unlock()
			p.wg.Go(func() { p.copy(server, c, nil) })
			p.wg.Go(func() { p.copy(c, server, p.change) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p, through
}

func (p *proxy) copy(to io.WriteCloser, from io.Reader, change func([]byte)) {
	defer func() {
		if !p.frozen.Load() {
			to.Close()
		}
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && !p.frozen.Load() {
			if change != nil {
				change(b[:n])
			}
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// TestPostgresBlackHole : the line goes dead without a word.
func TestPostgresBlackHole(t *testing.T) {
	t.Parallel()
	p, address := newProxy(t, pgtest.URL(t), nil)
	s := running(t, address)
	f := newFill(t, s)
	lock, err := s.PollLock(t.Context(), 1, "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	f.mustStore()
	p.frozen.Store(true)
	began := time.Now()
	unready := make(chan struct{})
	go func() {
		defer close(unready)
		waitUnready(t, s, "")
	}()
	<-lock.Lost()
	if d := time.Since(began); d > 8*time.Second {
		t.Errorf("the holder knew after %v", d)
	}
	<-unready
	if d := time.Since(began); d > 8*time.Second {
		t.Errorf("Ready knew after %v", d)
	}
	wantUnavailable(t, f.store(10), "")
	p.frozen.Store(false)
	waitReady(t, s)
	f.mustStore()
	f.check()
}

// TestPostgresPooler : PgBouncer tells a process id of its own, which is how it is found out.
func TestPostgresPooler(t *testing.T) {
	t.Parallel()
	_, address := newProxy(t, pgtest.URL(t), func(b []byte) {
		// BackendKeyData: 'K', length 12, process id, secret.
		if i := strings.Index(string(b), "K\x00\x00\x00\x0c"); i >= 0 && len(b) >= i+13 {
			b[i+5] ^= 0x40
		}
	})
	s := running(t, address)
	_, err := s.PollLock(t.Context(), 1, "a", nil)
	if exitcode.Of(err) != exitcode.Config || !strings.Contains(err.Error(), "pooler") {
		t.Errorf("the polling lock through a pooler: %v", err)
	}
	hints, cancel := s.Subscribe()
	defer cancel()
	newFill(t, running(t, address)) // hints come without notifications too
	select {
	case <-hints:
	case <-time.After(20 * time.Second):
		t.Error("no hint through a pooler")
	}
}

func TestPostgresStandby(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	running(t, address)
	s := Open(edited(t, address, func(u *url.URL) {
		q := u.Query()
		q.Set("default_transaction_read_only", "on")
		u.RawQuery = q.Encode()
	}), slog.New(slog.DiscardHandler))
	defer s.Close()
	wantUnavailable(t, s.Connect(t.Context()), "default_transaction_read_only")
	if _, err := s.Bots(t.Context()); err != nil || !inbox.CanRead(s.Ready()) {
		t.Errorf("reading: %v, %v", err, s.Ready())
	}
	_, err := s.TakeOver(t.Context(), 1, "a")
	wantUnavailable(t, err, "default_transaction_read_only")
	if _, err := s.Bots(t.Context()); err != nil {
		t.Errorf("reading after that: %v", err)
	}
}

// TestPostgresReadOnlyWrite : a write that is refused, as when the server has just become a standby.
func TestPostgresReadOnlyWrite(t *testing.T) {
	t.Parallel()
	s := running(t, pgtest.URL(t))
	wantUnavailable(t, s.write(t.Context(), "test", func(x tx) error {
		if _, err := x.exec(`SET TRANSACTION READ ONLY`); err != nil {
			return err
		}
		_, err := x.exec(`UPDATE counters SET probe = probe WHERE id = 1`)
		return err
	}), "read-only")
	waitReady(t, s)
	newFill(t, s).mustStore()
}
