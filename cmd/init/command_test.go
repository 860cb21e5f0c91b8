package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tandem/internal/proctest"
)

// commandInit starts `init` with the words given.
func commandInit(t *testing.T, under proctest.Under, words []string, settings ...string) *tandem {
	t.Helper()
	o := proctest.Options{Path: proctest.Bin(t, "init"), Under: under, Args: words, Env: settings}
	return &tandem{proctest.Start(t, o), t, ""}
}

// `init -- COMMAND` is a plain PID 1: all signals are the command's, and none has a meaning of its own.
func TestPlainCommand(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		i := commandInit(t, under, []string{"--", "sh", "-c",
			`setsid sh -c "trap '' TERM; while :; do sleep 1000; done" & exec ` + proctest.Command("reports")},
			"TELEGRAM_X=1", "WEB_X=2", "STOP_TIMEOUT=200ms")
		i.WaitLine(soon, "reporter ready 12")
		i.Signal(syscall.SIGTERM)
		i.WaitLine(soon, "reporter got 15.")
		i.Signal(syscall.SIGUSR1)
		i.WaitLine(soon, "reporter got 10.")
		i.Signal(syscall.SIGHUP)
		i.ends(5) // the stubborn one in its own session included
	})
}

// With one command every signal that can be caught goes to its whole group, or to it alone.
func TestPlainSignals(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		for flag, group := range map[string]bool{"": true, "--single-child": false, "-c": false} {
			words := []string{"--", "sh", "-c",
				proctest.Command("hears", "child") + " & exec " + proctest.Command("hears", "command")}
			if flag != "" {
				words = append([]string{flag}, words...)
			}
			i := commandInit(t, under, words)
			i.WaitLine(soon, "command ready")
			i.WaitLine(soon, "child ready")
			n := 0
			for sig := syscall.Signal(1); sig <= 64; sig++ {
				switch {
				case sig == syscall.SIGKILL, sig == syscall.SIGSTOP, sig == syscall.SIGURG, sig == syscall.SIGPROF,
					sig == syscall.SIGCHLD, sig >= 32 && sig < 35: // init cannot pass them on
					continue
				case sig == syscall.SIGTSTP, sig == syscall.SIGTTIN, sig == syscall.SIGTTOU, sig == syscall.SIGCONT:
					continue // see TestPlainJobControl
				}
				n++
				i.Signal(sig)
				i.WaitLine(soon, fmt.Sprintf("command got %d.", int(sig)))
				if group {
					i.WaitLine(soon, fmt.Sprintf("child got %d.", int(sig)))
				}
			}
			if have := i.Count("child got"); !group && have != 0 || n < 50 {
				t.Errorf("of %d signals the command's child got %d", n, have)
			}
			i.Kill()
		}
	})
}

func TestPlainRewrite(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		i := commandInit(t, under, []string{"--rewrite", "TERM:QUIT", "-r", "10:0", "--rewrite=SIGTSTP:RTMIN+3", "--",
			"sh", "-c", "exec " + proctest.Command("hears", "command")})
		i.WaitLine(soon, "command ready")
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGTSTP} {
			i.Signal(sig)
		}
		for _, want := range []string{"command got 3.", "command got 37."} {
			i.WaitLine(soon, want)
		}
		if under != proctest.PID1 { // one of job control stops init as well, whatever it became
			i.stopped()
		}
		i.Signal(syscall.SIGCONT)
		i.Signal(syscall.SIGUSR2)
		for _, want := range []string{"command got 18.", "command got 12."} {
			i.WaitLine(soon, want)
		}
		if have := i.Count("command got"); have != 4 {
			t.Errorf("%d signals came through: %q", have, i.Lines())
		}
	})
}

