package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/proctest"
	"tandem/internal/status"
)

// `init status` shows every init that it finds: in a Pod init web and init bot share RUN_DIR, each PID 1 of its
// container.
func TestStatusOfTwoInits(t *testing.T) {
	t.Parallel()
	dir := runDir(t, 0)
	of := func(name, command string) *tandem {
		t.Helper()
		env := []string{"RUN_DIR=" + dir, "TERMINATION_LOG=" + dir + "/none", strings.ToUpper(name) + "_COMMAND=" + command}
		return &tandem{proctest.Start(t,
			proctest.Options{Path: proctest.Bin(t, "init"), Args: []string{name}, Under: proctest.PID1, Env: env}), t, dir}
	}
	web := of("web", goodWeb)
	web.WaitLine(soon, "web ready")
	shape := func(out string) map[string]json.RawMessage {
		t.Helper()
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(out), &members); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		return members
	}
	say := func(want int, args ...string) string {
		t.Helper()
		out, err := web.init(append([]string{"status"}, args...)...)
		if code(err) != want {
			t.Errorf("init status %q ended with %d, want %d: %s", args, code(err), want, out)
		}
		return out
	}
	if m := shape(say(0, "--json")); m["inits"] != nil || len(m) != 3 { // no bot, no lock
		t.Errorf("of one init: %s", m)
	}

	bot := of("bot", goodBot)
	bot.WaitLine(soon, "bot ready")
	table := say(0)
	for _, line := range []string{"web   running", "bot   running", "lock  " + dir + "/bot.lock: held by this bot",
		"orphans reaped (of web)", "orphans reaped (of bot)"} {
		if strings.Count(table, line) != 1 {
			t.Errorf("%q is not once in\n%s", line, table)
		}
	}
	var together struct {
		status.Status
		Inits []status.Status `json:"inits"`
	}
	out := say(0, "--json")
	if err := json.Unmarshal([]byte(out), &together); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	var names []string
	for _, p := range together.Processes {
		names = append(names, p.Name+" "+string(p.State))
	}
	if have := strings.Join(names, ", "); have != "web running, bot running" || together.Lock == nil ||
		!together.Lock.Held || len(together.Inits) != 2 {
		t.Errorf("of two inits: %s", out)
	}
	for i, s := range together.Inits {
		if len(s.Processes) != 1 || s.Processes[0].Name != []string{"web", "bot"}[i] || s.Init.PID != 1 ||
			(s.Lock != nil) != (i == 1) {
			t.Errorf("of two inits: %+v", s)
		}
	}
	for _, name := range []string{"web", "bot"} { // with a name it is the shape of one
		if m := shape(say(0, name, "--json")); m["inits"] != nil || m["init"] == nil {
			t.Errorf("of %s: %s", name, m)
		}
		if strings.Contains(say(0, name), map[string]string{"web": "bot   ", "bot": "web   "}[name]) {
			t.Errorf("of %s: the other one is shown", name)
		}
	}

	// One that does not report is said to be there; the other one's probe does not care.
	web.Freeze()
	if out := say(1); !strings.Contains(out, "bot   running") || !strings.Contains(out, "does not answer") {
		t.Errorf("while one hangs: %s", out)
	}
	quickest := time.Hour
	for range 3 { // a busy machine may have none to give
		began := time.Now()
		say(0, "bot")
		quickest = min(quickest, time.Since(began))
	}
	if quickest > 4*time.Second {
		t.Errorf("the probe of the other one took %s", quickest)
	}
	web.Signal(syscall.SIGCONT)
	for _, i := range []*tandem{bot, web} {
		i.Signal(syscall.SIGTERM)
		i.ends(0)
	}
	say(1)
}

