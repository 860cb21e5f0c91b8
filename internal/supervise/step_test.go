package supervise

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/status"
)

// sim runs Step in fake time against a world in which processes, groups and the lock are a few variables.
type sim struct {
	t       *testing.T
	c       *Config
	s       State
	now     time.Time
	pid     int
	jitter  float64
	actions []string // what was done, without what was said
	said    []string
	exit    int // -1 while init runs
	starts  [count]int
}

func newSim(t *testing.T, change func(*Config)) *sim {
	m := &sim{t: t, now: time.Unix(1_000_000, 0), pid: 10, exit: -1}
	m.c = &Config{
		Names: [count]string{"web", "bot"}, StopTimeout: 8 * time.Second, RestartDelay: time.Second,
		RestartDelayMax: time.Minute, ConflictDelay: 30 * time.Second, Jitter: func() float64 { return m.jitter },
	}
	if change != nil {
		change(m.c)
	}
	m.do(Begin{})
	return m
}

// running is a pair that runs, with the lock held.
func running(t *testing.T) *sim {
	m := newSim(t, nil)
	m.do(LockTaken{m.s.Wish})
	m.want(Bot, status.Running)
	m.actions = nil
	return m
}

func (m *sim) do(e Event) {
	m.t.Helper()
	before := m.s
	next, actions := m.s.Step(m.c, m.now, e)
	if m.s != before {
		m.t.Fatalf("%T: Step changed the state that it was given", e)
	}
	m.s = next
	var results []Event
	for _, a := range actions {
		switch a := a.(type) {
		case Start:
			m.pid++
			m.starts[a.ID]++
			results = append(results, Started{a.ID, m.pid})
		case Say:
			m.said = append(m.said, fmt.Sprint(a.Level, a.Text, a.Attrs))
			continue
		case Name: // a line, too
			m.said = append(m.said, fmt.Sprintf("%T%v", a, a))
			continue
		case Exit:
			m.exit = a.Code
		}
		m.actions = append(m.actions, fmt.Sprintf("%T%v", a, a)[len("supervise."):])
	}
	for _, e := range results {
		m.do(e)
	}
}

// until moves time on, with the ticks that are due.
func (m *sim) until(t time.Time) {
	m.t.Helper()
	for next := m.s.Next(); !next.IsZero() && !next.After(t); next = m.s.Next() {
		if next.After(m.now) {
			m.now = next
		}
		before := m.s
		m.do(Tick{})
		if m.s == before {
			m.t.Fatalf("a tick at %s that changes nothing: init would spin", next)
		}
	}
	m.now = t
}

func (m *sim) after(d time.Duration) { m.t.Helper(); m.until(m.now.Add(d)) }

// end ends a process and its whole group.
func (m *sim) end(id ID, code int, sig syscall.Signal) {
	m.t.Helper()
	m.do(LeaderEnded{ID: id, Code: code, Signal: sig})
	m.do(GroupEmpty{id})
}

func (m *sim) want(id ID, state status.State) {
	m.t.Helper()
	for _, p := range m.s.View(m.c) {
		if p.Name == m.c.Names[id] && p.State != state {
			m.t.Fatalf("%s is %s (%s), want %s", p.Name, p.State, p.Reason, state)
		}
	}
}

func (m *sim) wantPhase(id ID, phase Phase) {
	m.t.Helper()
	if p := m.s.Procs[id]; p.Phase != phase {
		m.t.Fatalf("%s is in phase %d (%s), want %d", m.c.Names[id], p.Phase, p.Reason, phase)
	}
}

func (m *sim) wantActions(want ...string) {
	m.t.Helper()
	if !slices.Equal(m.actions, want) {
		m.t.Errorf("have %q, want %q", m.actions, want)
	}
	m.actions = nil
}

func TestStartsWebFirst(t *testing.T) {
	m := newSim(t, nil)
	m.wantActions("Start{0}", "TakeLock{1}")
	m.want(Web, status.Running)
	m.want(Bot, status.Waiting)
	if next := m.s.Next(); !next.IsZero() {
		t.Errorf("a timer is set (%s) while nothing is due", next)
	}
	m.do(LockBusy{1, "another has it"})
	m.want(Bot, status.Standby) // with the reason, never before it is known
	m.do(LockTaken{1})
	m.wantActions("Start{1}")
	m.want(Bot, status.Running)
}