// The status is the command's, whichever it is; those given count as 0.
func TestPlainStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		words []string
		code  int
	}{
		{[]string{"--", "sh", "-c", "exit 0"}, 0},
		{[]string{"--", "sh", "-c", "exit 255"}, 255},
		{[]string{"--", "sh", "-c", "kill -9 $$"}, 137},
		{[]string{"-e", "143", "--success-exit", "7", "sh", "-c", "exit 7"}, 0},
		{[]string{"-e", "143", "--", "sh", "-c", "kill -15 $$"}, 0},
		{[]string{"-e", "143", "--", "sh", "-c", "exit 8"}, 8},
		{[]string{"--", "/nowhere"}, 127},
		{[]string{"--", "/etc/passwd"}, 126},
		{[]string{"-g", "--", "--no-flag-of-init"}, 127},
	} {
		both(t, func(t *testing.T, under proctest.Under) {
			i := commandInit(t, under, c.words)
			i.ends(c.code)
		})
	}
}

// The signals of job control stop the command and then init, which as PID 1 cannot be stopped; SIGCONT wakes both.
func TestPlainJobControl(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		i := commandInit(t, under, []string{"--", "sh", "-c", "exec " + proctest.Command("good", "web")})
		i.WaitLine(soon, "web ready")
		states := func() string {
			s := ""
			for _, p := range i.Tree() {
				if p.State != 'T' {
					p.State = 'R' // or asleep
				}
				s += string(p.State)
			}
			return s
		}
		for _, sig := range []syscall.Signal{syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU} {
			want := "TT"
			if under == proctest.PID1 {
				want = "RT"
			}
			i.Signal(sig)
			proctest.Eventually(t, soon, fmt.Sprintf("%s makes %s of %s", sig, want, states()),
				func() bool { return states() == want })
			i.Signal(syscall.SIGCONT)
			proctest.Eventually(t, soon, "all run again", func() bool { return states() == "RR" })
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
	})
}

// stopped waits until init itself is in state T.
func (i *tandem) stopped() {
	i.t.Helper()
	proctest.Eventually(i.t, soon, "init is stopped", func() bool {
		for _, p := range i.Tree() {
			if p.PID == i.PID {
				return p.State == 'T'
			}
		}
		return false
	})
}

// To a group a signal of job control goes as SIGSTOP, which stops also a command that ignores it. To a command alone it
// goes as it is, and one that is dropped by --rewrite does nothing.
func TestPlainJobControlOfAGroup(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		i := commandInit(t, under, []string{"--", "sh", "-c",
			`trap "" TSTP TTIN TTOU; sleep 1000 & echo command ready; wait`})
		i.WaitLine(soon, "command ready")
		suspended := func() (n int) {
			for _, p := range i.Tree() {
				if p.PID != i.PID && p.State == 'T' {
					n++
				}
			}
			return n
		}
		for _, sig := range []syscall.Signal{syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU} {
			i.Signal(sig)
			proctest.Eventually(t, soon, "the group is stopped", func() bool { return suspended() == 2 })
			if under != proctest.PID1 {
				i.stopped()
			}
			i.Signal(syscall.SIGCONT)
			proctest.Eventually(t, soon, "the group goes on", func() bool { return suspended() == 0 })
		}

		alone := commandInit(t, under, []string{"-c", "-rTTOU:0", "--", "sh", "-c",
			proctest.Command("hears", "child") + " & exec " + proctest.Command("hears", "command")})
		alone.WaitLine(soon, "command ready")
		alone.WaitLine(soon, "child ready")
		alone.Signal(syscall.SIGTTOU)
		alone.Signal(syscall.SIGUSR1)
		alone.WaitLine(soon, "command got 10.")
		alone.Signal(syscall.SIGTSTP)
		alone.WaitLine(soon, "command got 20.")
		if under != proctest.PID1 {
			alone.stopped()
		}
		if alone.Count("got 22.") > 0 || alone.Count("child got") > 0 {
			t.Errorf("%q", alone.Lines())
		}
	})
}

