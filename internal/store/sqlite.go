package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	"golang.org/x/sys/unix"
	driver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"tandem/internal/inbox"
)

// sqliteConns is how many connections each way has. A search computes in this process, so half of the processors are left
// to everything else. The health check's second one is what watches for commits.
var sqliteConns = [ways]int{search: min(max(runtime.GOMAXPROCS(0)/2, 1), 2), pages: 4, access: 2, health: 2, writes: 1}

const (
	sqliteBusy = 5 * time.Second
	sqliteRoom = 512 << 10 // bytes that must be free after the disk was full
	// sqliteLook is how often a reader of PRAGMA data_version asks whether another connection has committed.
	// It costs about 15 µs; inotify on the -wal file would say it sooner, but not on every file system.
	sqliteLook = 50 * time.Millisecond
)

// sqlite is a database in a file that processes of one host share. All writing is done on one connection, with
// BEGIN IMMEDIATE: a transaction that reads first and then finds another writer would fail at once, whatever
// the busy timeout.
type sqlite struct {
	path  string
	log   *slog.Logger
	lanes [ways]*lane

	mu      sync.RWMutex // held to replace what is below
	writer  *sqliteWriter
	readers [ways]*sqliteReader // none for writes
	file    fileID
	wal     fileID
}

// sqliteReader is the connections of one way that only read.
type sqliteReader struct {
	db   *sql.DB
	used *statements
}

func newSQLiteReader(path string, w way) (*sqliteReader, error) {
	// What one row or a few are read for needs no large cache of pages.
	cache := "_pragma=cache_size(-256)"
	if w == search || w == pages {
		cache = "_pragma=cache_size(-2000)"
	}
	db, err := sql.Open("sqlite", sqliteName(path, "_pragma=query_only(1)", cache))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(sqliteConns[w])
	db.SetMaxIdleConns(sqliteConns[w])
	if w == search || w == pages {
		db.SetConnMaxIdleTime(time.Minute) // its cache goes with it
	}
	return &sqliteReader{db, &statements{prepare: db.PrepareContext}}, nil
}

// fileID tells a file from another that has its name now.
type fileID struct{ dev, ino uint64 }

// replacedError says in words that a path does not name the file any more that is open here.
type replacedError string

func (e replacedError) Error() string { return string(e) }

func newSQLite(path string, log *slog.Logger) *sqlite {
	d := &sqlite{path: path, log: log}
	for w := range d.lanes {
		d.lanes[w] = newLane(sqliteConns[w])
	}
	return d
}

func (d *sqlite) open(ctx context.Context) error {
	path, err := filepath.Abs(d.path)
	if err != nil {
		return err
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		// SQLite follows it too, and keeps its -wal file beside the true one.
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
	}
	if err := d.checkDirectory(filepath.Dir(path)); err != nil {
		return err
	}
	unlock, err := d.lock(ctx, path+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	// Made here for its mode, which SQLite gives to the files beside it too. A file that is there must not be
	// opened and closed by us: that would drop the locks that SQLite has on it in this process (fcntl(2)).
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		f.Close()
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	before, err := identify(path)
	if err != nil {
		return err
	}
	writer, err := sql.Open("sqlite", sqliteName(path, "_txlock=immediate", "_pragma=synchronous(full)", "_pragma=journal_size_limit(67108864)"))
	if err != nil {
		return err
	}
	writer.SetMaxOpenConns(1)
	var readers [ways]*sqliteReader
	closeAll := func() {
		for _, r := range readers {
			if r != nil {
				r.db.Close()
			}
		}
		writer.Close()
	}
	for w := range writes {
		if readers[w], err = newSQLiteReader(path, w); err != nil {
			closeAll()
			return err
		}
	}
	opened := &sqlite{path: path, log: d.log, writer: &sqliteWriter{db: writer}, readers: readers, file: before}
	if err := opened.prepare(ctx); err != nil {
		closeAll()
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writer, d.readers = opened.writer, readers
	d.file, d.wal = opened.file, opened.wal
	d.path = path
	return nil
}

// prepare switches to WAL, brings the schema up to date and notes which files these are; under the lock.
func (d *sqlite) prepare(ctx context.Context) error {
	var mode string
	if err := d.writer.db.QueryRowContext(ctx, `PRAGMA journal_mode = WAL`).Scan(&mode); err != nil {
		return fmt.Errorf("switch to WAL: %w", err)
	}
	if mode != "wal" {
		return fmt.Errorf("the file system of %s cannot do write-ahead logging, which the database needs: put the file on a local disk", d.path)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), migrateLimit)
	defer cancel()
	if err := migrateUp(ctx, d.writer.db, goose.DialectSQLite3, migrationsOf("sqlite")); err != nil {
		return err
	}
	var n int
	if err := d.readers[health].db.QueryRowContext(ctx, `SELECT COUNT(*) FROM counters`).Scan(&n); err != nil {
		return err
	}
	var err error
	if d.wal, err = identify(d.path + "-wal"); err != nil {
		return err
	}
	return d.intact()
}

func sqliteName(path string, options ...string) string {
	name := "file:" + (&url.URL{Path: path}).EscapedPath() +
		fmt.Sprintf("?_pragma=busy_timeout(%d)&_pragma=foreign_keys(1)", sqliteBusy.Milliseconds())
	for _, o := range options {
		name += "&" + o
	}
	return name
}

// checkDirectory finds what a person has to mend, before SQLite says only "unable to open".
func (d *sqlite) checkDirectory(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return &directoryError{dir, err}
	}
	if !info.IsDir() {
		return &directoryError{dir, syscall.ENOTDIR}
	}
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return &directoryError{dir, err}
	}
	return nil
}