// Edge 31: the delays that README gives, with the jitter at both ends, and their reset after a good run.
func TestBackoff(t *testing.T) {
	for _, c := range []struct{ jitter, part float64 }{{0, 1}, {0.999999, 0.5}} {
		m := running(t)
		m.jitter = c.jitter
		crash := func(d time.Duration) {
			t.Helper()
			m.end(Bot, 1, 0)
			want := time.Duration(float64(d) * c.part)
			have := m.s.Procs[Bot].NextStart.Sub(m.now)
			if diff := have - want; diff < -time.Millisecond || diff > time.Millisecond {
				t.Errorf("delay: have %s, want %s", have, want)
			}
			m.after(have - 1)
			m.want(Bot, status.Waiting)
			m.after(1)
			m.wantPhase(Bot, Locking)
			m.do(LockTaken{m.s.Wish})
		}
		for _, s := range []int{1, 2, 4, 8, 16, 32, 60, 60, 60} {
			crash(time.Duration(s) * time.Second)
		}
		m.after(longRun - 1)
		crash(time.Minute)
		m.after(longRun)
		crash(time.Second)
	}
}

// Edge 32: a crash loop is called one in the reason, with its count, until a start that an operator asks for or a
// good run.
func TestCrashLoop(t *testing.T) {
	m := running(t)
	for n, want := range []string{"crashed with 1", "crashed with 1", "crashed with 1 (crash loop: 3 in a row)",
		"crashed with 1 (crash loop: 4 in a row)"} {
		m.end(Bot, 1, 0)
		if have := m.s.View(m.c)[Bot].Reason; have != want {
			t.Errorf("crash %d: have %q, want %q", n+1, have, want)
		}
		m.after(time.Minute)
		m.do(LockTaken{m.s.Wish})
	}
	m.after(longRun)
	m.end(Bot, 1, 0)
	if have := m.s.View(m.c)[Bot].Reason; have != "crashed with 1" {
		t.Errorf("after a good run: %q", have)
	}
}

// Whose reason it is and how many ends there were is told beside the words: nobody has to look into them.
func TestWhatTheReasonTellsOf(t *testing.T) {
	m := running(t)
	want := func(what string, state status.State, ofEnd bool, inARow int) {
		t.Helper()
		p := m.s.View(m.c)[Bot]
		if p.State != state || p.OfEnd() != ofEnd || p.InARow != inARow {
			t.Errorf("%s: %s, of the last end %v, %d in a row; want %s, %v, %d (%q)", what, p.State, p.OfEnd(), p.InARow,
				state, ofEnd, inARow, p.Reason)
		}
	}
	again := func() {
		m.t.Helper()
		m.after(5 * time.Minute)
		m.do(LockTaken{m.s.Wish})
	}
	want("runs", status.Running, false, 0)
	for n := 1; n <= 4; n++ {
		m.end(Bot, 1, 0)
		many := n
		if n < status.ManyInARow {
			many = 0
		}
		want("crashed", status.Waiting, true, many)
		again()
		want("runs again", status.Running, false, 0)
	}
	for n := range 3 {
		m.end(Bot, 75, 0)
		want("cannot run now", status.Waiting, true, n/2*3)
		again()
	}
	m.end(Bot, 1, 0)
	m.after(5 * time.Minute)
	m.do(LockBusy{Wish: m.s.Wish, Reason: "another has it"})
	want("waits for the lock", status.Standby, false, 0)
	m.do(LockFailed{Wish: m.s.Wish, Reason: "it is gone"})
	want("has no lock", status.Failed, false, 0)
	m.do(Ask{ID: Bot, Verb: "start"})
	m.do(LockFailed{Wish: m.s.Wish, Reason: "no room", Temporary: true})
	want("has no lock for now", status.Waiting, false, 0)
	if m.s.Procs[Bot].NextStart.IsZero() {
		t.Error("it is not tried again")
	}
	m.do(Ask{ID: Bot, Verb: "start"})
	m.do(LockTaken{m.s.Wish})
	m.end(Bot, 78, 0)
	want("cannot run as configured", status.Failed, true, 0)
	m.do(Ask{ID: Bot, Verb: "start"})
	m.do(LockTaken{m.s.Wish})
	m.end(Bot, 0, 0)
	want("finished", status.Finished, true, 0)
}

