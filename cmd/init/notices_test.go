package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/proctest"
	"tandem/internal/sdnotify"
	"tandem/internal/status"
	"tandem/internal/supervise"
	"tandem/internal/testenv"
)

// speaker is a program of somebody else's that speaks sd_notify(3) with nothing but a socket: it says, and prints, each
// line that comes through the pipe in its first argument, with "|" for a new line in a datagram. "!CODE" ends it. "@N"
// has N helpers in sessions of their own say STATUS=1, STATUS=2 and so on, each of which has ended when the next is
// made and what it said is in the status.
const speaker = `
import os, signal, socket, sys, time
signal.signal(signal.SIGTERM, signal.SIG_DFL)
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def helper(n):
    pid = os.fork()
    if pid == 0:
        os.setsid()
        s.sendto(b"STATUS=%d" % n, os.environ["NOTIFY_SOCKET"])
        os._exit(0)
    os.waitpid(pid, 0)
    until = time.monotonic() + 20
    while '"status_text":"%d"' % n not in open(os.environ["RUN_DIR"] + "/status.json").read():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True
print("speaker ready", os.environ.get("NOTIFY_SOCKET"), os.environ.get("WATCHDOG_USEC"),
    os.environ.get("WATCHDOG_PID"), flush=True)
pipe = open(sys.argv[1], encoding="latin-1")
for line in pipe:
    line = line.strip()
    if line.startswith("!"):
        os._exit(int(line[1:]))
    if line.startswith("@"):
        heard = sum(helper(n + 1) for n in range(int(line[1:])))
        print("speaker: %d helpers were heard" % heard, flush=True)
    else:
        s.sendto(line.replace("|", "\n").encode("latin-1"), os.environ["NOTIFY_SOCKET"])
    os.write(1, b"speaker said it\n")
`

// speaks makes a speaker and returns its command line and what has it say something.
func speaks(t testing.TB) (command string, say func(line string)) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		testenv.Missing(t, "python3 is not installed")
	}
	dir := t.TempDir()
	script, pipe := filepath.Join(dir, "speaker.py"), filepath.Join(dir, "pipe")
	if err := os.WriteFile(script, []byte(speaker), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return python + " " + script + " " + pipe, func(line string) {
		if _, err := fmt.Fprintln(f, line); err != nil {
			t.Fatal(err)
		}
	}
}

func (i *tandem) text(name, text string) {
	i.t.Helper()
	i.await(name, "says "+text, func(p status.Process) bool { return p.StatusText == text })
}

// A foreign bot that speaks sd_notify(3): starting, ready, what it says, stopping; and what the operator gets to read
// of it.
func TestForeignSpeaker(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		bot, say := speaks(t)
		i := start(t, under, goodWeb, bot, "BOT_NOTIFY=true", "BOT_START_TIMEOUT=off", "BOT_RESTART_DELAY=1h",
			"BOT_RESTART_DELAY_MAX=1h", "NOTIFY_SOCKET=/nobody", "WATCHDOG_USEC=1", "WATCHDOG_PID=1")
		i.WaitLine(soon, "speaker ready "+i.dir+"/notify-bot.sock None None") // what init was given is not handed down
		i.awaitState("bot", status.Starting)
		i.awaitState("web", status.Running) // which is not listened to
		say("STATUS=reads the book")
		i.text("bot", "reads the book")
		say("READY=1|STATUS=answers")
		if p := i.awaitState("bot", status.Running); p.StatusText != "answers" {
			t.Errorf("have %+v", p)
		}
		if out, err := i.init("status", "bot"); err != nil || !strings.Contains(out, "says       answers") {
			t.Errorf("init status: %v %s", err, out)
		}
		say("X_STANDBY=1|STATUS=another one is at it")
		if p := i.awaitState("bot", status.Standby); p.Reason != "another one is at it" || p.PID == 0 {
			t.Errorf("have %+v", p)
		}
		say("X_STANDBY=0|STATUS=")
		i.awaitState("bot", status.Running)
		say("STOPPING=1")
		i.awaitState("bot", status.Stopping)
		say("!3")
		if p := i.awaitState("bot", status.Waiting); p.StatusText != "" || p.LastEnd == nil || p.LastEnd.Code != 3 {
			t.Errorf("have %+v", p)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
		if left, err := filepath.Glob(filepath.Join(i.dir, "notify*")); err != nil || len(left) > 0 {
			t.Errorf("sockets are left: %v %v", left, err)
		}
	})
}

