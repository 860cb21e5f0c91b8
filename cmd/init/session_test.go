package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/proctest"
	"tandem/internal/status"
)

// touchesTerminal reads from the terminal that controls it, if it has one. In the background of one it would be
// stopped for ever (state T).
func touchesTerminal(name string) string {
	return `sh -c '(read x </dev/tty; stty -F /dev/tty tostop) 2>/dev/null; echo ` + name + ` ready; exec sleep 1000'`
}

// A terminal of the container is init's alone: web and bot have a session of their own, which no terminal controls.
// Nothing that they do with it stops them, and Ctrl-C is a stop of init.
func TestThePairHasNoTerminal(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		for _, mode := range []string{"", "web", "bot"} {
			o := proctest.Options{Under: under, Terminal: true, Args: strings.Fields(mode)}
			i := startWith(t, o, touchesTerminal("web"), touchesTerminal("bot"),
				"WEB_SUCCESS_EXIT=143", "STOP_TIMEOUT=1m")
			for _, name := range []string{"web", "bot"} {
				if mode != "" && mode != name {
					continue
				}
				i.WaitLine(soon, name+" ready")
				p := i.awaitState(name, status.Running)
				if q, ok := i.Find(p.PID); !ok || q.SID != q.PID || q.PGID != q.PID || q.State == 'T' {
					t.Errorf("%s is %v, want it to lead a session of its own", name, q)
				}
			}
			if i.Foreground() == 0 {
				t.Error("init has lost its terminal")
			}
			began := time.Now()
			i.Type("\x03")
			i.ends(0)
			takes(t, began, 0, 10*time.Second)
		}
	})
}

// Ctrl-C reaches init alone, which passes it on as SIGTERM.
func TestCtrlCIsInits(t *testing.T) {
	t.Parallel()
	hears := func(name string) string { return proctest.Command("hears", name) }
	both(t, func(t *testing.T, under proctest.Under) {
		i := startWith(t, proctest.Options{Under: under, Terminal: true}, hears("web"), hears("bot"), "STOP_TIMEOUT=500ms")
		i.WaitLine(soon, "web ready")
		i.WaitLine(soon, "bot ready")
		i.Type("\x03")
		i.WaitLine(soon, "web got 15.")
		i.WaitLine(soon, "bot got 15.")
		i.ends(137)
		if n := i.Count("got 2."); n > 0 {
			t.Errorf("Ctrl-C reached others, too: %q", i.Lines())
		}
	})
}

// A web that opens by name a terminal that controls nobody has it from then on. A child of its that is stopped there
// keeps no stop.
func TestATerminalThatWebTakes(t *testing.T) {
	t.Parallel()
	web := "python3 -c '" + `import os, signal, time
screen, line = os.openpty()
os.open(os.ttyname(line), os.O_RDWR)
os.open("/dev/tty", os.O_RDWR)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    signal.signal(signal.SIGHUP, lambda n, f: None)
    signal.signal(signal.SIGTERM, lambda n, f: os._exit(0))
    os.read(line, 1)
    time.sleep(1000)
os.waitid(os.P_PID, child, os.WSTOPPED)
print("web ready", flush=True)
time.sleep(1000)` + "'"
	both(t, func(t *testing.T, under proctest.Under) {
		i := start(t, under, web, goodBot, "WEB_SUCCESS_EXIT=143", "STOP_TIMEOUT=1m")
		i.WaitLine(soon, "web ready")
		i.WaitLine(soon, "bot ready")
		began := time.Now()
		i.Signal(syscall.SIGTERM)
		i.ends(0)
		takes(t, began, 0, 10*time.Second)
	})
}

// suspend stops the leader of name by a signal and waits until the status says so.
func (i *tandem) suspend(name string) {
	i.t.Helper()
	p := i.await(name, "runs", func(p status.Process) bool { return p.PID != 0 })
	q, ok := i.Find(p.PID)
	if !ok {
		i.t.Fatalf("there is no %s: %+v", name, p)
	}
	proctest.Freeze(i.t, q.PID)
	if p := i.awaitState(name, status.Suspended); p.PID == 0 || !strings.Contains(p.Reason, "SIGSTOP") {
		i.t.Errorf("%s is suspended, and the status says %+v", name, p)
	}
}

// A process in state T is shown as such, and runs again when somebody wakes it.
func TestASuspendedProcessIsShown(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		i := start(t, under, goodWeb, goodBot)
		i.WaitLine(soon, "bot ready")
		for _, name := range []string{"web", "bot", "web"} {
			i.suspend(name)
			if out, err := i.init("status", name); err != nil || !strings.Contains(out, "suspended") {
				t.Errorf("init status: %v %s", err, out)
			}
			if name == "bot" {
				if out, err := i.init("start", "bot"); code(err) != 75 || !strings.Contains(out, "SIGCONT") {
					t.Errorf("init start ended with %d: %s", code(err), out)
				}
			}
			s, _ := i.readStatus()
			p, _ := s.Process(name)
			q, _ := i.Find(p.PID)
			if err := syscall.Kill(q.PID, syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			if p := i.awaitState(name, status.Running); p.Reason != "" || p.Restarts != 0 {
				t.Errorf("%s runs again: %+v", name, p)
			}
		}
		i.Signal(syscall.SIGTERM)
		i.ends(0)
		if i.Count("process is suspended", `"web"`) != 2 || i.Count("process goes on", `"bot"`) != 1 {
			t.Errorf("the log does not tell of it: %q", i.Lines())
		}
	})
}

// SIGCONT goes out with every stop, so that what is suspended can obey: leaders, members of their groups, and what has
// left them.
func TestWhatIsSuspendedCanStop(t *testing.T) {
	t.Parallel()
	// A leader whose child is suspended, of its group or in a session of its own, and ends by SIGTERM.
	child := func(name, how string) string {
		return fmt.Sprintf(`sh -c '%s sh -c "kill -STOP \$\$; exec sleep 1000" 3<&- & `+
			`until grep -q "State:.T" /proc/$!/status; do sleep 0.01; done; echo %s ready; exec sleep 1000'`, how, name)
	}
	both(t, func(t *testing.T, under proctest.Under) {
		for _, how := range []string{"", "setsid"} {
			i := start(t, under, child("web", how), child("bot", how), "WEB_SUCCESS_EXIT=143", "STOP_TIMEOUT=1m")
			i.WaitLine(soon, "web ready")
			i.WaitLine(soon, "bot ready")
			for _, c := range []struct{ suspended, verb, name string }{
				{"", "restart", "bot"}, {"bot", "restart", "bot"}, {"web", "restart", "web"}, {"bot", "stop", "bot"},
				{"", "start", "bot"},
			} {
				if c.suspended != "" {
					i.suspend(c.suspended)
				}
				began := time.Now()
				if out, err := i.init(c.verb, c.name); err != nil {
					t.Fatalf("init %s %s, with %q suspended: %v %s", c.verb, c.name, c.suspended, err, out)
				}
				takes(t, began, 0, 20*time.Second)
			}
			i.suspend("bot")
			i.suspend("web")
			began := time.Now()
			i.Signal(syscall.SIGTERM)
			i.ends(0)
			takes(t, began, 0, 10*time.Second)
		}
	})
}
