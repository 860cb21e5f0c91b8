package lockfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"tandem/internal/eintr"
)

// maxHolderBytes bounds what is read of and written into a lock file, in bytes.
const maxHolderBytes = 200

// SetHolder writes into the locked file who holds it: one line of at most 200 bytes, for people only. Below it is a
// line that says that this is a lock file. On a volume that cannot be written it fails, and the lock is as good without
// it.
func (l *Lock) SetHolder(text string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil || !l.held {
		return fmt.Errorf("lock %s is not held", l.path)
	}
	var st syscall.Stat_t
	err := syscall.Fstat(int(l.file.Fd()), &st)
	if err == nil { // since it was opened somebody may have made it a database
		err = usable(int(l.file.Fd()), &st, l.reserved)
	}
	if err != nil {
		return fmt.Errorf("write who holds the lock: %w", err)
	}
	line := []byte(oneLine(text) + "\n" + mark + "\n")
	if _, err := l.file.WriteAt(line, 0); err != nil {
		_ = l.file.Truncate(0) // a part of the line says nothing
		return fmt.Errorf("write who holds the lock: %w", err)
	}
	if err := l.file.Truncate(int64(len(line))); err != nil {
		return fmt.Errorf("write who holds the lock: %w", err)
	}
	return nil
}

// Holder is what the last holder wrote into the file at path, in one printable line; "" when nothing can be read.
func Holder(path string) string {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	b := make([]byte, maxHolderBytes+1)
	n, _ := f.Read(b)
	line, _, _ := bytes.Cut(b[:n], []byte("\n"))
	return oneLine(string(line))
}

// Held says whether somebody holds the lock on the file at path. It is true of a file that cannot be looked at, and
// false where there is none. It makes no file. For a moment it keeps others from the lock.
func Held(path string) bool {
	fd, err := eintr.Retry(func() (int, error) {
		return syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	})
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer syscall.Close(fd)
	return flock(fd, syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return -1
		}
		return r
	}, s)
	if len(s) > maxHolderBytes {
		s = strings.ToValidUTF8(s[:maxHolderBytes], "")
	}
	return strings.TrimSpace(s)
}

// GuardsNothing says why a lock on path excludes nobody but processes of this container, in words for a warning, or "".
// Measured: two containers of one image can both lock the same path of the image's own (overlay) file system, because
// each has its own copy of the file.
func GuardsNothing(path string) string {
	var dir, root syscall.Stat_t
	if syscall.Stat(filepath.Dir(path), &dir) != nil || syscall.Stat("/", &root) != nil {
		return ""
	}
	if dir.Dev != root.Dev || !rootIsImage() {
		return ""
	}
	return fmt.Sprintf("%s lies in the container's own file system, where no other container sees it: "+
		"put it on a shared volume if several containers could run a bot with this token", path)
}

// maxMountsBytes bounds what is read of the list of mounts: / is among the first.
const maxMountsBytes = 1 << 20

// rootIsImage says whether / is an image's file system: the kernel's overlay, or the one of rootless Docker and Podman
// (fuse-overlayfs), which mountinfo alone tells from other FUSE file systems; see proc_pid_mountinfo(5).
func rootIsImage() bool {
	const overlay, fuse = 0x794c7630, 0x65735546
	var fs syscall.Statfs_t
	if syscall.Statfs("/", &fs) != nil || fs.Type != overlay && fs.Type != fuse {
		return false
	}
	if fs.Type == overlay {
		return true
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	defer f.Close()
	mounts, _ := io.ReadAll(io.LimitReader(f, maxMountsBytes))
	kind := ""
	for line := range strings.Lines(string(mounts)) {
		mount, about, _ := strings.Cut(line, " - ")
		if fields := strings.Fields(mount); len(fields) > 4 && fields[4] == "/" {
			kind, _, _ = strings.Cut(about, " ") // of several at one place the last one counts
		}
	}
	return strings.HasSuffix(kind, "overlayfs")
}

// Process is one that has a lock.
type Process struct {
	PID, PGID int
	Name      string // as in /proc/PID/comm
}

// Holders finds the processes that hold the lock on the file at path through a descriptor of theirs, this one included.
// It looks into /proc. It does not find processes of other users or namespaces, nor those that cannot be looked into
// (not dumpable). It reads every process's descriptors, so it is for rare occasions.
func Holders(path string) []Process {
	var want syscall.Stat_t
	if syscall.Lstat(path, &want) != nil {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && holds(pid, &want) {
			pgid, _ := syscall.Getpgid(pid)
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			found = append(found, Process{PID: pid, PGID: pgid, Name: oneLine(string(comm))})
		}
	}
	return found
}

func holds(pid int, want *syscall.Stat_t) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	for { // a few at a time: a process may have a million
		fds, err := f.Readdirnames(256)
		if err != nil {
			return false
		}
		for _, fd := range fds {
			if holdsBy(pid, fd, dir, want) {
				return true
			}
		}
	}
}

func holdsBy(pid int, fd, dir string, want *syscall.Stat_t) bool {
	var st syscall.Stat_t
	if syscall.Stat(dir+"/"+fd, &st) != nil || st.Dev != want.Dev || st.Ino != want.Ino {
		return false
	}
	// A process that waits for the lock has the file open too; only the holder's fdinfo shows the lock.
	info, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, fd))
	for line := range strings.Lines(string(info)) {
		if strings.HasPrefix(line, "lock:") && strings.Contains(line, "FLOCK") && !strings.Contains(line, "->") {
			return true
		}
	}
	return false
}