type directoryError struct {
	dir string
	err error
}

func (e *directoryError) Error() string { return e.dir + ": " + e.err.Error() }
func (e *directoryError) Unwrap() error { return e.err }

// lock keeps other processes that open the same database out, by flock on a file beside it: without that, a
// first start of two processes at the same moment fails now and then, in the switch to WAL or in goose.
func (d *sqlite) lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("flock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("%s is locked: another process is opening the database", path)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func identify(path string) (fileID, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return fileID{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return fileID{uint64(st.Dev), st.Ino}, nil //nolint:unconvert // the type of Dev differs by architecture
}

// intact says whether the files that are open here are those that the paths name: what is written to a file
// that was deleted or replaced is lost.
func (d *sqlite) intact() error {
	for _, f := range []struct {
		path string
		want fileID
	}{{d.path, d.file}, {d.path + "-wal", d.wal}} {
		switch id, err := identify(f.path); {
		case errors.Is(err, fs.ErrNotExist):
			return replacedError(f.path + " was deleted while in use, so nothing is written any more: put the database back, if you have it, and restart all that use it")
		case err != nil:
			return err
		case id != f.want:
			return replacedError(f.path + " was replaced while in use, so nothing is written any more: restart all that use it")
		}
	}
	return nil
}

func (d *sqlite) handles() (writer *sqliteWriter, readers [ways]*sqliteReader, err error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.writer == nil {
		return nil, readers, errNotOpen
	}
	return d.writer, d.readers, nil
}

var errNotOpen = errors.New("not connected yet")

func (d *sqlite) lane(w way) *lane { return d.lanes[w] }

func (d *sqlite) read(ctx context.Context, w way, f func(conn) error) error {
	_, readers, err := d.handles()
	if err != nil {
		return err
	}
	return f(sqlConn{readers[w].db, readers[w].used})
}

func (d *sqlite) write(ctx context.Context, f func(conn) error) error {
	writer, _, err := d.handles()
	if err != nil {
		return err
	}
	err = writer.transaction(ctx, func(c conn) error {
		if err := d.intact(); err != nil {
			return err
		}
		return f(c)
	})
	if err != nil {
		return err
	}
	// Once more: a commit into a file that was replaced meanwhile did not happen.
	return d.intact()
}

func (d *sqlite) lockCounters() string {
	return `SELECT last_event, last_message FROM counters WHERE id = 1`
}

func (d *sqlite) notify() string { return "" }

// migrate is done by open, under the lock on the file.
func (d *sqlite) migrate(context.Context) error { return nil }

func (d *sqlite) check(ctx context.Context, after *trouble) error {
	if _, _, err := d.handles(); err != nil {
		return d.open(ctx)
	}
	if err := d.intact(); err != nil {
		return err
	}
	if after == nil {
		return d.read(ctx, health, func(c conn) error {
			var n int64
			return tx{ctx, c}.one(to(&n), `SELECT last_event FROM counters WHERE id = 1`)
		})
	}
	if after.kind == inbox.Full {
		// The probe below is small, and finds room where a message does not.
		var fs syscall.Statfs_t
		if err := syscall.Statfs(filepath.Dir(d.path), &fs); err == nil && fs.Bavail*uint64(fs.Bsize) < sqliteRoom {
			return syscall.ENOSPC
		}
	}
	return d.write(ctx, func(c conn) error {
		_, err := c.exec(ctx, `UPDATE counters SET probe = probe + 1 WHERE id = 1`)
		return err
	})
}

func (d *sqlite) watch(ctx context.Context, hint, broken func()) {
	ticker := time.NewTicker(sqliteLook)
	defer ticker.Stop()
	var c *sql.Conn
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	var last int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		_, readers, err := d.handles()
		if err != nil {
			continue
		}
		if c == nil {
			if c, err = readers[health].db.Conn(ctx); err != nil {
				c = nil
				continue
			}
			hint() // what was committed before the first look
		}
		var version int64
		if err := c.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&version); err != nil {
			if ctx.Err() == nil {
				broken()
			}
			c.Close()
			c = nil
			continue
		}
		if version != last {
			last = version
			hint()
		}
	}
}

