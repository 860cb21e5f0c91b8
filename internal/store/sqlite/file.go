package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	"golang.org/x/sys/unix"

	"tandem/internal/backoff"
	"tandem/internal/store/driver"
)

// fileID tells a file from another that has its name now.
type fileID struct{ dev, ino uint64 }

// replacedError says in words that a path no longer names the file that is open here.
type replacedError string

func (e replacedError) Error() string { return string(e) }

func (d *DB) open(ctx context.Context) error {
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
	if err := checkDirectory(filepath.Dir(path)); err != nil {
		return err
	}
	unlock, err := lock(ctx, path+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	// It is made here for its mode, which SQLite gives to the files beside it too. A file that is there must not be
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
	db, err := sql.Open("sqlite", dataSource(path, mustExist,
		"_txlock=immediate", "_pragma=synchronous(full)", "_pragma=journal_size_limit(67108864)"))
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	var readers [driver.Ways]*reader
	closeAll := func() {
		for _, r := range readers {
			if r != nil {
				r.db.Close()
			}
		}
		db.Close()
	}
	for w := range driver.Writes {
		if readers[w], err = newReader(path, w); err != nil {
			closeAll()
			return err
		}
	}
	opened := &DB{path: path, writer: &writer{db: db}, readers: readers, file: before}
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

// prepare switches to WAL, brings the schema up to date and notes which files these are. It is called under the lock.
func (d *DB) prepare(ctx context.Context) error {
	var mode string
	if err := d.writer.db.QueryRowContext(ctx, `PRAGMA journal_mode = WAL`).Scan(&mode); err != nil {
		return fmt.Errorf("switch to WAL: %w", err)
	}
	if mode != "wal" {
		return fmt.Errorf("the file system of %s cannot do write-ahead logging, which the database needs: "+
			"put the file on a local disk", d.path)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), driver.MigrateLimit)
	defer cancel()
	if err := driver.MigrateUp(ctx, d.writer.db, goose.DialectSQLite3, Migrations); err != nil {
		return err
	}
	var n int
	if err := d.readers[driver.Health].db.QueryRowContext(ctx, `SELECT COUNT(*) FROM counters`).Scan(&n); err != nil {
		return err
	}
	var err error
	if d.wal, err = identify(d.path + "-wal"); err != nil {
		return err
	}
	return d.intact()
}

// mustExist has a new connection fail where the file was deleted. SQLite would make an empty one in its place.
const mustExist = "mode=rw"

func dataSource(path string, options ...string) string {
	name := "file:" + (&url.URL{Path: path}).EscapedPath() +
		fmt.Sprintf("?_pragma=busy_timeout(%d)&_pragma=foreign_keys(1)", busyTimeout.Milliseconds())
	for _, o := range options {
		name += "&" + o
	}
	return name
}

// checkDirectory finds what a person has to mend, before SQLite says only "unable to open".
func checkDirectory(dir string) error {
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

// lockEvery is how often a lock that another process has is tried.
const lockEvery = 20 * time.Millisecond

// lock keeps other processes that open the same database out, by flock on a file beside it. Without that, a first start
// of two processes at the same moment fails now and then, in the switch to WAL or in goose.
func lock(ctx context.Context, path string) (unlock func(), err error) {
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
		if !backoff.Sleep(ctx, lockEvery) {
			f.Close()
			return nil, fmt.Errorf("%s is locked: another process is opening the database", path)
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

// intact is nil if the files that are open here are those that the paths name. What is written to a file that was
// deleted or replaced is lost.
func (d *DB) intact() error {
	for _, f := range []struct {
		path string
		want fileID
	}{{d.path, d.file}, {d.path + "-wal", d.wal}} {
		switch id, err := identify(f.path); {
		case errors.Is(err, fs.ErrNotExist):
			return replacedError(f.path + " was deleted while in use, so nothing is written any more: " +
				"put the database back, if you have it, and restart all that use it")
		case err != nil:
			return err
		case id != f.want:
			return replacedError(f.path + " was replaced while in use, so nothing is written any more: restart all that use it")
		}
	}
	return nil
}
