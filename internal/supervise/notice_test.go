package supervise

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/sdnotify"
	"tandem/internal/status"
)

// listening is a pair of which both are listened to, with the bot just started.
func listening(t *testing.T, change func(*Config)) *sim {
	m := newSim(t, func(c *Config) {
		c.Notify = [count]bool{true, true}
		c.StartTimeout, c.Watchdog = time.Minute, 2*time.Minute
		if change != nil {
			change(c)
		}
	})
	m.do(LockTaken{m.s.Wish})
	m.actions = nil
	return m
}

// says has the process ID say something.
func (m *sim) says(id ID, n sdnotify.Notice) {
	m.t.Helper()
	m.do(Noticed{ID: id, PID: m.s.Procs[id].PID, Notice: n})
}

var (
	ready = sdnotify.Notice{Ready: true}
	alive = sdnotify.Notice{Watchdog: true}
)

func TestReadiness(t *testing.T) {
	m := listening(t, nil)
	m.want(Web, status.Starting)
	m.want(Bot, status.Starting)
	m.says(Web, ready)
	m.want(Web, status.Running)
	m.says(Bot, sdnotify.Notice{HasStatus: true, Status: "reads the book"})
	m.want(Bot, status.Starting)
	m.says(Bot, ready)
	m.want(Bot, status.Running)
	if text := m.s.View(m.c)[Bot].StatusText; text != "reads the book" {
		t.Errorf("status text %q", text)
	}
	m.wantActions() // what is said moves nothing

	m.do(Ask{"restart", Bot}) // what one run said is not the next one's
	m.says(Bot, sdnotify.Notice{HasStatus: true, Status: "last words"})
	m.want(Bot, status.Stopping)
	m.end(Bot, 0, 0)
	m.after(handOverWait)
	m.do(LockTaken{m.s.Wish})
	m.want(Bot, status.Starting)
	if text := m.s.View(m.c)[Bot].StatusText; text != "" {
		t.Errorf("status text %q", text)
	}
}

// Who is not listened to runs at once, and what comes in its name changes nothing.
func TestWhoIsNotListenedTo(t *testing.T) {
	m := running(t)
	before := m.s
	all := sdnotify.Notice{Ready: true, Stopping: true, Watchdog: true, Trigger: true, StandBy: true,
		ExtendBy: time.Hour, HasStatus: true, Status: "x"}
	m.says(Web, all)
	m.says(Bot, all)
	if m.s != before || !m.s.Next().IsZero() {
		t.Errorf("have %+v", m.s.Procs)
	}
	m = listening(t, nil)
	before = m.s
	m.do(Noticed{ID: Bot, PID: 99, Notice: all}) // a predecessor of it
	if m.s != before {
		t.Errorf("have %+v", m.s.Procs)
	}
}

func TestStandbyThatTheBotSays(t *testing.T) {
	m := listening(t, nil)
	m.says(Bot, sdnotify.Notice{Ready: true, StandBy: true, HasStatus: true, Status: "another bot has the lock"})
	m.want(Bot, status.Standby)
	if p := m.s.View(m.c)[Bot]; p.Reason != "another bot has the lock" || p.PID == 0 {
		t.Errorf("have %+v", p)
	}
	m.says(Bot, sdnotify.Notice{StandByOver: true, HasStatus: true, Status: "polls"})
	m.want(Bot, status.Running)
	m.says(Web, sdnotify.Notice{Ready: true, StandBy: true})
	m.want(Web, status.Running) // only the bot can stand by
}

func TestStartTimeout(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		says   func(*sim)
		ends   time.Duration // 0 for never
	}{
		"says nothing":       {nil, func(*sim) {}, time.Minute},
		"only signs of life": {nil, func(m *sim) { m.says(Bot, alive) }, time.Minute},
		"wants longer": {nil, func(m *sim) { m.says(Bot, sdnotify.Notice{ExtendBy: 3 * time.Minute}) },
			3 * time.Minute},
		"wants less":         {nil, func(m *sim) { m.says(Bot, sdnotify.Notice{ExtendBy: time.Second}) }, time.Minute},
		"no limit":           {func(c *Config) { c.StartTimeout = 0 }, func(*sim) {}, 0},
		"ready, no watchdog": {func(c *Config) { c.Watchdog = 0 }, func(m *sim) { m.says(Bot, ready) }, 0},
		"ready, then silent": {nil, func(m *sim) { m.says(Bot, ready) }, 2 * time.Minute},
		"standby, then silent": {nil, func(m *sim) { m.says(Bot, sdnotify.Notice{Ready: true, StandBy: true}) },
			2 * time.Minute},
		"says that it hangs": {nil, func(m *sim) { m.says(Bot, sdnotify.Notice{Trigger: true}) }, time.Nanosecond},
		"stops by itself": {nil, func(m *sim) { m.says(Bot, sdnotify.Notice{Ready: true, Stopping: true}) },
			8 * time.Second},
	} {
		m := listening(t, c.change)
		c.says(m)
		if c.ends == 0 {
			m.after(24 * time.Hour)
			m.wantPhase(Bot, Alive)
			continue
		}
		m.after(c.ends - time.Nanosecond)
		if name != "says that it hangs" {
			m.wantPhase(Bot, Alive)
			m.wantActions()
		}
		m.after(time.Nanosecond)
		m.wantPhase(Bot, Ending)
		m.wantActions("Send{1 terminated}", "Send{1 continued}")
		if reason := m.s.Procs[Bot].Reason; !strings.HasPrefix(reason, "hung") {
			t.Errorf("%s: %q", name, reason)
		}
		m.wantPhase(Web, Alive)
	}
}

