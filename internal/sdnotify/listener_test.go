package sdnotify

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/proctest"
	"tandem/internal/testenv"
)

// rig is a Listener that runs.
type rig struct {
	*Listener
	t     *testing.T
	dir   string
	heard chan said
	end   func()
}

type said struct {
	id, pid int
	notice  Notice
}

func listen(t *testing.T) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "tandem-") // short, as a socket's path has to be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &rig{t: t, dir: dir, heard: make(chan said, 10000)}
	r.Listener = NewListener(func(panic any) { t.Error(panic) })
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(done, func(id, pid int, n Notice) { r.heard <- said{id, pid, n} })
	}()
	r.end = sync.OnceFunc(func() {
		close(done)
		<-ended
	})
	t.Cleanup(r.end)
	return r
}

// process makes a socket for the process id, and what speaks on it.
func (r *rig) process(id, user int) *Sender {
	r.t.Helper()
	path := filepath.Join(r.dir, strconv.Itoa(id))
	if err := r.Listen(id, path, user); err != nil {
		r.t.Fatal(err)
	}
	return &Sender{socket: path}
}

func (r *rig) started(id, pid int) {
	r.t.Helper()
	if have, err := r.Started(id, func() (int, error) { return pid, nil }); have != pid || err != nil {
		r.t.Fatalf("%d, %v", have, err)
	}
}

func (r *rig) wants(want said) {
	r.t.Helper()
	select {
	case have := <-r.heard:
		if have != want {
			r.t.Errorf("have %+v, want %+v", have, want)
		}
	case <-time.After(20 * time.Second):
		r.t.Fatalf("%+v was not heard", want)
	}
}

// wasRead waits until nothing waits on a socket any more.
func (r *rig) wasRead(socket *os.File) {
	r.t.Helper()
	conn, err := socket.SyscallConn()
	if err != nil {
		r.t.Fatal(err)
	}
	proctest.Eventually(r.t, 20*time.Second, "the queue is empty", func() (empty bool) {
		_ = conn.Control(func(fd uintptr) {
			n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
			empty = err == nil && n == 0
		})
		return empty
	})
}

func status(text string) Notice { return Notice{HasStatus: true, Status: text} }

// What comes on a process's socket is that process's, while it runs, and nobody's before and after that.
func TestTheAddressSaysWhoSpeaks(t *testing.T) {
	r := listen(t)
	a, b := r.process(7, os.Getuid()), r.process(8, os.Getuid())
	if !r.Hears(7) || r.Hears(9) {
		t.Error("it hears another one than it was told of")
	}
	a.Send("STATUS=nobody yet")
	r.started(7, 100)
	r.started(8, 200)
	a.Send("READY=1", "STATUS=here")
	r.wants(said{7, 100, Notice{Ready: true, HasStatus: true, Status: "here"}})
	b.Send("STATUS=there")
	r.wants(said{8, 200, status("there")})
	if _, err := r.Started(8, func() (int, error) { return 0, unix.ENOENT }); err != unix.ENOENT {
		t.Errorf("have %v", err)
	}
	r.Ended(100)
	a.Send("STATUS=no longer")
	r.wasRead(r.procs[7].sockets[0])
	r.started(7, 101)
	a.Send("STATUS=again")
	r.wants(said{7, 101, status("again")})
	if pid, err := r.Started(9, func() (int, error) { return 5, nil }); pid != 5 || err != nil {
		t.Errorf("one that nobody listens to: %d, %v", pid, err)
	}
	r.end()
	if len(r.heard) != 0 {
		t.Errorf("heard %+v as well", <-r.heard)
	}
}

// A socket whose file was made anew is heard beside the one that the process was given, until it is started again.
func TestASocketMadeAnew(t *testing.T) {
	r := listen(t)
	now := r.process(1, os.Getuid())
	path := filepath.Join(r.dir, "1")
	connect := func() int {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	r.started(1, 100)
	first := connect()
	var between int
	for range 3 {
		between = connect()
		now = r.process(1, os.Getuid())
	}
	if _, err := unix.Write(first, []byte("STATUS=by the first")); err != nil {
		t.Fatal(err)
	}
	r.wants(said{1, 100, status("by the first")})
	now.Send("STATUS=by the newest")
	r.wants(said{1, 100, status("by the newest")})
	if _, err := unix.Write(between, []byte("STATUS=x")); err != unix.ECONNREFUSED {
		t.Errorf("one between them is open: %v", err)
	}
	r.started(1, 101)
	if _, err := unix.Write(first, []byte("STATUS=x")); err != unix.ECONNREFUSED {
		t.Errorf("the first is open after another start: %v", err)
	}
	now.Send("STATUS=new")
	r.wants(said{1, 101, status("new")})
}

// Of the others on a machine only root and the process's user are heard, which may have become another one meanwhile.
func TestWhoMaySpeak(t *testing.T) {
	if os.Getuid() != 0 {
		testenv.Missing(t, "only root can send as another user")
	}
	r := listen(t)
	if err := os.Chmod(r.dir, 0o711); err != nil {
		t.Fatal(err)
	}
	own := r.process(1, 4711)
	r.started(1, os.Getpid())
	as := func(user uint32, text string) {
		t.Helper()
		cmd := exec.Command("/usr/bin/python3", "-c", "import socket, sys; "+
			"socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(sys.argv[2].encode(), sys.argv[1])", own.socket, text)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/bin:/bin"}
		if out, err := cmd.CombinedOutput(); err != nil {
			testenv.Missing(t, "no Python that another user can run: "+string(out))
		}
	}
	as(4712, "READY=1")
	as(4711, "STATUS=its user")
	r.wants(said{1, os.Getpid(), status("its user")})
	as(0, "STATUS=root")
	r.wants(said{1, os.Getpid(), status("root")})
	launched := exec.Command("sleep", "1000")
	launched.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4713, Gid: 4713}}
	if err := launched.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = launched.Process.Kill()
		_ = launched.Wait()
	}()
	r.started(1, launched.Process.Pid)
	as(4713, "STATUS=whom its launcher made of it")
	r.wants(said{1, launched.Process.Pid, status("whom its launcher made of it")})
}

func TestAPathTooLong(t *testing.T) {
	r := listen(t)
	if err := r.Listen(0, "/tmp/"+strings.Repeat("x", 110), 0); err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("have %v", err)
	}
}

// The file of a socket has its mode whatever the umask is.
func TestTheUmaskTakesNothing(t *testing.T) {
	dir := t.TempDir()
	for _, mask := range []int{0, 0o022, 0o077, 0o777} {
		path := filepath.Join(dir, strconv.FormatInt(int64(mask), 8))
		before := syscall.Umask(mask)
		err := NewListener(nil).Listen(0, path, 0)
		syscall.Umask(before)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o666 {
			t.Errorf("umask %03o: %v, %v", mask, info.Mode(), err)
		}
	}
}