// Edge 31: a step of the wall clock changes no delay and no deadline: all that is waited for has the monotonic time.
func TestTimesAreMonotonic(t *testing.T) {
	m := running(t)
	m.now = time.Now()
	monotonic := func(what string, at time.Time) {
		t.Helper()
		if at.IsZero() || !strings.Contains(at.String(), " m=") {
			t.Errorf("%s: %s", what, at)
		}
	}
	m.do(LeaderEnded{ID: Bot, Code: 1})
	monotonic("look at the group", m.s.Procs[Bot].PollAt)
	monotonic("kill the group", m.s.Procs[Bot].KillAt)
	m.do(GroupEmpty{Bot})
	monotonic("next start", m.s.Procs[Bot].NextStart)
	monotonic("next", m.s.Next())
	m.do(Signal{syscall.SIGTERM})
	monotonic("deadline", m.s.Deadline)
	if wall := m.s.View(m.c)[Bot].LastEnd.At.String(); strings.Contains(wall, " m=") {
		t.Errorf("the status shows %s", wall)
	}
}

func TestConflictDelay(t *testing.T) {
	m := running(t)
	for _, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute,
		5 * time.Minute, 5 * time.Minute} {
		m.end(Bot, 75, 0)
		if have := m.s.Procs[Bot].NextStart.Sub(m.now); have != want {
			t.Errorf("have %s, want %s", have, want)
		}
		m.after(want)
		m.do(LockTaken{m.s.Wish})
	}
	m.after(longRun)
	m.end(Bot, 75, 0)
	if have := m.s.Procs[Bot].NextStart.Sub(m.now); have != 30*time.Second {
		t.Errorf("after a good run: have %s", have)
	}
}

// A bot that cannot run because its lock had lost its file comes back at once. Where that goes on and on the delay
// grows. What else has come meanwhile counts.
func TestLostLock(t *testing.T) {
	m := running(t)
	lost := func(want time.Duration) {
		t.Helper()
		m.end(Bot, 75, 0)
		m.do(LockLost{m.s.Wish})
		m.want(Bot, status.Waiting)
		if have := m.s.Procs[Bot].NextStart.Sub(m.now); have != want {
			t.Errorf("have %s, want %s", have, want)
		}
		m.after(want)
		m.do(LockTaken{m.s.Wish})
		m.want(Bot, status.Running)
	}
	for n := range 11 {
		lost(handOverWait << n)
	}
	lost(30 * time.Second) // no later than without a lost lock
	m.end(Bot, 75, 0)
	if have := m.s.Procs[Bot].NextStart.Sub(m.now); have != time.Minute {
		t.Errorf("a conflict: %s", have)
	}
	m.do(LockLost{m.s.Wish - 1}) // an older one
	if have := m.s.Procs[Bot].NextStart.Sub(m.now); have != time.Minute {
		t.Errorf("another lock was lost: %s", have)
	}
	m.after(time.Minute)
	m.do(LockTaken{m.s.Wish})
	m.after(longRun)
	lost(handOverWait)

	m.end(Bot, 1, 0)
	m.do(LockLost{m.s.Wish})
	if have := m.s.Procs[Bot].NextStart.Sub(m.now); have != time.Second {
		t.Errorf("a crash: %s", have)
	}
	m.do(Ask{"stop", Bot})
	m.do(LockLost{m.s.Wish})
	m.want(Bot, status.Stopped)
}

// What the bot does never ends init, for every status and signal, and web is left alone.
func TestBotNeverEndsInit(t *testing.T) {
	for code := range 256 {
		m := running(t)
		m.end(Bot, code, 0)
		want := status.Waiting
		switch code {
		case 0:
			want = status.Finished
		case 78:
			want = status.Failed
		}
		m.want(Bot, want)
		m.after(24 * time.Hour)
		if m.exit != -1 || m.s.Procs[Web].Phase != Alive || m.starts[Web] != 1 {
			t.Fatalf("%d: web was touched or init ended", code)
		}
		for _, a := range m.actions {
			if strings.Contains(a, "Send{0") {
				t.Fatalf("%d: %s", code, a)
			}
		}
	}
	for sig := syscall.Signal(1); sig < 32; sig++ {
		m := running(t)
		m.end(Bot, 128+int(sig), sig)
		m.want(Bot, status.Waiting)
	}
}

