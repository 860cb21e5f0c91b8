package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/lockfile"
	"tandem/internal/proctest"
	"tandem/internal/status"
)

// alone starts `init bot` as a Pod's container does.
func alone(t *testing.T, bot string, settings ...string) *tandem {
	t.Helper()
	dir := runDir(t, 0)
	env := append([]string{"RUN_DIR=" + dir, "TERMINATION_LOG=" + dir + "/none", "BOT_COMMAND=" + bot}, settings...)
	return &tandem{proctest.Start(t,
		proctest.Options{Path: proctest.Bin(t, "init"), Args: []string{"bot"}, Under: proctest.PID1, Env: env}), t, dir}
}

// probe asks what a Pod's probes ask: init status bot.
func (i *tandem) probe() {
	i.t.Helper()
	if out, err := i.init("status", "bot"); err != nil {
		i.t.Errorf("the Pod is not ready: %v %s", err, out)
	}
}

// A Pod is in its Service only while all its containers run and are ready, so the bot's container must be both
// whatever becomes of the bot; and it must end with 0 at a stop, from each of these states.
func TestInitBotIsReadyAndQuietWhateverTheBotDoes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	held, err := lockfile.Open(filepath.Join(dir, "bot.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if ok, err := held.TryLock(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	for name, c := range map[string]struct {
		bot      string
		settings []string
		state    status.State
		errors   int // error lines, once it is in that state
	}{
		"running":           {goodBot, nil, status.Running, 0},
		"disabled":          {goodBot, []string{"ENABLE_TELEGRAM_BOT=false"}, status.Disabled, 0},
		"switch unreadable": {goodBot, []string{"ENABLE_TELEGRAM_BOT=perhaps"}, status.Disabled, 1},
		"wrong setting":     {goodBot, []string{"BOT_RESTART_DELAY=soon"}, status.Failed, 1},
		"failed":            {`sh -c 'exit 78'`, nil, status.Failed, 1},
		"not found":         {"/nonexistent/bot", nil, status.Failed, 1},
		"no lock":           {goodBot, []string{"POLL_LOCK_FILE=" + dir + "/none/bot.lock"}, status.Failed, 1},
		"finished":          {`sh -c 'exit 0'`, nil, status.Finished, 0},
		"conflict":          {`sh -c 'exit 75'`, []string{"BOT_CONFLICT_DELAY=1h"}, status.Waiting, 0},
		"backoff": {`sh -c 'exit 1'`, []string{"BOT_RESTART_DELAY=1h", "BOT_RESTART_DELAY_MAX=1h"},
			status.Waiting, 1},
		"standby": {goodBot, []string{"POLL_LOCK_FILE=" + dir + "/bot.lock"}, status.Standby, 0},
	} {
		t.Run(name, func(t *testing.T) {
			i := alone(t, c.bot, c.settings...)
			p := i.awaitState("bot", c.state)
			if c.state == status.Waiting { // a moment before its first start, too
				p = i.await("bot", "waits for its next start", func(p status.Process) bool { return p.NextStartAt != nil })
			}
			const probes = 20
			for range probes {
				i.probe()
			}
			if c.state == status.Running {
				i.WaitLine(soon, "bot ready")
			}
			began := time.Now()
			i.Signal(syscall.SIGTERM)
			i.ends(0)
			takes(t, began, 0, 3*time.Second)
			i.errorLines(name, c.errors)
			if n := len(i.Lines()); n >= probes { // whoever asks makes no line
				t.Errorf("%d lines after %d probes: %q", n, probes, i.Lines())
			}
			if p.Critical {
				t.Error("the bot counts as critical")
			}
		})
	}
}

// While a bot crashes again and again, at no moment a probe finds nobody.
func TestInitBotIsReadyThroughoutACrashLoop(t *testing.T) {
	t.Parallel()
	i := alone(t, `sh -c 'exit 1'`, "BOT_RESTART_DELAY=1ms", "BOT_RESTART_DELAY_MAX=20ms")
	for i.await("bot", "was there", func(p status.Process) bool { return p.LastEnd != nil }).Restarts < 30 {
		i.probe()
	}
	i.Signal(syscall.SIGTERM)
	i.ends(0)
}

// A bot that is killed, frozen or deaf is the bot's matter: no restart of the Pod, and the stop ends with 0.
func TestInitBotEndsWith0HoweverItsBotEnds(t *testing.T) {
	t.Parallel()
	killed := alone(t, goodBot, "BOT_RESTART_DELAY=1ms")
	killed.WaitLine(soon, "bot ready")
	kill(t, killed, killed.awaitState("bot", status.Running).PID)
	killed.await("bot", "runs again", func(p status.Process) bool { return p.State == status.Running && p.Restarts == 1 })

	frozen := alone(t, goodBot, "STOP_TIMEOUT=500ms")
	frozen.WaitLine(soon, "bot ready")
	q, _ := frozen.Find(frozen.awaitState("bot", status.Running).PID)
	proctest.Freeze(t, q.PID)
	frozen.probe()

	deaf := alone(t, deafBot, "STOP_TIMEOUT=500ms")
	deaf.WaitLine(soon, "bot ready")

	angry := alone(t, `sh -c 'trap "exit 3" TERM; echo bot ready; while :; do sleep 0.01; done'`)
	angry.WaitLine(soon, "bot ready")

	for _, i := range []*tandem{killed, frozen, deaf, angry} {
		for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1} {
			i.Signal(sig) // of web's, of which there is none
		}
		i.probe()
		i.Signal(syscall.SIGTERM)
		i.ends(0)
	}
}

// A bot that hangs is ended and started again, and that is a state and a count: no probe ever notices.
func TestInitBotIsReadyWhileItsBotHangs(t *testing.T) {
	t.Parallel()
	hangs := `sh -c 'trap "" TERM; echo bot ready; while :; do sleep 1000; done'`
	i := alone(t, hangs, "BOT_NOTIFY=true", "BOT_START_TIMEOUT=300ms", "STOP_TIMEOUT=300ms", "BOT_RESTART_DELAY=1ms",
		"BOT_RESTART_DELAY_MAX=10ms")
	for {
		p := i.await("bot", "was started", func(p status.Process) bool { return p.StartedAt != nil })
		i.probe()
		if p.Restarts >= 2 {
			if p.LastEnd == nil || !strings.Contains(p.LastEnd.Reason, "hung") {
				t.Errorf("%+v", p.LastEnd)
			}
			break
		}
	}
	i.Signal(syscall.SIGTERM)
	i.ends(0)
}
