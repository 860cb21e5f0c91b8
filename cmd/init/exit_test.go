package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, says string
		code       int
	}{
		{filepath.Join(dir, "missing"), "there is no program", 127},
		{"no-such-program-anywhere", "not in PATH", 127},
		{write("plain", "#!/bin/sh\n", 0o644), "may not execute", 126},
		{write("garbage", "\x00\x01\x02", 0o755), "format", 126},
		{write("orphan", "#!/no/such/interpreter\n", 0o755), `interpreter \"/no/such/interpreter\"`, 127},
		{write("windows", "#!/bin/sh\r\nexit 0\r\n", 0o755), "dos2unix", 127},
		{write("arm", string(elf(183)), 0o755), "is built for", 126},
		{write("musl", string(elf(hostMachine())), 0o755), `loader \"/lib/no-loader.so.1\"`, 127},
		{write("empty", "", 0o755), "is empty", 126},
		{write("mark", "\xef\xbb\xbf#!/bin/sh\n", 0o755), "byte order mark", 126},
		{fifo, "it is no regular file", 126},
		{dir, "may not execute", 126},
		{dir, "it is a directory", 126},
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

// elf is the beginning of an executable for the processor machine, with a loader that is not there.
func elf(machine uint16) []byte {
	const loader = "/lib/no-loader.so.1\x00"
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 57+2*56)...)
	put16, put32, put64 := binary.LittleEndian.PutUint16, binary.LittleEndian.PutUint32, binary.LittleEndian.PutUint64
	put16(b[16:], 2)
	put16(b[18:], machine)
	put32(b[20:], 1)
	put64(b[32:], 64)
	put16(b[52:], 64)
	put16(b[54:], 56)
	put16(b[56:], 2)
	put32(b[64:], 3) // the loader
	put64(b[72:], uint64(len(b)))
	put64(b[96:], uint64(len(loader)))
	put64(b[104:], uint64(len(loader)))
	put32(b[120:], 1) // all of it
	put32(b[124:], 5)
	put64(b[152:], uint64(len(b)+len(loader)))
	put64(b[160:], uint64(len(b)+len(loader)))
	put64(b[168:], 4096)
	return append(b, loader...)
}

func hostMachine() uint16 {
	if runtime.GOARCH == "arm64" {
		return 183
	}
	return 62
}

// What keeps another user from a program is said: a directory above it, or a mount that executes nothing.
func TestWhyAUserMayNotExecute(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	private := filepath.Join(runDir(t, 0), "private") // a temporary directory of Go's is closed further up
	mount := runDir(t, 0)
	for _, dir := range []string{private, mount} {
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(filepath.Dir(private), 0o755),
			os.WriteFile(filepath.Join(dir, "program"), []byte("#!/bin/sh\n"), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	i := start(t, proctest.PID1, filepath.Join(private, "program"), goodBot, "WEB_USER=65532")
	i.ends(126)
	i.WaitLine(soon, "cannot be started", "user 65532", fmt.Sprintf(`may not enter \"%s\"`, private))

	o := proctest.Options{Under: proctest.PID1, Mounts: []proctest.Mount{
		{Type: "", Source: mount, Target: mount, Flags: syscall.MS_BIND},
		{Type: "", Source: "none", Target: mount, Flags: syscall.MS_BIND | syscall.MS_REMOUNT | syscall.MS_NOEXEC},
	}}
	i = startWith(t, o, filepath.Join(mount, "program"), goodBot)
	i.ends(126)
	i.WaitLine(soon, "cannot be started", "noexec")
}

// A command that is written for a shell is warned of once, with what to do. One that has a shell, or quotes it, is not.
func TestACommandForAShell(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"serve --port $PORT": "$PORT", "serve --port ${PORT:-80}": "${PORT:-80}", "serve $(cat port)": "$(",
		`serve "$HOME/x"`: "$HOME", "migrate && serve": "&&", "serve || exit 1": "||", "migrate; serve": ";",
		"serve > log": ">", "serve 2>&1": "2>&", "serve >log": ">", "serve &": "&", "FOO=1 serve": "FOO=", "serve | tee": "|",
		"serve `date`": "`", "  A_1=x serve": "A_1=",
		"": "", "serve '$PORT'": "", `serve \\$PORT`: "", "sh -c 'a && b'": "", `sh -c "echo $PORT"`: "",
		"/bin/bash -c 'x'":        "",
		"serve http://a/?b=1&c=2": "", "serve --set a=1": "", "serve 5$": "", "serve a$5": "", `serve "a && b"`: "",
		"awk '{print $NF}'": "", "./a=b": "", "serve a;b": "",
	} {
		line = strings.ReplaceAll(line, `\\`, `\`)
		if have := shellWord(line); have != want {
			t.Errorf("%q: have %q, want %q", line, have, want)
		}
	}
	i := start(t, proctest.PID1, "echo web ready $PORT", "A=//secret sleep", "WEB_SUCCESS_EXIT=0")
	i.ends(0)
	if i.Count("no shell is at work", "WEB_COMMAND", "$PORT", "sh -c") != 1 ||
		i.Count("no shell is at work", "BOT_COMMAND", `A=`) != 1 ||
		i.Count("no shell is at work in a command") != 2 || i.Count("secret") > 0 {
		t.Errorf("%q", i.Lines())
	}
	out, err := exec.Command(proctest.Bin(t, "init"), "--", "A=1", "true").CombinedOutput()
	if code(err) != 127 || !strings.Contains(string(out), "no shell is at work") {
		t.Errorf("%v %s", err, out)
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
