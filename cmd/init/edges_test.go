package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/control"
	"tandem/internal/proctest"
	"tandem/internal/status"
	"tandem/internal/testenv"
)

// The edge cases of docs/edge-cases.md that the other files of this package have no test for.

func init() {
	helpers["storm"] = storm
	helpers["ends"] = ends
	helpers["leaver"] = leaver
}

// storm leaves as many zombies behind as its argument says, all of them at once: its own end makes them orphans.
func storm(args []string) {
	n, _ := strconv.Atoi(args[0])
	runtime.LockOSThread()
	for range n {
		pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			fmt.Println("fork:", errno)
			os.Exit(1)
		}
		for pid == 0 { // the child of a fork in Go can do no more than this
			syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 3, 0, 0)
		}
	}
}

// ends obeys SIGTERM with the status in its third argument, after the time in its second one.
func ends(args []string) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	fmt.Println(args[0], "ready")
	<-stop
	d, _ := time.ParseDuration(args[1])
	time.Sleep(d)
	code, _ := strconv.Atoi(args[2])
	os.Exit(code)
}

// leaver crashes, and leaves a worker in its group that ignores SIGTERM. Both hold a lock of their own, so that a
// leaver that starts too early says so.
func leaver(args []string) {
	f, err := os.OpenFile(args[0], os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil || syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		fmt.Println("TWO BOTS", err)
		os.Exit(1)
	}
	worker := exec.Command("sh", "-c", `trap "" TERM; echo worker ready; while :; do sleep 1000; done`)
	worker.ExtraFiles = []*os.File{f}
	out, err := worker.StdoutPipe()
	if err == nil {
		err = worker.Start()
	}
	if err == nil {
		_, err = io.CopyN(os.Stdout, out, int64(len("worker ready\n"))) // only then does it ignore what comes
	}
	if err != nil {
		fmt.Println(err)
	}
	os.Exit(1)
}

// rounds is n, or 25 times as many where there is time.
func rounds(n int) int {
	if os.Getenv("TANDEM_LONG") != "" {
		return 25 * n
	}
	return n
}

func rss(t *testing.T, pid int) (kB int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			fmt.Sscan(v, &kB)
		}
	}
	return kB
}

// Edge 1: many orphans that ended in one instant are all collected at once, and cost no memory. 10,000 of them take
// minutes on a small machine, nearly all of it to fork them.
func TestStormOfZombies(t *testing.T) {
	both(t, func(t *testing.T, under proctest.Under) {
		n := rounds(400)
		gate := `while ! [ -e "$RUN_DIR/go" ]; do sleep 0.01; done; `
		i := start(t, under, goodWeb,
			`sh -c '`+gate+strings.ReplaceAll(proctest.Command("storm", fmt.Sprint(n)), "'", `"`)+
				`; echo bot ready; exec sleep 1000'`)
		i.awaitState("bot", status.Running)
		before := rss(t, i.PID)
		if err := os.WriteFile(filepath.Join(i.dir, "go"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		i.WaitLine(time.Duration(rounds(1))*soon, "bot ready")
		began := time.Now()
		proctest.Eventually(t, soon, "they are counted", func() bool {
			s, err := i.readStatus()
			return err == nil && s.OrphansReaped == n
		})
		if z := i.Zombies(); len(z) > 0 {
			t.Errorf("%d zombies are left", len(z))
		}
		takes(t, began, 0, 5*time.Second)
		if after := rss(t, i.PID); after > before+1024 {
			t.Errorf("init grew from %d kB to %d kB", before, after)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
	})
}

// Edge 3: a web that ends before init has finished its own start is seen, and with its status.
func TestWebThatEndsAtOnce(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		for n := range rounds(6) {
			web, code := "/bin/true", 0
			if n%2 == 1 {
				web, code = "/bin/false", 1
			}
			i := start(t, under, web, goodBot)
			if end := i.Wait(soon); end.Code != code {
				t.Fatalf("%d: init ended with %+v, want %d", n, end, code)
			}
			i.Kill()
		}
	})
}

// Edge 13: in a stop too web's status is init's, whatever the bot's is and whoever ends last.
func TestStopKeepsWebsStatus(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		for _, delays := range [][2]string{{"200ms", "0s"}, {"0s", "200ms"}} {
			i := start(t, under, proctest.Command("ends", "web", delays[0], "9"),
				proctest.Command("ends", "bot", delays[1], "4"))
			i.WaitLine(soon, "web ready")
			i.WaitLine(soon, "bot ready")
			i.Signal(syscall.SIGTERM)
			i.ends(9)
		}
		i := start(t, under, proctest.Command("ends", "web", "1h", "0"), proctest.Command("ends", "bot", "0s", "4"))
		i.WaitLine(soon, "web ready")
		i.WaitLine(soon, "bot ready")
		i.Signal(syscall.SIGTERM)
		kill(t, i, i.awaitState("web", status.Stopping).PID) // not by init
		i.ends(137)
	})
}

