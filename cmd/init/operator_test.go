package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/lockfile"
	"tandem/internal/proctest"
	"tandem/internal/status"
)

// What an operator asks for is answered in words, once it is so, and the status of the command tells scripts the same.
func TestCommandsSayWhatTheyDid(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		dir := t.TempDir()
		todo := filepath.Join(dir, "todo")
		next := func(does string) {
			t.Helper()
			if err := os.WriteFile(todo, []byte(does), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		next("exec sleep 1000")
		i := start(t, under, goodWeb, "sh "+todo, "BOT_RESTART_DELAY=1h", "BOT_RESTART_DELAY_MAX=1h", "BOT_CONFLICT_DELAY=1h")
		i.awaitState("bot", status.Running)
		says := func(want int, words string, args ...string) {
			t.Helper()
			out, err := i.init(args...)
			if have := code(err); have != want || !strings.Contains(out, words) || strings.Count(out, "\n") != 1 {
				t.Errorf("init %q ended with %d, want %d, and said %q, want %q", args, have, want, out, words)
			}
		}
		pid := func() string { s, _ := i.readStatus(); p, _ := s.Process("bot"); return fmt.Sprint(p.PID) }
		says(0, "bot: runs already, pid "+pid(), "start", "bot")
		says(0, "bot: restarted, pid ", "restart", "bot")
		says(0, "bot: stopped\n", "stop", "bot")
		says(0, "bot: stopped\n", "stop", "bot")
		says(0, "bot: started, pid ", "start", "bot")
		next("exit 9")
		says(75, "bot: crashed with 9; next start at ", "restart", "bot")
		says(75, "bot: crashed with 9; next start at ", "start", "bot")
		next("exit 78")
		says(78, "bot: failed: 78: cannot run as configured", "start", "bot")
		next("exit 75")
		says(75, "bot: 75: cannot run now; next start at ", "start", "bot")
		next("exit 0")
		says(1, "bot: finished: it ended with 0", "start", "bot")
		says(1, "critical process", "stop", "web")
		says(64, "no such process", "stop", "nobody")
		says(0, "bot: stopped\n", "stop", "bot")

		lock, err := lockfile.Open(filepath.Join(i.dir, "bot.lock"))
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		if free, err := lock.TryLock(); err != nil || !free {
			t.Fatalf("the lock of a stopped bot is not free: %v", err)
		}
		says(75, "bot: standby: the polling lock is held by ", "start", "bot")
		says(0, "bot: stopped\n", "stop", "bot")

		says(0, "web: restarted, pid ", "restart", "web")
		if p := i.awaitState("bot", status.Stopped); p.PID != 0 { // what an operator stopped stays so
			t.Errorf("have %+v", p)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
		says(1, "no init can be reached", "start", "bot")
		says(1, "no init", "status")
	})
}

// An operator's stop outlives whatever happens to web and to the lock, but not init itself.
func TestAnOperatorsStopStays(t *testing.T) {
	t.Parallel()
	i := start(t, proctest.PID1, goodWeb, goodBot, "BOT_RESTART_DELAY=1ms")
	i.WaitLine(soon, "bot ready")
	must := func(args ...string) {
		t.Helper()
		if out, err := i.init(args...); err != nil {
			t.Fatalf("init %q: %v %s", args, err, out)
		}
	}
	must("stop", "bot")
	lock, err := lockfile.Open(filepath.Join(i.dir, "bot.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for range 3 {
		proctest.Eventually(t, soon, "the lock is free", func() bool {
			free, err := lock.TryLock()
			return free && err == nil
		})
		must("restart", "web")
		if err := syscall.Flock(int(lock.File().Fd()), syscall.LOCK_UN); err != nil {
			t.Fatal(err)
		}
		i.Signal(syscall.SIGCONT)
	}
	if p := i.awaitState("bot", status.Stopped); p.Restarts != 0 || i.Count("bot ready") != 1 {
		t.Errorf("have %+v", p)
	}
	i.Signal(syscall.SIGTERM)
	i.ends(0)
	next := start(t, proctest.PID1, goodWeb, goodBot, "RUN_DIR="+i.dir) // the container, started again
	next.WaitLine(soon, "bot ready")
	next.Signal(syscall.SIGTERM)
	next.ends(0)
}

// `init status NAME` is what Kubernetes probes with: 0 whatever the bot is doing, as long as init itself works.
func TestProbe(t *testing.T) {
	t.Parallel()
	crash := "exit 1"
	for name, c := range map[string]struct {
		bot, setting string
		state        status.State
	}{
		"disabled": {goodBot, "ENABLE_TELEGRAM_BOT=no", status.Disabled},
		"failed":   {`sh -c 'exit 78'`, "", status.Failed},
		"missing":  {"/nowhere", "", status.Failed},
		"broken":   {goodBot, "BOT_CONFLICT_DELAY=x", status.Failed},
		"waiting":  {`sh -c '` + crash + `'`, "BOT_RESTART_DELAY=1h", status.Waiting},
		"starting": {plainBot, "BOT_NOTIFY=true", status.Starting},
		"standby":  {goodBot, "", status.Standby},
		"running":  {goodBot, "", status.Running},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := runDir(t, 0)
			if name == "standby" {
				lock, err := lockfile.Open(filepath.Join(dir, "bot.lock"))
				if err != nil {
					t.Fatal(err)
				}
				defer lock.Close()
				if free, err := lock.TryLock(); err != nil || !free {
					t.Fatal(err)
				}
			}
			env := []string{"RUN_DIR=" + dir, "BOT_COMMAND=" + c.bot, "BOT_RESTART_DELAY_MAX=1h"}
			if c.setting != "" {
				env = append(env, c.setting)
			}
			p := proctest.Start(t, proctest.Options{Path: proctest.Bin(t, "init"), Args: []string{"bot"},
				Under: proctest.PID1, Env: env})
			i := &tandem{p, t, dir}
			i.awaitState("bot", c.state)
			// The file may already tell of the start that the socket's answer comes after, or still of the one before.
			var out string
			var err error
			proctest.Eventually(t, soon, "init status bot shows the state", func() bool {
				out, err = i.init("status", "bot")
				return err == nil && strings.Contains(out, string(c.state))
			})
			if out, err := i.init("status", "web"); code(err) != 1 {
				t.Errorf("init status web, which is not there: %v %s", err, out)
			}
			if name == "running" { // one that has stopped itself does not report
				i.Freeze()
				if out, err := i.init("status", "bot"); code(err) != 1 || !strings.Contains(out, "does not answer") {
					t.Errorf("init status of an init that hangs: %v %s", err, out)
				}
				if out, err := i.init("restart", "bot"); code(err) != 1 || !strings.Contains(out, "does not answer") {
					t.Errorf("init restart of an init that hangs: %v %s", err, out)
				}
				i.Signal(syscall.SIGCONT)
			}
			i.Signal(syscall.SIGTERM)
			i.ends(0)
		})
	}
}