// With --single-child the command's end is init's at once. Nobody else is waited for, and nobody gets a signal.
func TestSingleChildLeavesOthers(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		for flag, status := range map[string]int{"-c": 7, "--single-child": 0, "-gcs": 1} {
			i := commandInit(t, under, []string{flag, "--", "sh", "-c", fmt.Sprintf(`go=$(mktemp -u) && mkfifo $go &&
				sh -c 'trap "echo child got TERM" TERM; echo >$0; while :; do sleep 0.1; done' $go &
				read line <$go; rm $go; exit %d`, status)}, "STOP_TIMEOUT=1h")
			if end := i.Wait(soon); end.Code != status {
				t.Errorf("%s: init ended with %+v, want %d", flag, end, status)
			}
			if left := i.Tree(); under == proctest.PID1 != (len(left) == 0) {
				t.Errorf("%s: %v are left", flag, left)
			}
			if i.Count("child got") > 0 {
				t.Errorf("%s: the command's child got a signal", flag)
			}
		}
		// One that cannot be started, beside a child from before: exec keeps children.
		i := &tandem{proctest.Start(t, proctest.Options{Path: "/bin/sh", Under: under, Args: []string{"-c",
			`sleep 1000 & exec "$0" -c -- /nowhere`, proctest.Bin(t, "init")}, Env: []string{"STOP_TIMEOUT=1h"}}), t, ""}
		if end := i.Wait(soon); end.Code != 127 {
			t.Errorf("ended with %+v", end)
		}
	})
}

// The short flags of tini and dumb-init come in bundles, as getopt(3) has them.
func TestBundlesOfFlags(t *testing.T) {
	t.Parallel()
	exits := []string{"sh", "-c", "exit 7"}
	for _, c := range []struct {
		flags []string
		code  int
		says  string
	}{
		{[]string{"-v", "--"}, 7, "process started"}, {[]string{"-vvv"}, 7, "process started"}, {[]string{"-gs"}, 7, ""},
		{[]string{"-e7"}, 0, ""}, {[]string{"-wsge7", "--"}, 0, ""}, {[]string{"-ge", "7"}, 0, ""},
		{[]string{"-pKILL", "-e", "7"}, 0, ""}, {[]string{"-gpSIGTERM"}, 7, ""}, {[]string{"-cr15:3"}, 7, ""},
		{[]string{"-cvr", "TERM:QUIT"}, 7, "process started"},
		{[]string{"-"}, 127, "is not in PATH"}, {[]string{"-g-", "--"}, 64, "unknown flag"},
		{[]string{"-gx"}, 64, `unknown flag \"-x\"`}, {[]string{"-ge256"}, 64, "0 to 255"},
		{[]string{"-h"}, 0, "usage:"}, {[]string{"-gh"}, 0, "usage:"}, {[]string{"-help"}, 0, "usage:"},
		{[]string{"-g", "-help"}, 0, "usage:"}, {[]string{"--help"}, 0, "usage:"},
		{[]string{"-V"}, 0, "init "}, {[]string{"-version"}, 0, "init "}, {[]string{"-g", "--version"}, 0, "init "},
		{[]string{"-l"}, 0, "Apache License"}, {[]string{"-version", "--"}, 0, "init "},
	} {
		i := commandInit(t, proctest.Parent, append(slices.Clone(c.flags), exits...))
		if end := i.Wait(soon); end.Code != c.code {
			t.Errorf("%q: ended with %+v, want %d: %q", c.flags, end, c.code, i.Lines())
		}
		if c.says != "" && i.Count(strings.ReplaceAll(c.says, `\"`, `"`)) == 0 {
			t.Errorf("%q: no %q in %q", c.flags, c.says, i.Lines())
		}
	}
}