// Edges 25 and 34: what a bot leaves in its group is killed before the next one starts.
func TestNoStartBesideLeftovers(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		alone := filepath.Join(runDir(t, 0), "alone")
		i := start(t, under, goodWeb, proctest.Command("leaver", alone), "STOP_TIMEOUT=300ms", "BOT_RESTART_DELAY=1ms",
			"BOT_RESTART_DELAY_MAX=1ms")
		i.await("bot", "was started 4 times", func(p status.Process) bool { return p.Restarts >= 3 })
		if i.Count("TWO BOTS") > 0 || i.Count("worker ready") < 3 {
			t.Errorf("%q", i.Lines())
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
	})
}

// Edge 29: processes that fork as fast as they are killed do not keep init from its end; as PID 1 none is left.
func TestForkBomb(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		// Each process lives for an instant, in a session of its own, and starts the next.
		bomb := `sh -c 'trap "" TERM; export HOP="trap \"\" TERM; sleep 0.02; setsid sh -c \"\$HOP\" & exit"
			for n in 1 2 3 4 5 6; do setsid sh -c "$HOP" & done; echo bot ready; while :; do sleep 1000; done'`
		i := start(t, under, goodWeb, bomb, "STOP_TIMEOUT=500ms")
		i.WaitLine(soon, "bot ready")
		began := time.Now()
		i.Signal(syscall.SIGTERM)
		if under == proctest.PID1 {
			i.ends(0)
		} else if end := i.Wait(soon); end.Code != 0 {
			t.Errorf("init ended with %+v", end)
		}
		takes(t, began, 500*time.Millisecond, 10*time.Second)
	})
}