// What is no message changes nothing, neither the states nor init, and nor does what another user says.
func TestForeignSendersAndGarbage(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		bot, say := speaks(t)
		i := start(t, under, goodWeb, bot, "BOT_NOTIFY=true", "WEB_NOTIFY=true")
		i.WaitLine(soon, "speaker ready")
		for n, line := range []string{"READY", "READY=0", "READY=yes", "=", "|||",
			"MAINPID=1", "EXTEND_TIMEOUT_USEC=-1",
			"EXTEND_TIMEOUT_USEC=99999999999999999999999", "FDSTORE=1|FDNAME=x", "\x00\xff\xfe",
			"STATUS=" + strings.Repeat("x", 5000)} {
			say(line)
			proctest.Eventually(t, soon, "it was said", func() bool { return i.Count("speaker said it") > n })
		}
		foreign, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM, 0) // this test is nobody's child there
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(foreign)
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		descriptors := func() int {
			list, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", i.PID))
			return len(list)
		}
		before := descriptors()
		for range 100 { // with a descriptor each, which init must not keep
			rights := syscall.UnixRights(int(null.Fd()))
			to := &syscall.SockaddrUnix{Name: filepath.Join(i.dir, "notify-bot.sock")}
			if err := syscall.Sendmsg(foreign, []byte("FDSTORE=1\nFDNAME=x"), rights, to, 0); err != nil {
				t.Fatal(err)
			}
		}
		if os.Getuid() == 0 { // only root can send as another user
			if err := os.Chmod(i.dir, 0o711); err != nil {
				t.Fatal(err)
			}
			stranger := exec.Command("/usr/bin/python3", "-c", "import socket, sys\n"+
				"s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"+
				"for name in sys.argv[1:]: s.sendto(b'READY=1\\nSTATUS=a lie', name)",
				filepath.Join(i.dir, "notify-bot.sock"), filepath.Join(i.dir, "notify-web.sock"))
			stranger.Dir = "/"
			stranger.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
			if out, err := stranger.CombinedOutput(); err != nil {
				t.Errorf("%v %s", err, out)
			}
		}
		say("STATUS=\x1b[31mred\x07 and\xff so on")
		i.text("bot", "[31mred  and\uFFFD so on")
		if p := i.awaitState("bot", status.Starting); p.StatusText == "a lie" {
			t.Errorf("have %+v", p)
		}
		i.awaitState("web", status.Starting)
		proctest.Eventually(t, soon, "the descriptors are gone", func() bool { return descriptors() <= before })
		say("READY=1")
		i.awaitState("bot", status.Running)
		i.awaitState("web", status.Starting)
		i.Signal(syscall.SIGTERM)
		i.ends(0)
	})
}

// Helpers that are gone by the time init reads what they said, and that left their process's session, are heard: each
// one, also while both processors are busy.
func TestHelpersThatAreGone(t *testing.T) {
	t.Parallel()
	for range 2 {
		busy := exec.Command("sh", "-c", "while :; do :; done")
		if err := busy.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = busy.Process.Kill()
			_ = busy.Wait()
		}()
	}
	const pairs, each = 5, 100 // 1,000 helpers
	var all []*tandem
	for range pairs {
		web, sayWeb := speaks(t)
		bot, sayBot := speaks(t)
		i := start(t, proctest.PID1, web, bot, "BOT_NOTIFY=true", "WEB_NOTIFY=true")
		for _, say := range []func(string){sayWeb, sayBot} {
			say("READY=1")
			say(fmt.Sprintf("@%d", each))
		}
		all = append(all, i)
	}
	for _, i := range all {
		proctest.Eventually(t, 2*time.Minute, "all helpers have spoken",
			func() bool { return i.Count("helpers were heard") == 2 })
		if n := i.Count(fmt.Sprintf("speaker: %d helpers were heard", each)); n != 2 {
			t.Errorf("have %q", i.Lines())
		}
		i.Signal(syscall.SIGKILL)
	}
}

