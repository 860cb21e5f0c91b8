// Package stdio gives each process that init starts a standard output and error of its own.
//
// A pipe, a terminal or a file that two processes inherit is one open file with one set of flags, and O_NONBLOCK is
// such a flag. What Node.js sets on its own standard output takes the lines of a web that knows nothing of it. It stays
// when Node.js has gone. So the file is opened anew for each process, and what one does to its own reaches no other. It
// promises that lines go where they went, and that nothing waits here. It is against accidents: a process of the same
// user can still fill the pipe, or read it. See docs/adr/0075.
package stdio

import (
	"strconv"

	"golang.org/x/sys/unix"

	"tandem/internal/eintr"
)

// Files are standard output and error for one process.
type Files struct {
	FDs    [2]uintptr // to be handed to the process
	Shared string     // why init's own are handed on, in words; "" where they are not, or nothing can be done to them
	opened []int
}

// Anew opens what this process has as standard output and error anew.
func Anew() *Files {
	f := &Files{FDs: [2]uintptr{1, 2}}
	var first unix.Stat_t
	for i, name := range [2]string{"standard output", "standard error"} {
		var st unix.Stat_t
		err := unix.Fstat(i+1, &st)
		if i > 0 && err == nil && st.Dev == first.Dev && st.Ino == first.Ino { // as with 2>&1, or on a terminal
			f.FDs[1] = f.FDs[0]
			if len(f.opened) == 0 {
				f.FDs[1] = 2
			}
			break
		}
		first = st
		fd, why := again(i+1, &st)
		switch {
		case fd >= 0:
			f.FDs[i], f.opened = uintptr(fd), append(f.opened, fd)
		case why != "":
			if f.Shared != "" {
				f.Shared += "; "
			}
			f.Shared += name + ": " + why
		}
	}
	return f
}

// Close closes them here, once the process has them.
func (f *Files) Close() {
	for _, fd := range f.opened {
		unix.Close(fd)
	}
}

// again opens anew what is open as fd, with the same right to read and write. -1 is for what is handed on as it is.
// Where that is worth a word, it says why.
func again(fd int, st *unix.Stat_t) (int, string) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return -1, err.Error()
	}
	flags &= unix.O_ACCMODE | unix.O_SYNC
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		flags |= unix.O_APPEND // or each would write where it believes the end to be, over the lines of the others
	case unix.S_IFIFO:
	case unix.S_IFCHR:
		if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
			return -1, "" // like /dev/null, where no flag matters
		}
		if _, err := unix.IoctlGetInt(fd, unix.TIOCGPTN); err == nil {
			return -1, "it is the master of a terminal, which would be opened as another terminal"
		}
	case unix.S_IFSOCK:
		return -1, "a socket cannot be opened a second time"
	default:
		return -1, ""
	}
	// Without O_NONBLOCK the opening itself would wait: at a FIFO for its reader, at a serial line for its carrier.
	opened, err := eintr.Retry(func() (int, error) {
		return unix.Open("/proc/self/fd/"+strconv.Itoa(fd), flags|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
	if err == nil {
		if _, err = unix.FcntlInt(uintptr(opened), unix.F_SETFL, flags&^unix.O_ACCMODE); err != nil {
			unix.Close(opened)
		}
	}
	switch {
	case err == unix.ENXIO:
		return -1, "nobody reads it"
	case err != nil:
		return -1, "it cannot be opened a second time: " + err.Error()
	}
	return opened, ""
}

// Append makes this process's own fd append, if it is a regular file: the processes append to theirs.
func Append(fd int) {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return
	}
	if opened, _ := again(fd, &st); opened >= 0 {
		_ = unix.Dup3(opened, fd, 0)
		unix.Close(opened)
	}
}
