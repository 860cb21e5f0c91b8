package test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/exitcode"
	"tandem/internal/lockfile"
	"tandem/internal/proctest"
	"tandem/internal/status"
)

// TestOurBotIsBackAfterASweep: our bot sees before a poll that its lock file was swept away, and ends. It is back at
// once with the file that init has made anew, and no two polls are open.
func TestOurBotIsBackAfterASweep(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		r := newRig(t, database, "BOT_CONFLICT_DELAY=1h").start().waitWeb().waitPolling()
		stays := r.webMustStay()
		lock := filepath.Join(r.runDir, status.PollLock)
		for n := range 2 {
			if err := os.RemoveAll(r.runDir); err != nil {
				t.Fatal(err)
			}
			proctest.Eventually(t, soon, "the lock is made anew and held", func() bool { return lockfile.Held(lock) })
			r.roundTrip(7, fmt.Sprintf("ends the poll %d", n))
			p := r.await("bot", "is back", func(p status.Process) bool {
				return p.Restarts == n+1 && p.State == status.Running && p.LastEnd.Code == exitcode.TempFail
			})
			if took := p.StartedAt.Sub(p.LastEnd.At); took > 5*time.Second {
				t.Errorf("it was away for %s", took)
			}
			r.waitPolling()
		}
		r.roundTrip(7, "after it")
		neverTwo(t, r.tg)
		stays()
		r.stop()
	})
}

// TestHostileRunDir: somebody who can write RUN_DIR, such as a bot that was taken over, puts something else in the
// place of what is read there. The page answers all the same, and so does init status. A stop is a stop, and no other
// file is written.
func TestHostileRunDir(t *testing.T) {
	t.Parallel()
	for what, plant := range map[string]func(path, victim string) error{
		"pipe":   func(path, _ string) error { return syscall.Mkfifo(path, 0o666) },
		"device": func(path, _ string) error { return os.Symlink("/dev/zero", path) },
		"link":   func(path, victim string) error { return os.Symlink(victim, path) },
		"large":  func(path, _ string) error { return os.WriteFile(path, nil, 0o666) },
	} {
		t.Run(what, func(t *testing.T) {
			// It fails, so that its words are asked for.
			r := newRig(t, "sqlite", "TELEGRAM_BOT_TOKEN=none")
			victim := filepath.Join(r.dir, "victim")
			if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
			put := func(name string) {
				t.Helper()
				path := filepath.Join(r.runDir, name)
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
				if err := plant(path, victim); err != nil {
					t.Fatal(err)
				}
				if what == "large" {
					if err := os.Truncate(path, 1<<40); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := os.MkdirAll(r.runDir, 0o777); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{
				"status.json", "status.json.new", "bot.words", "bot.words.new", "init.sock", "notify-bot.sock",
			} {
				put(name)
			}
			r.start().waitWeb()
			r.waitBot(status.Failed) // so a status was written
			if words := r.process("bot").Words(r.runDir); !strings.Contains(words, "TELEGRAM_BOT_TOKEN") {
				t.Errorf("the bot left no words: %q", words)
			}
			alice := signIn(t, "http://"+r.addr, strings.TrimSpace(lastLine(r.web("operator", "add", "alice"))))
			alice.Timeout = 10 * time.Second
			page := func() string {
				t.Helper()
				answer, err := alice.Get("http://" + r.addr + "/")
				if err != nil {
					t.Fatal(err)
				}
				defer answer.Body.Close()
				b, err := io.ReadAll(answer.Body)
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
			if have := page(); !strings.Contains(have, "TELEGRAM_BOT_TOKEN") {
				t.Errorf("the page does not say why: %s", have)
			}
			for _, name := range []string{"bot.words", "web.json", "bot.json", "status.json"} {
				put(name)
				if have := page(); !strings.Contains(have, "The bot") && !strings.Contains(have, "No bot") {
					t.Errorf("%s: %s", name, have)
				}
				if have := r.initStatus(); !strings.Contains(have, "failed") {
					t.Errorf("%s: init status says %s", name, have)
				}
			}
			for _, p := range r.Tree() {
				kb := peak(t, p.PID)
				t.Logf("%v needed %d kB at most", p.Args, kb)
				if kb > 200<<10 {
					t.Errorf("%v needed %d kB", p.Args, kb)
				}
			}
			began := time.Now()
			r.stop()
			if took := time.Since(began); took > 7*time.Second {
				t.Errorf("the stop took %s", took)
			}
			if b, err := os.ReadFile(victim); err != nil || string(b) != "precious" {
				t.Errorf("another file became %q, %v", b, err)
			}
		})
	}
}

// initStatus is what `init status` says; it does not wait for ever.
func (r *rig) initStatus() string {
	cmd := exec.Command(bin(r.t, "init"), "status")
	cmd.Env = []string{"RUN_DIR=" + r.runDir}
	limit := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer limit.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	return string(out)
}

// peak is how much memory a process has had at most, in kB; 0 for one that has ended.
func peak(t *testing.T, pid int) (kb int) {
	t.Helper()
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			_, _ = fmt.Sscan(text, &kb)
		}
	}
	return kb
}