// The one-shot sender that people have in their scripts.
func TestSystemdNotify(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-notify"); err != nil {
		testenv.Missing(t, "systemd-notify is not installed")
	}
	i := start(t, proctest.PID1, goodWeb, `sh -c 'systemd-notify --no-block --ready; exec sleep 1000'`, "BOT_NOTIFY=true",
		"BOT_START_TIMEOUT=off")
	for n := range 10 {
		i.await("bot", "is ready", func(p status.Process) bool { return p.State == status.Running && p.Restarts == n })
		if out, err := i.init("restart", "bot"); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	i.Signal(syscall.SIGTERM)
	i.ends(0)
}

// A bot that hangs is ended and started again, as a crash, with the reason; web does not notice.
func TestHungBot(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		bot, say := speaks(t)
		i := start(t, under, goodWeb, bot, "BOT_NOTIFY=true", "BOT_WATCHDOG=5s", "BOT_RESTART_DELAY=50ms")
		i.WaitLine(soon, "speaker ready "+i.dir+"/notify-bot.sock 5000000 None")
		say("READY=1")
		p := i.awaitState("bot", status.Running)
		host, ok := i.Find(p.PID)
		if !ok {
			t.Fatalf("no process %d", p.PID)
		}
		if err := syscall.Kill(host.PID, syscall.SIGSTOP); err != nil { // SIGCONT wakes it for its end
			t.Fatal(err)
		}
		p = i.await("bot", "is started again",
			func(p status.Process) bool { return p.Restarts == 1 && p.State == status.Starting })
		if p.LastEnd == nil || p.LastEnd.Signal != "SIGTERM" ||
			!strings.Contains(p.LastEnd.Reason, "hung: no WATCHDOG=1 from it for 5s") {
			t.Errorf("have %+v", p.LastEnd)
		}
		i.WaitLine(soon, "process hangs", `"bot"`)
		i.WaitLine(soon, "process crashed", "hung")
		say("READY=1")
		i.awaitState("bot", status.Running)
		say("WATCHDOG=1|STATUS=I cannot go on|WATCHDOG=trigger")
		i.await("bot", "is started once more", func(p status.Process) bool {
			return p.Restarts == 2 && strings.Contains(p.LastEnd.Reason, "it says so itself (I cannot go on)")
		})
		if web := i.awaitState("web", status.Running); web.Restarts != 0 {
			t.Errorf("web: %+v", web)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
	})
}

// A bot that is alive is left alone however short the interval, and one that is never ready is not.
func TestWatchdogAndStartTimeout(t *testing.T) {
	t.Parallel()
	bot, say := speaks(t)
	i := start(t, proctest.PID1, goodWeb, bot, "BOT_NOTIFY=true", "BOT_WATCHDOG=5s", "BOT_START_TIMEOUT=10s",
		"BOT_RESTART_DELAY=50ms")
	i.WaitLine(soon, "speaker ready")
	say("READY=1")
	i.awaitState("bot", status.Running)
	for end := time.Now().Add(6 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		say("WATCHDOG=1")
	}
	if p := i.awaitState("bot", status.Running); p.Restarts != 0 {
		t.Errorf("have %+v", p)
	}
	say("!0")
	i.awaitState("bot", status.Finished)
	// The next bot stays silent.
	if out, err := i.init("restart", "bot"); code(err) != 75 || !strings.Contains(out, "hung at its start") {
		t.Errorf("init restart: %v %s", err, out)
	}
	i.await("bot", "is started again", func(p status.Process) bool {
		return p.Restarts >= 2 && strings.Contains(p.LastEnd.Reason, "hung at its start: it has not said READY=1 within 10")
	})
	i.WaitLine(soon, "process hangs", "BOT_NOTIFY=false")
	i.Signal(syscall.SIGTERM)
	i.ends(0)
}

// code is the status of a command that was run.
func code(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := err.(*exec.ExitError); ok {
		return e.ExitCode()
	}
	return -1
}

