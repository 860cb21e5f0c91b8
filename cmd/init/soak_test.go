package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
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

func init() {
	helpers["calm"] = calm
	helpers["messy"] = messy
}

// calm is a web that nothing but SIGTERM ends.
func calm([]string) {
	stop := make(chan os.Signal, 1)
	signal.Notify(make(chan os.Signal, 1)) // the others are taken and forgotten
	signal.Notify(stop, syscall.SIGTERM)
	fmt.Println("web ready")
	<-stop
}

// messy is a bot that leaves orphans behind, in its group and out of it, and that says so if it is not alone: among all
// containers, for which it holds the file in its argument, and among what was started in its own, for which its worker
// holds one, too. The worker has no part in the first: the kernel ends the processes of a container that is killed one
// after the other, and the lock is free with the last bot, not with the last process.
func messy(args []string) {
	syscall.CloseOnExec(lockFD)
	var held []*os.File
	for _, path := range []string{args[0], filepath.Join(os.Getenv("RUN_DIR"), "group")} {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err == nil {
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		}
		if err != nil {
			fmt.Println("TWO POLLERS", path, err)
			os.Exit(1)
		}
		held = append(held, f)
	}
	defer runtime.KeepAlive(held)
	sh := exec.Command("sh", "-c", "(exit 3) & (sleep 0.05) & setsid sleep 0.1 &")
	if err := sh.Run(); err != nil {
		fmt.Println("messy:", err)
	}
	// It outlives this leader for a moment. Till then nobody else may start.
	worker := exec.Command("sh", "-c", `trap "" TERM; while [ -e /proc/$PPID ]; do sleep 0.05; done; sleep 0.05`)
	worker.ExtraFiles = held[1:]
	if err := worker.Start(); err != nil {
		fmt.Println("messy:", err)
	}
	go worker.Wait()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if n, _ := strconv.Atoi(os.Getenv("TANDEM_MESS")); os.Getpid()%10 < n {
		os.Exit(os.Getpid() % 3) // 0, 1 or 2
	}
	<-stop
}

// usage is what a process must not have more and more of.
type usage struct{ descriptors, threads, kB int }

func usageOf(t *testing.T, pid int) usage {
	t.Helper()
	count := func(what string) int {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, what))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	return usage{count("fd"), count("task"), rss(t, pid)}
}

// soak abuses an init that is PID 1 and has a web, a messy bot, and another container that wants the same lock.
type soak struct {
	*tandem
	t        *testing.T
	random   *rand.Rand
	lock     string
	settings []string
	other    *tandem
	others   int       // how many there were
	since    time.Time // the last one began
	web      int
	files    []string // in RUN_DIR
	done     map[string]int
}

// TestSoak is a minute of random abuse, or as long as SOAK says: make soak. Nothing leaks, web never notices, and
// there are never two bots.
func TestSoak(t *testing.T) {
	t.Parallel()
	length := time.Minute
	if s := os.Getenv("SOAK"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatalf("SOAK: %v", err)
		}
		length = d
	} else if testing.Short() {
		t.Skip("takes a minute")
	}
	s := &soak{t: t, random: rand.New(rand.NewPCG(testenv.Seed(t), 0)), done: map[string]int{}}
	dir := runDir(t, 0)
	s.lock = filepath.Join(dir, "lock")
	s.settings = []string{"POLL_LOCK_FILE=" + s.lock, "STOP_TIMEOUT=300ms", "LOG_LEVEL=error", "TANDEM_MESS=3",
		"BOT_RESTART_DELAY=2ms", "BOT_RESTART_DELAY_MAX=50ms",
		"BOT_COMMAND=" + proctest.Command("messy", filepath.Join(dir, "alone"))}
	s.tandem = start(t, proctest.PID1, proctest.Command("calm"), "", s.settings...)
	s.WaitLine(soon, "web ready")
	s.web = s.awaitState("web", status.Running).PID
	s.another()

	began := time.Now()
	s.abuse(began.Add(length / 4))
	s.calmDown()
	before := usageOf(t, s.PID)
	s.files = s.inRunDir()
	s.abuse(began.Add(length))
	s.calmDown()
	s.check(before)
	t.Logf("%s of %v, and %d inits beside it", time.Since(began).Round(time.Second), s.done, s.others)
	s.Signal(syscall.SIGTERM)
	s.ends(0)
}

