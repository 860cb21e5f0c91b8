package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/proctest"
	"tandem/internal/status"
)

// Edge 33: where there is no further process and no further thread to be had, which is what a bot does that fills the
// container's pids.max, a start of the bot is a failed try; init, which is a program with threads itself, stays alive,
// obeys and starts the bot when there is room again.
func TestNoProcessesLeft(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	both(t, func(t *testing.T, under proctest.Under) {
		const user = 64733 // nobody else's, as the limit counts all of a user's
		i := startWith(t, proctest.Options{Under: under, User: user}, `sh -c 'echo web ready; exec sleep 1000'`, plainBot,
			"BOT_RESTART_DELAY=50ms", "BOT_RESTART_DELAY_MAX=50ms", "WEB_SUCCESS_EXIT=143", "LOG_LEVEL=debug")
		i.WaitLine(soon, "web ready")
		i.WaitLine(soon, "bot ready")
		p := i.awaitState("bot", status.Running)
		i.WaitLine(soon, "threads are in reserve", fmt.Sprint(`"threads":`, spareThreads))
		asleep := 0
		proctest.Eventually(t, soon, "they are idle", func() bool {
			if asleep++; !allAsleep(t, i.PID) {
				asleep = 0
			}
			return asleep == 5
		})
		before := limit(t, i.PID, user, 1)
		kill(t, i, p.PID)
		i.WaitLine(soon, "cannot be started now", "resource temporarily unavailable")
		for range 20 {
			if out, err := i.init("status"); err != nil || !strings.Contains(out, "web ") {
				t.Fatalf("init status: %v %s", err, out)
			}
			i.Signal(syscall.SIGWINCH)
			time.Sleep(10 * time.Millisecond) // what happens meanwhile is the test
		}
		i.await("bot", "waits and says why", func(p status.Process) bool {
			return p.State == status.Waiting && strings.Contains(p.Reason, "cannot be started")
		})
		limit(t, i.PID, user, before)
		i.awaitState("bot", status.Running)
		i.Signal(syscall.SIGTERM)
		i.ends(0)
	})
}

// A limit of the user (RLIMIT_NPROC) that leaves no room for threads in reserve ends nobody: init takes what can be
// had, and says in one line what could not. Twelve is the least with which init runs beside two processes of one
// thread.
func TestFewProcessesForTheUser(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	both(t, func(t *testing.T, under proctest.Under) {
		for limit, fewer := range map[int]bool{16: true, 12: true, 40: false} {
			user := 64740 + limit // nobody else's, as the limit counts all of a user's
			o := proctest.Options{Path: "/usr/bin/env", Under: under}
			dir := runDir(t, user)
			o.Args = []string{"prlimit", fmt.Sprint("--nproc=", limit), "setpriv", fmt.Sprint("--reuid=", user),
				fmt.Sprint("--regid=", user), "--clear-groups", proctest.Bin(t, "init")}
			o.Env = []string{"RUN_DIR=" + dir, "WEB_COMMAND=sleep 1000", "BOT_COMMAND=sleep 1000", "LOG_LEVEL=debug",
				"WEB_SUCCESS_EXIT=143"}
			i := &tandem{proctest.Start(t, o), t, dir}
			i.WaitLine(soon, "threads are in reserve")
			i.awaitState("bot", status.Running)
			if fewer {
				i.WaitLine(soon, "fewer threads in reserve", fmt.Sprint(`"limit":`, limit))
			}
			i.Signal(syscall.SIGTERM)
			i.ends(0)
			if n := i.Count("fewer threads in reserve"); n > 1 || n == 1 && !fewer {
				t.Errorf("with %d processes: %q", limit, i.Lines())
			}
		}
	})
}

// allAsleep says whether no thread of pid works.
func allAsleep(t *testing.T, pid int) bool {
	t.Helper()
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(stats) == 0 {
		t.Fatalf("threads of %d: %v", pid, err)
	}
	for _, stat := range stats {
		b, err := os.ReadFile(stat)
		if err != nil || !strings.Contains(string(b), ") S ") {
			return false
		}
	}
	return true
}

// limit bounds how many processes and threads the user of pid may have, and returns what the bound was. It does so as
// that user, on a thread that ends with it, because root in a container may not.
func limit(t *testing.T, pid, user int, n uint64) uint64 {
	t.Helper()
	var old unix.Rlimit
	failed := make(chan error)
	go func() {
		runtime.LockOSThread()
		for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, errno := syscall.RawSyscall(call, uintptr(user), uintptr(user), uintptr(user)); errno != 0 {
				failed <- errno
				return
			}
		}
		err := unix.Prlimit(pid, unix.RLIMIT_NPROC, nil, &old)
		if err == nil {
			err = unix.Prlimit(pid, unix.RLIMIT_NPROC, &unix.Rlimit{Cur: n, Max: old.Max}, nil)
		}
		failed <- err
	}()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return old.Cur
}