// Who is not listened to, by default every program that is not ours, finds no socket and runs at once. Where there is
// no RUN_DIR, there is no socket either.
func TestNobodyListens(t *testing.T) {
	t.Parallel()
	show := `sh -c 'echo "bot ready <$NOTIFY_SOCKET$WATCHDOG_USEC$WATCHDOG_PID>"; exec sleep 1000'`
	inherited := []string{"NOTIFY_SOCKET=/x", "WATCHDOG_USEC=1", "WATCHDOG_PID=1"}
	i := start(t, proctest.PID1, goodWeb, show, inherited...)
	i.WaitLine(soon, "bot ready <>")
	i.awaitState("bot", status.Running)
	if have, err := filepath.Glob(filepath.Join(i.dir, "notify*")); err != nil || len(have) > 0 {
		t.Errorf("sockets that nobody needs: %v %v", have, err)
	}
	i.Signal(syscall.SIGTERM)
	i.ends(0)
	lock := filepath.Join(t.TempDir(), "bot.lock")
	i = start(t, proctest.PID1, goodWeb, show,
		append(inherited, "RUN_DIR=/proc/nothing", "POLL_LOCK_FILE="+lock, "BOT_NOTIFY=true", "BOT_START_TIMEOUT=1ms")...)
	i.WaitLine(soon, "bot ready <>")
	i.Signal(syscall.SIGTERM)
	i.ends(0)
	if i.Count("process started") != 2 || i.Count("process hangs") != 0 {
		t.Error("something else was started")
	}
}

// Whatever datagram comes, from whomever: what the loop gets is small, and it can only move a process between states
// that it can be in.
func FuzzDatagram(f *testing.F) {
	for _, seed := range []string{"READY=1", "STATUS=x\nWATCHDOG=1", "WATCHDOG=trigger", "X_STANDBY=1\nREADY=1",
		"X_STANDBY=0", "STOPPING=1",
		"EXTEND_TIMEOUT_USEC=18446744073709551615", "MAINPID=1", "STATUS=" + strings.Repeat("ü", 500), "\x00", "=\n=",
		"READY=1\r\n"} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	c := &supervise.Config{Names: [2]string{"web", "bot"}, StopTimeout: 8 * time.Second, RestartDelay: time.Second,
		RestartDelayMax: time.Minute,
		ConflictDelay:   time.Second, Jitter: func() float64 { return 0 }, Notify: [2]bool{true, true},
		StartTimeout: time.Minute, Watchdog: time.Minute}
	now := time.Unix(1_000_000, 0)
	var s supervise.State
	for _, e := range []supervise.Event{supervise.Begin{}, supervise.Started{ID: 0, PID: 10},
		supervise.LockTaken{Wish: 1}, supervise.Started{ID: 1, PID: 11}} {
		s, _ = s.Step(c, now, e)
	}
	f.Fuzz(func(t *testing.T, datagram []byte, own bool) {
		n, ok := sdnotify.Parse(datagram)
		if ok == (n == sdnotify.Notice{}) || len(n.Status) > sdnotify.MaxStatus ||
			strings.ContainsAny(n.Status, "\n\r\x1b\x00") || n.ExtendBy < 0 || n.ExtendBy > 24*time.Hour || n.StandBy &&
			n.StandByOver {
			t.Fatalf("%q: %+v", datagram, n)
		}
		if again := n.Merge(n); again != n || (sdnotify.Notice{}).Merge(n) != n {
			t.Fatalf("%q: said twice it means %+v", datagram, again)
		}
		if again, _ := sdnotify.Parse(bytes.ReplaceAll(datagram, []byte("\n"), []byte("\n\n"))); again != n {
			t.Fatalf("%q: empty lines make it %+v", datagram, again)
		}
		e := supervise.Noticed{ID: supervise.Bot, PID: 11, Notice: n}
		if !own {
			e.PID = 12
		}
		after, actions := s.Step(c, now, e)
		if !own && after != s {
			t.Fatalf("%q: a stranger changed %+v", datagram, after)
		}
		if after.Procs[supervise.Web] != s.Procs[supervise.Web] || after.Stopping {
			t.Fatalf("%q: touched web", datagram)
		}
		for _, a := range actions {
			switch a.(type) {
			case supervise.Say:
			case supervise.Send:
				if !n.Trigger {
					t.Fatalf("%q: %+v", datagram, a)
				}
			default:
				t.Fatalf("%q: %+v", datagram, a)
			}
		}
		if next := after.Next(); next.IsZero() || next.After(now.Add(24*time.Hour+time.Second)) {
			t.Fatalf("%q: next at %s", datagram, next)
		}
	})
}
