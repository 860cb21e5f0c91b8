package reap

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/proctest"
)

var env = []string{"PATH=" + os.Getenv("PATH")}

func start(t *testing.T, args ...string) int {
	t.Helper()
	pid, err := Start(Command{Args: args, Env: env, Dir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// peek waits for a child to end.
func peek(t *testing.T) Child {
	t.Helper()
	var c Child
	proctest.Eventually(t, 20*time.Second, "a child ended", func() (found bool) { c, found, _ = Peek(); return found })
	return c
}

// A child is told of again and again until it is collected, and its group can be signalled meanwhile.
func TestPeekThenCollect(t *testing.T) {
	for _, c := range []struct {
		script string
		want   Child
	}{
		{"exit 0", Child{}}, {"exit 127", Child{Code: 127}}, {"exit 255", Child{Code: 255}},
		{"kill -KILL $$", Child{Code: 137, Signal: syscall.SIGKILL}},
		{"ulimit -c 0; kill -SEGV $$", Child{Code: 139, Signal: syscall.SIGSEGV}},
	} {
		c.want.PID = start(t, "sh", "-c", c.script)
		for range 3 {
			if have := peek(t); have != c.want {
				t.Errorf("%s: have %+v, want %+v", c.script, have, c.want)
			}
		}
		if err := syscall.Kill(-c.want.PID, 0); err != nil {
			t.Errorf("%s: the group cannot be signalled before Collect: %v", c.script, err)
		}
		Collect(c.want.PID)
		if _, found, childless := Peek(); found || !childless {
			t.Errorf("%s: something is left", c.script)
		}
		if !GroupEmpty(c.want.PID) {
			t.Errorf("%s: the group is not empty", c.script)
		}
	}
}

func TestGroupEmptyAndDescendants(t *testing.T) {
	if err := Adopt(); err != nil {
		t.Fatal(err)
	}
	leader := start(t, "sh", "-c", "sleep 1000 & exit 0")
	c := peek(t)
	if c.PID != leader {
		t.Fatalf("have %+v", c)
	}
	Collect(leader)
	if GroupEmpty(leader) {
		t.Error("the group counts as empty while its member lives")
	}
	left, err := Descendants()
	if err != nil || len(left) != 1 {
		t.Fatalf("descendants: %v, %v", left, err)
	}
	if _, _, childless := Peek(); childless {
		t.Error("the orphan was not adopted")
	}
	syscall.Kill(-leader, syscall.SIGKILL)
	if c = peek(t); c.PID != left[0].PID || c.Signal != syscall.SIGKILL {
		t.Errorf("have %+v, want the orphan %v", c, left)
	}
	Collect(c.PID)
	if !GroupEmpty(leader) {
		t.Error("the group is not empty after its last member")
	}
	if left, err := Descendants(); err != nil || len(left) != 0 {
		t.Errorf("descendants: %v, %v", left, err)
	}
}

func TestStartErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	busy := write("busy", "#!/bin/sh\n", 0o755)
	writer, err := os.OpenFile(busy, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	for _, c := range []struct {
		path      string
		code      int
		temporary bool
		is        error
	}{
		{filepath.Join(dir, "missing"), 127, false, nil}, {"no-such-program", 127, false, nil},
		{busy + "/x", 127, false, nil},
		{write("plain", "", 0o644), 126, false, nil}, {dir, 126, false, nil},
		{write("garbage", "\x00", 0o755), 126, false, nil},
		{busy, 126, true, syscall.ETXTBSY},
	} {
		_, err := Start(Command{Args: []string{c.path}, Env: env, Dir: dir})
		var e *StartError
		if !errors.As(err, &e) || e.Code != c.code || e.Temporary != c.temporary || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: have %+v (%v), want %+v", c.path, e, err, c)
		}
	}
}

// A command without a slash is looked up as execvp(3) does, in the process's directory.
func TestLookUp(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{
		"here": 0o755, "bin/there": 0o755, "bin/twice": 0o644, "more/twice": 0o755, "bin/denied": 0o644,
		"bin/odd": 0o755, "more/odd": 0o755, "bin/lost": 0o755, "more/lost": 0o755, "bin/alone": 0o755,
	} {
		path := filepath.Join(dir, name)
		content := "#!/bin/sh\nexit 7\n"
		switch name {
		case "bin/odd":
			content = "[ \"$*\" = \"1 2\" ] && exit 8\n"
		case "bin/lost", "bin/alone":
			content = "#!/no/such/interpreter\n"
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "bin", "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, name string
		shell      bool
		code       int // of the program, or why it could not be started
	}{
		{"./bin:more", "there", false, 7}, {"bin:more", "there", false, 7}, {dir + "/bin", "there", false, 7},
		{"", "here", false, 7}, {":/nowhere", "here", false, 7}, {"/nowhere:", "here", false, 7},
		{"/nowhere::bin", "here", false, 7}, {"/nowhere", "./here", false, 7}, {"/nowhere", "bin/there", false, 7},
		{"bin:more", "here", false, 127}, {"bin:more", "missing", false, 127}, {"bin:more", "", false, 127},
		{"bin:more", "twice", false, 7}, {"more:bin", "twice", false, 7}, {"bin:more", "denied", false, 126},
		{"bin", "folder", false, 126}, {"here:here/x:bin", "there", false, 7}, {"bin:more", "lost", false, 7},
		{"bin", "alone", false, 127}, {"bin:more", "odd", false, 126}, {"bin:more", "odd", true, 8},
		{strings.Repeat("no/", 1400) + ":bin", "there", false, 7}, {"/proc/self/cwd/bin", "there", false, 7},
		{"/nowhere", "bin/odd", true, 8}, {"more:bin", "odd", true, 7},
	} {
		for _, limits := range []*Limits{nil, {NoNewPrivs: true}} {
			pid, err := Start(Command{
				Args: []string{c.name, "1", "2"}, Env: []string{"PATH=" + c.path, "PATH=/bin"}, Dir: dir,
				Shell: c.shell, Limits: limits,
			})
			var e *StartError
			have := 0
			if errors.As(err, &e) {
				have = e.Code
			} else if err == nil {
				have = peek(t).Code
				Collect(pid)
			}
			if have != c.code {
				t.Errorf("%+v: have %d (%v)", c, have, err)
			}
		}
	}
}
