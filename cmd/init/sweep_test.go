package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/lockfile"
	"tandem/internal/proctest"
	"tandem/internal/status"
)

// whole says whether all of what init has in RUN_DIR is there and works.
func (i *tandem) whole(files ...string) bool {
	for _, name := range files {
		if _, err := os.Lstat(filepath.Join(i.dir, name)); err != nil {
			return false
		}
	}
	_, err := i.init("status")
	return err == nil && lockfile.Held(filepath.Join(i.dir, "init.lock"))
}

// madeAnew wants everything back within a second, and on a machine as busy as tests make it within some more.
func (i *tandem) madeAnew(files ...string) {
	i.t.Helper()
	began := time.Now()
	proctest.Eventually(i.t, soon, "all is there again", func() bool { return i.whole(files...) })
	if took := time.Since(began); took > 5*time.Second {
		i.t.Errorf("it took %s", took)
	}
}

var allFiles = []string{"init.sock", "init.lock", "status.json", "bot.lock", "notify-web.sock", "notify-bot.sock"}

// RUN_DIR that somebody sweeps away is made anew, and each file in it, with its owner and mode, also when it alone is
// missing. The bot that dies then is started again, clients reach init, and processes are heard.
func TestRunDirIsSwept(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		bot, say := speaks(t)
		i := start(t, under, goodWeb, bot, "BOT_NOTIFY=true", "WEB_NOTIFY=true", "BOT_START_TIMEOUT=off",
			"BOT_RESTART_DELAY=50ms")
		i.WaitLine(soon, "speaker ready")
		i.madeAnew(allFiles...)
		modes := func() (all string) {
			for _, name := range append([]string{"."}, allFiles...) {
				var st syscall.Stat_t
				if err := syscall.Stat(filepath.Join(i.dir, name), &st); err != nil {
					t.Error(err)
				}
				all += fmt.Sprintf("%s %o %d %d\n", name, st.Mode, st.Uid, st.Gid)
			}
			return all
		}
		before := modes()
		for _, sweep := range []func() error{
			func() error { return os.RemoveAll(i.dir) },
			func() error { return os.Rename(i.dir, i.dir+".moved") },
			func() error { return os.Remove(filepath.Join(i.dir, "init.sock")) },
			func() error { return os.Remove(filepath.Join(i.dir, "init.lock")) },
			func() error { return os.Remove(filepath.Join(i.dir, "status.json")) },
			func() error { return os.Remove(filepath.Join(i.dir, "bot.lock")) },
			func() error { return os.Remove(filepath.Join(i.dir, "notify-bot.sock")) },
			func() error { return os.Rename(filepath.Join(i.dir, "notify-web.sock"), i.dir+".socket") },
		} {
			if err := sweep(); err != nil {
				t.Fatal(err)
			}
			i.madeAnew(allFiles...)
			if after := modes(); after != before {
				t.Errorf("was %s is %s", before, after)
			}
			if !lockfile.Held(filepath.Join(i.dir, "bot.lock")) {
				t.Error("the polling lock is not held")
			}
		}
		t.Cleanup(func() {
			os.RemoveAll(i.dir + ".moved")
			os.Remove(i.dir + ".socket")
		})
		if left, err := os.ReadDir(i.dir + ".moved"); err != nil || strings.Contains(fmt.Sprint(left), "sock") {
			t.Errorf("what was moved away looks alive: %v %v", left, err)
		}
		say("READY=1|STATUS=still there")
		i.text("bot", "still there")
		if p := i.awaitState("bot", status.Running); p.Restarts != 0 {
			t.Errorf("the bot was touched: %+v", p)
		}
		if err := os.RemoveAll(i.dir); err != nil {
			t.Fatal(err)
		}
		say("!3")
		i.await("bot", "is started again", func(p status.Process) bool { return p.Restarts == 1 && p.PID > 0 })
		i.madeAnew(allFiles...)
		say("READY=1|STATUS=again")
		i.text("bot", "again")
		if out, err := i.init("stop", "bot"); err != nil {
			t.Errorf("%v %s", err, out)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
		for _, name := range []string{"init.sock", "status.json"} {
			if _, err := os.Lstat(filepath.Join(i.dir, name)); !os.IsNotExist(err) {
				t.Errorf("%s is left: %v", name, err)
			}
		}
	})
}

// A bot that dies in the very moment of the sweep is started again, never failed.
func TestSweptWhileTheBotDies(t *testing.T) {
	t.Parallel()
	i := start(t, proctest.PID1, goodWeb, plainBot, "BOT_RESTART_DELAY=1ms", "BOT_RESTART_DELAY_MAX=1ms")
	for n := range 20 {
		p := i.await("bot", "runs", func(p status.Process) bool { return p.PID > 0 && p.Restarts == n })
		proctest.Eventually(t, soon, "the sweep is done before init makes a file", func() bool {
			return os.RemoveAll(i.dir) == nil
		})
		kill(t, i, p.PID)
	}
	i.Signal(syscall.SIGTERM)
	i.ends(0)
	if i.Count("will not be started again") > 0 {
		t.Errorf("have %q", i.Lines())
	}
}