// Edge 34: the lock is given up only when the group is empty, and the next start waits for it.
func TestLockIsKeptUntilTheGroupIsEmpty(t *testing.T) {
	m := running(t)
	m.do(LeaderEnded{ID: Bot, Code: 137, Signal: syscall.SIGKILL})
	m.wantActions("SendGroup{1 terminated}", "SendGroup{1 continued}")
	m.after(7 * time.Second)
	m.wantActions()
	m.after(time.Second) // STOP_TIMEOUT
	m.wantActions("SendGroup{1 killed}")
	m.after(time.Second)
	m.wantActions()
	m.do(GroupEmpty{Bot})
	m.wantActions("ReleaseLock{}")
	m.after(handOverWait)
	m.wantActions("TakeLock{2}")
	m.do(LockTaken{1}) // an answer to the wish before
	m.wantActions()
	m.do(LockTaken{2})
	m.wantActions("Start{1}")
}

func TestStop(t *testing.T) {
	m := running(t)
	m.do(Signal{syscall.SIGTERM})
	m.wantActions("Send{0 terminated}", "Send{0 continued}", "Send{1 terminated}", "Send{1 continued}")
	m.end(Web, 0, 0)
	m.wantActions("SendGroup{0 terminated}", "SendGroup{0 continued}")
	m.end(Bot, 0, 0)
	m.wantActions("SendGroup{1 terminated}", "SendGroup{1 continued}", "ReleaseLock{}", "SendStrays{}")
	m.do(Childless{})
	m.wantActions("Exit{0}")
}

// Edge 28: nor does a process in an uninterruptible sleep keep init.
func TestStopEndsAtItsDeadline(t *testing.T) {
	m := running(t)
	m.do(Signal{syscall.SIGTERM})
	m.actions = nil
	m.after(8*time.Second - 1)
	m.wantActions()
	m.after(1)
	m.wantActions("KillAll{}")
	m.after(waitAfterKill + killEvery) // nobody goes: a process in state D
	if m.exit != 137 {
		t.Errorf("exit: %d", m.exit)
	}
}

func TestSecondSignalKills(t *testing.T) {
	m := running(t)
	m.do(Signal{syscall.SIGTERM})
	m.after(secondSignalAfter - 1)
	m.actions = nil
	m.do(Signal{syscall.SIGTERM})
	m.wantActions()
	m.after(1)
	m.do(Signal{syscall.SIGINT})
	m.wantActions("KillAll{}")
	m.do(Signal{syscall.SIGINT})
	m.wantActions()
}

// A stop in every state of the bot: nothing is started after it, and init ends when web has.
func TestStopInEveryState(t *testing.T) {
	for name, bring := range map[string]func(*sim){
		"standby":           func(m *sim) {},
		"alive":             func(m *sim) { m.do(LockTaken{1}) },
		"waiting":           func(m *sim) { m.do(LockTaken{1}); m.end(Bot, 1, 0) },
		"failed":            func(m *sim) { m.do(LockTaken{1}); m.end(Bot, 78, 0) },
		"emptying":          func(m *sim) { m.do(LockTaken{1}); m.do(LeaderEnded{ID: Bot, Code: 1}) },
		"an operator stops": func(m *sim) { m.do(LockTaken{1}); m.do(Ask{"stop", Bot}) },
		"is restarted":      func(m *sim) { m.do(LockTaken{1}); m.do(Ask{"restart", Bot}) },
		"web is restarted":  func(m *sim) { m.do(Ask{"restart", Web}) },
	} {
		m := newSim(t, nil)
		bring(m)
		starts := m.starts
		m.do(Signal{syscall.SIGTERM})
		for id := range m.s.Procs {
			switch m.s.Procs[id].Phase {
			case Alive:
				t.Errorf("%s: %d was not asked to end", name, id)
			case Ending:
				m.end(ID(id), 0, 0)
			case Emptying:
				m.do(GroupEmpty{ID(id)})
			}
		}
		m.do(LockTaken{m.s.Wish})
		m.do(Childless{})
		if m.exit != 0 || m.starts != starts {
			t.Errorf("%s: exit %d, starts %v to %v", name, m.exit, starts, m.starts)
		}
	}
}

