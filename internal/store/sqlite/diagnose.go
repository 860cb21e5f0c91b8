package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	modernc "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"tandem/internal/inbox"
	"tandem/internal/store/driver"
)

func (d *DB) Diagnose(err error) *driver.Trouble {
	var dir *directoryError
	var replaced replacedError
	var e *modernc.Error
	switch {
	case errors.As(err, &dir):
		return d.diagnoseDirectory(dir)
	case errors.Is(err, driver.ErrNewer):
		return &driver.Trouble{Kind: inbox.TooNew, Reason: err.Error(), Mends: driver.ByPerson}
	case errors.As(err, &replaced):
		return &driver.Trouble{Kind: inbox.Replaced, Reason: err.Error(), Mends: driver.ByRestart}
	case errors.Is(err, errNotOpen):
		return &driver.Trouble{Kind: inbox.NotConnected, Reason: err.Error()}
	case errors.Is(err, sql.ErrConnDone), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return &driver.Trouble{Kind: inbox.Unreadable, Reason: err.Error()}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return d.full()
	case !errors.As(err, &e):
		return nil
	}
	switch e.Code() & 0xff {
	case codes.SQLITE_BUSY, codes.SQLITE_LOCKED, codes.SQLITE_PROTOCOL:
		return &driver.Trouble{Kind: inbox.Locked, Reading: true,
			Reason: fmt.Sprintf("%s is locked by another program for longer than %s", d.path, busyTimeout)}
	case codes.SQLITE_FULL:
		return d.full()
	case codes.SQLITE_IOERR:
		return &driver.Trouble{Kind: inbox.Unreadable, Reading: true,
			Reason: fmt.Sprintf("the disk of %s fails (input/output error %d of SQLite)", d.path, e.Code())}
	case codes.SQLITE_READONLY:
		return &driver.Trouble{Kind: inbox.ReadOnly, Reading: true,
			Reason: fmt.Sprintf("%s cannot be written by user %d", d.path, os.Geteuid())}
	case codes.SQLITE_CANTOPEN, codes.SQLITE_PERM, codes.SQLITE_AUTH:
		return &driver.Trouble{Kind: inbox.Unreadable,
			Reason: fmt.Sprintf("%s cannot be opened by user %d", d.path, os.Geteuid())}
	case codes.SQLITE_CORRUPT, codes.SQLITE_NOTADB:
		return &driver.Trouble{Kind: inbox.Damaged,
			Reason: d.path + " is damaged or not an SQLite database: restore it from a backup"}
	case codes.SQLITE_NOMEM:
		return &driver.Trouble{Reason: "there is no memory left for SQLite"}
	}
	return nil
}

func (d *DB) Late(err error) bool { return errors.Is(err, context.DeadlineExceeded) }

func (d *DB) full() *driver.Trouble {
	return &driver.Trouble{Kind: inbox.Full, Reason: "the disk of " + d.path + " is full: make room there", Reading: true}
}

// diagnoseDirectory says what a person has to do, where anybody can.
func (d *DB) diagnoseDirectory(e *directoryError) *driver.Trouble {
	user := os.Geteuid()
	var wrong string
	switch {
	case errors.Is(e.err, fs.ErrNotExist):
		wrong = fmt.Sprintf("the directory %s is missing: make it (mkdir -p %s) and give it to user %d (chown %d %s)",
			e.dir, e.dir, user, user, e.dir)
	case errors.Is(e.err, syscall.ENOTDIR):
		wrong = e.dir + " is not a directory"
	case errors.Is(e.err, fs.ErrPermission):
		wrong = fmt.Sprintf("user %d cannot write the directory %s: chown %d %s", user, e.dir, user, e.dir)
	case errors.Is(e.err, syscall.EROFS):
		wrong = fmt.Sprintf("the directory %s is on a read-only file system: put the database on a volume that user %d "+
			"can write (chown %d %s)", e.dir, user, user, e.dir)
	default:
		return &driver.Trouble{Kind: inbox.Unreadable, Reason: e.Error()}
	}
	return &driver.Trouble{Kind: inbox.NotConfigured, Mends: driver.ByPerson, Reason: "DATABASE_URL: " + wrong}
}
