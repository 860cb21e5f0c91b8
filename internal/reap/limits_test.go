package reap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"tandem/internal/testenv"
)

// limited runs a shell script under limits and returns what it printed.
func limited(t *testing.T, l *Limits, script string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "limits-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o777)
	out := filepath.Join(dir, "out")
	pid, err := Start(Command{Args: []string{"sh", "-c",
		"{ " + script + "; } > " + out + ".new 2>&1; mv " + out + ".new " + out}, Env: env, Dir: "/", Limits: l})
	if err != nil {
		t.Fatal(err)
	}
	if c := peek(t); c.PID != pid || c.Code != 0 {
		t.Fatalf("%+v", c)
	}
	Collect(pid)
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		testenv.Missing(t, "only root can start a program as another user")
	}
}

const showStatus = `grep -E "^(Uid|Gid|Groups|Cap...|NoNewPrivs|SigBlk|SigIgn)" /proc/self/status | tr "\t" " "
	echo "nofile $(ulimit -Sn) $(ulimit -Hn)"; pwd; ls /proc/self/fd | wc -l`

func TestLimits(t *testing.T) {
	needsRoot(t)
	none, bind := uint64(0), uint64(1<<10)
	var original syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &original); err != nil {
		t.Fatal(err)
	}
	plain := limited(t, nil, showStatus) // by syscall.ForkExec
	for name, c := range map[string]struct {
		limits Limits
		want   []string
	}{
		"nothing": {Limits{}, slices.DeleteFunc(strings.Split(strings.TrimSpace(plain), "\n"), func(line string) bool {
			return strings.HasPrefix(line, "SigIgn") // a limited start sets all to the default, what make ignores too
		})},
		"user": {Limits{User: &User{1234, 2345, []int{2345, 77}}, Capabilities: &none, NoNewPrivs: true}, []string{
			"Uid: 1234 1234 1234 1234", "Gid: 2345 2345 2345 2345", "Groups: 77 2345", "CapInh: 0000000000000000",
			"CapPrm: 0000000000000000",
			"CapEff: 0000000000000000", "CapBnd: 0000000000000000", "CapAmb: 0000000000000000", "NoNewPrivs: 1"}},
		"no groups": {Limits{User: &User{UID: 1234, GID: 2345}}, []string{"Groups:"}},
		"user with a capability": {Limits{User: &User{UID: 1234, GID: 1234}, Capabilities: &bind, NoNewPrivs: true}, []string{
			"Uid: 1234 1234 1234 1234", "CapPrm: 0000000000000400", "CapEff: 0000000000000400", "CapBnd: 0000000000000400"}},
		"root with a capability": {Limits{Capabilities: &bind}, []string{
			"Uid: 0 0 0 0", "CapPrm: 0000000000000400", "CapEff: 0000000000000400", "CapBnd: 0000000000000400",
			"NoNewPrivs: 0"}},
		"files": {Limits{NoFile: 99}, []string{"nofile 99 99", "NoNewPrivs: 0", "Uid: 0 0 0 0"}},
	} {
		have := limited(t, &c.limits, showStatus)
		for _, want := range c.want {
			found := false
			for line := range strings.Lines(have) {
				found = found || strings.TrimSpace(line) == strings.TrimSpace(want)
			}
			if !found {
				t.Errorf("%s: no line %q in:\n%s", name, want, have)
			}
		}
	}
}

// The errors are those of a start without limits, and one of its own for a limit that cannot be set.
func TestLimitedStartErrors(t *testing.T) {
	needsRoot(t)
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, []byte("\x00"), 0o755); err != nil {
		t.Fatal(err)
	}
	user := Limits{User: &User{UID: 1234, GID: 1234}}
	for _, c := range []struct {
		path   string
		limits Limits
		code   int
		says   string
	}{
		{filepath.Join(dir, "missing"), Limits{}, 127, "there is no program"},
		{garbage, Limits{}, 126, "format"},
		{secret, user, 126, "user 1234 may not execute"},
		{"/bin/true", Limits{NoFile: 1 << 40}, 126, "limit of open files"},
	} {
		_, err := Start(Command{Args: []string{c.path}, Env: env, Dir: "/", Limits: &c.limits})
		var e *StartError
		if !errors.As(err, &e) || e.Code != c.code || e.Temporary || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: have %+v (%v), want %+v", c.path, e, err, c)
		}
		if _, found, childless := Peek(); found || !childless {
			t.Errorf("%s: a child is left", c.path)
		}
	}
}

// Starts beside a busy runtime: every child executes its program, and no descriptor stays open.
func TestLimitedStartsBesideABusyRuntime(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	for range 1 {
		go func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					_ = fmt.Sprint(make([]byte, 10_000), i)
				}
			}
		}()
	}
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	limits := &Limits{NoNewPrivs: true, NoFile: 50}
	before := 0
	for n := range 60 {
		if n == 1 { // what the runtime opens once is there
			before = count()
		}
		pid, err := Start(Command{Args: []string{"sh", "-c", "exit 7"}, Env: env, Dir: "/", Limits: limits})
		if err != nil {
			t.Fatal(err)
		}
		if c := peek(t); c.PID != pid || c.Code != 7 {
			t.Fatalf("start %d: %+v", n, c)
		}
		Collect(pid)
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
