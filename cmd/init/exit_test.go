package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tandem/internal/proctest"
)

// Every status of web is init's, whichever it is, and never mistaken (some inits take 127 for "cannot start").
func TestEveryExitCode(t *testing.T) {
	t.Parallel()
	bin, dir := proctest.Bin(t, "init"), runDir(t, 0)
	for code := range 256 {
		cmd := exec.Command(bin)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "RUN_DIR=" + dir, "ENABLE_TELEGRAM_BOT=no",
			fmt.Sprintf("WEB_COMMAND=sh -c 'exit %d'", code)}
		err := cmd.Run()
		var e *exec.ExitError
		if err != nil && !errors.As(err, &e) {
			t.Fatal(err)
		}
		if have := cmd.ProcessState.ExitCode(); have != code {
			t.Errorf("web ended with %d, init with %d", code, have)
		}
	}
}

// Edge 27: web's end is init's, and the bot is stopped properly.
func TestWebsEndIsInitsEnd(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		for _, c := range []struct {
			end  string
			code int
		}{
			{"exit 0", 0}, {"exit 1", 1}, {"exit 3", 3}, {"exit 127", 127}, {"kill -SEGV $$", 139}, {"kill -KILL $$", 137},
		} {
			web := fmt.Sprintf(`sh -c 'while ! [ -e "$RUN_DIR/go" ]; do sleep 0.01; done; %s'`, c.end)
			i := start(t, under, web, proctest.Command("good", "bot", "300ms"))
			i.WaitLine(soon, "bot ready")
			if err := os.WriteFile(filepath.Join(i.dir, "go"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			i.ends(c.code)
			i.WaitLine(soon, "bot stops")
		}
	})
}

func TestWebKilledByEachSignal(t *testing.T) {
	t.Parallel()
	dir := runDir(t, 0)
	for n := 1; n <= 31; n++ {
		sig := syscall.Signal(n)
		switch sig { // these do not end a process
		case syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU,
			syscall.SIGURG, syscall.SIGWINCH:
			continue
		}
		cmd := exec.Command(proctest.Bin(t, "init"))
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "RUN_DIR=" + dir, "ENABLE_TELEGRAM_BOT=no",
			fmt.Sprintf("WEB_COMMAND=sh -c 'ulimit -c 0; kill -%d $$'", n)}
		out, _ := cmd.CombinedOutput()
		if have := cmd.ProcessState.ExitCode(); have != 128+n {
			t.Errorf("%s ended web, init ended with %d, want %d\n%s", sig, have, 128+n, out)
		}
	}
}

func TestWebCannotBeStarted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		path, says string
		code       int
	}{
		{filepath.Join(dir, "missing"), "there is no program", 127},
		{"no-such-program-anywhere", "not in PATH", 127},
		{write("plain", "#!/bin/sh\n", 0o644), "may not execute", 126},
		{write("garbage", "\x00\x01\x02", 0o755), "format", 126},
		{write("orphan", "#!/no/such/interpreter\n", 0o755), "interpreter", 127},
		{dir, "may not execute", 126},
	} {
		i := start(t, proctest.Parent, c.path, goodBot)
		i.ends(c.code)
		if line := i.WaitLine(soon, "cannot be started", c.says); !strings.Contains(line, c.path) {
			t.Errorf("the line does not name %s: %s", c.path, line)
		}
		if i.Count("bot ready") != 0 {
			t.Error("the bot was started")
		}
	}
}

// Edge 12: a web that ends by the stop's own signal is 143, or what WEB_SUCCESS_EXIT makes of it.
func TestSuccessExit(t *testing.T) {
	t.Parallel()
	for setting, code := range map[string]int{"": 143, "143": 0, "3, 143": 0, "3": 143} {
		i := start(t, proctest.PID1, proctest.Command("uvicorn"), goodBot, "WEB_SUCCESS_EXIT="+setting)
		i.WaitLine(soon, "web ready")
		i.WaitLine(soon, "bot ready")
		i.Signal(syscall.SIGTERM)
		i.ends(code)
	}
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--"}, {"-x"}, {"--rewrite", "x", "--", "true"}, {"--single-child"}, {"nonsense"},
		{"web", "x"}, {"start"}, {"stop", "nothing"}, {"status", "nothing"}} {
		out, err := exec.Command(proctest.Bin(t, "init"), args...).CombinedOutput()
		var e *exec.ExitError
		if !errors.As(err, &e) || e.ExitCode() != 64 || strings.Count(string(out), "\n") != 1 {
			t.Errorf("init %q: %v, %s", args, err, out)
		}
	}
	for _, arg := range []string{"-help", "-version"} {
		if out, err := exec.Command(proctest.Bin(t, "init"), arg).Output(); err != nil || len(out) == 0 {
			t.Errorf("init %s: %v, %q", arg, err, out)
		}
	}
}
