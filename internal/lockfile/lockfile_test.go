package lockfile

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/proctest"
)

// soon is a limit for what another thread or process brings about.
const soon = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustOpen(t *testing.T, path string) *Lock {
	t.Helper()
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func mustTry(t *testing.T, l *Lock, want bool) {
	t.Helper()
	if got, err := l.TryLock(); err != nil || got != want {
		t.Fatalf("TryLock: have %v, %v; want %v", got, err, want)
	}
}

func (l *Lock) isWaiting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting != nil
}

func TestOneHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, b := mustOpen(t, path), mustOpen(t, path)
	mustTry(t, a, true)
	mustTry(t, a, true) // again is no change
	mustTry(t, b, false)
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode: have %v, want 0600", info.Mode())
	}
	a.Close()
	mustTry(t, b, true)
}

func TestLockWaitsForTheHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, b := mustOpen(t, path), mustOpen(t, path)
	mustTry(t, a, true)
	got := make(chan error, 1)
	go func() { got <- b.Lock(context.Background()) }()
	proctest.Eventually(t, soon, "b waits", b.isWaiting)
	select {
	case err := <-got:
		t.Fatalf("Lock returned (%v) while another holds the lock", err)
	default:
	}
	a.Close()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	mustTry(t, mustOpen(t, path), false)
}

func TestLockGivenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, b, c := mustOpen(t, path), mustOpen(t, path), mustOpen(t, path)
	mustTry(t, a, true)
	before := threads(t)
	for range 50 { // each begins a wait and gives it up
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := b.Lock(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("have %v, want context.Canceled", err)
		}
	}
	if after := threads(t); after > before+10 {
		t.Errorf("50 waits given up left %d threads, %d before", after, before)
	}
	a.Close() // the late lock arrives at b, which does not want it any more
	proctest.Eventually(t, soon, "the late lock is given back", func() bool { ok, _ := c.TryLock(); return ok })
	if b.File() != nil {
		t.Error("the late lock's file was kept")
	}
	c.Close()
	if err := b.Lock(context.Background()); err != nil { // and b is as good as new
		t.Fatal(err)
	}
	mustTry(t, b, true)
}

func threads(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, b := mustOpen(t, path), mustOpen(t, path)
	mustTry(t, a, true)
	got := make(chan error, 1)
	go func() { got <- b.Lock(context.Background()) }()
	proctest.Eventually(t, soon, "b waits", b.isWaiting)
	if err := a.Replaced(); err != nil {
		t.Fatal(err)
	}
	os.Remove(path)
	if err := a.Replaced(); err == nil || !strings.Contains(err.Error(), "removed") {
		t.Errorf("after the removal: have %v", err)
	}
	c := mustOpen(t, path)
	mustTry(t, c, true)
	if err := a.Replaced(); err == nil || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("after the replacement: have %v", err)
	}
	a.Close() // b gets the old file, finds that it means nothing, and waits for the new one
	select {
	case err := <-got:
		t.Fatalf("b took the file that was removed (%v)", err)
	case <-time.After(50 * time.Millisecond):
	}
	c.Close()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if err := b.Replaced(); err != nil {
		t.Error(err)
	}
}

// A wait that another goroutine's Close ends gets nothing.
func TestCloseWhileWaiting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, b := mustOpen(t, path), mustOpen(t, path)
	mustTry(t, a, true)
	got := make(chan error, 1)
	go func() { got <- b.Lock(context.Background()) }()
	proctest.Eventually(t, soon, "b waits", b.isWaiting)
	b.Close()
	a.Close()
	if err := <-got; !errors.Is(err, os.ErrClosed) {
		t.Fatalf("have %v, want os.ErrClosed", err)
	}
	mustTry(t, mustOpen(t, path), true)
}