func TestWatchdog(t *testing.T) {
	m := listening(t, nil)
	m.says(Bot, ready)
	for range 10 {
		m.after(2*time.Minute - time.Nanosecond)
		m.says(Bot, alive)
	}
	m.want(Bot, status.Running)
	m.wantActions()
	m.after(2 * time.Minute)
	m.wantActions("Send{1 terminated}", "Send{1 continued}")
	m.says(Bot, alive) // too late
	m.want(Bot, status.Stopping)
	m.after(8 * time.Second) // it ignores SIGTERM
	m.wantActions("SendGroup{1 killed}")
	m.end(Bot, 137, syscall.SIGKILL)
	p := m.s.View(m.c)[Bot]
	if p.State != status.Waiting || !strings.Contains(p.Reason, "hung: no WATCHDOG=1") ||
		!strings.Contains(p.LastEnd.Reason, "hung") || p.NextStartAt == nil {
		t.Errorf("have %+v", p)
	}
	m.wantActions("SendGroup{1 terminated}", "SendGroup{1 continued}", "ReleaseLock{}")
	m.after(time.Second)
	m.do(LockTaken{m.s.Wish})
	m.want(Bot, status.Starting)

	// However it ends then, it was a crash: with 0, 75 or 78 it would not be started again, or later.
	for _, code := range []int{0, 75, 78} {
		m := listening(t, nil)
		m.says(Bot, ready)
		m.after(2 * time.Minute)
		m.end(Bot, code, 0)
		m.want(Bot, status.Waiting)
		if p := m.s.Procs[Bot]; p.Failures != 1 || p.Conflicts != 0 || p.NextStart.Sub(m.now) > time.Second {
			t.Errorf("%d: %+v", code, p)
		}
	}
}

// A container that was paused, or a machine that was: the bot could not speak, and that is no hang. Silence after that
// is.
func TestInitThatDidNotRunItself(t *testing.T) {
	m := listening(t, nil)
	m.says(Bot, ready)
	m.now = m.now.Add(time.Hour)
	m.do(Tick{})
	m.want(Bot, status.Running)
	m.after(2*time.Minute - time.Nanosecond)
	m.want(Bot, status.Running)
	m.after(time.Nanosecond)
	m.want(Bot, status.Stopping)

	m = listening(t, nil)
	m.now = m.now.Add(time.Hour)
	m.do(Tick{})
	m.want(Bot, status.Starting)
	m.after(time.Minute)
	m.want(Bot, status.Stopping)
}

// Web is never ended for what it says or does not say.
func TestWebsSilence(t *testing.T) {
	m := listening(t, nil)
	m.says(Bot, ready)
	m.says(Web, sdnotify.Notice{Ready: true, Watchdog: true, ExtendBy: time.Second})
	for range 100 {
		m.says(Bot, alive)
		m.after(time.Minute)
	}
	m.says(Web, sdnotify.Notice{Trigger: true})
	m.want(Web, status.Running)
	m.says(Web, sdnotify.Notice{Stopping: true})
	m.want(Web, status.Stopping)
	m.says(Bot, alive)
	m.after(time.Minute)
	m.wantActions()
	m.wantPhase(Web, Alive)
}

// What an operator asks of a bot that is being ended because it hung counts for more.
func TestOperatorAndAHungBot(t *testing.T) {
	hung := func() *sim {
		m := listening(t, nil)
		m.says(Bot, ready)
		m.after(2 * time.Minute)
		m.wantPhase(Bot, Ending)
		return m
	}
	m := hung()
	m.do(Ask{"stop", Bot})
	m.end(Bot, 0, 0)
	m.want(Bot, status.Stopped)
	m = hung()
	m.do(Ask{"start", Bot})
	m.end(Bot, 0, 0)
	m.after(handOverWait)
	m.wantPhase(Bot, Locking)
	m = hung()
	m.do(Signal{syscall.SIGTERM})
	m.end(Bot, 0, 0)
	m.want(Bot, status.Stopped)
}