// Edge 32: a crash loop is called one, with its count, while web is left alone; and the count ends with it.
func TestCrashLoopIsShown(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		i := start(t, under, goodWeb, `sh -c '[ -e "$RUN_DIR/go" ] && echo bot ready && exec sleep 1000; exit 9'`,
			"BOT_RESTART_DELAY=20ms", "BOT_RESTART_DELAY_MAX=40ms")
		i.await("bot", "is in a crash loop", func(p status.Process) bool {
			// Each count is there for an instant.
			return strings.Contains(p.Reason, "crashed with 9") && strings.Contains(p.Reason, "crash loop: ")
		})
		i.WaitLine(soon, "process crashed", `"in_a_row":5`)
		proctest.Eventually(t, soon, "init status shows the crash loop", func() bool { // not in the instant of a start
			out, err := i.init("status", "bot")
			return err == nil && strings.Contains(out, "crash loop: ")
		})
		if err := os.WriteFile(filepath.Join(i.dir, "go"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		i.WaitLine(soon, "bot ready")
		if p := i.awaitState("bot", status.Running); p.Reason != "" {
			t.Errorf("%+v", p)
		}
		if p := i.awaitState("web", status.Running); p.Restarts != 0 {
			t.Errorf("%+v", p)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
	})
}

// Edge 35: two containers on one volume, whose bots and inits are killed at random: never two bots, and in the end
// there is one. make soak does the same for longer.
func TestRandomKillsNeverMakeTwoBots(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		random := rand.New(rand.NewPCG(testenv.Seed(t), 0))
		dir := runDir(t, 0)
		begin := func() *tandem {
			return start(t, under, goodWeb, proctest.Command("pollers", filepath.Join(dir, "alone")),
				"POLL_LOCK_FILE="+filepath.Join(dir, "lock"),
				"BOT_RESTART_DELAY=1ms", "BOT_RESTART_DELAY_MAX=50ms")
		}
		inits := []*tandem{begin(), begin()}
		all := inits
		for range rounds(20) {
			n := random.IntN(2)
			switch random.IntN(3) {
			case 0:
				inits[n].Signal(syscall.SIGKILL)
			case 1:
				inits[n].Signal(syscall.SIGTERM)
			default:
				if s, err := inits[n].readStatus(); err == nil {
					if p, _ := s.Process("bot"); p.PID != 0 {
						if q, ok := inits[n].Find(p.PID); ok {
							syscall.Kill(q.PID, syscall.SIGKILL)
						}
					}
				}
				continue
			}
			inits[n].Wait(soon)
			inits[n].Kill() // the namespace of a container goes with it
			inits = []*tandem{inits[1-n], begin()}
			all = append(all, inits[1])
		}
		proctest.Eventually(t, soon, "one bot polls", func() bool {
			n := 0
			for _, i := range inits {
				if s, err := i.readStatus(); err == nil {
					if p, _ := s.Process("bot"); p.State == status.Running {
						n++
					}
				}
			}
			return n == 1
		})
		for _, i := range all {
			if i.Count("TWO POLLERS")+i.Count("NO LOCK") > 0 {
				t.Errorf("%q", i.Lines())
			}
		}
	})
}

// Edge 40: a volume that cannot be written does where the file is there, and one that cannot be used at all is a
// matter of one line.
func TestLockOnAReadOnlyVolume(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		dir := runDir(t, 0)
		if err := os.WriteFile(filepath.Join(dir, "lock"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		mounts := []proctest.Mount{{Source: dir, Target: dir, Flags: syscall.MS_BIND},
			{Target: dir, Flags: syscall.MS_BIND | syscall.MS_REMOUNT | syscall.MS_RDONLY}}
		begin := func(user int, file string) *tandem {
			return startWith(t, proctest.Options{Under: under, Mounts: mounts, User: user}, goodWeb, goodBot,
				"POLL_LOCK_FILE="+filepath.Join(dir, file))
		}
		i := begin(0, "lock")
		i.WaitLine(soon, "bot ready")
		begin(0, "lock").awaitState("bot", status.Standby)
		missing := begin(0, "missing")
		if p := missing.awaitState("bot", status.Failed); !strings.Contains(p.Reason, "read-only") {
			t.Errorf("%+v", p)
		}
		missing.WaitLine(soon, "web ready")
		missing.Signal(syscall.SIGTERM)
		missing.ends(0)
		missing.errorLines("a missing lock file", 1)
	})
}

// Edge 40: of another user's lock file it is said who may not use it.
func TestLockOfAnotherUser(t *testing.T) {
	t.Parallel()
	dir := runDir(t, 0) // root's, 0700
	i := startWith(t, proctest.Options{Under: proctest.PID1, User: 65532}, `sh -c 'echo web ready; exec sleep 1000'`,
		plainBot, "POLL_LOCK_FILE="+filepath.Join(dir, "lock"))
	if p := i.awaitState("bot", status.Failed); !strings.Contains(p.Reason, "65532") {
		t.Errorf("%+v", p)
	}
	i.WaitLine(soon, "web ready")
}

