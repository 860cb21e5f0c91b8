package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/proctest"
	"tandem/internal/status"
)

// Edge 31: however a bot crashes, it is noticed, said, and started again after a delay within the range
// that docs/operations.md gives.
func TestCrashingBot(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		crashes := map[string]struct{ bot, reason string }{
			"code":     {"exit 9", "crashed with 9"},
			"panic":    {"exit 2", "crashed with 2"},
			"killed":   {"kill -KILL $$", "killed by SIGKILL"},
			"segfault": {"ulimit -c 0; kill -SEGV $$", "killed by SIGSEGV"},
			"later":    {"sleep 0.2; exit 1", "crashed with 1"},
		}
		inits := map[string]*tandem{} // at once, as they mostly wait
		for name, c := range crashes {
			inits[name] = start(t, under, goodWeb, fmt.Sprintf(`sh -c 'echo bot ready; %s'`, c.bot),
				"BOT_RESTART_DELAY=200ms", "BOT_RESTART_DELAY_MAX=400ms")
		}
		for name, c := range crashes {
			i := inits[name]
			from := 0
			for _, d := range []time.Duration{200 * time.Millisecond, 400 * time.Millisecond, 400 * time.Millisecond} {
				var line string
				line, from = i.WaitLineFrom(from, soon, "process crashed", c.reason)
				if have := delay(t, line); have < d/2 || have > d {
					t.Errorf("%s: next start after %s, want %s to %s", name, have, d/2, d)
				}
				_, from = i.WaitLineFrom(from, soon, "process started", `"bot"`)
			}
			if p := i.awaitState("web", status.Running); p.Restarts != 0 {
				t.Errorf("%s: web: %+v", name, p)
			}
			i.Signal(syscall.SIGTERM)
			i.ends(0)
		}
	})
}

// delay is how long after the end a line promises the next start.
func delay(t *testing.T, line string) time.Duration {
	t.Helper()
	var l struct {
		Time  time.Time `json:"time"`
		Next  time.Time `json:"next_start_at"`
		Delay string    `json:"delay"`
	}
	err := json.Unmarshal([]byte(line), &l)
	d, bad := time.ParseDuration(l.Delay)
	// On a busy machine the line may be later than what it tells of, never earlier.
	if err != nil || bad != nil || l.Next.IsZero() || l.Next.Sub(l.Time) > d+2*time.Millisecond {
		t.Fatalf("%s: %v, %v", line, err, bad)
	}
	return d
}

// Edge 30 and README's exit codes: 78 and 0 are not started again, 75 is, more slowly each time.
func TestExitCodeContract(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		for end, state := range map[int]status.State{78: status.Failed, 0: status.Finished} {
			i := start(t, under, goodWeb, fmt.Sprintf(`sh -c 'echo bot ready; exit %d'`, end), "BOT_RESTART_DELAY=1ms")
			p := i.awaitState("bot", state)
			if p.LastEnd == nil || p.LastEnd.Code != end || p.Restarts != 0 || p.NextStartAt != nil {
				t.Errorf("%d: %+v", end, p)
			}
			if n := i.Count("bot ready"); n != 1 {
				t.Errorf("%d: started %d times", end, n)
			}
			// An operator may have it tried again, and is told what came of it.
			if out, err := i.init("start", "bot"); code(err) != max(end, 1) {
				t.Errorf("init start bot: %v %s", err, out)
			}
			i.await("bot", "is started again", func(p status.Process) bool { return p.Restarts == 1 && p.State == state })
			i.Signal(syscall.SIGTERM)
			i.ends(0)
			i.errorLines(fmt.Sprint(end), map[int]int{78: 2, 0: 0}[end]) // one for each end
		}

		i := start(t, under, goodWeb, `sh -c 'echo bot ready; exit 75'`, "BOT_CONFLICT_DELAY=100ms")
		from := 0
		for _, d := range []time.Duration{100, 200, 400} {
			var line string
			line, from = i.WaitLineFrom(from, soon, "75: cannot run now")
			if have := delay(t, line); have != d*time.Millisecond {
				t.Errorf("next start after %s, want %d ms", have, d)
			}
		}
	})
}