func TestOutcome(t *testing.T) {
	for name, c := range map[string]struct {
		listened bool
		before   func(*sim) // with the bot running and ready
		ask      Ask
		then     func(*sim)
		code     int
		text     string
	}{
		"stop": {false, nil, Ask{"stop", Bot}, func(m *sim) { m.end(Bot, 0, 0) }, 0, "bot: stopped"},
		"stop what is stopped": {false, func(m *sim) { m.do(Ask{"stop", Bot}); m.end(Bot, 0, 0) }, Ask{"stop", Bot}, nil,
			0, "bot: stopped"},
		"stop, and another starts": {false, nil, Ask{"stop", Bot}, func(m *sim) {
			m.do(Ask{"start", Bot})
			m.end(Bot, 0, 0)
			m.again()
		}, 1, "bot: stopped, and started again by another request"},
		"start": {false, stopped, Ask{"start", Bot}, func(m *sim) { m.again(); m.after(startCountsAfter) }, 0,
			"bot: started, pid 13"},
		"start one": {false, nil, Ask{"start", Bot}, nil, 0, "bot: runs already, pid 12"},
		"start one that says so": {true, stopped, Ask{"start", Bot}, func(m *sim) {
			m.again()
			m.says(Bot, ready)
		}, 0, "bot: started, pid 13"},
		"start one that never does": {true, stopped, Ask{"start", Bot}, func(m *sim) {
			m.again()
			m.says(Bot, sdnotify.Notice{HasStatus: true, Status: "thinks"})
			m.after(38 * time.Second)
		}, 75, "bot: still starting: thinks; look again with: init status bot"},
		"start one that stands by": {true, stopped, Ask{"start", Bot}, func(m *sim) {
			m.again()
			m.says(Bot, sdnotify.Notice{Ready: true, StandBy: true, HasStatus: true, Status: "another has it"})
		}, 75, "bot: standby, pid 13: another has it"},
		"start into standby": {false, stopped, Ask{"start", Bot}, func(m *sim) { m.do(LockBusy{m.s.Wish, "held by x"}) }, 75,
			"bot: standby: held by x; it starts by itself once the lock is free"},
		"start, and the lock's file hangs": {false, stopped, Ask{"start", Bot},
			func(m *sim) { m.after(38 * time.Second) }, 75,
			"bot: still waiting: takes the polling lock; look again with: init status bot"},
		"start without the lock": {false, stopped, Ask{"start", Bot},
			func(m *sim) { m.do(LockFailed{Wish: m.s.Wish, Reason: "no file"}) }, 78,
			"bot: failed: the polling lock cannot be had: no file"},
		"start, and it crashes at once": {false, stopped, Ask{"start", Bot}, func(m *sim) { m.again(); m.end(Bot, 9, 0) }, 75,
			"bot: crashed with 9; next start at 13:46:41 UTC"},
		"start, and it cannot run": {false, stopped, Ask{"start", Bot}, func(m *sim) { m.again(); m.end(Bot, 78, 0) }, 78,
			"bot: failed: 78: cannot run as configured; its own last lines in the log say why"},
		"start, and it is done": {false, stopped, Ask{"start", Bot}, func(m *sim) { m.again(); m.end(Bot, 0, 0) }, 1,
			"bot: finished: it ended with 0"},
		"start, and another stops it": {false, stopped, Ask{"start", Bot}, func(m *sim) {
			m.again()
			m.do(Ask{"stop", Bot})
			m.end(Bot, 0, 0)
		}, 1, "bot: stopped: stopped by an operator"},
		"restart": {false, nil, Ask{"restart", Bot},
			func(m *sim) { m.end(Bot, 0, 0); m.again(); m.after(startCountsAfter) }, 0, "bot: restarted, pid 13"},
		"restart web": {false, nil, Ask{"restart", Web}, func(m *sim) { m.end(Web, 1, 0); m.after(startCountsAfter) }, 0,
			"web: restarted, pid 13"},
		"restart web, and it ends": {false, nil, Ask{"restart", Web}, func(m *sim) { m.end(Web, 0, 0); m.end(Web, 1, 0) },
			1, "init is stopping"},
		"stop of the container": {false, nil, Ask{"stop", Bot}, func(m *sim) { m.do(Signal{syscall.SIGTERM}) }, 1,
			"init is stopping"},
	} {
		t.Run(name, func(t *testing.T) {
			m := running(t)
			if c.listened {
				m = listening(t, nil)
				m.says(Bot, ready)
			}
			if c.before != nil {
				c.before(m)
			}
			asked := m.s.Pending(c.ask, m.now)
			m.do(c.ask)
			if c.then != nil {
				if o, lookAgainAt := m.s.Outcome(m.c, asked, m.now); o != (Outcome{}) || !lookAgainAt.After(m.now) {
					t.Errorf("too early: %+v, to be looked at %s from now", o, lookAgainAt.Sub(m.now))
				}
				c.then(m)
			}
			if o, _ := m.s.Outcome(m.c, asked, m.now); o != (Outcome{c.code, c.text}) {
				t.Errorf("have %d %q, want %d %q", o.Code, o.Text, c.code, c.text)
			}
		})
	}
}

func stopped(m *sim) { m.do(Ask{"stop", Bot}); m.end(Bot, 0, 0) }

// again has the bot started that was asked for.
func (m *sim) again() {
	if m.s.Procs[Bot].Phase == Waiting {
		m.until(m.s.Procs[Bot].NextStart)
	}
	m.do(LockTaken{m.s.Wish})
}