// SIGQUIT is handed to web as such, unless WEB_STOP_SIGNAL says otherwise. The bot, and a stop that nobody signalled,
// have SIGTERM.
func TestQuitIsHandedOn(t *testing.T) {
	for _, c := range []struct {
		set, sent, want syscall.Signal
	}{
		{0, syscall.SIGQUIT, syscall.SIGQUIT}, {0, syscall.SIGINT, syscall.SIGTERM}, {0, syscall.SIGTERM, syscall.SIGTERM},
		{syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGTERM}, {syscall.SIGUSR1, syscall.SIGQUIT, syscall.SIGUSR1},
		{syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGQUIT},
	} {
		m := running(t)
		m.c.StopSignal[Web] = c.set
		m.do(Signal{c.sent})
		m.wantActions(fmt.Sprintf("Send{0 %s}", c.want), "Send{0 continued}", "Send{1 terminated}", "Send{1 continued}")
	}
	m := running(t)
	m.do(Fault{"a bug"})
	m.wantActions("Send{0 terminated}", "Send{0 continued}", "Send{1 terminated}", "Send{1 continued}")
	m.do(Signal{syscall.SIGQUIT})
	m.wantActions()
}

// A pause of the whole container counts against no deadline, and who was paused has a second at least.
func TestAPauseCountsAgainstNoDeadline(t *testing.T) {
	for at, left := range map[time.Duration]time.Duration{
		2 * time.Second:            6*time.Second - beatEvery,
		7900 * time.Millisecond:    timeAfterPause,
		100 * time.Millisecond:     7*time.Second + 900*time.Millisecond - beatEvery,
		7999999 * time.Microsecond: timeAfterPause,
	} {
		for name, ask := range map[string]Event{"stop": Signal{syscall.SIGTERM}, "restart": Ask{"restart", Bot}} {
			m := running(t)
			m.do(ask)
			m.after(at)
			m.actions = nil
			m.now = m.now.Add(time.Hour) // in which init did not run
			if name == "restart" {
				m.do(Signal{syscall.SIGHUP}) // whatever comes first
				m.actions = nil
			}
			m.after(left - 1)
			if kills := slices.ContainsFunc(m.actions, func(a string) bool { return strings.Contains(a, "kill") }); kills {
				t.Errorf("%s, paused after %s: %q", name, at, m.actions)
			}
			m.after(beatEvery + 1)
			if len(m.actions) == 0 {
				t.Errorf("%s, paused after %s: nothing was killed at last", name, at)
			}
		}
	}
}

// Whoever keeps a stop waiting for a second is named once, and again when he is killed.
func TestWhoIsWaitedForIsNamed(t *testing.T) {
	names := func(m *sim) (list []string) {
		for _, line := range m.said {
			if strings.HasPrefix(line, "supervise.Name") {
				list = append(list, line)
			}
		}
		m.said = nil
		return list
	}
	want := func(m *sim, lines ...string) {
		t.Helper()
		if have := names(m); !slices.Equal(have, lines) {
			t.Errorf("have %q, want %q", have, lines)
		}
	}
	m := running(t)
	m.do(Ask{"restart", Bot})
	m.after(999 * time.Millisecond)
	want(m)
	m.after(6 * time.Second)
	want(m, "supervise.Name{1 false false}")
	m.after(2 * time.Second)
	want(m, "supervise.Name{1 false true}")
	m.end(Bot, 137, syscall.SIGKILL)
	m.after(time.Minute)
	want(m)
	m.do(Signal{syscall.SIGTERM})
	m.after(7 * time.Second)
	want(m, "supervise.Name{0 true false}")
	m.after(time.Second)
	want(m, "supervise.Name{0 true true}")
	m = running(t)
	m.do(LeaderEnded{ID: Bot, Code: 1}) // and leaves somebody in its group
	m.after(7 * time.Second)
	want(m, "supervise.Name{1 false false}")
}

// Web's end is init's: its own status, in whatever moment, and the bot has its whole time.
func TestWebEnds(t *testing.T) {
	for code := range 256 {
		m := running(t)
		m.do(LeaderEnded{ID: Web, Code: code})
		m.do(GroupEmpty{Web})
		m.wantActions("SendGroup{0 terminated}", "SendGroup{0 continued}", "Send{1 terminated}", "Send{1 continued}")
		m.after(8*time.Second - 1)
		m.wantActions()
		m.end(Bot, 3, 0)
		m.do(Childless{})
		if m.exit != code {
			t.Fatalf("web ended with %d, init with %d", code, m.exit)
		}
	}
	m := running(t)
	m.c.SuccessExit = []int{143}
	m.do(Signal{syscall.SIGINT})
	m.end(Web, 143, syscall.SIGTERM)
	m.end(Bot, 143, syscall.SIGTERM)
	m.do(Childless{})
	if m.exit != 0 {
		t.Errorf("WEB_SUCCESS_EXIT: %d", m.exit)
	}
}

