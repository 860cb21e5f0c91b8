package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tandem/internal/proctest"
	"tandem/internal/status"
	"tandem/internal/testenv"
)

// spawner leaves n orphans behind, says so and goes on.
func spawner(name string, n int) string {
	return fmt.Sprintf(`sh -c 'n=0; while [ $n -lt %d ]; do ( (exit 3) & ); n=$((n+1)); done; echo %s spawned
		exec sleep 1000'`, n, name)
}

// Edge 4: orphans from both sides, and neither's end is mistaken.
func TestOrphans(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		i := start(t, under, spawner("web", 2000), spawner("bot", 2000), "WEB_SUCCESS_EXIT=143")
		i.WaitLine(6*soon, "web spawned")
		i.WaitLine(6*soon, "bot spawned")
		proctest.Eventually(t, soon, "no zombie is left", func() bool { return len(i.Zombies()) == 0 })
		proctest.Eventually(t, soon, "4,000 orphans are counted", func() bool {
			s, err := i.readStatus()
			return err == nil && s.OrphansReaped == 4000
		})
		for _, name := range []string{"web", "bot"} {
			if p := i.awaitState(name, status.Running); p.Restarts != 0 {
				t.Errorf("%s: %+v", name, p)
			}
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
	})
}

// Edge 2: several children, web among them, end while init cannot look (catatonit's issue 4).
func TestCoalescedSIGCHLD(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		for range 5 {
			i := start(t, under, `sh -c 'echo web ready; exec sleep 1000'`,
				`sh -c 'for n in 1 2 3 4 5; do setsid sleep 1000 & done; echo bot ready; wait'`)
			i.WaitLine(soon, "web ready")
			i.WaitLine(soon, "bot ready")
			web := i.awaitState("web", status.Running)
			q, ok := i.Find(web.PID)
			if !ok {
				t.Fatalf("no process %d", web.PID)
			}
			i.Freeze()
			for _, p := range i.Tree() {
				if p.PID != i.PID && p.PID != q.PID {
					syscall.Kill(p.PID, syscall.SIGKILL)
				}
			}
			syscall.Kill(q.PID, syscall.SIGUSR1)
			i.Signal(syscall.SIGCONT)
			i.ends(128 + int(syscall.SIGUSR1))
		}
	})
}

// Edge 5: children that init inherits by exec are collected and are not taken for web or bot.
func TestInheritedChildren(t *testing.T) {
	t.Parallel()
	dir := runDir(t, 0)
	p := proctest.Start(t, proctest.Options{Path: "/bin/sh", Under: proctest.PID1,
		Args: []string{"-c", "sh -c 'exit 9' & sleep 0.2 & exec " + proctest.Bin(t, "init")},
		Env:  []string{"RUN_DIR=" + dir, "WEB_COMMAND=" + goodWeb, "BOT_COMMAND=" + goodBot}})
	i := &tandem{p, t, dir}
	i.WaitLine(soon, "web ready")
	proctest.Eventually(t, soon, "both are collected", func() bool {
		s, err := i.readStatus()
		return err == nil && s.OrphansReaped == 2
	})
	i.Signal(syscall.SIGTERM)
	i.ends(0)
}

// Edge 6: a stopped process has not ended.
func TestStoppedIsNotEnded(t *testing.T) {
	t.Parallel()
	i := start(t, proctest.PID1, goodWeb, goodBot)
	bot := i.awaitState("bot", status.Running)
	q, _ := i.Find(bot.PID)
	proctest.Freeze(t, q.PID)
	i.Signal(syscall.SIGCHLD) // have init look
	if p := i.awaitState("bot", status.Suspended); p.PID != bot.PID {
		t.Errorf("the bot was replaced: %+v", p)
	}
	syscall.Kill(q.PID, syscall.SIGCONT)
	i.WaitLine(soon, "bot ready")
	i.Signal(syscall.SIGTERM)
	i.ends(0)
}

// Edge 7: with few process numbers, which are soon used again, no signal reaches a process that has the number of
// one that ended. A bystander that is hit would not say so at the end.
func TestReusedNumbers(t *testing.T) {
	t.Parallel()
	requirePidMaxOfNamespace(t)
	web := `sh -c 'echo 300 > /proc/sys/kernel/pid_max
		trap "echo bystander hit" TERM
		setsid sh -c "trap \"echo bystander hit\" TERM USR1; echo bystander ready
			while :; do sleep 0.01; [ -e $RUN_DIR/end ] && echo bystander lives && exit; done" &
		echo web ready; while :; do wait; sleep 0.05; done'`
	bot := `sh -c '(exec sleep 1000) & for n in 1 2 3 4 5 6 7 8 9 10; do /bin/true; done; exit 1'`
	i := start(t, proctest.PID1, web, bot, "BOT_RESTART_DELAY=1ms", "BOT_RESTART_DELAY_MAX=1ms", "STOP_TIMEOUT=1s")
	i.WaitLine(soon, "bystander ready")
	for n := 10; n <= 50; n += 10 { // each with the time that a busy machine needs
		i.await("bot", fmt.Sprintf("was started %d times", n), func(p status.Process) bool { return p.Restarts >= n })
	}
	if err := os.WriteFile(filepath.Join(i.dir, "end"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	i.WaitLine(soon, "bystander lives")
	if i.Count("bystander hit") > 0 {
		t.Errorf("a stranger was hit: %q", i.Lines())
	}
}

// requirePidMaxOfNamespace skips where the limit is the whole machine's.
func requirePidMaxOfNamespace(t *testing.T) {
	t.Helper()
	var u unix.Utsname
	var major, minor int
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	if major < 6 || major == 6 && minor < 14 {
		testenv.Untested(t, "before Linux 6.14 kernel.pid_max is the machine's, not the namespace's")
	}
}
