// Package store keeps the inbox in SQLite or PostgreSQL: one implementation of inbox.BotStore and
// inbox.OperatorStore. Nearly all SQL is one text for both. What differs is in drivers: package driver says what one
// must do, and packages sqlite and postgres are the two.
//
// It promises the same from both. What a method wrote is on disk when it returned nil. Ids of messages and numbers of
// events are in the order of commits, so a reader of "everything after n" never misses a row. Times have microseconds.
// A database that is not there, or goes away, is waited for. Meanwhile methods fail with inbox.ErrUnavailable, at once
// and with the reason in words. Afterwards they work again by themselves. The URL, which has a password in it, is in no
// error and no log line.
//
// It leaves to others when to retry, and the lock on a file that lets one bot at a time run on a host.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/backoff"
	"tandem/internal/exitcode"
	"tandem/internal/inbox"
	"tandem/internal/store/driver"
	"tandem/internal/store/postgres"
	"tandem/internal/store/sqlite"
)

var (
	_ inbox.BotStore      = (*Store)(nil)
	_ inbox.OperatorStore = (*Store)(nil)
)

const (
	connectMax = 5 * time.Second // the longest wait between two attempts before the first connection
	checkEvery = 2 * time.Second
)

// Store is one database, wanted or connected. Its methods may be called from any goroutine.
type Store struct {
	log    *slog.Logger
	db     driver.Database // nil only with a config error
	limits [driver.Ways]time.Duration

	connecting sync.Mutex
	connected  bool // under connecting

	mu      sync.Mutex
	trouble *driver.Trouble // nil while the database can be used
	fatal   error           // what Run ended with
	changed chan struct{}   // closed and replaced at each change of the two
	closed  bool
	hints   map[chan struct{}]struct{}

	worked atomic.Int64 // when the database last did something, in nanoseconds

	kick    chan struct{} // asks the health check to look now
	claims  claims
	answers answers
	skill   inbox.Skill // of the bot that this one serves; tests have others

	polling struct { // under mu: what PollLock gave last
		lock  inbox.PollLock // nil for none
		botID int64
	}
}

// Open makes the store that url names, postgres://... or sqlite:PATH, without any input or output. It does not fail:
// what is wrong with the url is what Run, Connect and Ready say.
func Open(url string, log *slog.Logger) *Store {
	s := newStore(log)
	var err error
	switch {
	case url == "":
		err = &BadURL{Rule: driver.Rule + "; it is not set"}
	case sqlite.Is(url):
		s.db, err = sqlite.New(url)
	case postgres.Is(url):
		s.db, err = postgres.New(url)
	default:
		err = &BadURL{Rule: driver.Rule}
	}
	if err != nil {
		return Unusable(err, log)
	}
	return s
}

// Unusable makes a store of no database, which says of everything that err is why.
func Unusable(err error, log *slog.Logger) *Store {
	s := newStore(log)
	s.trouble = &driver.Trouble{Kind: inbox.NotConfigured, Reason: err.Error(), Mends: driver.ByPerson}
	s.fatal = exitcode.With(exitcode.Config, err)
	return s
}

func newStore(log *slog.Logger) *Store {
	return &Store{
		log:     log,
		limits:  driver.Limits,
		trouble: &driver.Trouble{Kind: inbox.NotConnected, Reason: "not connected yet"},
		changed: make(chan struct{}),
		hints:   map[chan struct{}]struct{}{},
		kick:    make(chan struct{}, 1),
		skill:   inbox.BotSkill,
	}
}

// LockThrough has the polling lock held on a connection to url, where DATABASE_URL leads through a pooler. An error
// says what is wrong with url; it is called before Run.
func (s *Store) LockThrough(url string) error {
	if s.db == nil {
		return driver.ErrNoLockThrough
	}
	return s.db.LockThrough(url)
}

// Check says what is wrong with url, as Run would, without asking the database; nil if nothing is.
func Check(url string) error {
	s := Open(url, slog.New(slog.DiscardHandler))
	defer s.Close()
	return s.fatal
}