// While the lock's file is away and made anew no second bot can poll: this init holds both files, and starts no other.
// An init that took the new file first keeps it, and this one's bot stands by from its next start on.
func TestSweptPollingLock(t *testing.T) {
	t.Parallel()
	lock := filepath.Join(runDir(t, 0), "only")
	poller := proctest.Command("pollers", lock)
	shared := runDir(t, 0)
	i := start(t, proctest.PID1, goodWeb, poller, "RUN_DIR="+shared+"/./", "BOT_RESTART_DELAY=50ms")
	i.WaitLine(soon, "poller is alone")
	for range 3 {
		if err := os.RemoveAll(shared); err != nil {
			t.Fatal(err)
		}
		i.madeAnew("bot.lock", "init.sock")
	}
	other := start(t, proctest.PID1, goodWeb, poller, "POLL_LOCK_FILE="+filepath.Join(shared, "bot.lock"))
	other.awaitState("bot", status.Standby)
	p := i.awaitState("bot", status.Running)
	kill(t, i, p.PID)
	other.awaitState("bot", status.Running) // who waited is first
	i.awaitState("bot", status.Standby)

	other.Signal(syscall.SIGTERM)
	other.ends(0)
	p = i.awaitState("bot", status.Running)

	i.Freeze()
	if err := os.Remove(filepath.Join(shared, "bot.lock")); err != nil {
		t.Fatal(err)
	}
	faster, err := lockfile.Open(filepath.Join(shared, "bot.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer faster.Close()
	if got, err := faster.TryLock(); !got || err != nil {
		t.Fatal(got, err)
	}
	if err := os.Remove(filepath.Join(shared, "init.sock")); err != nil { // has it look
		t.Fatal(err)
	}
	i.Signal(syscall.SIGCONT)
	i.madeAnew("init.sock", "bot.lock")
	if have := i.awaitState("bot", status.Running); have.PID != p.PID {
		t.Errorf("the bot was touched: %+v", have)
	}
	kill(t, i, p.PID)
	i.awaitState("bot", status.Standby)
	if err := faster.Close(); err != nil {
		t.Fatal(err)
	}
	i.awaitState("bot", status.Running)
	i.Signal(syscall.SIGTERM)
	i.ends(0)
	for _, init := range []*tandem{i, other} {
		if init.Count("TWO POLLERS") > 0 {
			t.Errorf("two bots polled: %q", init.Lines())
		}
	}
}

// A bot that ends with 75 because its lock file was swept away comes back at once, alone, and without waiting for
// BOT_CONFLICT_DELAY. Under another init that has the new file it stands by.
func TestABotWhoseLockIsSweptComesBack(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		dir := runDir(t, 0)
		bot := proctest.Command("careful", filepath.Join(dir, "only"))
		for name, lock := range map[string]string{"in RUN_DIR": "", "elsewhere": filepath.Join(dir, "lock")} {
			i := start(t, under, goodWeb, bot, "BOT_CONFLICT_DELAY=1h", "POLL_LOCK_FILE="+lock)
			if lock == "" {
				lock = filepath.Join(i.dir, "bot.lock")
			}
			for n := range 3 {
				i.await("bot", "polls", func(p status.Process) bool { return p.PID > 0 && p.Restarts == n })
				proctest.Eventually(t, soon, "it polls", func() bool { return i.Count("careful polls") == n+1 })
				if err := os.Remove(lock); err != nil {
					t.Fatal(err)
				}
			}
			i.await("bot", "is back", func(p status.Process) bool {
				return p.PID > 0 && p.Restarts == 3 && p.LastEnd.Code == 75
			})
			i.Freeze()
			if err := os.Remove(lock); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			other, err := lockfile.Open(lock)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := other.TryLock(); !got || err != nil {
				t.Fatal(got, err)
			}
			i.Signal(syscall.SIGCONT)
			i.awaitState("bot", status.Standby)
			other.Close()
			i.awaitState("bot", status.Running)
			i.Signal(syscall.SIGTERM)
			i.ends(0)
			if i.Count("TWO POLLERS") > 0 {
				t.Errorf("%s: two polled: %q", name, i.Lines())
			}
		}
	})
}