// A socket that somebody puts in the place of init's may say as much as it likes, or something now and then.
func TestStatusOfAFalseInit(t *testing.T) {
	t.Parallel()
	for name, speak := range map[string]func(c net.Conn) error{
		"without end": func(c net.Conn) error { _, err := c.Write(make([]byte, 1<<16)); return err },
		"in drops": func(c net.Conn) error {
			_, err := c.Write([]byte(" "))
			time.Sleep(100 * time.Millisecond)
			return err
		},
		"no JSON": func(c net.Conn) error { _, _ = c.Write([]byte("[]\n")); return os.ErrClosed },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := runDir(t, 0)
			l, err := net.Listen("unix", filepath.Join(dir, "init.sock"))
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					for speak(c) == nil {
					}
					c.Close()
				}
			}()
			began := time.Now()
			out, err := (&tandem{nil, t, dir}).init("status")
			if code(err) != 1 || !strings.Contains(out, "init does not tell its status") {
				t.Errorf("ended with %d: %s", code(err), out)
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("it took %s", took)
			}
			l.Close()
			<-done
		})
	}
}

// What somebody has put into RUN_DIR before init comes, or puts there later, changes nothing but what is said of it.
func TestPlantedRunDir(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		dir := runDir(t, 0)
		victim := filepath.Join(runDir(t, 0), "victim")
		if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		for name, plant := range map[string]func(path string) error{
			"status.json":     func(p string) error { return syscall.Mkfifo(p, 0o600) },
			"status.json.new": func(p string) error { return os.Symlink(victim, p) },
			"init.sock":       func(p string) error { return os.Symlink(victim, p) },
			"notify-bot.sock": func(p string) error { return syscall.Mkfifo(p, 0o600) },
			"bot.words":       func(p string) error { return os.Symlink("/dev/zero", p) },
			"web.json":        func(p string) error { return os.Symlink("/dev/zero", p) },
			"bot.json":        func(p string) error { return syscall.Mkfifo(p, 0o600) },
			"web.words":       func(p string) error { return syscall.Mkfifo(p, 0o600) },
		} {
			if err := plant(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		log := filepath.Join(dir, "log")
		if err := os.Symlink(victim, log); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		i := start(t, under, goodWeb, `sh -c 'exit 78'`, "RUN_DIR="+dir, "TERMINATION_LOG="+log)
		i.awaitState("bot", status.Failed)
		i.WaitLine(soon, "others can write RUN_DIR", dir)
		if n := i.Count("others can write RUN_DIR"); n != 1 {
			t.Errorf("it is said %d times", n)
		}
		if out, err := i.init("status"); err != nil || !strings.Contains(out, "failed") {
			t.Errorf("init status: %v %s", err, out)
		}
		// The directory is moved away, and a link to another one has its name.
		other := runDir(t, 0)
		if err := os.WriteFile(filepath.Join(other, "status.json"), []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir, dir+".moved"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir + ".moved") })
		if err := os.Symlink(other, dir); err != nil {
			t.Fatal(err)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
		for _, path := range []string{victim, filepath.Join(other, "status.json")} {
			if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
				t.Errorf("%s became %q, %v", path, b, err)
			}
		}
		if _, err := os.Lstat(filepath.Join(dir+".moved", "status.json")); !os.IsNotExist(err) {
			t.Errorf("what init owned was not removed: %v", err)
		}
	})
}

// Last words are for a file that is there for them: what is larger than they can be, or no file, is left alone, and
// nothing waits.
func TestLastWordsOnlyWhereTheyBelong(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(path string) error{
		"a pipe":       func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"a device":     func(p string) error { return os.Symlink("/dev/full", p) },
		"a large file": func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("x", 5000)), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			log := filepath.Join(runDir(t, 0), "log")
			if err := plant(log); err != nil {
				t.Fatal(err)
			}
			before, _ := os.Lstat(log)
			i := start(t, proctest.PID1, goodWeb, goodBot, "TERMINATION_LOG="+log)
			i.Signal(syscall.SIGTERM)
			i.ends(0)
			if after, err := os.Lstat(log); err != nil || after.Size() != before.Size() || after.Mode() != before.Mode() ||
				!after.ModTime().Equal(before.ModTime()) {
				t.Errorf("was %v, is %v, %v", before, after, err)
			}
		})
	}
}
