// Package sqlite is the store's driver for SQLite: a database in a file that the processes of one host share. It also
// makes and restores backups of the file.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/store/driver"
)

// connections is how many connections each way has. A search computes in this process, so half of the processors are
// left to everything else. The health check's second one is what watches for commits.
var connections = [driver.Ways]int{
	driver.Search: min(max(runtime.GOMAXPROCS(0)/2, 1), 2),
	driver.Pages:  4, driver.Access: 2, driver.Health: 2, driver.Writes: 1,
}

const (
	busyTimeout   = 5 * time.Second
	roomAfterFull = 512 << 10 // bytes that must be free after the disk was full
	// lookEvery is how often a reader of PRAGMA data_version asks whether another connection has committed. It costs
	// about 15 µs. inotify on the -wal file would say it sooner, but not on every file system.
	lookEvery = 50 * time.Millisecond
)

//go:embed migrations
var migrations embed.FS

// Migrations are those of the schema for SQLite.
var Migrations = driver.Folder(migrations, "migrations")

// DB is a database in a file. All writing is done on one connection, with BEGIN IMMEDIATE. A transaction that reads
// first and then finds another writer would fail at once, whatever the busy timeout.
type DB struct {
	driver.Common

	path  string
	lanes [driver.Ways]*driver.Lane

	mu      sync.RWMutex // held to replace what is below
	writer  *writer
	readers [driver.Ways]*reader // none for writes
	file    fileID
	wal     fileID
}

// reader is the connections of one way that only read.
type reader struct {
	db   *sql.DB
	used *statements
}

func newReader(path string, w driver.Way) (*reader, error) {
	// What one row or a few are read for needs no large cache of pages.
	cache := "_pragma=cache_size(-256)"
	if w == driver.Search || w == driver.Pages {
		cache = "_pragma=cache_size(-2000)"
	}
	db, err := sql.Open("sqlite", dataSource(path, mustExist, "_pragma=query_only(1)", cache))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections[w])
	db.SetMaxIdleConns(connections[w])
	if w == driver.Search || w == driver.Pages {
		db.SetConnMaxIdleTime(time.Minute) // its cache goes with it
	}
	return &reader{db, &statements{prepare: db.PrepareContext}}, nil
}

// New makes the driver for url, without any input or output.
func New(url string) (*DB, error) {
	path, err := Path(url)
	if err != nil {
		return nil, err
	}
	d := &DB{path: path}
	for w := range d.lanes {
		d.lanes[w] = driver.NewLane(connections[w])
	}
	return d, nil
}

func (d *DB) handles() (w *writer, readers [driver.Ways]*reader, err error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.writer == nil {
		return nil, readers, errNotOpen
	}
	return d.writer, d.readers, nil
}

var errNotOpen = errors.New("not connected yet")

func (d *DB) Lane(w driver.Way) *driver.Lane { return d.lanes[w] }

func (d *DB) Read(ctx context.Context, w driver.Way, f func(driver.Conn) error) error {
	_, readers, err := d.handles()
	if err != nil {
		return err
	}
	return f(sqlConn{readers[w].db, readers[w].used})
}

func (d *DB) Write(ctx context.Context, f func(driver.Conn) error) error {
	w, _, err := d.handles()
	if err != nil {
		return err
	}
	err = w.transaction(ctx, func(c driver.Conn) error {
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

// LockCounters need not lock: BEGIN IMMEDIATE has done so.
func (d *DB) LockCounters() string {
	return `SELECT last_event, last_message FROM counters WHERE id = 1`
}

// Notify is nothing: others watch PRAGMA data_version.
func (d *DB) Notify() string { return "" }

// Migrate is done by open, under the lock on the file.
func (d *DB) Migrate(context.Context) error { return nil }

func (d *DB) Check(ctx context.Context, after *driver.Trouble) error {
	if _, _, err := d.handles(); err != nil {
		return d.open(ctx)
	}
	if err := d.intact(); err != nil {
		return err
	}
	if after == nil {
		return d.Read(ctx, driver.Health, func(c driver.Conn) error {
			var n int64
			found, err := driver.Row(ctx, c, []any{&n}, `SELECT last_event FROM counters WHERE id = 1`)
			if err == nil && !found {
				err = inbox.ErrNotFound
			}
			return err
		})
	}
	if after.Kind == inbox.Full {
		// The probe below is small, and finds room where a message does not.
		var fs syscall.Statfs_t
		if err := syscall.Statfs(filepath.Dir(d.path), &fs); err == nil && fs.Bavail*uint64(fs.Bsize) < roomAfterFull {
			return syscall.ENOSPC
		}
	}
	return d.Write(ctx, func(c driver.Conn) error {
		_, err := c.Exec(ctx, `UPDATE counters SET probe = probe + 1 WHERE id = 1`)
		return err
	})
}

func (d *DB) Watch(ctx context.Context, hint, broken func()) {
	ticker := time.NewTicker(lookEvery)
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
			if c, err = readers[driver.Health].db.Conn(ctx); err != nil {
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

// PollLock is there at once: one host uses the file, and there the lock on a file guards.
func (d *DB) PollLock(ctx context.Context, _ int64, _ string, _ func(string)) (inbox.PollLock, error) {
	return neverLost{}, ctx.Err()
}

func (d *DB) LockThrough(string) error { return driver.ErrNoLockThrough }

// Holds is true: one host uses the file.
func (d *DB) Holds(context.Context, driver.Conn, inbox.PollLock) (bool, error) { return true, nil }

type neverLost struct{}

func (neverLost) Lost() <-chan struct{} { return nil }
func (neverLost) Held() bool            { return true }
func (neverLost) Release()              {}

func (d *DB) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.writer == nil {
		return
	}
	// The readers first: the last connection to close, the writer's, folds the -wal file into the database.
	for w := range driver.Writes {
		d.readers[w].db.Close()
	}
	d.writer.close()
	d.writer, d.readers = nil, [driver.Ways]*reader{}
}
