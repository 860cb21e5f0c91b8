package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"tandem/internal/store/driver"
)

// Backup makes a new file at path, with mode 0600: a copy of the database as of one moment, which was checked. Others
// may go on using the database. There must be room where path is. A file that is there is not touched.
func Backup(ctx context.Context, file, path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s is there already: name a new file", path)
	}
	draft, err := draftBeside(path)
	if err != nil {
		return err
	}
	defer draft.remove()
	if err := copyDatabase(ctx, file, draft.Name()); err != nil {
		return err
	}
	if err := checkCopy(ctx, draft.Name()); err != nil {
		return err
	}
	if err := os.Link(draft.Name(), path); err != nil { // which never replaces a file
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

// BackupTo writes such a copy to w. The room that it needs meanwhile is beside the database.
func BackupTo(ctx context.Context, file string, w io.Writer) error {
	draft, err := draftBeside(file)
	if err != nil {
		return err
	}
	defer draft.remove()
	if err := copyDatabase(ctx, file, draft.Name()); err != nil {
		return err
	}
	if err := checkCopy(ctx, draft.Name()); err != nil {
		return err
	}
	_, err = io.Copy(w, draft)
	return err
}

// Restore puts the copy that r gives, which Backup made, in the place of the database file. Nobody may use that
// meanwhile: it is an error if anybody has it open. What was there is kept beside it under the name that is returned,
// "" where there was nothing. A copy that is damaged, no database of ours or of a later schema changes nothing.
func Restore(ctx context.Context, file string, r io.Reader) (kept string, err error) {
	draft, err := draftBeside(file)
	if err != nil {
		return "", err
	}
	defer draft.remove()
	if _, err := io.Copy(draft, r); err != nil {
		return "", fmt.Errorf("read the copy: %w", err)
	}
	if err := draft.Sync(); err != nil {
		return "", err
	}
	if err := checkCopy(ctx, draft.Name()); err != nil {
		return "", err
	}
	open, cancel := context.WithTimeout(ctx, driver.OpenTimeout)
	defer cancel()
	unlock, err := lock(open, file+".lock") // until the end nobody begins to use it
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := unused(file); err != nil {
		return "", err
	}
	if kept, err = keepOld(file); err != nil {
		return "", err
	}
	if err := os.Rename(draft.Name(), file); err != nil {
		return "", err
	}
	return kept, syncDirectory(filepath.Dir(file))
}

// File is the path of the database that url names, without symbolic links.
func File(url string) (string, error) {
	path, err := Path(url)
	if err != nil {
		return "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real, nil
	}
	return path, nil
}

// draft is a file that is still being made.
type draft struct{ *os.File }

func draftBeside(path string) (draft, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp") // with mode 0600
	return draft{f}, err
}

func (d draft) remove() {
	d.Close()
	for _, rest := range []string{"", "-wal", "-shm", "-journal"} {
		_ = os.Remove(d.Name() + rest)
	}
}

// copyDatabase writes the database file, as of now, into the empty file path.
func copyDatabase(ctx context.Context, file, path string) error {
	if _, err := os.Stat(file); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dataSource(file, mustExist))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, `VACUUM INTO $1`, path); err != nil {
		return fmt.Errorf("copy %s: %w", file, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// checkCopy says why path is no whole database of ours with a schema that this program knows.
func checkCopy(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", dataSource(path, "mode=ro"))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	var said string
	if err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&said); err != nil {
		return fmt.Errorf("the copy is damaged or no SQLite database: %w", err)
	}
	if said != "ok" {
		return fmt.Errorf("the copy is damaged: %s", said)
	}
	var have int64
	err = db.QueryRowContext(ctx, `SELECT COALESCE(MAX(version_id), 0)
		FROM `+driver.VersionTable+` WHERE is_applied`).Scan(&have)
	if err != nil || have == 0 {
		return fmt.Errorf("the copy is no database of Tandem (%v)", err)
	}
	if have <= driver.NewestSchema {
		return nil
	}
	var oldest int64
	if err := db.QueryRowContext(ctx, `SELECT oldest FROM schema_compat WHERE id = 1`).Scan(&oldest); err != nil {
		return err
	}
	return driver.Judge(have, oldest)
}

// unused is an error if a process has the database open. Such a process holds a lock on some bytes of the file
// (https://www.sqlite.org/fileformat2.html#the_lock_byte_page). That can be seen without opening the file as a
// database, so a damaged one can be replaced, too.
func unused(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	const lockBytes, lockLength = 0x40000000, 512
	l := unix.Flock_t{Type: unix.F_WRLCK, Start: lockBytes, Len: lockLength}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &l); err != nil {
		return fmt.Errorf("ask for locks on %s: %w", file, err)
	}
	if l.Type != unix.F_UNLCK {
		return fmt.Errorf("%s is in use: stop web and bot first", file)
	}
	return nil
}

// keepOld moves the database and what belongs to it out of the way, under names with which it can still be opened.
func keepOld(file string) (kept string, err error) {
	kept = file + ".before-restore"
	for _, rest := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(kept + rest); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	// The -wal file first: without it the database would be an older one, and it must never meet the new one.
	for _, rest := range []string{"-wal", ""} {
		if err := os.Rename(file+rest, kept+rest); errors.Is(err, fs.ErrNotExist) {
			if rest == "" {
				kept = ""
			}
		} else if err != nil {
			return "", err
		}
	}
	if err := os.Remove(file + "-shm"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return kept, nil
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // not every file system can
		return err
	}
	return nil
}