func TestStartFailures(t *testing.T) {
	m := newSim(t, nil)
	m.do(LockTaken{1})
	m.do(LeaderEnded{ID: Bot, Code: 1}) // back to a start that fails
	m.do(GroupEmpty{Bot})
	m.s.Procs[Bot].Phase = Locking
	m.do(StartFailed{ID: Bot, Code: 126, Temporary: true, Reason: "no memory"})
	m.want(Bot, status.Waiting)
	m.s.Procs[Bot].Phase = Locking
	m.do(StartFailed{ID: Bot, Code: 127, Reason: "missing"})
	m.want(Bot, status.Failed)
	if m.exit != -1 {
		t.Error("init ended")
	}
	m.do(StartFailed{ID: Web, Code: 127, Reason: "missing"})
	m.do(Childless{})
	if m.exit != 127 {
		t.Errorf("exit: %d", m.exit)
	}
}

func TestSignalsToWeb(t *testing.T) {
	m := running(t)
	for _, sig := range []syscall.Signal{syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU} {
		m.do(Signal{sig})
	}
	m.wantActions()
	m.do(Signal{syscall.SIGHUP})
	m.wantActions("Send{0 hangup}")
	plain := newSim(t, func(c *Config) { c.CommandOnly, c.Names = true, [count]string{"sh", ""} })
	plain.actions = nil
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM, syscall.SIGTSTP} {
		plain.do(Signal{sig})
		plain.after(time.Hour)
	}
	plain.wantActions("SendGroup{0 terminated}", "SendGroup{0 terminated}", "SendGroup{0 stopped (signal)}", "Suspend{}")
	plain.c.SingleChild, plain.c.Rewrite = true,
		map[syscall.Signal]syscall.Signal{syscall.SIGTERM: syscall.SIGQUIT, syscall.SIGTSTP: 0}
	plain.actions = nil
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGTSTP} {
		plain.do(Signal{sig})
	}
	plain.wantActions("Send{0 quit}", "Send{0 quit}")
}

func TestOperator(t *testing.T) {
	m := running(t)
	m.do(Ask{"stop", Web})
	m.do(Ask{"start", Web})
	for _, a := range m.actions {
		if a == "GrantAsk{}" {
			t.Errorf("granted: %q", m.actions)
		}
	}
	m.actions = nil
	m.do(Ask{"stop", Bot})
	m.wantActions("GrantAsk{}", "Send{1 terminated}", "Send{1 continued}")
	m.end(Bot, 1, 0)
	m.want(Bot, status.Stopped)
	m.after(time.Hour)
	m.want(Bot, status.Stopped)
	m.actions = nil
	m.do(Ask{"start", Bot})
	m.wantActions("GrantAsk{}", "TakeLock{2}")
	m.do(LockTaken{2})
	m.do(Ask{"restart", Bot})
	m.end(Bot, 78, 0)
	m.after(handOverWait)
	m.wantPhase(Bot, Locking)
	m.do(LockTaken{3})
	m.want(Bot, status.Running)
	m.do(Ask{"restart", Web})
	m.end(Web, 1, 0)
	m.want(Web, status.Running)
	if m.exit != -1 || m.starts != [count]int{2, 3} {
		t.Errorf("exit %d, starts %v", m.exit, m.starts)
	}
	m.actions = nil
	disabled := newSim(t, func(c *Config) { c.Disabled = "switched off" })
	disabled.actions = nil
	disabled.do(Ask{"start", Bot})
	disabled.wantActions("RefuseAsk{it is disabled: switched off}")
}

func TestFault(t *testing.T) {
	m := running(t)
	m.do(Fault{"panic"})
	m.wantActions("Send{0 terminated}", "Send{0 continued}", "Send{1 terminated}", "Send{1 continued}")
	m.end(Web, 0, 0)
	m.end(Bot, 0, 0)
	m.do(Childless{})
	if m.exit != 70 {
		t.Errorf("exit: %d", m.exit)
	}
}

// An operator's start does not wait for the delay of the crash whose group is still emptying (found by the model).
func TestOperatorsStartWaitsForNoDelay(t *testing.T) {
	m := running(t)
	m.do(LeaderEnded{ID: Bot, Code: 75})
	m.do(Ask{"start", Bot})
	m.want(Bot, status.Stopping)
	m.do(GroupEmpty{Bot})
	m.after(handOverWait)
	m.wantPhase(Bot, Locking)
}