// another starts a new container beside init's, in the place of the last one.
func (s *soak) another() {
	s.other = start(s.t, proctest.PID1, proctest.Command("calm"), "", s.settings...)
	s.others++
	s.since = time.Now()
}

func (s *soak) abuse(until time.Time) {
	kinds := []struct {
		name   string
		weight int
		do     func()
	}{
		{"kills", 10, func() { s.signalBot(s.tandem, syscall.SIGKILL) }},
		{"stops and goes", 4, func() {
			s.signalBot(s.tandem, syscall.SIGSTOP)
			s.pause(50)
			s.signalBot(s.tandem, syscall.SIGCONT)
		}},
		{"stops", 2, func() { s.signalBot(s.tandem, syscall.SIGSTOP) }},
		{"terminations", 4, func() { s.signalBot(s.tandem, syscall.SIGTERM) }},
		{"signals", 10, func() {
			s.Signal([]syscall.Signal{1, 10, 12, 13, 17, 20, 21, 22, 23, 28, 40}[s.random.IntN(11)])
		}},
		{"requests", 16, s.request},
		{"garbage", 10, s.garbage},
		{"contentions", 8, s.contend},
		{"reads", 10, s.read},
		{"others' kills", 4, func() { s.signalBot(s.other, syscall.SIGKILL) }},
		{"other inits", 1, func() {
			if time.Since(s.since) > time.Second {
				s.other.Signal([]syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[s.random.IntN(2)])
				s.other.Wait(soon)
				s.checkOther()
				s.another()
			}
		}},
	}
	sum := 0
	for _, k := range kinds {
		sum += k.weight
	}
	for time.Now().Before(until) && !s.t.Failed() {
		n := s.random.IntN(sum)
		for _, k := range kinds {
			if n -= k.weight; n < 0 {
				k.do()
				s.done[k.name]++
				break
			}
		}
		s.pause(30)
	}
}

// pause lets up to ms milliseconds pass, so that the abuse comes at all moments.
func (s *soak) pause(ms int) { time.Sleep(time.Duration(s.random.IntN(ms*1000)) * time.Microsecond) }

func (s *soak) signalBot(i *tandem, sig syscall.Signal) {
	st, err := i.readStatus()
	if err != nil {
		return
	}
	if p, _ := st.Process("bot"); p.PID != 0 {
		if q, ok := i.Find(p.PID); ok && q.NSPID != 1 {
			syscall.Kill(q.PID, sig)
		}
	}
}

func (s *soak) request() {
	line := []string{"start bot", "start bot", "restart bot", "stop bot", "stop web", "start web"}[s.random.IntN(6)]
	// An operator who does not wait for what comes of it, most often: a start is granted long before it counts as one.
	answer, err := control.Request(filepath.Join(s.dir, "init.sock"), line+"\n",
		time.Duration(1+s.random.IntN(300))*time.Millisecond)
	switch web := strings.HasSuffix(line, "web"); {
	case errors.Is(err, syscall.EAGAIN):
	case err != nil || web != strings.Contains(answer, "critical process") || !strings.HasPrefix(answer, "1 ") && web:
		s.t.Errorf("%s: %q, %v", line, answer, err)
	}
}

