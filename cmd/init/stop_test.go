package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/proctest"
	"tandem/internal/status"
	"tandem/internal/supervise"
)

// A stop that both obey ends init with 0 at once, whichever signal asked for it.
func TestStopObeyed(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT} {
			i := start(t, under, goodWeb, goodBot)
			i.WaitLine(soon, "web ready")
			i.WaitLine(soon, "bot ready")
			began := time.Now()
			i.Signal(sig)
			i.ends(0)
			takes(t, began, 0, 6*time.Second) // STOP_TIMEOUT is 8 s
			i.WaitLine(soon, "web stops")
			i.WaitLine(soon, "bot stops")
			if _, err := os.Stat(filepath.Join(i.dir, "status.json")); err == nil {
				t.Error("a status file is left that a later reader would believe")
			}
		}
	})
}

// Edges 24 to 26: whatever ignores the stop is killed at the one deadline, in whatever group or session.
func TestStubborn(t *testing.T) {
	t.Parallel()
	const deaf = `trap \"\" TERM; echo deaf ready; while :; do sleep 1000; done`
	for name, bot := range map[string]string{
		"bot":              strings.Replace(deafBot, "echo", "echo deaf ready; echo", 1),
		"grandchild":       `sh -c 'sh -c "` + deaf + `" & echo bot ready; exec sleep 1000'`,
		"left its session": `sh -c 'setsid sh -c "` + deaf + `" & echo bot ready; exec sleep 1000'`,
		"orphan in a session": `sh -c 'setsid sh -c "(` + deaf + `) & ` + `(` + deaf +
			`) &"; sleep 0.05; echo bot ready; exec sleep 1000'`,
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			both(t, func(t *testing.T, under proctest.Under) {
				i := start(t, under, goodWeb, bot, "STOP_TIMEOUT=700ms")
				i.WaitLine(soon, "web ready")
				i.WaitLine(soon, "bot ready")
				i.WaitLine(soon, "deaf ready")
				began := time.Now()
				i.Signal(syscall.SIGTERM)
				i.ends(0)
				// internal/supervise tests how exact that is, with a clock of its own.
				takes(t, began, 700*time.Millisecond, 6*time.Second)
			})
		})
	}
}

// Edges 12 and 24: web killed by init's own escalation is 137 and is said so.
func TestStubbornWeb(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		i := start(t, under, deafWeb, deafBot, "STOP_TIMEOUT=500ms")
		i.WaitLine(soon, "web ready")
		i.WaitLine(soon, "bot ready")
		began := time.Now()
		i.Signal(syscall.SIGTERM)
		i.ends(137)
		takes(t, began, 500*time.Millisecond, 6*time.Second)
		i.WaitLine(soon, "killed at the deadline", `"web"`)
	})
}

// A worker is not cut off by a signal that its parent would have handled: the group gets its own when the
// leader has ended, not before.
func TestWorkerFinishesItsJob(t *testing.T) {
	t.Parallel()
	worker := `sh -c "trap \"echo worker cut off; exit 1\" TERM; for n in 1 2 3 4 5; do sleep 0.1; done; echo worker done"`
	web := `sh -c 'trap "wait \$w; exit 0" TERM; ` + worker +
		` & w=$!; echo web ready; while :; do wait $w && sleep 1000 & wait; done'`
	i := start(t, proctest.PID1, web, goodBot)
	i.WaitLine(soon, "web ready")
	i.Signal(syscall.SIGTERM)
	i.ends(0)
	i.WaitLine(soon, "worker done")
	if i.Count("worker cut off") > 0 {
		t.Error("the worker got a SIGTERM of its own")
	}
}

// Edge 20: a second signal kills at once; the same one delivered twice does not.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		i := start(t, under, deafWeb, deafBot, "STOP_TIMEOUT=1m")
		i.WaitLine(soon, "web ready")
		i.WaitLine(soon, "bot ready")
		i.Signal(syscall.SIGTERM)
		i.Signal(syscall.SIGQUIT) // docker and the kubelet may both send one
		i.awaitState("web", status.Stopping)
		time.Sleep(300 * time.Millisecond)
		if !i.Running() {
			t.Fatal("two signals at once killed everything")
		}
		began := time.Now()
		i.Signal(syscall.SIGINT)
		i.ends(137)
		takes(t, began, 0, 10*time.Second) // STOP_TIMEOUT is a minute
	})
}