// Run connects, waiting for a database that is not there, and brings its schema up to date. Then it keeps Ready true to
// the facts and subscribers informed, until ctx ends and it returns nil. It returns early only with an error that wraps
// exitcode.Config: a person has to mend the configuration. Where that can be done on the side of the database (a
// password, say), Run may be called again.
func (s *Store) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.db != nil {
		s.fatal = nil
	}
	s.mu.Unlock()
	if err := s.waitConnected(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() { s.db.Watch(ctx, s.hint, s.look) })
	defer watcher.Wait()
	defer cancel()
	return s.keepChecked(ctx)
}

func (s *Store) waitConnected(ctx context.Context) error {
	retry := backoff.Backoff{Min: driver.RetryMin, Max: connectMax}
	for {
		err := s.Connect(ctx)
		if err == nil || exitcode.Of(err) == exitcode.Config {
			return err
		}
		if !backoff.Sleep(ctx, retry.Next()) {
			return nil
		}
	}
}

// Connect tries once to connect and to bring the schema up to date; nil if that was done before. The error wraps
// exitcode.Config or inbox.ErrUnavailable.
func (s *Store) Connect(ctx context.Context) error {
	s.mu.Lock()
	fatal := s.fatal
	s.mu.Unlock()
	if fatal != nil {
		return fatal
	}
	s.connecting.Lock()
	defer s.connecting.Unlock()
	if s.connected {
		return s.Ready()
	}
	err := s.tryConnect(ctx)
	if err == nil {
		s.connected = true
		s.report(nil)
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", inbox.ErrUnavailable, ctx.Err())
	}
	t := s.db.Diagnose(err)
	if t == nil {
		t = undiagnosed(err)
	}
	if t.Reading && fits(ctx, s.db) != nil {
		t.Reading = false // a new database has nothing to be read yet
	}
	if t.Mends == driver.ByPerson {
		err = exitcode.With(exitcode.Config, errors.New(t.Reason))
		s.mu.Lock()
		s.fatal = err
		s.mu.Unlock()
		s.report(t)
		return err
	}
	s.report(t)
	return t.Err()
}

func (s *Store) tryConnect(ctx context.Context) error {
	open, cancel := context.WithTimeout(ctx, driver.OpenTimeout)
	defer cancel()
	var after *driver.Trouble
	if t := s.current(); t != nil && t.Fresh {
		after = t
	}
	if err := s.db.Check(open, after); err != nil {
		return err
	}
	migrate, cancel := context.WithTimeout(ctx, driver.MigrateLimit)
	defer cancel()
	if err := s.db.Migrate(migrate); err != nil {
		return err
	}
	return fits(ctx, s.db)
}

// keepChecked looks after the connection: now and then while all is well, at once after a call has failed, and with
// growing waits while it is broken.
func (s *Store) keepChecked(ctx context.Context) error {
	retry := backoff.Backoff{Min: driver.RetryMin, Max: driver.RetryMax}
	delay := checkEvery
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.kick:
		case <-time.After(delay):
		}
		before := s.current()
		if before != nil && before.Mends == driver.ByRestart {
			delay = checkEvery
			continue
		}
		t := s.checkOnce(ctx, before)
		if ctx.Err() != nil {
			return nil
		}
		s.report(t)
		switch {
		case t == nil:
			retry.Reset()
			delay = checkEvery
		case t.Mends == driver.ByPerson:
			return s.unfit(t)
		default:
			delay = retry.Next()
		}
	}
}

// unfit ends Run because a later version of this program has changed the schema.
func (s *Store) unfit(t *driver.Trouble) error {
	s.connecting.Lock()
	s.connected = false // so that Run begins anew when it is called again
	s.connecting.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fatal = exitcode.With(exitcode.Config, errors.New(t.Reason))
	return s.fatal
}

func (s *Store) checkOnce(ctx context.Context, before *driver.Trouble) *driver.Trouble {
	began := time.Now()
	check, cancel := context.WithTimeout(ctx, driver.CheckTimeout)
	defer cancel()
	err := s.db.Check(check, before)
	if err == nil && before != nil && !before.Reading {
		// What came back may be another database, restored from a backup or made anew.
		migrate, cancel := context.WithTimeout(ctx, driver.MigrateLimit)
		defer cancel()
		err = s.db.Migrate(migrate)
	}
	if err == nil {
		err = fits(ctx, s.db)
	}
	if err == nil {
		return nil
	}
	var full *driver.FullError
	if errors.As(err, &full) || s.db.Late(err) && s.worked.Load() > began.UnixNano() {
		return before // it has much to do
	}
	if t := s.diagnose(err); t != nil {
		return t
	}
	if before != nil && errors.Is(err, context.DeadlineExceeded) {
		return before // it is as it was
	}
	return undiagnosed(err)
}

