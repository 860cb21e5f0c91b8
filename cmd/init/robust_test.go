package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/control"
	"tandem/internal/proctest"
	"tandem/internal/status"
)

// Edge 45: a standard error that takes nothing neither ends init nor makes it wait.
func TestStandardErrorTakesNothing(t *testing.T) {
	t.Parallel()
	devFull, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer devFull.Close()
	r, fullPipe, err := os.Pipe() // nobody reads
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer fullPipe.Close()
	fd := int(fullPipe.Fd())
	syscall.SetNonblock(fd, true)
	for err = nil; err == nil; _, err = syscall.Write(fd, make([]byte, 512)) {
	}
	syscall.SetNonblock(fd, false)
	broken, brokenPipe, err := os.Pipe() // nobody can read
	if err != nil {
		t.Fatal(err)
	}
	broken.Close()
	defer brokenPipe.Close()

	for name, f := range map[string]*os.File{"/dev/full": devFull, "full pipe": fullPipe, "broken pipe": brokenPipe} {
		both(t, func(t *testing.T, under proctest.Under) {
			// The bot crashes at once and often, so that there is much to say; web would end by a SIGPIPE.
			i := startWith(t, proctest.Options{Under: under, Stderr: f}, `sh -c 'echo web ready; exec sleep 1000'`,
				`sh -c 'exit 1'`,
				"BOT_RESTART_DELAY=1ms", "BOT_RESTART_DELAY_MAX=1ms", "WEB_SUCCESS_EXIT=143")
			i.WaitLine(soon, "web ready")
			i.await("bot", "was started 20 times", func(p status.Process) bool { return p.Restarts >= 20 })
			if p := i.awaitState("web", status.Running); p.Restarts != 0 {
				t.Errorf("%s: %+v", name, p)
			}
			began := time.Now()
			i.Signal(syscall.SIGTERM)
			i.ends(0)
			takes(t, began, 0, 6*time.Second) // STOP_TIMEOUT is 8 s
		})
	}
}

// A RUN_DIR that cannot be used costs the status file and the socket, nothing else, and is said once.
func TestRunDirCannotBeUsed(t *testing.T) {
	t.Parallel()
	dir := runDir(t, 0)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	readOnly := filepath.Join(dir, "ro")
	if err := os.Mkdir(readOnly, 0o700); err != nil {
		t.Fatal(err)
	}
	lock := "POLL_LOCK_FILE=" + filepath.Join(dir, "bot.lock")
	mounts := []proctest.Mount{{Type: "tmpfs", Source: "tmpfs", Target: readOnly, Flags: syscall.MS_RDONLY}}
	for _, bad := range []string{file, readOnly, "/proc/nothing"} {
		i := startWith(t, proctest.Options{Under: proctest.PID1, Mounts: mounts}, goodWeb, goodBot, "RUN_DIR="+bad, lock)
		i.WaitLine(soon, "web ready")
		i.WaitLine(soon, "bot ready")
		i.Signal(syscall.SIGTERM)
		i.ends(0)
		if n := i.Count(`"WARN"`); n != 1 {
			t.Errorf("%s: %d warnings: %q", bad, n, i.Lines())
		}
	}
}

// A full disk under RUN_DIR: the old status must not be read as the present one.
func TestRunDirIsFull(t *testing.T) {
	t.Parallel()
	target := runDir(t, 0)
	o := proctest.Options{Under: proctest.PID1,
		Mounts: []proctest.Mount{{Type: "tmpfs", Source: "tmpfs", Target: target, Data: "size=12k"}}}
	fill := `sh -c 'echo bot ready; head -c 100000 /dev/zero >> $RUN_DIR/fill; exit 1'`
	i := startWith(t, o, goodWeb, fill, "RUN_DIR="+target, "BOT_RESTART_DELAY=100ms", "BOT_RESTART_DELAY_MAX=100ms")
	i.WaitLine(soon, "web ready")
	i.WaitLine(soon, "status file cannot be written")
	proctest.Eventually(t, soon, "the bot goes on being started", func() bool { return i.Count("bot ready") > 5 })
	if n := i.Count("status file cannot be written"); n != 1 {
		t.Errorf("said %d times", n)
	}
	i.Signal(syscall.SIGTERM)
	i.ends(0)
}

