package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"tandem/internal/config"
	"tandem/internal/proctest"
	"tandem/internal/status"
	"tandem/internal/testenv"
)

// confined is a program that says what it is confined to, each line beginning with its name, then what more does and
// then "NAME shown". It is a shell, because another user may not execute the test.
func confined(name, more string) string {
	return `sh -c 'can() { (: >> "$1") 2>/dev/null; }
		grep -E "^(Uid|Gid|Groups|Cap...|NoNewPrivs|SigBlk|SigIgn)" /proc/self/status |
			while read -r k v; do echo "` + name + `:" $k $v; done
		echo "` + name + `: nofile $(ulimit -Sn) $(ulimit -Hn)"; echo "` + name + `: oom $(cat /proc/self/oom_score_adj)"
		echo "` + name + `: home $HOME memory $GOMEMLIMIT"; ` + more + `
		echo ` + name + ` shown; exec sleep 1000'`
}

func (i *tandem) wants(lines ...string) {
	i.t.Helper()
	have := i.Lines()
	for _, want := range lines {
		if !slices.Contains(have, want) {
			i.t.Errorf("no line %q in %q", want, have)
		}
	}
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		testenv.Missing(t, "only root can start a program as another user")
	}
}

// Edges 21 and 48 for processes that run as a user each, under an init that is root: they have that user's groups and
// no privilege, the same limits and signals as without, reach what they need in RUN_DIR and nothing of one another.
func TestAUserEach(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	const secret = "12345:very-secret"
	both(t, func(t *testing.T, under proctest.Under) {
		spy := `for f in /proc/[0-9]*/environ /proc/[0-9]*/maps; do
				grep -q very[-]secret $f 2>/dev/null && echo "LEAK in $f"
			done
			until [ -e $RUN_DIR/go ]; do sleep 0.05; done
			for f in /proc/[0-9]*/environ; do grep -q very[-]secret $f 2>/dev/null && echo "LEAK in $f"; done
			grep -q "\"name\":\"web\"" $RUN_DIR/status.json && echo "web: reads the status"
			for f in status.json bot.lock init.lock bot.words; do can $RUN_DIR/$f && echo "WEB WRITES $f"; done
			can $RUN_DIR/new && echo "WEB MAKES FILES"; kill -0 $PPID 2>/dev/null && echo "WEB MAY KILL INIT"`
		bot := `[ -e /proc/self/fd/3 ] && [ /proc/self/fd/3 -ef $POLL_LOCK_FILE ] && echo "bot: has the lock"
			can $POLL_LOCK_FILE && echo "bot: may open the lock"
			can $RUN_DIR/bot.words && echo "bot: may leave words"
			for f in status.json init.lock init.sock; do can $RUN_DIR/$f && echo "BOT WRITES $f"; done`
		i := start(t, under, confined("web", spy), confined("bot", bot),
			"WEB_USER=65532", "BOT_USER=1234:4321", "TELEGRAM_BOT_TOKEN="+secret, "WEB_SUCCESS_EXIT=143", "LOG_LEVEL=debug")
		i.WaitLine(soon, "bot shown")
		i.awaitState("bot", status.Running)
		if err := os.WriteFile(filepath.Join(i.dir, "go"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		i.WaitLine(soon, "web shown")
		none := func(name string) []string {
			var lines []string
			for _, set := range []string{"Inh", "Prm", "Eff", "Bnd", "Amb"} {
				lines = append(lines, name+": Cap"+set+": 0000000000000000")
			}
			return append(lines, name+": NoNewPrivs: 1", name+": SigBlk: 0000000000000000", name+": SigIgn: 0000000000000000")
		}
		i.wants(none("web")...)
		i.wants(none("bot")...)
		i.wants("web: Uid: 65532 65532 65532 65532", "web: Gid: 65532 65532 65532 65532", "web: Groups: 65532",
			"web: reads the status",
			"bot: Uid: 1234 1234 1234 1234", "bot: Gid: 4321 4321 4321 4321", "bot: Groups: 4321",
			"bot: has the lock", "bot: may open the lock", "bot: may leave words")
		for _, line := range i.Lines() {
			if strings.HasPrefix(line, "LEAK") || strings.HasPrefix(line, "WEB ") || strings.HasPrefix(line, "BOT ") {
				t.Error(line)
			}
		}
		for name, want := range map[string]string{"status.json": "644 0 0", "init.sock": "600 0 0",
			"bot.words": "644 1234 0", "bot.lock": "660 0 4321"} {
			var st syscall.Stat_t
			err := syscall.Stat(filepath.Join(i.dir, name), &st)
			if have := fmt.Sprintf("%o %d %d", st.Mode&0o777, st.Uid, st.Gid); err != nil || have != want {
				t.Errorf("%s: %s, want %s (%v)", name, have, want, err)
			}
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
	})
}

// The parent-death signal outlives the change of user, which clears it.
func TestUsersDieWithInit(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	i := start(t, proctest.Parent, confined("web", ""), confined("bot", ""), "WEB_USER=65532", "BOT_USER=65533")
	i.WaitLine(soon, "web shown")
	i.WaitLine(soon, "bot shown")
	i.Signal(syscall.SIGKILL)
	i.Wait(soon)
	proctest.Eventually(t, soon, "both have gone", func() bool { return len(i.Tree()) == 0 })
}

// The rest of the limits, one each, and for an init that is not root those that need no privilege.
func TestLimitsOfProcesses(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	dir := runDir(t, 0)
	os.Chmod(dir, 0o755)
	for name, c := range map[string]struct {
		user     int // of init
		settings []string
		want     []string
	}{
		"capabilities": {0, []string{"WEB_CAPABILITIES=CAP_NET_BIND_SERVICE,chown", "BOT_CAPABILITIES=none"},
			[]string{"web: CapEff: 0000000000000401", "web: CapBnd: 0000000000000401", "web: NoNewPrivs: 1", "web: Uid: 0 0 0 0",
				"bot: CapEff: 0000000000000000", "bot: CapBnd: 0000000000000000"}},
		"a user's capability": {0, []string{"WEB_USER=65532", "WEB_CAPABILITIES=NET_BIND_SERVICE"},
			[]string{"web: CapEff: 0000000000000400", "web: CapBnd: 0000000000000400", "web: CapPrm: 0000000000000400",
				"bot: NoNewPrivs: 0"}},
		"privileges may come back": {0, []string{"BOT_USER=65532", "BOT_NO_NEW_PRIVS=false"},
			[]string{"bot: NoNewPrivs: 0", "bot: CapBnd: 0000000000000000"}},
		"names": {0, []string{"WEB_USER=root", "BOT_USER=daemon"},
			[]string{"web: Uid: 0 0 0 0", "web: home /root memory ", "bot: Uid: 1 1 1 1", "bot: home /usr/sbin memory "}},
		"files": {0, []string{"WEB_NOFILE=64", "BOT_NOFILE=32"},
			[]string{"web: nofile 64 64", "bot: nofile 32 32", "bot: NoNewPrivs: 0"}},
		"not root": {65532, []string{"WEB_NO_NEW_PRIVS=true", "BOT_NOFILE=32", "BOT_USER=65532:65532",
			"BOT_CAPABILITIES=none"},
			[]string{"web: NoNewPrivs: 1", "bot: nofile 32 32", "bot: NoNewPrivs: 1", "bot: CapEff: 0000000000000000"}},
	} {
		i := startWith(t, proctest.Options{Under: proctest.PID1, User: c.user}, confined("web", ""), confined("bot", ""),
			c.settings...)
		i.WaitLine(soon, "web shown")
		i.WaitLine(soon, "bot shown")
		have := i.Lines()
		for _, want := range c.want {
			if !slices.Contains(have, want) {
				t.Errorf("%s: no line %q in %q", name, want, have)
			}
		}
		i.Signal(syscall.SIGKILL)
	}
}

// What cannot be done is said before anything starts: web's ends init, the bot's makes the bot failed.
func TestLimitsThatCannotBe(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	for value, says := range map[string]string{
		"USER=nobody-of-this-name": "no user", "USER=0:no-such-group": "no group", "USER=-1": "no user",
		"CAPABILITIES=FLY": "no capability",
		"NOFILE=many":      "number of open files", "NOFILE=3": "from 16 on", "NO_NEW_PRIVS=perhaps": "true or false",
		"STOP_SIGNAL=STOPP": "signal", "STOP_SIGNAL=KILL": "no program can obey",
	} {
		name, _, _ := strings.Cut(value, "=")
		i := start(t, proctest.Parent, goodWeb, goodBot, "BOT_"+value)
		if p := i.awaitState("bot", status.Failed); !strings.Contains(p.Reason, "BOT_"+name) ||
			!strings.Contains(p.Reason, says) {
			t.Errorf("%s: %+v", value, p)
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
		i = start(t, proctest.Parent, "true", goodBot, "WEB_"+value)
		i.ends(64)
		i.WaitLine(soon, "nothing was started", "WEB_"+name, says)
	}
	for setting, says := range map[string]string{
		"WEB_USER=1234": "docker run --user 0", "WEB_CAPABILITIES=NET_ADMIN": "does not have",
		"WEB_NOFILE=2000000000": "--ulimit",
	} {
		i := startWith(t, proctest.Options{Under: proctest.PID1, User: 65532}, "true", plainBot, setting)
		i.ends(64)
		i.WaitLine(soon, "nothing was started", says)
	}
}

// A bot that its user may not execute fails as one that nobody may.
func TestUserMayNotExecute(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	file := filepath.Join(runDir(t, 0), "bot")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	i := start(t, proctest.PID1, goodWeb, file, "BOT_USER=65532")
	if p := i.awaitState("bot", status.Failed); !strings.Contains(p.Reason, "user 65532 may not execute") ||
		p.LastEnd == nil || p.LastEnd.Code != 126 {
		t.Errorf("%+v", p)
	}
	i.Signal(syscall.SIGTERM)
	i.ends(0)
}

// obeys ends in order at the signal whose number is its second argument, and at SIGTERM with 9.
func obeys(args []string) {
	n, _ := strconv.Atoi(args[1])
	stop, term := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(stop, syscall.Signal(n))
	signal.Notify(term, syscall.SIGTERM)
	fmt.Println(args[0], "ready")
	select {
	case <-stop:
		fmt.Println(args[0], "drains")
	case <-term:
		os.Exit(9)
	}
}

func TestStopSignals(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		i := start(t, under, proctest.Command("obeys", "web", "3"), proctest.Command("obeys", "bot", "36"),
			"WEB_STOP_SIGNAL=quit", "BOT_STOP_SIGNAL=SIGRTMIN+2")
		i.WaitLine(soon, "web ready")
		i.WaitLine(soon, "bot ready")
		if out, err := i.init("restart", "bot"); err != nil {
			t.Errorf("%v %s", err, out)
		}
		i.WaitLine(soon, "bot drains")
		proctest.Eventually(t, soon, "the bot is ready again", func() bool { return i.Count("bot ready") == 2 })
		i.Signal(syscall.SIGTERM)
		i.ends(0)
		i.WaitLine(soon, "web drains")
		if n := i.Count("bot drains"); n != 2 {
			t.Errorf("the bot drained %d times", n)
		}
	})
}

// Edge 21: web has the score that init was given, the bot 500 more, with and without privilege, and init keeps its own.
func TestOOMScores(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	for _, user := range []int{0, 65532} {
		i := startWith(t, proctest.Options{Under: proctest.PID1, User: user}, confined("web", ""), confined("bot", ""),
			"BOT_RESTART_DELAY=1ms")
		i.WaitLine(soon, "web shown")
		i.WaitLine(soon, "bot shown")
		bot := i.awaitState("bot", status.Running) // then init has its own score back, which it changed for the start
		own := score(t, os.Getpid())
		i.wants(fmt.Sprintf("web: oom %d", own), fmt.Sprintf("bot: oom %d", min(own+500, 1000)))
		if have := score(t, i.PID); have != own {
			t.Errorf("init has %d, was given %d", have, own)
		}
		kill(t, i, bot.PID)
		proctest.Eventually(t, soon, "the bot is started again", func() bool { return i.Count("bot shown") == 2 })
		if n := i.Count(fmt.Sprintf("bot: oom %d", min(own+500, 1000))); n != 2 {
			t.Errorf("the second bot has another score: %q", i.Lines())
		}
		i.Signal(syscall.SIGKILL)
	}
}

func score(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestShareMemory(t *testing.T) {
	t.Parallel()
	read := func(m mode, environ ...string) [2]string {
		s, err := readSettings(m, append(environ, "RUN_DIR="+t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		s.shareMemory(1 << 30)
		var have [2]string
		for id := range have {
			for _, line := range s.env[id] {
				if v, ok := strings.CutPrefix(line, "GOMEMLIMIT="); ok {
					have[id] = v
				}
			}
		}
		return have
	}
	for name, c := range map[string]struct{ have, want [2]string }{
		"the pair":         {read(pair), [2]string{"512MiB", "409MiB"}},
		"no bot":           {read(pair, "ENABLE_TELEGRAM_BOT=no"), [2]string{"921MiB", ""}},
		"web alone":        {read(webOnly), [2]string{"921MiB", ""}},
		"bot alone":        {read(botOnly), [2]string{"", "921MiB"}},
		"told already":     {read(pair, "GOMEMLIMIT=50MiB"), [2]string{"50MiB", "50MiB"}},
		"told by emptying": {read(pair, "GOMEMLIMIT="), [2]string{"512MiB", "409MiB"}},
	} {
		if c.have != c.want {
			t.Errorf("%s: %q, want %q", name, c.have, c.want)
		}
	}
	s, err := readSettings(pair, []string{"RUN_DIR=" + t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int64{0, 32 << 20} { // none, and one that is too small to share
		if s.shareMemory(limit); config.New(s.env[0]).String("GOMEMLIMIT", "") != "" {
			t.Errorf("%d bytes were shared out", limit)
		}
	}
}

// In a user namespace that was made without privilege, init's own user is one that a process can have, and another is
// refused with the reason.
func TestUsersInAUserNamespace(t *testing.T) {
	t.Parallel()
	run := func(settings ...string) *tandem {
		dir := runDir(t, 0)
		o := proctest.Options{Path: "/usr/bin/unshare", Args: []string{"-Urpf", "--mount-proc", "--kill-child",
			proctest.Bin(t, "init")}, Env: append([]string{"RUN_DIR=" + dir, "BOT_COMMAND=sleep 1000",
			"WEB_COMMAND=" + confined("web", "")}, settings...)}
		return &tandem{proctest.Start(t, o), t, dir}
	}
	if out, err := exec.Command("unshare", "-Ur", "true").CombinedOutput(); err != nil {
		testenv.Untested(t, "this kernel lets the test make no user namespace: "+string(out))
	}
	for _, user := range []string{"root", "0", "0:0"} {
		i := run("WEB_USER="+user, "BOT_USER="+user)
		i.WaitLine(soon, "web shown")
		i.wants("web: Uid: 0 0 0 0")
		i.awaitState("bot", status.Running)
	}
	i := run("WEB_USER=1000")
	if end := i.Wait(soon); end.Code != 64 {
		t.Errorf("ended with %+v", end)
	}
	i.WaitLine(soon, "WEB_USER", "user namespace")
}