// init runs another init on the same RUN_DIR, as an operator does.
func (i *tandem) init(args ...string) (string, error) {
	i.t.Helper()
	cmd := exec.Command(proctest.Bin(i.t, "init"), args...)
	cmd.Env = []string{"RUN_DIR=" + i.dir}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A bot that cannot be started fails, or waits where that may pass, and web runs on.
func TestBotCannotBeStarted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	busy := filepath.Join(dir, "busy")
	if err := os.WriteFile(busy, []byte("#!/bin/sh\necho bot ready\nexec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(busy, os.O_WRONLY, 0) // ETXTBSY: "later"
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, []byte{0, 1, 2}, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, code := range map[string]int{filepath.Join(dir, "missing"): 127, garbage: 126, "/etc/passwd": 126} {
		i := start(t, proctest.Parent, goodWeb, path, "BOT_RESTART_DELAY=1ms")
		i.WaitLine(soon, "web ready")
		p := i.awaitState("bot", status.Failed)
		if p.LastEnd == nil || p.LastEnd.Code != code || !strings.Contains(p.Reason, path) {
			t.Errorf("%s: %+v", path, p)
		}
		if s, _ := i.readStatus(); s == nil || s.Lock.Held {
			t.Errorf("%s: the lock is kept: %+v", path, s)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
		i.errorLines(path, 1)
	}
	i := start(t, proctest.Parent, goodWeb, busy, "BOT_RESTART_DELAY=50ms", "BOT_RESTART_DELAY_MAX=100ms")
	i.awaitState("bot", status.Waiting)
	i.WaitLine(soon, "cannot be started now")
	writer.Close()
	i.awaitState("bot", status.Running)
	i.Signal(syscall.SIGTERM)
	i.ends(0)
}

// A bot that is switched off, or whose switch cannot be read, is not started.
func TestDisabled(t *testing.T) {
	t.Parallel()
	for setting, line := range map[string]string{"false": "process is disabled", "0": "is disabled",
		"No": "is disabled", "OFF": "is disabled", "perhaps": "want true or false"} {
		i := start(t, proctest.PID1, goodWeb, goodBot, "ENABLE_TELEGRAM_BOT="+setting)
		i.WaitLine(soon, "web ready")
		i.WaitLine(soon, line)
		i.awaitState("bot", status.Disabled)
		if out, err := i.init("start", "bot"); err == nil {
			t.Errorf("%s: started by an operator: %s", setting, out)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
		if i.Count("bot ready") > 0 {
			t.Errorf("%s: the bot was started", setting)
		}
	}
}

func TestOperator(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		i := start(t, under, goodWeb, goodBot)
		i.WaitLine(soon, "bot ready")
		first := i.awaitState("bot", status.Running)
		must := func(args ...string) {
			t.Helper()
			if out, err := i.init(args...); err != nil {
				t.Fatalf("init %q: %v %s", args, err, out)
			}
		}
		must("stop", "bot") // when it returns, it is done, and the status says so
		if p := i.awaitState("bot", status.Stopped); p.PID != 0 || p.LastEnd.Code != 0 {
			t.Errorf("stopped: %+v", p)
		}
		i.WaitLine(soon, "bot stops")
		must("start", "bot")
		second := i.awaitState("bot", status.Running)
		must("restart", "bot")
		third := i.awaitState("bot", status.Running)
		if first.PID == second.PID || second.PID == third.PID || third.Restarts != 2 {
			t.Errorf("have %+v, %+v, %+v", first, second, third)
		}
		web := i.awaitState("web", status.Running)
		for _, verb := range []string{"stop", "start"} {
			if out, err := i.init(verb, "web"); err == nil || !strings.Contains(out, "critical") {
				t.Errorf("init %s web: %v %s", verb, err, out)
			}
		}
		must("restart", "web")
		if p := i.awaitState("web", status.Running); p.PID == web.PID || p.Restarts != 1 {
			t.Errorf("web: %+v", p)
		}
		proctest.Eventually(t, soon, "web is ready again", func() bool { return i.Count("web ready") == 2 })
		out, err := i.init("status", "bot")
		if err != nil || !strings.Contains(out, "running") {
			t.Errorf("init status bot: %v %s", err, out)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
		if out, err := i.init("status"); err == nil {
			t.Errorf("init status after the end: %s", out)
		}
	})
}

// `init web` and `init bot` beside one another, as in two containers of a Pod with one volume.
func TestSingleModes(t *testing.T) {
	t.Parallel()
	dir := runDir(t, 0)
	one := func(name string) *tandem {
		p := proctest.Start(t, proctest.Options{Path: proctest.Bin(t, "init"), Args: []string{name}, Under: proctest.PID1,
			Env: []string{"RUN_DIR=" + dir, "WEB_COMMAND=" + goodWeb, "BOT_COMMAND=sh -c 'echo bot ready; exit 78'",
				"STOP_TIMEOUT=2s"}})
		return &tandem{p, t, dir}
	}
	web, bot := one("web"), one("bot")
	web.WaitLine(soon, "web ready")
	bot.WaitLine(soon, "bot ready")
	proctest.Eventually(t, soon, "the bot has failed", func() bool {
		s, err := status.Read(filepath.Join(dir, "bot.json"))
		return err == nil && len(s.Processes) == 1 && s.Processes[0].State == status.Failed
	})
	for _, name := range []string{"web", "bot"} { // a Pod's probes: both are there
		if out, err := web.init("status", name); err != nil {
			t.Errorf("init status %s: %v %s", name, err, out)
		}
	}
	web.Signal(syscall.SIGTERM)
	web.ends(0)
	if !bot.Running() {
		t.Error("init bot ended with its bot")
	}
	bot.Signal(syscall.SIGTERM)
	bot.ends(0)
	if web.Count("bot ready") > 0 || bot.Count("web ready") > 0 {
		t.Error("an init started what is not its own")
	}
}