// fits is nil if this program may use the schema, which another version of it may have changed at any time.
func fits(ctx context.Context, db driver.Database) error {
	ctx, cancel := context.WithTimeout(ctx, driver.CheckTimeout)
	defer cancel()
	leave, err := db.Lane(driver.Health).Enter(ctx, driver.Health)
	if err != nil {
		return err
	}
	defer leave()
	var have, oldest int64
	err = db.Read(ctx, driver.Health, func(c driver.Conn) error {
		return tx{ctx, c}.one(to(&have, &oldest), `SELECT
			(SELECT COALESCE(MAX(version_id), 0) FROM `+driver.VersionTable+` WHERE is_applied),
			oldest FROM schema_compat WHERE id = 1`)
	})
	if err != nil {
		return err
	}
	return driver.Judge(have, oldest)
}

// undiagnosed is the trouble of an error that the database's driver does not know.
func undiagnosed(err error) *driver.Trouble {
	if errors.Is(err, driver.ErrMigrate) {
		return &driver.Trouble{Kind: inbox.TooOld, Reason: err.Error()}
	}
	return &driver.Trouble{Reason: err.Error()}
}

// diagnose is for errors after the first connection, when nothing is the configuration's fault any more.
func (s *Store) diagnose(err error) *driver.Trouble {
	t := s.db.Diagnose(err)
	if t != nil && t.Mends == driver.ByPerson && !errors.Is(err, driver.ErrNewer) {
		t.Mends = driver.ByItself
	}
	return t
}

// look makes the health check look now.
func (s *Store) look() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// report makes t the state of the database, nil for usable, and logs a change of it once.
func (s *Store) report(t *driver.Trouble) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.trouble
	same := was == nil && t == nil || was != nil && t != nil && *was == *t
	if same || s.closed || was != nil && was.Mends == driver.ByRestart {
		return
	}
	s.trouble = t
	close(s.changed)
	s.changed = make(chan struct{})
	switch {
	case t == nil:
		s.log.Info("database ready")
	case t.Mends == driver.ByRestart, t.Mends == driver.ByPerson:
		s.log.Error("database cannot be used", "reason", t.Reason)
	default:
		s.log.Warn("database not available, waiting for it", "reason", t.Reason)
	}
	if t == nil {
		s.hintLocked() // whoever reads events has to catch up
	}
}

func (s *Store) current() *driver.Trouble {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

func conflict(format string, args ...any) error {
	return &inbox.Error{Kind: inbox.Conflict, Reason: fmt.Sprintf(format, args...)}
}

// busy is an error of a database that is well and had no time for this.
func busy(reason string) error { return &inbox.Error{Kind: inbox.Busy, Reason: reason} }

// Ready is nil, or an inbox.ErrUnavailable that says in words why the database cannot be used now.
func (s *Store) Ready() error {
	if t := s.current(); t != nil {
		return t.Err()
	}
	return nil
}

// Watch is what Ready says now, and a channel that is closed when that changes.
func (s *Store) Watch() (changed <-chan struct{}, ready error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble != nil {
		ready = s.trouble.Err()
	}
	return s.changed, ready
}

// WaitReady waits until Ready is nil, ctx ends, or Run has given up with the error that it then returns.
func (s *Store) WaitReady(ctx context.Context) error {
	for {
		s.mu.Lock()
		t, fatal, changed, closed := s.trouble, s.fatal, s.changed, s.closed
		s.mu.Unlock()
		switch {
		case fatal != nil:
			return fatal
		case t == nil:
			return nil
		case closed:
			return t.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", t.Err(), ctx.Err())
		}
	}
}

// Close ends all connections. Cancel the context of Run first.
func (s *Store) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.trouble = &driver.Trouble{Kind: inbox.NotConnected, Reason: "closed", Mends: driver.ByRestart}
	s.closed = true
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	if s.db != nil {
		s.connecting.Lock()
		defer s.connecting.Unlock()
		s.db.Close()
	}
}