// Edge 47: a second init on one RUN_DIR says so once and runs without socket and file.
func TestSecondInit(t *testing.T) {
	t.Parallel()
	first := start(t, proctest.Parent, goodWeb, goodBot)
	web := first.awaitState("web", status.Running)
	second := start(t, proctest.Parent, goodWeb, goodBot, "RUN_DIR="+first.dir)
	second.WaitLine(soon, "another init")
	second.WaitLine(soon, "stands by")
	second.Signal(syscall.SIGTERM)
	second.ends(0)
	if p := first.awaitState("web", status.Running); p.PID != web.PID {
		t.Errorf("the file is not the first one's any more: %+v", p)
	}
	if out, err := first.init("status"); err != nil {
		t.Errorf("init status: %v %s", err, out)
	}
	first.Signal(syscall.SIGKILL)
	first.Wait(soon)
	if out, err := first.init("status"); err == nil {
		t.Errorf("the status of an init that was killed is given as present: %s", out)
	}
	third := start(t, proctest.Parent, goodWeb, goodBot, "RUN_DIR="+first.dir) // what a killed one left is no hindrance
	third.awaitState("web", status.Running)
	if out, err := third.init("stop", "bot"); err != nil {
		t.Errorf("the socket: %v %s", err, out)
	}
}

// Nothing that a client does disturbs PID 1.
func TestControlClients(t *testing.T) {
	t.Parallel()
	i := start(t, proctest.PID1, goodWeb, goodBot)
	i.WaitLine(soon, "bot ready")
	socket := filepath.Join(i.dir, "init.sock")
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket: %v, %v", info.Mode(), err)
	}
	for _, line := range []string{"", "\n", "stop", "stop nobody\n", "fly bot\n", strings.Repeat("x", 5000) + "\n",
		"stop bot\nstop bot\n"} {
		answer, err := control.Request(socket, line, soon)
		if line != "" && (err != nil && !strings.Contains(err.Error(), "reset") || strings.HasPrefix(answer, "0 ")) {
			t.Errorf("%q: %q, %v", line, answer, err)
		}
	}
	var silent []int // clients that say nothing; more than are listened to at once
	for range 100 {
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket}); err != nil {
			t.Fatal(err)
		}
		silent = append(silent, fd)
	}
	if out, err := i.init("restart", "bot"); err != nil {
		t.Errorf("beside silent ones: %v %s", err, out)
	}
	for _, fd := range silent {
		syscall.Close(fd)
	}
	proctest.Eventually(t, soon, "the bot is ready again", func() bool { return i.Count("bot ready") == 2 })
	i.Signal(syscall.SIGTERM)
	i.ends(0)
}

// Edge 47: a reader never sees part of a file.
func TestStatusFileIsWhole(t *testing.T) {
	t.Parallel()
	i := start(t, proctest.Parent, goodWeb, `sh -c 'exit 1'`, "BOT_RESTART_DELAY=1ms", "BOT_RESTART_DELAY_MAX=1ms")
	i.awaitState("web", status.Running)
	if info, err := os.Stat(filepath.Join(i.dir, "status.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v, %v", info.Mode(), err)
	}
	restarts := 0
	for began := time.Now(); time.Since(began) < time.Second || restarts < 3; {
		s, err := i.readStatus()
		if err != nil {
			t.Fatal(err)
		}
		p, _ := s.Process("bot")
		restarts = max(restarts, p.Restarts)
		if time.Since(began) > soon {
			t.Fatalf("the file changed only %d times", restarts)
		}
	}
}

