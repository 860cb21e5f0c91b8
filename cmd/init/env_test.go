package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/proctest"
	"tandem/internal/status"
	"tandem/internal/testenv"
)

// Each process gets its own settings, and the secret is in no other's environment or /proc file.
func TestSettingsSplit(t *testing.T) {
	t.Parallel()
	const secret = "12345:very-secret"
	show := func(name string) string {
		return `sh -c 'for v in $(env | grep -E "^(TELEGRAM|BOT|WEB|POLL|OTHER|RUN_DIR)" | sort); do echo "` + name +
			`: $v"; done; echo ` + name + ` shown; exec sleep 1000'`
	}
	i := start(t, proctest.PID1, show("web"), show("bot"),
		"TELEGRAM_BOT_TOKEN="+secret, "BOT_X=b", "WEB_X=w", "OTHER=o", "TELEGRAM_Y=y", "WEB_PASS_ENV=BOT_X, TELEGRAM_Y",
		"BOT_PASS_ENV=WEB_X", "POLL_LOCK_FD=99")
	i.WaitLine(soon, "web shown")
	i.WaitLine(soon, "bot shown")
	lines := i.Lines()
	for line, want := range map[string]bool{
		"web: TELEGRAM_BOT_TOKEN=" + secret: false, "bot: TELEGRAM_BOT_TOKEN=" + secret: true,
		"web: BOT_X=b": true, "bot: BOT_X=b": true, "web: WEB_X=w": true, "bot: WEB_X=w": true, "web: TELEGRAM_Y=y": true,
		"web: OTHER=o": true, "bot: OTHER=o": true, "bot: POLL_LOCK_FD=3": true, "web: POLL_LOCK_FD=99": false,
		"bot: POLL_LOCK_FD=99":  false,
		"web: RUN_DIR=" + i.dir: true, "bot: RUN_DIR=" + i.dir: true, "bot: POLL_LOCK_FILE=" + i.dir + "/bot.lock": true,
	} {
		if slices.Contains(lines, line) != want {
			t.Errorf("%q: want %v in %q", line, want, lines)
		}
	}
	web := i.awaitState("web", status.Running)
	q, _ := i.Find(web.PID)
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", q.PID)); err != nil || strings.Contains(string(b), secret) {
		t.Errorf("web's environ: %v, or it has the secret", err)
	}
}

// As the image's user: init closes its own /proc files before web exists.
func TestInitsProcFilesAreClosed(t *testing.T) {
	t.Parallel()
	web := `sh -c 'for f in environ maps mem fd/0; do cat /proc/1/$f > /dev/null 2>&1 && echo "web READ $f"; done
		echo web tried; exec sleep 1000'`
	for range 10 {
		i := startWith(t, proctest.Options{Under: proctest.PID1, User: 65532}, web, plainBot,
			"TELEGRAM_BOT_TOKEN=12345:very-secret")
		i.WaitLine(soon, "web tried")
		if i.Count("web READ") > 0 {
			t.Fatalf("web read init's files: %q", i.Lines())
		}
	}
}

// Edge 21: what the processes start with.
func TestWhatProcessesStartWith(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	extra, err := os.Create(filepath.Join(dir, "extra"))
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	show := func(name string) string {
		return `sh -c 'grep -E "^Sig(Blk|Ign)|Umask" /proc/self/status | while read k v; do echo "` + name + `: $k$v"; done
			echo "` + name + `: cwd $(pwd)"; echo "` + name + `: nofile $(ulimit -Sn)"
			echo ` + name + ` shown; exec sleep 1000'`
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	// A wrapper that blocks and ignores signals and lowers the soft limit, as some parent might.
	wrapper := filepath.Join(dir, "wrapper.py")
	if err := os.WriteFile(wrapper, []byte(`import ctypes,os,platform,resource,signal,sys
# rt_sigaction(2), which glibc lets nobody call for 32 and 33
number = {"x86_64": 13, "aarch64": 134}.get(platform.machine())
for s in (32, 33): number and ctypes.CDLL(None).syscall(number, s, ctypes.byref((ctypes.c_ulong * 4)(1)), None, 8)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM, signal.SIGCHLD])
for s in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR2): signal.signal(s, signal.SIG_IGN)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
os.umask(0o027)
os.execv(sys.argv[1], sys.argv[1:])
`), 0o644); err != nil {
		t.Fatal(err)
	}
	run := runDir(t, 0)
	python := lookPython(t)
	p := proctest.Start(t, proctest.Options{Path: python, Args: []string{wrapper, proctest.Bin(t, "init")}, Dir: dir,
		Under: proctest.PID1, Files: []*os.File{extra, extra},
		Env: []string{"RUN_DIR=" + run, "WEB_COMMAND=" + show("web"), "BOT_COMMAND=" + show("bot")}})
	i := &tandem{p, t, run}
	i.WaitLine(soon, "web shown")
	i.WaitLine(soon, "bot shown")
	lines := i.Lines()
	for _, name := range []string{"web", "bot"} {
		q, _ := i.Find(i.awaitState(name, status.Running).PID)
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", q.PID))
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", q.PID, fd.Name()))
			lines = append(lines, fmt.Sprintf("%s: fd %s %s", name, fd.Name(), to))
		}
	}
	for _, name := range []string{"web", "bot"} {
		for _, want := range []string{"SigBlk:0000000000000000", "SigIgn:0000000000000000", "Umask:0027",
			"fd 0 /dev/null", "cwd " + dir, "nofile 64"} {
			if !slices.Contains(lines, name+": "+want) {
				t.Errorf("%s: want %q in %q", name, want, lines)
			}
		}
	}
	for _, line := range lines {
		switch {
		case strings.Contains(line, "extra"):
			t.Errorf("a descriptor was inherited: %s", line)
		case strings.HasPrefix(line, "web: fd 3"), strings.HasPrefix(line, "bot: fd 4"):
			t.Errorf("a descriptor too many: %s", line)
		}
	}
	if !slices.Contains(lines, "bot: fd 3 "+run+"/bot.lock") {
		t.Errorf("the bot has no lock: %q", lines)
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", i.PID)); err != nil || cwd != "/" {
		t.Errorf("init sits in %s (%v)", cwd, err)
	}
	for range 5 { // from whatever thread the loop is on by then
		if out, err := i.init("restart", "bot"); err != nil {
			t.Fatalf("restart bot: %v: %s", err, out)
		}
	}
	proctest.Eventually(t, soon, "each bot has shown itself", func() bool { return i.Count("bot shown") == 6 })
	if n := i.Count("bot: SigBlk:0000000000000000"); n != 6 {
		t.Errorf("of 6 bots %d have no signal blocked", n)
	}
}