// However init was started, the command has no signal blocked; a probe of the test sees what was.
func TestNoSignalIsBlocked(t *testing.T) {
	t.Parallel()
	for _, blocked := range []uint64{
		0, 1 << (syscall.SIGUSR1 - 1), 1<<(syscall.SIGCHLD-1) | 1<<(syscall.SIGSEGV-1),
		1<<(syscall.SIGTERM-1) | 1<<(syscall.SIGUSR2-1), ^uint64(0),
	} {
		words := []string{"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"}
		for _, c := range []struct {
			cmd  *exec.Cmd
			want uint64
		}{
			{exec.Command(words[0], words[1:]...), blocked &^ (1<<(syscall.SIGKILL-1) | 1<<(syscall.SIGSTOP-1))},
			{exec.Command(proctest.Bin(t, "init"), append([]string{"--"}, words...)...), 0},
			{exec.Command(proctest.Bin(t, "init"), append([]string{"-c", "--"}, words...)...), 0},
		} {
			out, err := withMask(blocked, c.cmd)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(out), fmt.Sprintf("SigBlk:\t%016x", c.want)) {
				t.Errorf("%q, started with %016x: %s", c.cmd.Args, blocked, out)
			}
		}
	}
}

// withMask starts cmd from a thread with a signal mask of its own, which a new process inherits.
func withMask(blocked uint64, cmd *exec.Cmd) ([]byte, error) {
	type result struct {
		out []byte
		err error
	}
	done := make(chan result)
	go func() {
		// The thread ends with this goroutine, which stays locked to it.
		runtime.LockOSThread()
		var set unix.Sigset_t
		set.Val[0] = blocked
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, &set, nil); err != nil {
			done <- result{nil, err}
			return
		}
		out, err := cmd.CombinedOutput()
		done <- result{out, err}
	}()
	r := <-done
	return r.out, r.err
}

func TestIgnoredSignalsStayIgnored(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("sh", "-c", `trap "" HUP INT; exec "$0" -- grep SigIgn /proc/self/status`,
		proctest.Bin(t, "init")).CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "3") {
		t.Errorf("%v %s, want SIGHUP and SIGINT ignored", err, out)
	}
}

// The command has its caller's directory and descriptors; init sits in /.
func TestPlainDirectory(t *testing.T) {
	t.Parallel()
	dir := runDir(t, 0)
	i := &tandem{proctest.Start(t, proctest.Options{Path: proctest.Bin(t, "init"), Dir: dir,
		Args: []string{"--", "sh", "-c", `echo "in $(pwd)"; exec sleep 1000`}}), t, ""}
	i.WaitLine(soon, "in "+dir)
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", i.PID)); err != nil || cwd != "/" {
		t.Errorf("init sits in %s: %v", cwd, err)
	}
}

func TestPlainFlags(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		i := commandInit(t, under, []string{"-w", "-s", "--", "sh", "-c",
			`sh -c "sleep 0.01 &"; echo command ready; exec sleep 1000`})
		i.WaitLine(soon, "collected an orphan")
		i.WaitLine(soon, "command ready")
		i.Signal(syscall.SIGTERM)
		i.ends(143)
	})
}

