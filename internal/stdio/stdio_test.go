package stdio

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func flagsOf(t *testing.T, fd int) int {
	t.Helper()
	return must[int](t)(unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0))
}

// What is opened anew is the same file with flags of its own; all else is handed on, with a reason where there is one.
func TestAgain(t *testing.T) {
	dir := t.TempDir()
	file := must[*os.File](t)
	numbers := must[[2]int](t)
	pipe := numbers(func() (p [2]int, err error) { err = unix.Pipe2(p[:], unix.O_CLOEXEC); return p, err }())
	pair := numbers(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0))
	master := file(os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0))
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n := must[int](t)(unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN))
	terminal := file(os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0))
	defer terminal.Close()
	regular := file(os.Create(filepath.Join(dir, "log")))
	defer regular.Close()
	deleted := file(os.Create(filepath.Join(dir, "deleted")))
	defer deleted.Close()
	if err := os.Remove(deleted.Name()); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	reader := file(os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0))
	alone := file(os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0))
	defer alone.Close()
	reader.Close()
	null := file(os.OpenFile(os.DevNull, os.O_WRONLY, 0))
	defer null.Close()

	for _, c := range []struct {
		name  string
		fd    int
		opens bool
		flags int
		why   string
	}{
		{"pipe", pipe[1], true, unix.O_WRONLY, ""},
		{"terminal", int(terminal.Fd()), true, unix.O_RDWR, ""},
		{"file", int(regular.Fd()), true, unix.O_RDWR | unix.O_APPEND, ""},
		{"deleted file", int(deleted.Fd()), true, unix.O_RDWR | unix.O_APPEND, ""},
		{"master of a terminal", int(master.Fd()), false, 0, "master"},
		{"socket", pair[0], false, 0, "socket"},
		{"FIFO without a reader", int(alone.Fd()), false, 0, "nobody reads"},
		{"null", int(null.Fd()), false, 0, ""},
	} {
		var st unix.Stat_t
		if err := unix.Fstat(c.fd, &st); err != nil {
			t.Fatal(c.name, err)
		}
		before := flagsOf(t, c.fd)
		fd, why := again(c.fd, &st)
		if (fd >= 0) != c.opens || !strings.Contains(why, c.why) || (why == "") != (c.why == "") {
			t.Errorf("%s: have %d, %q", c.name, fd, why)
		}
		if fd < 0 {
			continue
		}
		const shown = unix.O_ACCMODE | unix.O_APPEND | unix.O_NONBLOCK
		if have := flagsOf(t, fd) & shown; have != c.flags {
			t.Errorf("%s: flags %#x, want %#x", c.name, have, c.flags)
		}
		var again unix.Stat_t
		if err := unix.Fstat(fd, &again); err != nil || again.Ino != st.Ino || again.Dev != st.Dev || again.Rdev != st.Rdev {
			t.Errorf("%s: it is another file (%v)", c.name, err)
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			t.Error(c.name, err)
		}
		if flagsOf(t, c.fd) != before {
			t.Errorf("%s: the flag reached the other", c.name)
		}
		if have := must[int](t)(unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)); have != unix.FD_CLOEXEC {
			t.Errorf("%s: every child would inherit it", c.name)
		}
		unix.Close(fd)
	}
}

// A descriptor that does not append does so afterwards, under its own number. What is no file stays as it is.
func TestAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f := must[*os.File](t)(os.Create(path))
	defer f.Close()
	Append(int(f.Fd()))
	other := must[*os.File](t)(os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0))
	defer other.Close()
	for range 3 {
		fmt.Fprintln(other, "other")
		fmt.Fprintln(f, "own")
	}
	if have := string(must[[]byte](t)(os.ReadFile(path))); have != strings.Repeat("other\nown\n", 3) {
		t.Errorf("have %q", have)
	}
	pipe := [2]int{}
	if err := unix.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	Append(pipe[1])
	if have := flagsOf(t, pipe[1]); have&unix.O_APPEND != 0 {
		t.Errorf("a pipe has flags %#x", have)
	}
}