// garbage is a client of the control socket that does not know the protocol, or does not care.
func (s *soak) garbage() {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: filepath.Join(s.dir, "init.sock")}); err != nil {
		s.t.Error(err)
	}
	b := make([]byte, s.random.IntN(2000))
	for n := range b {
		b[n] = byte(s.random.UintN(256))
	}
	switch s.random.IntN(3) {
	case 0: // says nothing
	case 1:
		_ = syscall.Sendto(fd, b, syscall.MSG_NOSIGNAL, nil)
	case 2:
		_ = syscall.Sendto(fd, append([]byte("restart bot"), b...), syscall.MSG_NOSIGNAL, nil)
		_ = syscall.Shutdown(fd, syscall.SHUT_RDWR)
	}
}

// contend takes the polling lock for an instant, if it can be had.
func (s *soak) contend() {
	f, err := os.OpenFile(s.lock, os.O_RDWR, 0)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		s.pause(100)
	}
}

// read looks at the status as others do, and at what must never change in it.
func (s *soak) read() {
	st, err := s.readStatus()
	if err != nil {
		s.t.Errorf("status: %v", err)
		return
	}
	if p, _ := st.Process("web"); p.PID != s.web || p.Restarts != 0 || p.State != status.Running {
		s.t.Errorf("web: %+v", p)
	}
	if out, err := s.init("status"); err != nil || !strings.Contains(out, "bot") {
		s.t.Errorf("init status: %v %s", err, out)
	}
}

// calmDown brings everything to rest: the other container is gone and the bot runs.
func (s *soak) calmDown() {
	s.t.Helper()
	s.other.Signal(syscall.SIGTERM)
	s.other.Wait(soon)
	s.checkOther()
	proctest.Eventually(s.t, 2*soon, "the bot runs, and stays so", func() bool {
		answer, err := control.Request(filepath.Join(s.dir, "init.sock"), "start bot\n", soon)
		if err != nil || answer == "" || strings.Contains(answer, "too many") {
			s.t.Fatalf("start bot: %q, %v", answer, err)
		}
		s.signalBot(s.tandem, syscall.SIGCONT)
		time.Sleep(200 * time.Millisecond)
		st, err := s.readStatus()
		if err != nil {
			return false
		}
		p, _ := st.Process("bot")
		return p.State == status.Running && p.StartedAt != nil && time.Since(*p.StartedAt) > 150*time.Millisecond
	})
	proctest.Eventually(s.t, soon, "only init, web and the bot's group are left", func() bool {
		bot := s.awaitState("bot", status.Running)
		leader, _ := s.Find(bot.PID)
		return !slices.ContainsFunc(s.Tree(), func(q proctest.Proc) bool {
			return q.State == 'Z' || q.NSPID != 1 && q.NSPID != s.web && q.PGID != leader.PID
		})
	})
	if !s.t.Failed() && s.other.Running() {
		s.t.Error("the other init runs on")
	}
}

func (s *soak) checkOther() {
	if n := s.other.Count("TWO POLLERS"); n > 0 {
		s.t.Errorf("two bots: %q", s.other.Lines())
	}
}

func (s *soak) inRunDir() []string {
	var names []string
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (s *soak) check(before usage) {
	s.read()
	if n := s.Count("TWO POLLERS"); n > 0 {
		s.t.Errorf("two bots, %d times", n)
	}
	if n := s.Count("web ready"); n != 1 {
		s.t.Errorf("web was started %d times", n)
	}
	if have := s.inRunDir(); !slices.Equal(have, s.files) {
		s.t.Errorf("files in RUN_DIR: have %q, want %q", have, s.files)
	}
	var after usage
	proctest.Within(soon, func() bool { // the last clients may be about to go
		after = usageOf(s.t, s.PID)
		return after.descriptors <= before.descriptors
	})
	s.t.Logf("before %+v, after %+v", before, after)
	// Threads that Go has it keeps, and a few more can be in system calls at once than before.
	if after.descriptors > before.descriptors || after.threads > before.threads+3 || after.kB > before.kB+2048 {
		s.t.Errorf("something leaks: before %+v, after %+v", before, after)
	}
}