// Edge 23: a stop ends whatever the bot is waiting for, and nothing is started after it.
func TestStopWhileTheBotWaits(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		crashing := start(t, under, goodWeb, `sh -c 'echo bot ready; exit 9'`, "BOT_RESTART_DELAY=1h",
			"BOT_RESTART_DELAY_MAX=1h")
		crashing.WaitLine(soon, "web ready")
		crashing.await("bot", "waits for its next start", func(p status.Process) bool { return p.NextStartAt != nil })
		crashing.Signal(syscall.SIGTERM)
		crashing.ends(0)
		if n := crashing.Count("bot ready"); n != 1 {
			t.Errorf("the bot was started %d times", n)
		}

		lock := filepath.Join(runDir(t, 0), "lock")
		first := start(t, under, goodWeb, plainBot, "POLL_LOCK_FILE="+lock)
		first.WaitLine(soon, "bot ready")
		second := start(t, under, goodWeb, plainBot, "POLL_LOCK_FILE="+lock)
		second.WaitLine(soon, "web ready")
		second.awaitState("bot", status.Standby)
		began := time.Now()
		second.Signal(syscall.SIGTERM)
		second.ends(0)
		takes(t, began, 0, 6*time.Second) // STOP_TIMEOUT is 8 s
	})
}

// Edge 17: a stop request at any moment of the start is obeyed, and neither kills init nor is lost.
func TestStopDuringStart(t *testing.T) {
	t.Parallel()
	for n := range 30 {
		i := startWith(t, proctest.Options{Under: proctest.PID1}, goodWeb, goodBot, "WEB_SUCCESS_EXIT=143")
		time.Sleep(time.Duration(n) * 300 * time.Microsecond)
		// The kernel drops a signal that comes before the first instruction of a PID 1, and Go's runtime ends with 2
		// for one before the first of init; as soon as init has a word to say, neither may be.
		spoke := len(i.Lines()) > 0
		i.Signal(syscall.SIGTERM)
		proctest.Eventually(t, soon, "init ends", func() bool {
			if !spoke && i.Running() && i.Count("web ready") > 0 && i.Count("stop asked for") == 0 {
				i.Signal(syscall.SIGTERM)
				time.Sleep(20 * time.Millisecond)
			}
			return !i.Running()
		})
		if end := i.Wait(soon); end.Code != 0 && (spoke || end.Code != 2) {
			t.Errorf("%d: ended with %+v: %q", n, end, i.Lines())
		}
	}
}

