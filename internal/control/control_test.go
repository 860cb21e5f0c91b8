package control

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The control socket's actor ends with init: one that went on would cost each stop of a container 300 ms.
func TestControlEndsWithInit(t *testing.T) {
	t.Parallel()
	c := &Server{}
	if err := c.Listen(filepath.Join(t.TempDir(), "init.sock")); err != nil {
		t.Fatal(err)
	}
	done, returned := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(returned)
		c.Serve(done)
	}()
	close(done)
	select {
	case <-returned:
	case <-time.After(20 * time.Second):
		t.Fatal("it is still serving")
	}
}

// A server that has too much to do says so by a code, and a client that is told so asks again until it is heard.
func TestABusyServerIsAskedAgain(t *testing.T) {
	t.Parallel()
	c := &Server{
		Status: func() []byte { return []byte("{}") }, Turn: func(done func()) { done() }, DoTimeout: time.Second,
		Do: func(_, _ string, done func(Outcome)) { done(Outcome{Text: "done"}) },
	}
	path := filepath.Join(t.TempDir(), "init.sock")
	if err := c.Listen(path); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	defer close(done)
	go c.Serve(done)
	full := func(full bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.requests, c.statusRequests = 0, 0; full {
			c.requests, c.statusRequests = maxRequests, maxStatusRequests
		}
	}
	full(true)
	for _, line := range []string{"status\n", "restart bot\n"} {
		reply, err := requestOnce(path, line, time.Minute)
		if o, refused := parseReply(reply); err != nil || !refused || o.Code != busy {
			t.Errorf("%q: have %q, %v", line, reply, err)
		}
	}
	heard := make(chan error, 1)
	go func() {
		_, err := Status(path)
		heard <- err
	}()
	select {
	case err := <-heard:
		t.Fatalf("it gave up: %v", err)
	case <-time.After(100 * time.Millisecond): // it asks every 20 ms
	}
	full(false)
	if err := <-heard; err != nil {
		t.Error(err)
	}
	if o, err := Do(path, "restart", "bot"); err != nil || o != (Outcome{0, "done"}) {
		t.Errorf("have %v, %v", o, err)
	}
}

// Whatever a client sends: what reaches the loop is a request that can be, and there is at most one line of answer.
func FuzzControl(f *testing.F) {
	for _, seed := range []string{"status\n", "stop bot\n", "start web\n", "restart bot", "\n", "", " \n",
		"stop bot\nstop bot\n", "stop  bot\n",
		"status x\n", "STOP bot\n", strings.Repeat("x", 300) + "\n", "stop bot\x00\n", "stop\tbot\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		var asked []string
		c := &Server{
			DoTimeout: time.Second, Status: func() []byte { return []byte("{}") },
			Turn: func(done func()) { asked = append(asked, "status"); done() },
			Do: func(verb, name string, done func(Outcome)) {
				asked = append(asked, verb+" "+name)
				done(Outcome{Text: "done"})
			},
		}
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := os.NewFile(uintptr(fds[0]), "client"), os.NewFile(uintptr(fds[1]), "init")
		defer ours.Close()
		_, _ = ours.Write(sent[:min(len(sent), 4096)])
		_ = syscall.Shutdown(fds[0], syscall.SHUT_WR)
		c.client(theirs)
		var answer []byte
		buf := make([]byte, 4096)
		for {
			n, err := ours.Read(buf)
			if err != nil || n == 0 {
				break
			}
			answer = append(answer, buf[:n]...)
		}
		can := []string{"status\n", "start bot\n", "stop bot\n", "restart bot\n", "start web\n", "stop web\n",
			"restart web\n"}
		ok, want := slices.Contains(can, string(sent)), strings.TrimSuffix(string(sent), "\n")
		switch {
		case ok && (len(asked) != 1 || asked[0] != want || !strings.HasSuffix(string(answer), "\n")):
			t.Fatalf("%q asked for %v and was answered %q", sent, asked, answer)
		case !ok && len(asked) != 0:
			t.Fatalf("%q asked for %v", sent, asked)
		case strings.Count(string(answer), "\n") > 1 || !ok && len(answer) > 0 && answer[0] != '1':
			t.Fatalf("%q was answered %q", sent, answer)
		}
		if len(c.silent) != 0 || c.requests != 0 || c.statusRequests != 0 {
			t.Fatalf("%q left its place taken", sent)
		}
	})
}