// flood has n clients each abuse the control socket and the one for notices until the test stops it; it returns once
// all are at it.
func flood(t testing.TB, i *tandem, n int) (stop func()) {
	t.Helper()
	abuse := [][]string{{"status\n"}, {"start bot\n"}, {"garbage\n"}, {strings.Repeat("x", 4096)}, {""}, {"st", "art"}}
	end := make(chan struct{})
	var ended []chan struct{}
	for k := range n {
		began, done := make(chan struct{}), make(chan struct{})
		ended = append(ended, done)
		go func() {
			defer close(done)
			datagrams, _ := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_NONBLOCK, 0)
			defer syscall.Close(datagrams)
			for first := true; ; first = false {
				select {
				case <-end:
					return
				default:
				}
				fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
				if err != nil {
					continue
				}
				tv := syscall.NsecToTimeval(int64(200 * time.Millisecond))
				_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &tv)
				if syscall.Connect(fd, &syscall.SockaddrUnix{Name: filepath.Join(i.dir, "init.sock")}) == nil {
					for _, part := range abuse[k%len(abuse)] {
						_ = syscall.Sendto(fd, []byte(part), syscall.MSG_NOSIGNAL, nil)
					}
				}
				for range 20 {
					_ = syscall.Sendto(datagrams, []byte("READY=1\nSTATUS=flood"), syscall.MSG_NOSIGNAL,
						&syscall.SockaddrUnix{Name: filepath.Join(i.dir, "notify-web.sock")})
				}
				syscall.Close(fd)
				if first {
					close(began)
				}
			}
		}()
		<-began
	}
	return func() {
		close(end)
		for _, done := range ended {
			<-done
		}
	}
}

// Nobody who floods both sockets keeps an operator's word from being done, a SIGTERM from stopping all, or web's end
// from being init's.
func TestFlood(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(i *tandem){
		"SIGTERM": func(i *tandem) { i.Signal(syscall.SIGTERM); i.ends(0) },
		"web's end": func(i *tandem) {
			p := i.awaitState("web", status.Running)
			if web, ok := i.Find(p.PID); ok {
				_ = syscall.Kill(web.PID, syscall.SIGKILL)
			}
			i.ends(137)
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := start(t, proctest.PID1, goodWeb, goodBot, "WEB_NOTIFY=true", "LOG_LEVEL=warn")
			i.WaitLine(soon, "bot ready")
			stop := flood(t, i, 6)
			defer stop()
			for _, verb := range []string{"stop", "start", "restart"} {
				if out, err := i.init(verb, "bot"); err != nil && !strings.Contains(out, "started again by another request") {
					t.Errorf("init %s bot: %v %s", verb, err, out)
				}
			}
			i.text("web", "flood") // root's word counts
			began := time.Now()
			end(i)
			t.Logf("stopped in %s", time.Since(began))
		})
	}
}

// A new file of web that is still being written (ETXTBSY) does not end the container at `init restart web`: the start
// is tried again for a moment. What stays so is 126.
func TestWebIsTriedAgain(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		web := filepath.Join(runDir(t, 0), "web")
		sleep, err := os.ReadFile("/bin/sleep")
		if err == nil {
			err = os.WriteFile(web, sleep, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		i := start(t, under, web+" 1000", goodBot)
		first := i.awaitState("web", status.Running)
		writer, err := os.CreateTemp(filepath.Dir(web), "new")
		if err != nil {
			t.Fatal(err)
		}
		defer writer.Close()
		if _, err := writer.Write(sleep); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(writer.Chmod(0o755), os.Rename(writer.Name(), web)); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := i.init("restart", "web")
			done <- err
		}()
		i.WaitLine(soon, "tried again for a moment", "text file busy")
		writer.Close()
		if err := <-done; err != nil {
			t.Errorf("init restart: %v", err)
		}
		if p := i.awaitState("web", status.Running); p.Restarts != 1 || p.PID == first.PID {
			t.Errorf("have %+v", p)
		}
		stays, err := os.OpenFile(web+"2", os.O_RDWR|os.O_CREATE, 0o755)
		if err != nil {
			t.Fatal(err)
		}
		defer stays.Close()
		if err := os.Rename(web+"2", web); err != nil {
			t.Fatal(err)
		}
		if _, err := i.init("restart", "web"); err == nil {
			t.Error("web cannot be started, and the operator is told that it was")
		}
		i.ends(126)
	})
}