// Edges 15, 19 and 22: what init passes on reaches web and not the bot; what would freeze is swallowed.
func TestSignalsReachWeb(t *testing.T) {
	t.Parallel()
	list := "HUP ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM STKFLT CONT XCPU XFSZ VTALRM WINCH IO PWR SYS"
	// Python writes the number of each signal into the pipe at the moment it comes. (A handler and signal.pause would
	// miss one that comes between the two.)
	python := func(name string) string {
		return "python3 -c '" + strings.ReplaceAll(`import os,signal
r, w = os.pipe()
os.set_blocking(w, False)
signal.set_wakeup_fd(w)
for n in list(range(1,32))+[40,64]:
    if n not in (9,17,19): signal.signal(n, lambda n, f: None)
print("NAME ready", flush=True)
while True:
    for n in os.read(r, 64):
        if n == 15: raise SystemExit
        os.write(1, b"NAME got %d\n" % n)`, "NAME", name) + "'"
	}
	both(t, func(t *testing.T, under proctest.Under) {
		i := start(t, under, python("web"), python("bot"))
		i.WaitLine(soon, "web ready")
		i.WaitLine(soon, "bot ready")
		for _, name := range append(strings.Fields(list), "40", "64") {
			n := signalNumber(t, name)
			i.Signal(n)
			i.WaitLine(soon, fmt.Sprintf("web got %d", n))
		}
		for _, sig := range []syscall.Signal{syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGURG,
			syscall.SIGPROF, syscall.SIGCHLD} {
			i.Signal(sig)
		}
		i.Signal(syscall.SIGUSR1) // after it, all before it have been dealt with
		proctest.Eventually(t, soon, "the second USR1", func() bool { return i.Count("web got 10") == 2 })
		if n := i.Count("web got"); n != len(strings.Fields(list))+3 {
			t.Errorf("web got %d signals: %q", n, i.Lines())
		}
		if n := i.Count("bot got"); n != 0 {
			t.Errorf("the bot got %d signals", n)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
	})
}

func signalNumber(t *testing.T, name string) syscall.Signal {
	t.Helper()
	for n := syscall.Signal(1); n <= 64; n++ {
		if supervise.SignalName(n) == "SIG"+name || fmt.Sprint(int(n)) == name {
			return n
		}
	}
	t.Fatalf("no signal %s", name)
	return 0
}

// Edge 18: a burst of signals costs no stop request.
func TestBurstOfSignals(t *testing.T) {
	t.Parallel()
	i := start(t, proctest.PID1, `sh -c 'trap "" USR1; echo web ready; exec sleep 1000'`, goodBot)
	i.WaitLine(soon, "web ready")
	i.WaitLine(soon, "bot ready")
	for range 5000 {
		i.Signal(syscall.SIGUSR1)
	}
	began := time.Now()
	i.Signal(syscall.SIGTERM)
	i.ends(143)
	takes(t, began, 0, 6*time.Second) // STOP_TIMEOUT is 8 s
}

// SIGQUIT, which is the STOPSIGNAL of images like nginx's, is web's as SIGQUIT, unless a setting says otherwise. The
// bot is stopped as ever.
func TestQuitReachesWeb(t *testing.T) {
	t.Parallel()
	hears := func(name string) string { return proctest.Command("hears", name) }
	both(t, func(t *testing.T, under proctest.Under) {
		for _, c := range []struct {
			sent     syscall.Signal
			setting  string
			web, bot string
		}{
			{syscall.SIGQUIT, "WEB_STOP_SIGNAL=", "web got 3.", "bot got 15."},
			{syscall.SIGQUIT, "WEB_STOP_SIGNAL=TERM", "web got 15.", "bot got 15."},
			{syscall.SIGQUIT, "BOT_STOP_SIGNAL=USR1", "web got 3.", "bot got 10."},
			{syscall.SIGINT, "WEB_STOP_SIGNAL=", "web got 15.", "bot got 15."},
			{syscall.SIGTERM, "WEB_STOP_SIGNAL=QUIT", "web got 3.", "bot got 15."},
		} {
			i := startWith(t, proctest.Options{Under: under}, hears("web"), hears("bot"), c.setting, "STOP_TIMEOUT=1m")
			i.WaitLine(soon, "web ready")
			i.WaitLine(soon, "bot ready")
			i.Signal(c.sent)
			i.WaitLine(soon, c.web)
			i.WaitLine(soon, c.bot)
			i.WaitLine(soon, "web got 18.") // SIGCONT is the last one
			if n := i.Count("web got"); n != 2 {
				t.Errorf("%s with %s: web got %d signals: %q", c.sent, c.setting, n, i.Lines())
			}
			i.Kill()
		}
	})
}

// Whoever keeps a stop waiting for a second is named: number, name in quotes and group, at most ten, then how many
// more. At the deadline whom init kills is named in the same way. A stop of the bot alone names its group.
func TestAStopNamesWhomItWaitsFor(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		odd := filepath.Join(runDir(t, 0), `odd "name`)
		if err := os.Symlink("/bin/sleep", odd); err != nil {
			t.Fatal(err)
		}
		bot := `sh -c 'trap "" TERM; for n in 1 2 3 4 5 6 7 8 9 10 11 12; do "` + strings.ReplaceAll(odd, `"`, `\"`) +
			`" 1000 & done; echo bot ready; while :; do sleep 1000; done'`
		i := start(t, under, deafWeb, bot, "STOP_TIMEOUT=3s")
		i.WaitLine(soon, "web ready")
		i.WaitLine(soon, "bot ready")
		p := i.awaitState("bot", status.Running)
		group := fmt.Sprintf("(group %d)", p.PID)
		named := []string{fmt.Sprintf(`%d \"sh\" %s`, p.PID, group), `\"odd \\\"name\" ` + group, "and 4 more"}
		if out, err := i.init("stop", "bot"); err != nil {
			t.Errorf("init stop: %v %s", err, out)
		}
		waits := i.WaitLine(soon, append([]string{"the stop waits for processes"}, named...)...)
		killed := i.WaitLine(soon, append([]string{"processes are killed"}, named...)...)
		web := i.awaitState("web", status.Running)
		of := fmt.Sprintf(`%d \"sh\" (group %d)`, web.PID, web.PID)
		if strings.Contains(waits+killed, of) {
			t.Errorf("web is named at the bot's stop: %s %s", waits, killed)
		}
		if n := strings.Count(killed, "group"); n != 10 {
			t.Errorf("%d are named: %s", n, killed)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(137)
		i.WaitLine(soon, "the stop waits for processes", of)
		i.WaitLine(soon, "processes are killed", of)
		quick := start(t, under, goodWeb, goodBot)
		quick.WaitLine(soon, "bot ready")
		quick.Signal(syscall.SIGTERM)
		quick.ends(0)
		if quick.Count("processes are killed") > 0 {
			t.Errorf("%q", quick.Lines())
		}
	})
}

// A pause of the whole container during a stop counts against no deadline: whoever was paused still has his time.
func TestStopWhilePaused(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		end := filepath.Join(runDir(t, 0), "end")
		web := `sh -c 'trap "echo web asked; until [ -e ` + end + ` ]; do sleep 0.02; done; exit 0" TERM; echo web ready;
			while :; do sleep 0.05; done'`
		i := start(t, under, web, "sleep 1000", "STOP_TIMEOUT=6s")
		i.WaitLine(soon, "web ready")
		leader, ok := i.Find(i.awaitState("web", status.Running).PID)
		if !ok {
			t.Fatal("there is no web")
		}
		i.Signal(syscall.SIGTERM)
		i.WaitLine(soon, "web asked")
		i.Freeze()
		proctest.Freeze(t, leader.PID)
		time.Sleep(7 * time.Second) // the deadline passes meanwhile
		for _, pid := range []int{leader.PID, i.PID} {
			if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(200 * time.Millisecond) // enough for an init that kills at once
		if err := os.WriteFile(end, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		i.ends(0)
	})
}
