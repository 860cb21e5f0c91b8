package sdnotify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/proctest"
)

// A listener hears the processes that it was told of, under the name that it was told, and nobody else.
func TestListenerHearsWhoItWasToldOf(t *testing.T) {
	dir, err := os.MkdirTemp("", "tandem-") // short, as a socket's path has to be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	type said struct {
		id, pid int
		notice  Notice
	}
	heard := make(chan said, 100)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		l.Run(done, func(id, pid int, n Notice) { heard <- said{id, pid, n} })
	}()
	sender := &Sender{socket: path}
	sender.Send("STATUS=nobody yet")
	self := os.Getpid()
	if pid, err := l.Started(7, func() (int, error) { return self, nil }); pid != self || err != nil {
		t.Fatalf("%d, %v", pid, err)
	}
	sender.Send("READY=1", "STATUS=here")
	ready := said{7, self, Notice{Ready: true, HasStatus: true, Status: "here"}}
	var have said
	next := func() bool {
		select {
		case have = <-heard:
			return true
		case <-time.After(20 * time.Second):
			return false
		}
	}
	// What came before the process was known may be read after that: the kernel keeps it, and says who sent it.
	for next() && !have.notice.Ready {
	}
	if !have.notice.Ready || have.id != ready.id || have.pid != ready.pid || have.notice.Status != ready.notice.Status {
		t.Errorf("have %+v, want %+v", have, ready)
	}
	if _, err := l.Started(8, func() (int, error) { return 0, unix.ENOENT }); err != unix.ENOENT {
		t.Errorf("have %v", err)
	}
	l.Ended(self)
	sender.Send("STATUS=no longer")
	conn, err := l.socket.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	proctest.Eventually(t, 20*time.Second, "the queue is empty", func() (empty bool) {
		_ = conn.Control(func(fd uintptr) {
			n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
			empty = err == nil && n == 0
		})
		return empty
	})
	close(done)
	<-ended
	select {
	case have := <-heard:
		t.Errorf("heard %+v of a process that had ended", have)
	default:
	}
}

func TestNobodyIsListenedTo(t *testing.T) {
	var l *Listener
	if pid, err := l.Started(0, func() (int, error) { return 5, nil }); pid != 5 || err != nil {
		t.Errorf("%d, %v", pid, err)
	}
	l.Ended(5)
	done := make(chan struct{})
	close(done)
	l.Run(done, nil)
	if _, err := Listen("/tmp/" + strings.Repeat("x", 110)); err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("have %v", err)
	}
}