// What readers of status.json may count on: each key is there, whatever the state, and times have digits below the
// second.
func TestStatusShape(t *testing.T) {
	t.Parallel()
	i := start(t, proctest.Parent, goodWeb, `sh -c 'exit 75'`)
	i.awaitState("bot", status.Waiting)
	i.await("bot", "has ended", func(p status.Process) bool { return p.LastEnd != nil && p.NextStartAt != nil })
	b, err := os.ReadFile(filepath.Join(i.dir, "status.json"))
	if err != nil {
		t.Fatal(err)
	}
	const moment = `"20[0-9-]+T[0-9:]+\.[0-9]+Z"`
	want := regexp.MustCompile(`^\{"init":\{"pid":\d+,"started_at":` + moment + `,"version":"[^"]+"\},"processes":\[` +
		`\{"name":"web","critical":true,"state":"running","since":` + moment + `,"pid":\d+,` +
		`"started_at":` + moment + `,"restarts":0,"last_end":null\},` +
		`\{"name":"bot","critical":false,"state":"waiting","since":` + moment + `,"reason":"[^"]+","pid":0,` +
		`"started_at":` + moment + `,"restarts":0,` +
		`"last_end":\{"at":` + moment + `,"code":75,"signal":"","reason":"[^"]+","ran_ms":\d+,"oom_killed":false\},` +
		`"next_start_at":` + moment + `\}\],` +
		`"lock":\{"path":"[^"]+","held":false,"holder":""\},"orphans_reaped":\d+\}\n$`)
	if !want.Match(b) {
		t.Errorf("status.json: %s", b)
	}
	var s status.Status
	out, err := i.init("status", "bot", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	if err != nil || len(s.Processes) != 1 || s.Processes[0].Name != "bot" || s.Lock == nil {
		t.Errorf("init status bot --json: %v: %s", err, out)
	}
}

func TestLastWords(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "termination-log")
	if err := os.WriteFile(log, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	web := `sh -c 'until [ -e "$RUN_DIR/go" ]; do sleep 0.01; done; exit 3'`
	i := start(t, proctest.PID1, web, `sh -c 'exit 75'`, "TERMINATION_LOG="+log)
	i.await("bot", "has ended", func(p status.Process) bool { return p.LastEnd != nil })
	if err := os.WriteFile(filepath.Join(i.dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	i.ends(3)
	b, err := os.ReadFile(log)
	if words := string(b); err != nil || !strings.HasPrefix(words, "init ended with 3. web") ||
		!strings.Contains(words, "75: cannot run now") || len(words) > 4096 {
		t.Errorf("%v: %q", err, words)
	}
}

// Edge 52: idle is idle: no tick, no timer; and PID 1 stays small.
func TestIdle(t *testing.T) {
	i := start(t, proctest.PID1, goodWeb, goodBot)
	i.WaitLine(soon, "bot ready")
	i.awaitState("bot", status.Running)
	last := -1
	proctest.Eventually(t, soon, "init comes to rest", func() bool { // half a second without a context switch
		now := switches(t, i.PID)
		same := now == last
		last = now
		time.Sleep(500 * time.Millisecond)
		return same
	})
	before := switches(t, i.PID)
	time.Sleep(4 * time.Second)
	if n := switches(t, i.PID) - before; n > 1 {
		t.Errorf("%d context switches in 4 idle seconds", n)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", i.PID))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
			if kb, _ := strconv.Atoi(f[1]); kb > 4505 { // 4.4 MB; docs/compare.md
				t.Errorf("init has %d kB", kb)
			} else {
				t.Logf("proportional memory: %d kB", kb)
			}
		}
	}
	if info, err := os.Stat(proctest.Bin(t, "init")); err != nil || info.Size() > 3_200_000 {
		t.Errorf("the executable has %d bytes, %v", info.Size(), err)
	}
}

// switches is how often init's threads were given a processor.
func switches(t *testing.T, pid int) int {
	t.Helper()
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	n := 0
	for _, file := range files {
		b, _ := os.ReadFile(file)
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) == 2 && strings.HasSuffix(f[0], "_ctxt_switches:") {
				v, _ := strconv.Atoi(f[1])
				n += v
			}
		}
	}
	if n == 0 {
		t.Fatal("cannot read the context switches")
	}
	return n
}

// The same with the race detector in init: a mixed day of crashes, requests, signals and a stop.
func TestRaces(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds init a second time")
	}
	dir := runDir(t, 0)
	p := proctest.Start(t, proctest.Options{Path: proctest.RaceBin(t, "init"), Under: proctest.PID1,
		Env: []string{"RUN_DIR=" + dir, "WEB_COMMAND=" + goodWeb, "BOT_COMMAND=sh -c 'sleep 0.01; exit 1'",
			"BOT_RESTART_DELAY=5ms", "BOT_RESTART_DELAY_MAX=5ms"}})
	i := &tandem{p, t, dir}
	i.WaitLine(soon, "web ready")
	for n := range 30 {
		verb := []string{"stop", "start", "restart"}[n%3]
		cmd := exec.Command(proctest.Bin(t, "init"), verb, "bot")
		cmd.Env = []string{"RUN_DIR=" + dir}
		if out, err := cmd.CombinedOutput(); err != nil && code(err) != 75 { // it has crashed again
			t.Errorf("%s: %v %s", verb, err, out)
		}
		i.Signal(syscall.SIGWINCH)
	}
	i.Signal(syscall.SIGTERM)
	i.ends(0)
	if i.Count("DATA RACE") > 0 {
		t.Error("a race")
	}
}