// Subscribe returns a channel that gets a hint soon after anybody committed something; see inbox.OperatorStore.
func (s *Store) Subscribe() (hints <-chan struct{}, cancel func()) {
	ch := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hints[ch] = struct{}{}
	return ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.hints, ch)
	}
}

func (s *Store) hint() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hintLocked()
}

func (s *Store) hintLocked() {
	for ch := range s.hints {
		select {
		case ch <- struct{}{}:
		default: // one is waiting already
		}
	}
}

// read runs f outside of a writing transaction. what says in an error what was being done.
func (s *Store) read(ctx context.Context, what string, f func(tx) error) error {
	return s.readBy(ctx, driver.Pages, what, f)
}

// lookUp is read for one thing found by its key, which does not wait for what takes longer.
func (s *Store) lookUp(ctx context.Context, what string, f func(tx) error) error {
	return s.readBy(ctx, driver.Access, what, f)
}

func (s *Store) readBy(ctx context.Context, w driver.Way, what string, f func(tx) error) error {
	if t := s.current(); t != nil && !t.Reading {
		return fmt.Errorf("%s: %w", what, t.Err())
	}
	leave, err := s.db.Lane(w).Enter(ctx, w)
	if err != nil {
		return s.explain(ctx, w, what, err)
	}
	defer leave()
	limited, cancel := context.WithTimeout(ctx, s.limits[w])
	defer cancel()
	err = s.db.Read(limited, w, func(c driver.Conn) error { return f(tx{limited, c}) })
	return s.explain(ctx, w, what, err)
}

// write runs f in a writing transaction.
func (s *Store) write(ctx context.Context, what string, f func(tx) error) error {
	if t := s.current(); t != nil {
		return fmt.Errorf("%s: %w", what, t.Err())
	}
	leave, err := s.db.Lane(driver.Writes).Enter(ctx, driver.Writes)
	if err != nil {
		return s.explain(ctx, driver.Writes, what, err)
	}
	defer leave()
	if t := s.current(); t != nil { // found out by the one that was waited for
		return fmt.Errorf("%s: %w", what, t.Err())
	}
	limited, cancel := context.WithTimeout(ctx, s.limits[driver.Writes])
	defer cancel()
	err = s.db.Write(limited, func(c driver.Conn) error { return f(tx{limited, c}) })
	return s.explain(ctx, driver.Writes, what, err)
}

// explain turns an error of the database into one that a caller can act on, and tells the health check.
func (s *Store) explain(ctx context.Context, w driver.Way, what string, err error) error {
	var full *driver.FullError
	switch {
	case err == nil:
		s.worked.Store(time.Now().UnixNano())
		return nil
	case errors.As(err, &full):
		return fmt.Errorf("%s: %w", what, busy(full.Error()))
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	t := s.diagnose(err)
	if s.db.Late(err) || t != nil && t.Mends == driver.InTime {
		s.look() // whether only this one was slow is the health check's to say
		if now := s.current(); now != nil && (!now.Reading || w == driver.Writes) {
			return fmt.Errorf("%s: %w", what, now.Err())
		}
		if w == driver.Search {
			return fmt.Errorf("%s: %w", what, &inbox.Error{Kind: inbox.TooLong,
				Reason: fmt.Sprintf("this search takes too long; it was given up after %s: search for more letters, "+
					"or for another word", s.limits[w])})
		}
		if w == driver.Pages {
			return fmt.Errorf("%s: %w", what, &inbox.Error{Kind: inbox.TooLong,
				Reason: fmt.Sprintf("it was given up after %s; ask for less, or try again later", s.limits[w])})
		}
		return fmt.Errorf("%s: %w", what,
			busy(fmt.Sprintf("it did not do this within %s; try again in a moment", s.limits[w])))
	}
	if errors.Is(err, context.DeadlineExceeded) { // no connection was made in that time
		t = &driver.Trouble{Kind: inbox.Unreachable, Reason: "it did not answer in time", Mends: driver.NextCall}
	}
	if t == nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if t.Mends != driver.NextCall && t.Mends != driver.InTime {
		s.report(t)
	}
	s.look()
	return fmt.Errorf("%s: %w", what, t.Err())
}
