package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/proctest"
	"tandem/internal/status"
)

// Edge 37: two init with one lock file. pollers fails when it is not alone.
func TestOnePoller(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		dir := runDir(t, 0)
		lock, alone := filepath.Join(dir, "lock"), filepath.Join(dir, "alone")
		bot := proctest.Command("pollers", alone)
		begin := func() *tandem {
			i := start(t, under, goodWeb, bot, "POLL_LOCK_FILE="+lock, "BOT_RESTART_DELAY=300ms")
			i.WaitLine(soon, "web ready")
			return i
		}
		const polls = "poller is alone"
		first := begin()
		first.WaitLine(soon, polls)
		second := begin()
		if p := second.awaitState("bot", status.Standby); !strings.Contains(p.Reason, "polling lock is held by") {
			t.Errorf("standby: %+v", p)
		}
		if out, err := second.init("status"); err != nil || strings.Count(out, "held by") != 2 { // in the why and of the lock
			t.Errorf("init status: %v %s", err, out)
		}
		if n := second.Count(polls); n != 0 {
			t.Errorf("the second polled %d times while the first did", n)
		}

		// kill -9 of the first bot: the second takes over, the first comes back and stands by.
		kill(t, first, first.awaitState("bot", status.Running).PID)
		began := time.Now()
		second.WaitLine(soon, polls)
		takes(t, began, 0, 5*time.Second) // a second on an idle machine
		first.awaitState("bot", status.Standby)
		if n := first.Count(polls); n != 1 {
			t.Errorf("the first polled %d times, want once so far", n)
		}

		// kill -9 of the second init: its bot goes with it, the first takes over.
		second.Signal(syscall.SIGKILL)
		began = time.Now()
		proctest.Eventually(t, soon, "the first polls again", func() bool { return first.Count(polls) == 2 })
		takes(t, began, 0, 5*time.Second)
		for _, i := range []*tandem{first, second} {
			if i.Count("TWO POLLERS")+i.Count("NO LOCK") > 0 {
				t.Errorf("%q", i.Lines())
			}
		}
		first.Signal(syscall.SIGTERM)
		first.Wait(soon)
	})
}

// kill kills the process that i knows by pid.
func kill(t *testing.T, i *tandem, pid int) {
	t.Helper()
	q, ok := i.Find(pid)
	if !ok {
		t.Fatalf("no process %d in %v", pid, i.Tree())
	}
	if err := syscall.Kill(q.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// Edges 25 and 38: the lock is kept while anybody of the bot's group lives, also when the launcher closes
// what it inherits; a survivor in a session of its own keeps it through its copy, and is named.
func TestWhoKeepsTheLock(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		lock := filepath.Join(runDir(t, 0), "lock")
		// The launcher closes 3 and leaves its worker, which ignores SIGTERM, behind when it is killed.
		launcher := `sh -c 'exec 3>&-
			sh -c "trap \"\" TERM; echo worker ready; while :; do sleep 1000; done" &
			echo bot ready; wait'`
		i := start(t, under, goodWeb, launcher, "POLL_LOCK_FILE="+lock, "STOP_TIMEOUT=1500ms",
			"BOT_RESTART_DELAY=1h", "BOT_RESTART_DELAY_MAX=1h") // who is slow to wake up gets the lock, too
		i.WaitLine(soon, "worker ready")
		other := start(t, under, goodWeb, plainBot, "POLL_LOCK_FILE="+lock)
		other.awaitState("bot", status.Standby)
		began := time.Now()
		kill(t, i, i.awaitState("bot", status.Running).PID)
		other.WaitLine(soon, "bot ready")
		takes(t, began, 1400*time.Millisecond, 10*time.Second) // the worker was killed at the deadline, and then
		other.Kill()

		survivor := `sh -c 'setsid sh -c "trap \"\" TERM; echo survivor ready; while :; do sleep 1000 3>&-; done" &
			echo bot ready; exec sleep 1000 3>&-'`
		j := start(t, under, goodWeb, survivor, "POLL_LOCK_FILE="+lock+"2", "STOP_TIMEOUT=1s", "BOT_RESTART_DELAY=1ms")
		j.WaitLine(soon, "survivor ready")
		kill(t, j, j.awaitState("bot", status.Running).PID)
		p := j.await("bot", "names the survivor", func(p status.Process) bool {
			return p.State == status.Standby && strings.Contains(p.Reason, "sh (pid ")
		})
		if p.Restarts != 0 {
			t.Errorf("%+v", p)
		}
		for _, q := range j.Tree() {
			if len(q.Args) > 2 && strings.Contains(q.Args[2], "survivor ready") && q.SID == q.PID {
				syscall.Kill(q.PID, syscall.SIGKILL)
			}
		}
		j.await("bot", "runs again", func(p status.Process) bool { return p.State == status.Running && p.Restarts == 1 })
		j.Signal(syscall.SIGTERM)
		j.ends(0)
	})
}