// The child's copy holds the lock after the parent closed its own, and Holders names the child.
func TestHandedOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, b := mustOpen(t, path), mustOpen(t, path)
	mustTry(t, a, true)
	child := exec.Command("/bin/cat")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	child.ExtraFiles = []*os.File{a.File()}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); child.Process.Kill(); child.Wait() })
	a.Close()
	mustTry(t, b, false)
	if have := Holders(path); len(have) != 1 || have[0].PID != child.Process.Pid || have[0].Name != "cat" ||
		have[0].PGID == 0 {
		t.Errorf("Holders: have %+v, want the child %d", have, child.Process.Pid)
	}
	in.Close()
	child.Wait()
	mustTry(t, b, true)
}

// Edge 43: the bot checks what it inherits, and keeps it from its own children.
func TestInherited(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lock")
	a := mustOpen(t, path)
	mustTry(t, a, true)
	dup := func(f *os.File) int {
		fd, err := syscall.Dup(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	fd := dup(a.File())
	l, err := Inherited(fd, path)
	if err != nil {
		t.Fatal(err)
	}
	flags, _, _ := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
	if flags&syscall.FD_CLOEXEC == 0 {
		t.Error("close-on-exec is not set")
	}
	a.Close()
	mustTry(t, mustOpen(t, path), false)
	if err := l.Lock(context.Background()); err != nil { // held already: no wait
		t.Fatal(err)
	}
	l.Close()

	other, err := os.Create(filepath.Join(dir, "other"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	holder, plain := mustOpen(t, path), mustOpen(t, path)
	mustTry(t, holder, true)
	if _, err := Inherited(int(other.Fd()), path); !errors.Is(err, syscall.EBADF) {
		t.Errorf("a file that this process opened itself: %v", err)
	}
	for name, fd := range map[string]int{
		"another file": dup(other), "not open": 1 << 20, "somebody else's lock": dup(plain.File()),
	} {
		if _, err := Inherited(fd, path); err == nil {
			t.Errorf("%s: taken for the lock", name)
		}
		syscall.Close(fd)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	os.Symlink(filepath.Join(dir, "file"), filepath.Join(dir, "link"))
	syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600)
	os.Mkdir(filepath.Join(dir, "dir"), 0o700)
	for _, name := range []string{"link", "fifo", "dir", "missing/lock", "fifo/lock"} {
		if l, err := Open(filepath.Join(dir, name)); err == nil {
			l.Close()
			t.Errorf("%s: opened as a lock file", name)
		} else if !strings.Contains(err.Error(), filepath.Join(dir, name)) {
			t.Errorf("%s: the error does not name it: %v", name, err)
		}
	}
}

func TestHolderText(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l := mustOpen(t, path)
	if err := l.SetHolder("nobody"); err == nil {
		t.Error("wrote into a lock that is not held")
	}
	mustTry(t, l, true)
	for _, c := range []struct{ write, read string }{
		{"pid 17 on host-with-a-long-name", "pid 17 on host-with-a-long-name"},
		{"short", "short"},
		{"two\nlines\x1b[31m", "twolines[31m"},
		{strings.Repeat("é", 300), strings.Repeat("é", 100)},
	} {
		if err := l.SetHolder(c.write); err != nil {
			t.Fatal(err)
		}
		if have := Holder(path); have != c.read {
			t.Errorf("wrote %q: have %q, want %q", c.write, have, c.read)
		}
	}
	if have := Holder(path + ".missing"); have != "" {
		t.Errorf("of a missing file: %q", have)
	}
}

func TestGuardsNothing(t *testing.T) {
	if have := GuardsNothing("/dev/shm/lock"); have != "" {
		t.Errorf("a tmpfs was taken for the image's file system: %s", have)
	}
}

// A panic in the thread that waits is its waiter's, where somebody looks for it.
func TestPanicOfAWait(t *testing.T) {
	defer func(f func(int, int) error) { systemFlock = f }(systemFlock)
	systemFlock = func(int, int) error { panic("a bug") }
	lock, err := Open(filepath.Join(t.TempDir(), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	defer func() {
		if r := recover(); r != "a bug" {
			t.Errorf("recovered %v", r)
		}
	}()
	_ = lock.Lock(context.Background())
	t.Error("the panic was swallowed")
}