func lookPython(t *testing.T) string {
	t.Helper()
	for _, path := range []string{"/usr/bin/python3", "/usr/local/bin/python3"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	testenv.Missing(t, "there is no python3 in /usr/bin or /usr/local/bin")
	return ""
}

// Bad settings of init and web end it before anything starts, all of them named; the bot's never stop web.
func TestBadSettings(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "termination-log")
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	i := start(t, proctest.Parent, "sh -c 'echo web started", "x", "STOP_TIMEOUT=8", "WEB_SUCCESS_EXIT=256",
		"WEB_PASS_ENV=A=b", "LOG_LEVEL=loud",
		"BOT_CONFLICT_DELAY=5", "TERMINATION_LOG="+log)
	i.ends(64)
	line := i.WaitLine(soon, "settings are wrong")
	words, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"WEB_COMMAND", "STOP_TIMEOUT", "WEB_SUCCESS_EXIT", "WEB_PASS_ENV", "LOG_LEVEL",
		"BOT_CONFLICT_DELAY"} {
		if !strings.Contains(line, name) || !strings.Contains(string(words), name) {
			t.Errorf("%s is not named: %s; last words: %s", name, line, words)
		}
	}
	if len(i.Lines()) != 1 {
		t.Errorf("more than one line: %q", i.Lines())
	}

	for _, bad := range []string{"BOT_RESTART_DELAY=soon", "BOT_RESTART_DELAY_MAX=1ms", "BOT_CONFLICT_DELAY=-1s",
		"BOT_COMMAND='", "BOT_PASS_ENV=$X"} {
		i := start(t, proctest.Parent, goodWeb, goodBot, bad)
		name, _, _ := strings.Cut(bad, "=")
		if p := i.awaitState("bot", status.Failed); !strings.Contains(p.Reason, name) {
			t.Errorf("%s: %+v", bad, p)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
		i.errorLines(bad, 1)
	}
}

// A foreign pair, whose bot's launcher closes every descriptor from 3 up.
func TestForeignPair(t *testing.T) {
	t.Parallel()
	python := lookPython(t)
	web := python + ` -c '
import http.server, os, signal, sys, threading
s = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
def stop(n, f): threading.Thread(target=s.shutdown).start()
signal.signal(signal.SIGTERM, stop)
print("web ready", flush=True)
s.serve_forever()
print("web stops", flush=True)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
os.kill(os.getpid(), signal.SIGTERM)'`
	bot := python + ` -c '
import os, subprocess, sys
sys.exit(subprocess.call([sys.executable, "-c", """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_DFL)
try: os.fstat(3); print("the launcher left 3 open", flush=True)
except OSError: pass
print("bot ready", flush=True)
while True: signal.pause()
"""], close_fds=True))'`
	both(t, func(t *testing.T, under proctest.Under) {
		lock := filepath.Join(runDir(t, 0), "lock")
		begin := func() *tandem {
			i := start(t, under, web, bot, "POLL_LOCK_FILE="+lock, "WEB_SUCCESS_EXIT=143", "STOP_TIMEOUT=10s",
				"BOT_RESTART_DELAY=200ms")
			i.WaitLine(soon, "web ready")
			return i
		}
		first := begin()
		first.WaitLine(soon, "bot ready")
		second := begin()
		second.awaitState("bot", status.Standby)
		kill(t, first, first.awaitState("bot", status.Running).PID) // the launcher only: its worker has to go first
		second.WaitLine(soon, "bot ready")
		for _, q := range first.Tree() {
			if slices.Contains(q.Args, "-c") && strings.Contains(strings.Join(q.Args, " "), "bot ready") {
				t.Errorf("two bots: %v", q)
			}
		}
		began := time.Now()
		for _, i := range []*tandem{first, second} {
			i.Signal(syscall.SIGTERM)
			i.ends(0)
		}
		takes(t, began, 0, 9*time.Second)
	})
}