// careful is a bot that looks at the lock it was given before each poll, as our own does. Its argument is the file that
// shows that it is alone.
func careful(args []string) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	path := os.Getenv("POLL_LOCK_FILE")
	lock, err := lockfile.Inherited(3, path)
	if err != nil { // swept away before its first poll
		fmt.Println(err)
		os.Exit(75)
	}
	alone, err := lockfile.Open(args[0])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if got, err := alone.TryLock(); !got || err != nil {
		fmt.Println("TWO POLLERS", err)
		os.Exit(1)
	}
	fmt.Println("careful polls")
	for lock.Replaced() == nil {
		select {
		case <-stop:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	os.Exit(75)
}

// A directory that is mounted over the old one is noticed at the next change. So is its unmounting.
func TestRunDirIsMountedOver(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	i := start(t, proctest.PID1, goodWeb, plainBot, "BOT_RESTART_DELAY=50ms")
	p := i.awaitState("bot", status.Running)
	inside := func(args ...string) {
		t.Helper()
		args = append([]string{"-t", strconv.Itoa(i.PID), "-m", "-p"}, args...) // umount looks into /proc
		if out, err := exec.Command("nsenter", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	inside("mount", "-t", "tmpfs", "tmpfs", i.dir)
	over := &tandem{i.Process, t, fmt.Sprintf("/proc/%d/root%s", i.PID, i.dir)}
	kill(t, i, p.PID)
	p = over.await("bot", "is started again", func(p status.Process) bool { return p.Restarts == 1 && p.PID > 0 })
	over.madeAnew("init.sock", "init.lock", "status.json", "bot.lock")
	if _, err := os.Lstat(filepath.Join(i.dir, "status.json")); !os.IsNotExist(err) {
		t.Errorf("the status under the mount is left: %v", err)
	}
	inside("umount", "-l", i.dir)
	kill(t, i, p.PID)
	i.await("bot", "is started once more", func(p status.Process) bool { return p.Restarts == 2 && p.PID > 0 })
	i.madeAnew("init.sock", "init.lock", "status.json", "bot.lock")
	i.Signal(syscall.SIGTERM)
	i.ends(0)
}

// A link that somebody puts in the directory's place is not followed, and once it is gone the directory is made anew.
func TestSweptAndReplacedByALink(t *testing.T) {
	t.Parallel()
	i := start(t, proctest.PID1, goodWeb, plainBot)
	bot := i.awaitState("bot", status.Running)
	elsewhere := runDir(t, 0)
	if err := os.RemoveAll(i.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, i.dir); err != nil {
		t.Fatal(err)
	}
	i.WaitLine(soon, "without status file and control socket", "it is a link now")
	if list, err := os.ReadDir(elsewhere); err != nil || len(list) > 0 {
		t.Errorf("have %v, %v", list, err)
	}
	if err := os.Remove(i.dir); err != nil {
		t.Fatal(err)
	}
	kill(t, i, bot.PID) // a change
	i.madeAnew("init.sock", "init.lock", "status.json", "bot.lock")
	i.Signal(syscall.SIGTERM)
	i.ends(0)
}

// A file system without room at the first start keeps web from nothing. The bot waits and is tried again, and once
// there is room it runs and all of RUN_DIR is there.
func TestNoRoomAtTheFirstStart(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	for name, c := range map[string]struct {
		inodes  int      // of the file system, its root included
		dir     string   // RUN_DIR on it
		setting string   // more
		free    []string // what to remove
	}{
		"for the directory":   {2, "a", "", []string{"full"}},
		"for its parents":     {2, "a/b/c", "", []string{"full"}},
		"for the first file":  {2, "", "", []string{"full"}},
		"for the second file": {4, "", "", []string{"full"}},
		"for the lock alone":  {2, "elsewhere", "POLL_LOCK_FILE=%s/shared.lock", []string{"full"}},
	} {
		t.Run(name, func(t *testing.T) {
			volume := runDir(t, 0)
			settings := []string{"BOT_RESTART_DELAY=50ms", "BOT_RESTART_DELAY_MAX=100ms"}
			if c.dir != "elsewhere" {
				settings = append(settings, "RUN_DIR="+filepath.Join(volume, c.dir))
			}
			if c.setting != "" {
				settings = append(settings, fmt.Sprintf(c.setting, volume))
			}
			// The first process fills the last of it before it becomes init.
			o := proctest.Options{Under: proctest.PID1, Mounts: []proctest.Mount{
				{Type: "tmpfs", Source: "tmpfs", Target: volume, Data: fmt.Sprintf("nr_inodes=%d,mode=0700", c.inodes)}}}
			through := []string{"-c", `: > "$0/full"; exec "$@"`, volume, proctest.Bin(t, "init")}
			i := startUnder(t, o, through, goodWeb, plainBot, settings...)
			i.WaitLine(soon, "web ready")
			i.WaitLine(soon, "process cannot be started now", "no space left on device")
			root := fmt.Sprintf("/proc/%d/root", i.PID)
			if err := os.Remove(filepath.Join(root, volume, "full")); err != nil {
				t.Fatal(err)
			}
			if c.dir != "elsewhere" { // room for all
				if err := remount(i.PID, volume, "nr_inodes=100"); err != nil {
					t.Fatal(err)
				}
				i.dir = filepath.Join(root, volume, c.dir)
			}
			i.WaitLine(soon, "bot ready")
			i.awaitState("bot", status.Running)
			i.madeAnew("init.sock", "init.lock", "status.json")
			i.Signal(syscall.SIGTERM)
			i.ends(0)
			if i.Count("will not be started again") > 0 {
				t.Errorf("have %q", i.Lines())
			}
		})
	}
}

// remount changes a file system in the mount namespace of pid.
func remount(pid int, target, data string) error {
	out, err := exec.Command("nsenter", "-t", strconv.Itoa(pid), "-m",
		"mount", "-o", "remount,"+data, target).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