func (d *sqlite) diagnose(err error) *trouble {
	var dir *directoryError
	var replaced replacedError
	var e *driver.Error
	switch {
	case errors.As(err, &dir):
		return d.diagnoseDirectory(dir)
	case errors.Is(err, errNewer):
		return &trouble{kind: inbox.TooNew, reason: err.Error(), mends: byPerson}
	case errors.As(err, &replaced):
		return &trouble{kind: inbox.Replaced, reason: err.Error(), mends: byRestart}
	case errors.Is(err, errNotOpen):
		return &trouble{kind: inbox.NotConnected, reason: err.Error()}
	case errors.Is(err, sql.ErrConnDone), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return &trouble{kind: inbox.Unreadable, reason: err.Error()}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return d.full()
	case !errors.As(err, &e):
		return nil
	}
	switch e.Code() & 0xff {
	case codes.SQLITE_BUSY, codes.SQLITE_LOCKED, codes.SQLITE_PROTOCOL:
		return &trouble{kind: inbox.Locked, reason: d.path + " is locked by another program for longer than " + sqliteBusy.String(), reading: true}
	case codes.SQLITE_FULL:
		return d.full()
	case codes.SQLITE_IOERR:
		return &trouble{kind: inbox.Unreadable, reason: fmt.Sprintf("the disk of %s fails (input/output error %d of SQLite)", d.path, e.Code()), reading: true}
	case codes.SQLITE_READONLY:
		return &trouble{kind: inbox.ReadOnly, reason: fmt.Sprintf("%s cannot be written by user %d", d.path, os.Geteuid()), reading: true}
	case codes.SQLITE_CANTOPEN, codes.SQLITE_PERM, codes.SQLITE_AUTH:
		return &trouble{kind: inbox.Unreadable, reason: fmt.Sprintf("%s cannot be opened by user %d", d.path, os.Geteuid())}
	case codes.SQLITE_CORRUPT, codes.SQLITE_NOTADB:
		return &trouble{kind: inbox.Damaged, reason: d.path + " is damaged or not an SQLite database: restore it from a backup"}
	case codes.SQLITE_NOMEM:
		return &trouble{reason: "there is no memory left for SQLite"}
	}
	return nil
}

func (d *sqlite) full() *trouble {
	return &trouble{kind: inbox.Full, reason: "the disk of " + d.path + " is full: make room there", reading: true}
}

func (d *sqlite) diagnoseDirectory(e *directoryError) *trouble {
	switch {
	case errors.Is(e.err, fs.ErrNotExist):
		return &trouble{kind: inbox.NotConfigured, mends: byPerson, reason: fmt.Sprintf("DATABASE_URL: the directory %s is missing: make it (mkdir -p %s) and give it to user %d (chown %d %s)", e.dir, e.dir, os.Geteuid(), os.Geteuid(), e.dir)}
	case errors.Is(e.err, syscall.ENOTDIR):
		return &trouble{kind: inbox.NotConfigured, mends: byPerson, reason: fmt.Sprintf("DATABASE_URL: %s is not a directory", e.dir)}
	case errors.Is(e.err, fs.ErrPermission):
		return &trouble{kind: inbox.NotConfigured, mends: byPerson, reason: fmt.Sprintf("DATABASE_URL: user %d cannot write the directory %s: chown %d %s", os.Geteuid(), e.dir, os.Geteuid(), e.dir)}
	case errors.Is(e.err, syscall.EROFS):
		return &trouble{kind: inbox.NotConfigured, mends: byPerson, reason: fmt.Sprintf("DATABASE_URL: the directory %s is on a read-only file system: put the database on a volume that user %d can write (chown %d %s)", e.dir, os.Geteuid(), os.Geteuid(), e.dir)}
	}
	return &trouble{kind: inbox.Unreadable, reason: e.Error()}
}

// pollLock is there at once: one host uses the file, and there the lock on a file guards.
func (d *sqlite) pollLock(ctx context.Context, _ int64, _ string, _ func(string)) (inbox.PollLock, error) {
	return neverLost{}, ctx.Err()
}

type neverLost struct{}

func (neverLost) Lost() <-chan struct{} { return nil }
func (neverLost) Held() bool            { return true }
func (neverLost) Release()              {}

func (d *sqlite) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.writer == nil {
		return
	}
	// The readers first: the last connection to close, the writer's, folds the -wal file into the database.
	for w := range writes {
		d.readers[w].db.Close()
	}
	d.writer.close()
	d.writer, d.readers = nil, [ways]*sqliteReader{}
}