// Edge 36: kill -9 of an init that is not PID 1, whose bot has closed its copy's parent-death signal away: the copy of
// what is left keeps a second bot from polling.
func TestLockOutlivesInit(t *testing.T) {
	t.Parallel()
	lock := filepath.Join(runDir(t, 0), "lock")
	bot := `sh -c 'sh -c "echo worker ready; exec sleep 1000" & wait'`
	i := start(t, proctest.Parent, goodWeb, bot, "POLL_LOCK_FILE="+lock)
	i.WaitLine(soon, "worker ready")
	i.Signal(syscall.SIGKILL)
	i.Wait(soon)
	j := start(t, proctest.Parent, goodWeb, plainBot, "POLL_LOCK_FILE="+lock)
	j.awaitState("bot", status.Standby)
	i.Kill()
	j.WaitLine(soon, "bot ready")
}

// Edge 40: a lock that cannot be had keeps the bot off, and nothing else.
func TestLockCannotBeHad(t *testing.T) {
	t.Parallel()
	dir := runDir(t, 0)
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"missing/lock", "folder", "link"} {
		i := start(t, proctest.Parent, goodWeb, goodBot, "POLL_LOCK_FILE="+filepath.Join(dir, name))
		i.WaitLine(soon, "web ready")
		if p := i.awaitState("bot", status.Failed); !strings.Contains(p.Reason, filepath.Join(dir, name)) {
			t.Errorf("%s: %+v", name, p)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
		i.errorLines(name, 1)
	}
}

// A lock that names, by a slip, a file with something in it keeps the bot off, with words, and the file as it is. Once
// the file is named rightly, or is gone, the bot starts.
func TestLockNamesAFileThatIsInUse(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		dir := runDir(t, 0)
		precious, database := filepath.Join(dir, "precious"), filepath.Join(dir, "tandem.db")
		if err := os.WriteFile(precious, []byte("TOKEN=1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		then := time.Unix(1e9, 0)
		if err := os.Chtimes(precious, then, then); err != nil {
			t.Fatal(err)
		}
		i := start(t, under, goodWeb, goodBot, "POLL_LOCK_FILE="+precious)
		if p := i.awaitState("bot", status.Failed); !strings.Contains(p.Reason, precious) ||
			!strings.Contains(p.Reason, "left as it was") {
			t.Errorf("%+v", p)
		}
		if n := i.Count(`"ERROR"`); n != 1 {
			t.Errorf("%d error lines: %q", n, i.Lines())
		}
		b, err := os.ReadFile(precious)
		info, statErr := os.Stat(precious)
		if err != nil || statErr != nil || string(b) != "TOKEN=1\n" || !info.ModTime().Equal(then) || info.Mode() != 0o644 {
			t.Errorf("it became %q, %v: %v %v", b, info, err, statErr)
		}
		if err := os.Remove(precious); err != nil {
			t.Fatal(err)
		}
		if out, err := i.init("start", "bot"); err != nil {
			t.Errorf("after it was mended: %v %s", err, out)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)

		// Of the database, and of what init has in RUN_DIR, also before they are there.
		own := runDir(t, 0)
		for name, setting := range map[string]string{database: "DATABASE_URL=sqlite:" + database,
			database + "-wal":               "DATABASE_URL=sqlite://" + database,
			filepath.Join(own, "init.lock"): "RUN_DIR=" + own, filepath.Join(own, "init-web.lock"): "RUN_DIR=" + own,
			filepath.Join(own, "status.json.new"): "RUN_DIR=" + own, filepath.Join(own, "bot.words"): "RUN_DIR=" + own} {
			i := start(t, under, goodWeb, goodBot, "POLL_LOCK_FILE="+name, setting)
			if p := i.awaitState("bot", status.Failed); !strings.Contains(p.Reason, name) ||
				!strings.Contains(p.Reason, "POLL_LOCK_FILE") {
				t.Errorf("%+v", p)
			}
			if _, err := os.Lstat(name); err == nil && name != filepath.Join(own, "init.lock") {
				t.Errorf("%s was made", name)
			}
			i.Signal(syscall.SIGTERM)
			i.ends(0)
		}
	})
}

// By what init owns RUN_DIR is a file like that, too.
func TestInitsOwnLockIsAFileThatIsInUse(t *testing.T) {
	t.Parallel()
	dir := runDir(t, 0)
	if err := os.WriteFile(filepath.Join(dir, "init.lock"), []byte("precious\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	i := start(t, proctest.PID1, goodWeb, goodBot, "RUN_DIR="+dir)
	i.WaitLine(soon, "init runs without status file and control socket", "init.lock", "left as it was")
	i.WaitLine(soon, "bot ready")
	if b, err := os.ReadFile(filepath.Join(dir, "init.lock")); err != nil || string(b) != "precious\n" {
		t.Errorf("it became %q, %v", b, err)
	}
	i.Signal(syscall.SIGTERM)
	i.ends(0)
}

// Edge 39: a file that was replaced while the bot ran is noticed before the next start.
func TestLockReplaced(t *testing.T) {
	t.Parallel()
	lock := filepath.Join(runDir(t, 0), "lock")
	i := start(t, proctest.Parent, goodWeb, plainBot, "POLL_LOCK_FILE="+lock, "BOT_RESTART_DELAY=1ms")
	i.WaitLine(soon, "bot ready")
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	j := start(t, proctest.Parent, goodWeb, plainBot, "POLL_LOCK_FILE="+lock)
	j.WaitLine(soon, "bot ready") // nothing excludes it: the name is free
	kill(t, i, i.awaitState("bot", status.Running).PID)
	i.WaitLine(soon, "did not guard", "lock file")
	i.awaitState("bot", status.Standby) // now they compete for the same file again
}
