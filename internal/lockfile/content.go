package lockfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"tandem/internal/eintr"
)

// Each holder writes over the lock file. So a file that somebody named by a slip would lose what is in it. Only a file
// that is empty, or that a holder wrote, is taken.

// mark is the second line of a lock file. It says that the file may be written over.
const mark = "(a lock file of Tandem; its content is for people only)"

// maxContentBytes is how long a lock file can be: who holds it and the mark, written over the longer text of another.
const maxContentBytes = 2*(maxHolderBytes+1) + len(mark) + 1

// Reserved is a file that is never taken for a lock file, even while it is empty or not there yet.
type Reserved struct {
	Path string
	For  string // what it is, in words
}

// OfDatabase are the files of the database that url names, if that is an SQLite database.
func OfDatabase(url string) []Reserved {
	const scheme = "sqlite:"
	if len(url) < len(scheme) || !strings.EqualFold(url[:len(scheme)], scheme) {
		return nil
	}
	path := strings.TrimPrefix(url[len(scheme):], "//") // sqlite:///data/x.db, as others write it
	if path == "" {
		return nil
	}
	list := []Reserved{{path, "the database of DATABASE_URL"}}
	for _, beside := range []string{"-wal", "-shm", "-journal", ".lock"} { // the last is the store's own
		list = append(list, Reserved{path + beside, "a part of the database of DATABASE_URL"})
	}
	return list
}

// OfRunDir are the files called names in RUN_DIR, if there is one.
func OfRunDir(dir string, names []string) (list []Reserved) {
	for _, name := range names {
		if dir != "" {
			list = append(list, Reserved{filepath.Join(dir, name), "one that init or a process of its has in RUN_DIR"})
		}
	}
	return list
}

// reservedFor says what path is reserved for, by its name alone; "" for nothing.
func reservedFor(path string, reserved []Reserved) string {
	for _, r := range reserved {
		if sameName(path, r.Path) {
			return r.For
		}
	}
	return ""
}

func sameName(a, b string) bool {
	a, errA := filepath.Abs(a)
	b, errB := filepath.Abs(b)
	return errA == nil && errB == nil && a == b
}

// usable says why an open regular file must not be written over. Its descriptor fd can be read, and st describes it.
func usable(fd int, st *syscall.Stat_t, reserved []Reserved) error {
	for _, r := range reserved {
		var other syscall.Stat_t
		if syscall.Stat(r.Path, &other) == nil && other.Dev == st.Dev && other.Ino == st.Ino {
			return refused(r.For)
		}
	}
	content := make([]byte, maxContentBytes+1)
	n, err := eintr.Retry(func() (int, error) { return syscall.Pread(fd, content, 0) })
	if err != nil {
		return fmt.Errorf("read what is in it: %w", err)
	}
	content = content[:n]
	switch {
	case written(content):
		return nil
	case bytes.HasPrefix(content, []byte("SQLite format 3\x00")):
		return refused("an SQLite database")
	}
	return refused("in use for something else")
}

func refused(what string) error {
	return fmt.Errorf("this file is %s; it is left as it was "+
		"(name a file of its own with POLL_LOCK_FILE, one that is empty or not there)", what)
}

// written says whether content is what a holder wrote, or part of it, or nothing.
func written(content []byte) bool {
	if len(content) > maxContentBytes {
		return false
	}
	// After a power cut a file can be as long as it was to be, with zeros for what was not written.
	text := string(bytes.Trim(content, "\x00"))
	if strings.ContainsRune(text, 0) {
		return false
	}
	first, rest, _ := strings.Cut(text, "\n")
	if marked, ok := strings.CutPrefix(rest, mark); ok {
		rest = strings.TrimPrefix(marked, "\n")
	} else if text != "" && !byOlder(first) {
		return false
	}
	return isRemnant(rest)
}

// isRemnant says whether rest can be what is left of a longer text of a holder, over which a shorter one was written.
// That is the end of its line, which was a time in UTC, and the mark.
func isRemnant(rest string) bool {
	for i, line := range strings.Split(rest, "\n") {
		if line != mark && line != "" && !strings.HasSuffix(line, "Z") && (i > 0 || !strings.HasSuffix(mark, line)) {
			return false
		}
	}
	return true
}

// byOlder says whether line is one that Tandem wrote before there was a mark. Its beginning must be whole.
func byOlder(line string) bool {
	if pid, ok := strings.CutPrefix(line, "pid "); ok {
		return isNumber(pid)
	}
	if rest, ok := strings.CutPrefix(line, "the bot under init "); ok {
		pid, rest, _ := strings.Cut(rest, " on ")
		return isNumber(pid) && strings.Contains(rest, ", since 20")
	}
	if rest, ok := strings.CutPrefix(line, "bot "); ok {
		instance, since, _ := strings.Cut(rest, " since ")
		colon := strings.LastIndexByte(instance, ':')
		return colon >= 0 && isNumber(instance[colon+1:]) && strings.HasPrefix(since, "20")
	}
	return false
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// lookAt says why what path names cannot be a lock file. It is asked before the file is opened, because a device may do
// something when it is opened.
func lookAt(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().IsRegular() || info.Mode()&os.ModeSymlink != 0 {
		return nil // if something is wrong with it, opening it says so
	}
	return errors.New("not a regular file")
}