// --pdeathsig: the end of init's parent is a signal for init.
func TestParentDeath(t *testing.T) {
	t.Parallel()
	end := filepath.Join(runDir(t, 0), "end")
	i := &tandem{proctest.Start(t, proctest.Options{Path: "/bin/sh", Args: []string{"-c",
		`"$0" --pdeathsig USR1 -- ` + proctest.Command("hears", "command") + ` & until [ -e "$1" ]; do sleep 0.01; done`,
		proctest.Bin(t, "init"), end}}), t, ""}
	i.WaitLine(soon, "command ready")
	if err := os.WriteFile(end, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	i.WaitLine(soon, "command got 10.")
}

func TestParseCommandFlags(t *testing.T) {
	t.Parallel()
	all, err := parseCommandFlags([]string{"-c", "-g", "--subreaper", "-w", "-p", "KILL", "-r", "15:3",
		"--rewrite=HUP:0", "-e=1", "-e", "2", "a", "-c", "--"})
	want := commandFlags{args: []string{"a", "-c", "--"}, singleChild: true, subreaper: true, warnOnReap: true,
		parentDeath: syscall.SIGKILL,
		rewrite:     map[syscall.Signal]syscall.Signal{15: 3, 1: 0}, success: []int{1, 2}}
	if err != nil || !reflect.DeepEqual(all, want) {
		t.Errorf("have %+v, %v", all, err)
	}
	for words, says := range map[string]string{
		"--": "want a command", "": "want a command", "-c": "want a command", "-x a": "unknown flag", "-r a": "FROM:TO",
		"-r":             "FROM:TO",
		"-r TERM:X -- a": "want the name or the number", "-r X:1 -- a": "want the name or the number",
		"-r KILL:TERM -- a": "SIGKILL", "-r CHLD:0 -- a": "SIGCHLD", "-r URG:0 -- a": "SIGURG",
		"-r RTMIN:0 -- a": "SIGRTMIN", "-e 256 -- a": "0 to 255", "-e x -- a": "0 to 255", "-p x -- a": "want the name",
		"-c=1 -- a": "takes no value", "--single-child=no a": "takes no value",
	} {
		if p, err := parseCommandFlags(strings.Fields(words)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %+v, %v; want %q", words, p, err, says)
		}
	}
}

// shell is a bash at a terminal, under or above init. It says "prompt" when it listens.
type shell struct {
	*tandem
	from int // the line to wait from
}

func startShell(t *testing.T, o proctest.Options) *shell {
	t.Helper()
	o.Terminal = true
	o.Args = append(o.Args, "--norc", "--noprofile", "-i")
	s := &shell{&tandem{proctest.Start(t, o), t, ""}, 0}
	s.Type("stty -echo; PS1= PROMPT_COMMAND=\"echo pro''mpt\"\n")
	s.wait("prompt")
	return s
}

func (s *shell) wait(part string) {
	s.t.Helper()
	_, s.from = s.WaitLineFrom(s.from, soon, part)
}

// A shell as the command has job control, as under `docker run -it`.
func TestTerminalOfAContainer(t *testing.T) {
	t.Parallel()
	s := startShell(t, proctest.Options{Path: proctest.Bin(t, "init"), Under: proctest.PID1, Args: []string{"--", "bash"}})
	s.Type("sh -c 'echo sleeping; exec sleep 1000'\n")
	s.wait("sleeping")
	job := s.Foreground()
	s.Type("\x1a")
	s.wait("Stopped")
	s.wait("prompt")
	s.Type("fg\n")
	proctest.Eventually(t, soon, "the job is in the foreground", func() bool { return s.Foreground() == job })
	s.Type("\x03")
	s.wait("prompt")
	s.Type("echo status $?\n")
	s.wait("status 130")
	if n := s.Count("no job control"); n > 0 {
		t.Errorf("%q", s.Lines())
	}
	s.Type("exit 7\n")
	s.ends(7)
}

// Started from a shell init is its job, and so is the command: Ctrl-Z, fg and Ctrl-C reach both, and a command in the
// background that reads is stopped until it is in the foreground.
func TestTerminalOfAShell(t *testing.T) {
	t.Parallel()
	s := startShell(t, proctest.Options{Path: "/bin/bash", Env: []string{"INIT=" + proctest.Bin(t, "init")}})
	for _, flag := range []string{"", "--single-child "} {
		s.Type("$INIT " + flag + "-- sh -c 'echo started; exec cat'\n")
		s.wait("started")
		s.Type("first\n")
		s.wait("first")
		s.Type("\x1a")
		s.wait("Stopped")
		s.wait("prompt")
		s.Type("fg\n")
		s.wait("INIT") // it names the job
		s.Type("second\n")
		s.wait("second")
		s.Type("\x03")
		s.wait("prompt")
		s.Type("echo status $?\n")
		s.wait("status 130")
		s.wait("prompt")
		s.Type("$INIT " + flag + "-- cat &\n")
		s.wait("prompt")
		proctest.Eventually(t, soon, "cat is stopped for reading", func() bool {
			s.Type("jobs\n")
			s.wait("prompt")
			return strings.Contains(s.Lines()[s.from-2], "Stopped")
		})
		s.Type("fg\n")
		s.wait("-- cat")
		s.Type("third\n")
		s.wait("third")
		s.Type("\x04")
		s.wait("prompt")
		s.Type("echo status $?\n")
		s.wait("status 0")
		s.wait("prompt")
	}
}