// Edge 41: a lock file on a file system that hangs, as NFS does without its server: here FUSE, whose server is
// this test and answers nothing. Neither web nor a request nor the stop waits for it.
func TestLockFileThatHangs(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
		if err != nil {
			testenv.Untested(t, "no file system can be made to hang without FUSE: "+err.Error())
		}
		defer fuse.Close()
		target := runDir(t, 0)
		i := startWith(t, proctest.Options{Under: under, Files: []*os.File{fuse}, Mounts: []proctest.Mount{
			{Type: "fuse", Source: "nothing", Target: target, Data: "fd=3,rootmode=40000,user_id=0,group_id=0"}}},
			goodWeb, goodBot, "POLL_LOCK_FILE="+filepath.Join(target, "lock"))
		i.WaitLine(soon, "web ready")
		if p := i.awaitState("bot", status.Waiting); !strings.Contains(p.Reason, "lock") {
			t.Errorf("%+v", p)
		}
		began := time.Now()
		for _, verb := range []string{"stop", "start", "restart"} {
			// Only a stop can be carried out; nobody has to wait for the others.
			limit := map[bool]time.Duration{true: soon, false: 300 * time.Millisecond}[verb == "stop"]
			answer, err := control.Request(filepath.Join(i.dir, "init.sock"), verb+" bot\n", limit)
			if verb == "stop" && err == nil && answer == "0 bot: stopped" || verb != "stop" && errors.Is(err, syscall.EAGAIN) {
				continue
			}
			t.Errorf("init %s bot: %v %s", verb, err, answer)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
		takes(t, began, 0, 5*time.Second)
	})
}

// Edge 45: without a standard output and error at all.
func TestStandardOutputIsClosed(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		dir := runDir(t, 0)
		p := proctest.Start(t, proctest.Options{Path: "/bin/sh", Under: under,
			Args: []string{"-c", "exec " + proctest.Bin(t, "init") + " 0<&- 1>&- 2>&-"},
			Env: []string{"RUN_DIR=" + dir, "WEB_COMMAND=" + goodWeb, "BOT_COMMAND=sh -c 'exit 1'", "BOT_RESTART_DELAY=1ms",
				"BOT_RESTART_DELAY_MAX=1ms", "WEB_SUCCESS_EXIT=143"}})
		i := &tandem{p, t, dir}
		i.awaitState("web", status.Running)
		i.await("bot", "was started 5 times", func(p status.Process) bool { return p.Restarts >= 4 })
		if s, err := i.readStatus(); err != nil || s.Lock == nil { // no file of init's became somebody's standard output
			t.Errorf("%+v, %v", s, err)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
	})
}

// Edge 46: each line of init's log is one write, whole and below what a pipe takes in one piece, so that it splits
// no line of the processes and none splits it.
func TestLogLinesAreWhole(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		var fds [2]int
		if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC|syscall.O_DIRECT); err != nil { // keeps writes apart
			t.Fatal(err)
		}
		r, w := os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
		defer r.Close()
		long := "/" + strings.Repeat("no-such-directory/", 300)
		i := startWith(t, proctest.Options{Under: under, Stderr: w}, goodWeb, "'"+long+"'")
		w.Close()
		i.awaitState("bot", status.Failed)
		i.WaitLine(soon, "web ready")
		i.Signal(syscall.SIGTERM)
		i.ends(0)
		i.Kill()
		writes, named := 0, false
		for buf := make([]byte, 1<<16); ; writes++ {
			n, err := r.Read(buf)
			if err != nil {
				break
			}
			line := string(buf[:n])
			if n >= 4096 || line[0] != '{' || strings.Index(line, "}\n") != n-2 {
				t.Errorf("a write of %d bytes: %.200q", n, line)
			}
			named = named || strings.Contains(line, "no-such-directory")
		}
		if writes < 4 || !named {
			t.Errorf("%d writes, the missing program is named: %v", writes, named)
		}
	})
}
