package rundir

import (
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"tandem/internal/status"
)

// Watch tells when something is taken out of a directory, or the directory itself is moved or unmounted. While nothing
// of that happens it costs nothing. That another directory is mounted over this one it cannot tell.
type Watch struct {
	file *os.File
	on   int // what is watched, by inotify's number; -1 for nothing
	dir  *status.Dir
}

// NewWatch makes a Watch on nothing. Without the kernel's inotify there is none.
func NewWatch() (*Watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	return &Watch{file: os.NewFile(uintptr(fd), "inotify"), on: -1}, nil
}

// On watches dir from now on, and nothing else.
func (w *Watch) On(dir *status.Dir) error {
	if w.dir == dir {
		return nil
	}
	conn, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	var watchErr error
	err = conn.Control(func(fd uintptr) {
		if w.on >= 0 {
			_, _ = unix.InotifyRmWatch(int(fd), uint32(w.on)) // it may have gone with its directory
		}
		w.on, watchErr = unix.InotifyAddWatch(int(fd), "/proc/self/fd/"+strconv.Itoa(dir.Fd()),
			unix.IN_DELETE|unix.IN_MOVED_FROM|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_ONLYDIR)
	})
	if err == nil {
		err = os.NewSyscallError("inotify_add_watch", watchErr)
	}
	if w.dir = dir; err != nil {
		w.on = -1
	}
	return err
}

// Wait waits until one of names is taken out of the directory, or something happens to the directory. It is false once
// the Watch is closed.
func (w *Watch) Wait(names func(name string) bool) bool {
	var buf [4096]byte // for sixteen of the longest names, and for hundreds of ours
	for {
		n, err := w.file.Read(buf[:])
		if err != nil {
			return false
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			e := (*unix.InotifyEvent)(unsafe.Pointer(&b[0]))
			end := min(unix.SizeofInotifyEvent+int(e.Len), len(b))
			name := unix.ByteSliceToString(b[unix.SizeofInotifyEvent:end])
			if e.Mask&(unix.IN_DELETE|unix.IN_MOVED_FROM) == 0 || names(name) {
				return true
			}
			b = b[end:]
		}
	}
}

// Close ends Wait.
func (w *Watch) Close() { w.file.Close() }
