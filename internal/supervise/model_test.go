package supervise

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/sdnotify"
	"tandem/internal/status"
	"tandem/internal/testenv"
)

// The policy against a world so simple that reading shows it to be right: a few processes, a lock, a clock. A byte
// sequence says what happens in it, and after everything that does, these hold (the numbers are in the failures):
//
//	1 web is never touched by what the bot does, and the bot's end never begins a stop
//	2 there are never two bots, here and elsewhere together
//	3 nothing is started, and no lock asked for, while init stops
//	4 every end is reported once, in one line, and no orphan is taken for web or bot or the other way round
//	5 the status says what is: of each process its state, number, starts, last end and next start; and of the lock
//	6 a stop is over half a second after its deadline, whatever the processes do
//	7 nothing that is due is forgotten: Next covers it, and once the world is kind again the bot runs or has a
//	  reason that only a person can mend; nor does a tick find nothing to do, which would have init spin
//	8 the bot is started only with the lock in hand and the group of the one before empty
//	9 the status that init ends with is web's
//	10 an operator's request has one answer, and what was granted happens
//	11 no signal goes to a number that is nobody's any more
//	12 what was asked to end, and what an ended leader left in its group, lives no longer than STOP_TIMEOUT
//	13 a bot that init listens to is asked to end when it has been silent for too long, and for no less
//	14 whoever is asked to end while a signal has stopped him is woken

// temper is what a process makes of a SIGTERM.
type temper uint8

const (
	obeys temper = iota // ends with 0
	falls               // is killed by it
	deaf                // only SIGKILL ends it
	stuck               // nothing does: an uninterruptible sleep
	tempers
)

// life is one start of web or bot: its leader and what else is in its group.
type life struct {
	id      ID
	pid     int
	temper  temper
	alive   bool
	zombie  bool // ended, and init has not looked yet
	code    int
	signal  syscall.Signal
	members []temper
	copies  bool      // of the lock's descriptor are in the group: its launcher did not close it
	asked   time.Time // when init asked it to end
	hung    bool      // and that for its silence
	silent  time.Time // when it has been silent for too long; zero for never
	ready   bool
	waits   bool      // and said so
	leaves  bool      // and said so
	ended   time.Time // when init saw its end
	over    bool      // and that nobody is left of it
	killed  bool      // is dead as soon as it is not stuck any more

	suspended bool           // in state T
	pending   syscall.Signal // it gets this one when it goes on
}

func (l *life) empty() bool { return !l.alive && !l.zombie && len(l.members) == 0 }

// stray is what left its group.
type stray struct {
	temper temper
	copies bool
}

// keeper is the goroutine that has the lock; see cmd/init/lock.go.
type keeper struct {
	want, held, told int // wishes
	broken, hangs    bool
	lost             bool // the file of what is held was taken away
	elsewhere        bool // another container's bot has the lock, and polls
	posted           []Event
}

type model struct {
	c     *Config
	s     State
	now   time.Time
	trace []string

	pid      int
	lives    [count]*life // the last one of each, nil before the first
	older    []*life      // lives that were not over when the next began, which is a fault
	strays   []stray
	unseen   bool // somebody ended, and init has not looked yet
	lock     keeper
	tempers  [count]temper // of the next start
	closes   bool          // the bot's launcher closes what it inherits
	outcomes [count]uint8  // of the next start: 0 runs, 1 fails for now, 2 fails for good
	starts   [count]int
	ends     [count]int // failed starts included
	codes    [count]int // of the last ones

	word      status.State // of the bot when nothing of it lives
	again     bool         // and it is to be started by an operator's word
	scheduled bool         // or by itself, at a time that is known
	stopFrom  time.Time
	wish      int  // of the lock that is asked for, 0 for none
	web       int  // what init has to end with
	failed    bool // web could not be started
	fault     bool
	granted   time.Time // a start of the bot that an operator was promised
	answers   int
	exit      int
	hung      bool    // the step under way may end the bot for its silence
	webWaits  bool    // could not be started for now
	woken     []*life // and init has not been told
}

// broken is the panic with which a run ends that breaks an invariant.
type broken struct{ invariant, what string }

func (m *model) fail(invariant int, format string, args ...any) {
	panic(broken{fmt.Sprintf("invariant %d", invariant), fmt.Sprintf(format, args...)})
}

func (m *model) note(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf("%10s  ", m.now.Sub(began))+fmt.Sprintf(format, args...))
}

var began = time.Unix(1_000_000, 0)

// play runs the model through what the bytes say and returns its trace, with an error when an invariant broke.
func play(input []byte) (trace []string, err error) {
	m := &model{now: began, exit: -1, pid: 100}
	defer func() {
		if r := recover(); r != nil {
			b, ok := r.(broken)
			if !ok {
				b = broken{"panic", fmt.Sprint(r)}
			}
			trace, err = m.trace, fmt.Errorf("%s: %s", b.invariant, b.what)
		}
	}()
	kind := byte(0)
	if len(input) > 0 {
		kind, input = input[0], input[1:]
	}
	m.begin(kind)
	for ; len(input) >= 2 && m.exit < 0; input = input[2:] {
		m.happen(input[0], input[1])
		m.check()
	}
	m.kindly()
	return m.trace, nil
}

func (m *model) begin(kind byte) {
	jitter := float64(kind>>4) / 16
	m.c = &Config{
		Names: [count]string{"web", "bot"}, StopTimeout: 8 * time.Second, RestartDelay: time.Second,
		RestartDelayMax: time.Minute, ConflictDelay: 30 * time.Second, Jitter: func() float64 { return jitter },
	}
	m.word = status.Waiting
	switch kind % 16 {
	case 1:
		m.c.Disabled, m.word = "switched off", status.Disabled
	case 2:
		m.c.Broken, m.word = "a bad setting", status.Failed
	case 3:
		m.c.Names[Bot] = ""
	case 4:
		m.c.Names[Web] = ""
	case 5:
		m.c.Names[Bot], m.c.CommandOnly, m.c.SingleChild = "", true, kind&16 != 0
	case 6:
		m.c.SuccessExit = []int{143}
	case 7:
		m.c.StopTimeout = 30 * time.Millisecond
	case 8:
		m.lock.elsewhere = true
	case 9:
		m.outcomes[Web] = 2
	case 10:
		m.outcomes[Bot] = 1
	case 11:
		m.c.StopSignal = [count]syscall.Signal{syscall.SIGQUIT, syscall.SIGINT}
	case 12, 13, 14, 15:
		m.c.Notify, m.c.StartTimeout, m.c.Watchdog = [count]bool{true, true}, 5*time.Second, 20*time.Second
		if kind%16 == 13 {
			m.c.StartTimeout = 0
		}
		if kind%16 == 14 {
			m.c.Watchdog = 0
		}
	}
	m.note("begin %+v", *m.c)
	m.handle(Begin{})
	m.settle()
	m.check()
}

// What can happen, by the first byte of a pair.
const (
	botEnds = iota
	webEnds
	botForks
	webForks
	somebodyLeaves
	signalComes
	operatorAsks
	lockMoves
	keeperWorks
	keeperIsHeard
	initLooks
	timePasses
	untilDue
	temperChanges
	startsChange
	initFails
	somebodySpeaks
	somebodyIsSuspended
)

// likely is how often each comes: most runs should get somewhere.
var likely = [42]int{
	botEnds, botEnds, botEnds, botEnds, webEnds, botForks, botForks, webForks, somebodyLeaves, somebodyLeaves,
	signalComes, signalComes,
	operatorAsks, operatorAsks, operatorAsks, operatorAsks, lockMoves, lockMoves, lockMoves, keeperWorks,
	keeperIsHeard, initLooks,
	timePasses, timePasses, untilDue, untilDue, untilDue, untilDue, temperChanges, temperChanges, startsChange, initFails,
	somebodySpeaks, somebodySpeaks, somebodySpeaks, somebodySpeaks, somebodySpeaks, somebodySpeaks, untilDue, untilDue,
	somebodyIsSuspended, somebodyIsSuspended,
}

var (
	notices = []sdnotify.Notice{{Ready: true}, {Ready: true}, {Watchdog: true}, {Watchdog: true}, {Stopping: true},
		{StandBy: true, HasStatus: true, Status: "waits"},
		{StandByOver: true}, {Trigger: true}, {ExtendBy: 20 * time.Second}, {Ready: true, StandBy: true},
		{HasStatus: true, Status: "works"}}
	endings  = []int{0, 1, 75, 78, 2, 255, -15, -9}
	signals  = []syscall.Signal{15, 15, 2, 3, 1, 10, 20, 21, 28, 40}
	requests = []Ask{{"start", Bot}, {"stop", Bot}, {"restart", Bot}, {"restart", Web}, {"stop", Web}, {"start", Web}}
	spans    = []time.Duration{time.Millisecond, 24 * time.Millisecond, 100 * time.Millisecond, 249 * time.Millisecond,
		250 * time.Millisecond,
		400 * time.Millisecond, time.Second, 7900 * time.Millisecond, 8 * time.Second, 30 * time.Second, time.Minute,
		10 * time.Minute}
)

func (m *model) happen(what, how byte) {
	n := int(how)
	switch likely[int(what)%len(likely)] {
	case botEnds:
		m.end(Bot, endings[n%len(endings)])
	case webEnds:
		m.end(Web, endings[n%len(endings)])
	case botForks:
		m.fork(Bot, how)
	case webForks:
		m.fork(Web, how)
	case somebodyLeaves:
		m.leave(n)
	case signalComes:
		sig := signals[n%len(signals)]
		m.note("signal %s", SignalName(sig))
		m.handle(Signal{sig})
		m.settle()
	case operatorAsks:
		ask := requests[n%len(requests)]
		if m.c.CommandOnly { // it has no control socket
			return
		}
		m.note("operator: %s %d", ask.Verb, ask.ID)
		m.handle(ask)
		m.settle()
	case lockMoves:
		m.moveLock(n)
	case keeperWorks:
		m.keeperWorks()
	case keeperIsHeard:
		m.keeperIsHeard()
	case initLooks:
		m.settle()
	case timePasses:
		m.pass(spans[n%len(spans)])
	case untilDue:
		m.rest()
		if next := m.s.Next(); !next.IsZero() {
			m.pass(next.Sub(m.now) - time.Duration(n%2))
		}
	case temperChanges:
		id := ID(n % 2)
		m.tempers[id], m.closes = temper(n/2%int(tempers)), n&64 != 0
		if l := m.lives[id]; l != nil && n&32 != 0 && l.temper != stuck {
			l.temper = m.tempers[id]
		}
		m.note("the next %d: temper %d, closes %v", id, m.tempers[id], m.closes)
	case startsChange:
		m.outcomes[n%2] = uint8(n / 2 % 3)
		m.note("the next start of %d: %d", n%2, m.outcomes[n%2])
	case somebodySpeaks:
		m.speak(ID(n%2), notices[n/2%len(notices)], n&128 != 0)
	case somebodyIsSuspended:
		m.suspend(ID(n%2), n&2 == 0)
	case initFails:
		if n%8 == 0 { // seldom, as it ends all
			m.note("init fails")
			m.fault = true
			m.handle(Fault{"a panic"})
			m.settle()
		}
	}
}

// speak has a process say something of itself, or one that had its number before.
func (m *model) speak(id ID, n sdnotify.Notice, another bool) {
	l := m.lives[id]
	if l == nil {
		return
	}
	pid := l.pid
	if another {
		pid--
	}
	m.note("%d says %+v", pid, n)
	before := m.s
	m.handle(Noticed{ID: id, PID: pid, Notice: n})
	if (another || !m.c.Notify[id] || !l.ended.IsZero()) && m.s != before {
		m.fail(11, "what %d says is taken for the word of %d", pid, l.pid)
	}
	m.settle()
}

// hear keeps what the bot said, and by when it has to say more.
func (m *model) hear(l *life, n sdnotify.Notice) {
	if !l.asked.IsZero() {
		return
	}
	l.waits = l.id == Bot && (l.waits || n.StandBy) && !n.StandByOver
	wasReady, extended := l.ready, m.now.Add(n.ExtendBy)
	l.ready = l.ready || n.Ready
	switch {
	case n.Stopping && !l.leaves:
		l.leaves, l.silent = true, m.now.Add(m.c.StopTimeout)
	case l.leaves:
		if extended.After(l.silent) {
			l.silent = extended
		}
	case l.ready && (n.Ready || n.Watchdog || !wasReady):
		if l.silent = (time.Time{}); m.c.Watchdog > 0 {
			l.silent = m.now.Add(m.c.Watchdog)
		}
	case !l.ready && !l.silent.IsZero() && extended.After(l.silent):
		l.silent = extended
	}
	if l.id == Web {
		l.silent = time.Time{}
	}
}

// suspend has a signal stop a leader, or wake it.
func (m *model) suspend(id ID, stops bool) {
	l := m.lives[id]
	if l == nil || !l.alive || l.suspended == stops {
		return
	}
	if !stops {
		m.note("%d goes on", id)
		m.signalLeader(l, syscall.SIGCONT)
		m.settle()
		return
	}
	m.note("%d is suspended", id)
	l.suspended = true
	m.tell(l, syscall.SIGSTOP)
	m.settle()
}

// tell tells init that a signal has stopped l, or that l goes on.
func (m *model) tell(l *life, by syscall.Signal) {
	if p := m.s.Procs[l.id]; p.PID == l.pid && (p.Phase == Alive || p.Phase == Ending) {
		m.handle(Suspended{l.id, by})
	}
}

func (m *model) end(id ID, code int) {
	l := m.lives[id]
	if l == nil || !l.alive {
		return
	}
	l.alive, l.zombie, l.code, l.signal = false, true, code, 0
	m.unseen = true
	if code < 0 {
		l.code, l.signal = 128-code, syscall.Signal(-code)
	}
	m.note("%d (%d) ends with %d", id, l.pid, code)
}

func (m *model) fork(id ID, how byte) {
	l := m.lives[id]
	if l == nil || (!l.alive || l.temper == stuck) &&
		!slices.ContainsFunc(l.members, func(t temper) bool { return t != stuck }) {
		return
	}
	t := temper(how % uint8(tempers))
	if how&16 != 0 {
		m.strays = append(m.strays, stray{t, id == Bot && how&32 != 0 && l.copies})
	} else {
		l.members = append(l.members, t)
	}
	m.note("%d forks: temper %d, of the group %v", id, t, how&16 == 0)
}

// leave ends somebody who is no leader, without init being told.
func (m *model) leave(n int) {
	m.unseen = true
	for id, l := range m.lives {
		if n%3 == id && l != nil && len(l.members) > 0 {
			l.members = l.members[1:]
			m.note("a member of %d's group leaves", id)
		}
	}
	if n%3 == 2 && len(m.strays) > 0 {
		m.strays = m.strays[1:]
		m.note("a stray leaves")
	}
}

// free says whether nobody has the lock.
func (m *model) free() bool {
	taken := m.lock.held != 0 || m.lock.elsewhere
	for _, l := range append(m.older, m.lives[Bot]) {
		taken = taken || l != nil && l.id == Bot && l.copies && (l.alive || len(l.members) > 0)
	}
	for _, s := range m.strays {
		taken = taken || s.copies
	}
	return !taken
}

func (m *model) moveLock(n int) {
	switch n % 5 {
	case 4:
		m.lock.lost = m.lock.held != 0
		m.note("the lock file is taken away and made anew")
	case 0:
		if m.free() {
			m.note("another container's bot has the lock")
			m.lock.elsewhere = true
			if l := m.lives[Bot]; l != nil && (l.alive || len(l.members) > 0) {
				m.fail(2, "another container could take the lock while ours lives")
			}
		}
	case 1:
		m.note("the other container's bot ends")
		m.lock.elsewhere = false
	case 2:
		m.lock.broken = n&4 != 0
		m.note("the lock file is broken: %v", m.lock.broken)
	case 3:
		m.lock.hangs = n&4 != 0
		m.note("the lock file hangs: %v", m.lock.hangs)
	}
}

// keeperWorks brings what is held in line with what is wanted, as far as it can be now.
func (m *model) keeperWorks() {
	k := &m.lock
	if k.hangs {
		return
	}
	if k.held != 0 && k.held != k.want {
		m.note("the keeper releases the lock")
		if k.lost {
			k.posted = append(k.posted, LockLost{k.held})
		}
		k.held, k.lost = 0, false
	}
	if k.want == 0 || k.want == k.held {
		return
	}
	switch {
	case k.broken:
		m.note("the keeper cannot have the lock")
		k.posted = append(k.posted, LockFailed{k.want, "broken", k.want%2 == 0})
		k.want = 0
	case m.free():
		m.note("the keeper has the lock for %d", k.want)
		k.held = k.want
		k.posted = append(k.posted, LockTaken{k.want})
	case k.told != k.want:
		k.told = k.want
		k.posted = append(k.posted, LockBusy{k.want, "held elsewhere"})
	}
}

func (m *model) keeperIsHeard() {
	if k := &m.lock; len(k.posted) > 0 {
		e := k.posted[0]
		k.posted = k.posted[1:]
		m.note("%T%v", e, e)
		m.handle(e)
		m.settle()
	}
}

// rest lets everything happen that takes no time.
func (m *model) rest() {
	for range 50 {
		before, held := m.s, m.lock
		m.keeperWorks()
		m.keeperIsHeard()
		m.settle()
		if m.exit >= 0 || m.s == before && held.held == m.lock.held && len(m.lock.posted) == 0 {
			return
		}
	}
	m.fail(7, "init comes to no rest")
}

// pass moves the clock, with the ticks that are due.
func (m *model) pass(d time.Duration) {
	end := m.now.Add(d)
	for ticks := 0; ; ticks++ {
		m.rest()
		m.check()
		if bot := m.lives[Bot]; !m.granted.IsZero() && (bot == nil || bot.empty()) && m.free() && !m.lock.hangs &&
			m.now.Sub(m.granted) > handOverWait {
			m.fail(10, "the start granted %s ago has not come", m.now.Sub(m.granted))
		}
		next := m.s.Next()
		if m.exit >= 0 || next.IsZero() || next.After(end) {
			break
		}
		if next.After(m.now) {
			m.now = next
		}
		before := m.s
		m.note("tick")
		m.handle(Tick{})
		if m.s == before {
			m.fail(7, "a tick that changes nothing: init spins")
		}
		m.settle()
		if ticks > 100_000 {
			m.fail(7, "init ticks without end")
		}
	}
	if m.exit < 0 && end.After(m.now) {
		m.now = end
		m.note("time has passed")
	}
}

// kindly ends a run: everybody behaves from now on, so the bot comes back, and a stop is over at once.
func (m *model) kindly() {
	m.note("from now on the world is kind")
	m.lock.elsewhere, m.lock.broken, m.lock.hangs = false, false, false
	m.strays, m.outcomes, m.tempers = nil, [count]uint8{}, [count]temper{}
	for _, l := range m.lives {
		if l != nil {
			if l.suspended {
				m.suspend(l.id, false)
			}
			if l.members, l.temper = nil, obeys; l.killed {
				m.end(l.id, -int(syscall.SIGKILL))
			}
		}
	}
	if m.exit >= 0 {
		return
	}
	for end := m.now.Add(m.c.RestartDelayMax + maxConflictDelay + 2*m.c.StopTimeout); m.exit < 0 && m.now.Before(end); {
		step := end.Sub(m.now)
		if m.c.Notify[Bot] {
			m.speak(Bot, sdnotify.Notice{Ready: true, Watchdog: true, StandByOver: true}, false)
			step = 4 * time.Second
		}
		if m.exit < 0 {
			m.pass(step)
		}
	}
	if m.exit < 0 && m.c.Names[Bot] != "" {
		if p := m.s.Procs[Bot]; p.Phase != Resting && p.Phase != Alive {
			m.fail(7, "the bot is %s (%s) for ever", p.state(false), p.Reason)
		}
	}
	if m.exit < 0 && !m.granted.IsZero() {
		m.fail(10, "a start that was granted never came")
	}
	if m.exit < 0 {
		m.note("SIGTERM")
		from := m.now
		m.handle(Signal{syscall.SIGTERM})
		if m.pass(0); m.exit < 0 && m.c.CommandOnly { // it is the command's, which may take its time
			m.pass(m.c.StopTimeout)
		}
		if m.exit < 0 || m.now != from {
			m.fail(6, "all obey, and init does not end at once")
		}
	}
}

// handle steps through e and what follows from it at once, as Loop.handle does.
func (m *model) handle(e Event) {
	for queue := []Event{e}; len(queue) > 0; queue = queue[1:] {
		before, e := m.s, queue[0]
		next, actions := before.Step(m.c, m.now, e)
		m.s = next
		m.checkStep(before, e, actions)
		wish := m.wish
		for _, a := range actions {
			if follows := m.carryOut(a); follows != nil {
				queue = append(queue, follows)
			}
		}
		m.remember(before, e, actions, wish)
		if m.exit >= 0 && !before.Exited {
			m.checkExit()
		}
	}
}

// settle tells init what became of the processes, as Loop.settle does.
func (m *model) settle() {
	m.unseen = false
	for ; len(m.woken) > 0; m.woken = m.woken[1:] {
		m.tell(m.woken[0], 0)
	}
	for id, l := range m.lives {
		if l == nil || !l.zombie {
			continue
		}
		if p := m.s.Procs[id]; p.PID != l.pid || p.Phase != Alive && p.Phase != Ending {
			m.fail(4, "the end of %d (%d) is taken for an orphan's", id, l.pid)
		}
		m.handle(LeaderEnded{ID: l.id, Code: l.code, Signal: l.signal})
		l.zombie, l.ended = false, m.now
	}
	for id := range m.s.Procs {
		if p := m.s.Procs[id]; p.Phase == Emptying && m.lives[id].empty() {
			m.lives[id].over = true
			m.handle(GroupEmpty{ID(id)})
		}
	}
	if m.s.Stopping && m.exit < 0 && m.childless() {
		m.handle(Childless{})
	}
}

func (m *model) childless() bool {
	for _, l := range m.lives {
		if l != nil && !l.empty() {
			return false
		}
	}
	return len(m.strays) == 0
}

// carryOut is the Executor.
func (m *model) carryOut(a Action) Event {
	if _, ok := a.(Say); !ok {
		m.note("    %T%v", a, a)
	}
	switch a := a.(type) {
	case Start:
		return m.start(a.ID)
	case Send:
		l := m.lives[a.ID]
		if l == nil || !l.alive && !l.zombie || m.s.Procs[a.ID].PID != l.pid {
			m.fail(11, "%s to the leader of %d, which is nobody", SignalName(a.Signal), a.ID)
		}
		if a.Signal == m.s.stopWith(m.c, a.ID) && l.asked.IsZero() && (m.s.Stopping || !m.c.CommandOnly) {
			l.asked = m.now
			l.hung = m.hung
		}
		m.signalLeader(l, a.Signal)
	case SendGroup:
		l := m.lives[a.ID]
		if l == nil || l.empty() || m.s.Procs[a.ID].PID != l.pid {
			m.fail(11, "%s to the group of %d, in which is nobody", SignalName(a.Signal), a.ID)
		}
		m.signalLeader(l, a.Signal)
		l.members = survivors(l.members, a.Signal)
	case SendStrays, KillAll:
		sig := syscall.SIGTERM
		if _, ok := a.(KillAll); ok {
			sig = syscall.SIGKILL
		}
		for _, l := range m.lives {
			if l != nil {
				m.signalLeader(l, sig)
				l.members = survivors(l.members, sig)
			}
		}
		var left []stray
		for _, s := range m.strays {
			if len(survivors([]temper{s.temper}, sig)) > 0 {
				left = append(left, s)
			}
		}
		m.strays = left
	case TakeLock:
		m.wish, m.lock.want = a.Wish, a.Wish
	case ReleaseLock:
		m.wish, m.lock.want = 0, 0
	case Exit:
		m.exit = a.Code
	}
	return nil
}

func (m *model) start(id ID) Event {
	m.starts[id]++ // as tried
	if id == Bot {
		switch last := m.lives[Bot]; {
		case m.lock.held == 0 || m.lock.held != m.lock.want:
			m.fail(8, "the bot is started without the lock")
		case last != nil && !last.empty():
			m.fail(8, "the bot is started while the group of the one before lives")
		case m.lock.elsewhere:
			m.fail(2, "the bot is started beside one elsewhere")
		}
	}
	if l := m.lives[id]; l != nil && !l.empty() {
		m.fail(2, "%d is started a second time", id)
	}
	if o := m.outcomes[id]; o != 0 {
		m.starts[id]--
		return StartFailed{ID: id, Code: 125 + int(o), Temporary: o == 1, Reason: "it cannot be started"}
	}
	m.pid++
	m.lives[id] = &life{id: id, pid: m.pid, temper: m.tempers[id], alive: true, copies: !m.closes, ready: !m.c.Notify[id]}
	if id == Bot && m.c.Notify[id] && m.c.StartTimeout > 0 {
		m.lives[id].silent = m.now.Add(m.c.StartTimeout)
	}
	return Started{ID: id, PID: m.pid}
}

func (m *model) signalLeader(l *life, sig syscall.Signal) {
	switch {
	case sig == syscall.SIGCONT && l.suspended:
		l.suspended, m.unseen = false, true
		m.woken = append(m.woken, l)
		sig, l.pending = l.pending, 0
	case l.suspended && sig != syscall.SIGKILL:
		l.pending = sig
		return
	}
	if !l.alive || len(survivors([]temper{l.temper}, sig)) > 0 {
		l.killed = l.killed || sig == syscall.SIGKILL
		return
	}
	if sig != syscall.SIGKILL && l.temper == obeys {
		m.end(l.id, 0)
	} else {
		m.end(l.id, -int(sig))
	}
}

// asksToEnd is for SIGTERM and what else a process may have for it (WEB_STOP_SIGNAL).
func asksToEnd(sig syscall.Signal) bool {
	return sig == syscall.SIGTERM || sig == syscall.SIGQUIT || sig == syscall.SIGINT
}

// survivors are those of a group that sig does not end.
func survivors(group []temper, sig syscall.Signal) []temper {
	var left []temper
	for _, t := range group {
		ends := t != stuck && (sig == syscall.SIGKILL || asksToEnd(sig) && t != deaf)
		if !ends {
			left = append(left, t)
		}
	}
	return left
}

// remember keeps what the status has to say, in words of its own; wish is what was asked of the keeper before.
func (m *model) remember(before State, e Event, actions []Action, wish int) {
	bot := m.lives[Bot]
	over := bot == nil || bot.over
	switch e := e.(type) {
	case Noticed:
		if l := m.lives[e.ID]; m.c.Notify[e.ID] && e.PID == l.pid && l.ended.IsZero() {
			m.hear(l, e.Notice)
		}
	case LockBusy:
		if wish == e.Wish && m.word == status.Waiting && !m.scheduled && over && !before.Stopping {
			m.word = status.Standby
		}
	case LockFailed:
		switch {
		case wish != e.Wish:
		case e.Temporary:
			m.word, m.scheduled, m.granted = status.Waiting, true, time.Time{}
		default:
			m.word, m.granted = status.Failed, time.Time{}
		}
	case Started:
		if e.ID == Web {
			m.webWaits = false
		}
		if e.ID == Bot {
			m.word, m.again, m.scheduled, m.granted = "", false, false, time.Time{}
		}
	case StartFailed:
		if e.ID == Web {
			if m.webWaits = m.s.Procs[Web].Phase == Waiting; m.webWaits {
				if !e.Temporary {
					m.fail(5, "web waits for its start, and can have none")
				}
				break
			}
		}
		m.ends[e.ID]++
		m.codes[e.ID] = e.Code
		switch {
		case e.ID == Web:
			m.web, m.failed = e.Code, true
		case e.Temporary:
			m.word, m.scheduled, m.granted = status.Waiting, true, time.Time{}
		default:
			m.word, m.scheduled, m.granted = status.Failed, false, time.Time{}
		}
	case LeaderEnded:
		m.ends[e.ID]++
		m.codes[e.ID] = e.Code
		switch {
		case e.ID == Web && (before.Stopping || m.s.Stopping):
			if m.web = e.Code; slices.Contains(m.c.SuccessExit, e.Code) {
				m.web = 0
			}
		case e.ID == Web:
		case before.Stopping, !bot.asked.IsZero() && !m.again && !bot.hung:
			m.word = status.Stopped
		case m.again:
			m.word = status.Waiting
		case bot.hung:
			m.word, m.scheduled = status.Waiting, true
		case e.Signal == 0 && e.Code == 0:
			m.word = status.Finished
		case e.Signal == 0 && e.Code == 78:
			m.word = status.Failed
		default:
			m.word, m.scheduled = status.Waiting, true
		}
	case GroupEmpty:
		if e.ID == Bot && m.again && !before.Stopping {
			m.granted = m.now
			m.word, m.scheduled = status.Waiting, true // for those who wait for the lock
		}
	case Tick:
		if before.Procs[Bot].Phase == Waiting && m.s.Procs[Bot].Phase == Locking {
			m.scheduled = false
		}
	case Ask:
		if granted := slices.Contains(actions, Action(GrantAsk{})); granted && e.ID == Bot {
			m.rememberAsk(e.Verb, bot, over)
		}
	}
	if m.s.Stopping && !before.Stopping {
		m.stopFrom = m.now
		m.again, m.scheduled, m.granted = false, false, time.Time{}
		if m.word == status.Waiting || m.word == status.Standby || !over {
			m.word = status.Stopped
		}
	}
	if again, ok := e.(Signal); ok && before.Stopping && m.s.Killed && !before.Killed {
		m.note("killed at once by a second %s", SignalName(again.Signal))
		m.stopFrom = m.now.Add(-m.c.StopTimeout)
	}
}

func (m *model) rememberAsk(verb string, bot *life, over bool) {
	ending := !over && (!bot.alive && !bot.zombie || !bot.asked.IsZero())
	switch {
	case verb == "stop":
		if bot != nil {
			bot.hung = false
		}
		m.again, m.scheduled, m.granted = false, false, time.Time{}
		if m.word != status.Disabled {
			m.word = status.Stopped
		}
	case ending, verb == "restart" && !over:
		m.again, m.scheduled, m.granted = true, false, m.now
	case over && m.word != status.Standby:
		m.word, m.scheduled, m.granted = status.Waiting, false, m.now
	}
}

func attr(s Say, key string) string {
	for _, a := range s.Attrs {
		if a.Key == key {
			return a.Value.String()
		}
	}
	return ""
}

// checkStep looks at one step of the policy.
func (m *model) checkStep(before State, e Event, actions []Action) {
	mayTouchWeb := false
	m.hung = false
	switch e := e.(type) {
	case Begin, Fault, Signal:
		mayTouchWeb = true
	case Ask:
		mayTouchWeb = e.ID == Web
		m.answers++
	case Noticed:
		mayTouchWeb = e.ID == Web
		m.hung = e.ID == Bot && e.Trigger
	case Suspended:
		mayTouchWeb = e.ID == Web
	case Started:
		mayTouchWeb = e.ID == Web
	case StartFailed:
		mayTouchWeb = e.ID == Web
	case LeaderEnded:
		mayTouchWeb = e.ID == Web
	case GroupEmpty:
		mayTouchWeb = e.ID == Web
	case Tick:
		phase := before.Procs[Web].Phase
		bot := m.lives[Bot]
		m.hung = !before.Stopping && bot != nil && !bot.silent.IsZero() && !m.now.Before(bot.silent)
		mayTouchWeb = before.Stopping || phase == Ending || phase == Emptying || phase == Waiting
	}
	if !mayTouchWeb && (m.s.Procs[Web] != before.Procs[Web] || m.s.Stopping != before.Stopping ||
		m.s.Code != before.Code) {
		m.fail(1, "%T%v changed web, or began a stop", e, e)
	}
	reports, answers := 0, 0
	for _, a := range actions {
		touched := ID(-1)
		switch a := a.(type) {
		case Start:
			touched = a.ID
			if before.Stopping {
				m.fail(3, "%d is started while init stops", a.ID)
			}
		case TakeLock:
			if before.Stopping {
				m.fail(3, "the lock is asked for while init stops")
			}
		case Send:
			touched = a.ID
			switch e.(type) {
			case Tick, Noticed:
				if a.ID == Web && !m.s.Stopping {
					m.fail(13, "web is ended for what it said or did not say")
				}
				if a.ID == Bot && !m.hung {
					m.fail(13, "the bot is taken for hung")
				}
			}
			if a.ID == Bot && a.Signal != m.c.StopWith(Bot) && a.Signal != syscall.SIGCONT {
				m.fail(1, "the bot is sent %s", SignalName(a.Signal))
			}
		case SendGroup:
			touched = a.ID
		case KillAll:
			touched = Web
			if !m.s.Stopping {
				m.fail(1, "everything is killed without a stop")
			}
		case SendStrays:
			if !m.s.Stopping {
				m.fail(1, "everything is asked to end without a stop")
			}
		case Say:
			if attr(a, "ran") == "" { // a line that reports an end
				break
			}
			reports++
			end, ok := e.(LeaderEnded)
			if !ok || attr(a, "name") != m.c.Names[end.ID] || attr(a, "code") != strconv.Itoa(end.Code) ||
				attr(a, "pid") != strconv.Itoa(m.lives[end.ID].pid) {
				m.fail(4, "%T%v is reported as %s %v", e, e, a.Text, a.Attrs)
			}
		case GrantAsk, RefuseAsk:
			answers++
		}
		if touched == Web && !mayTouchWeb {
			m.fail(1, "%T%v brings %T%v", e, e, a, a)
		}
	}
	if _, ended := e.(LeaderEnded); ended && reports != 1 {
		m.fail(4, "%v is reported %d times", e, reports)
	}
	if _, asked := e.(Ask); asked != (answers == 1) || answers > 1 {
		m.fail(10, "%T has %d answers", e, answers)
	}
}

// check looks at the whole after something happened.
func (m *model) check() {
	if m.exit >= 0 {
		return
	}
	m.checkOverdue()
	next := m.s.Next()
	if m.s.Stopping && !(m.c.CommandOnly && m.lives[Web] != nil && m.lives[Web].alive) &&
		(next.IsZero() || next.After(m.stopFrom.Add(m.c.StopTimeout+500*time.Millisecond))) {
		m.fail(7, "init stops, and nothing is due before the stop must be over (%s)", next)
	}
	if m.unseen { // init has not looked, so it cannot say
		return
	}
	m.checkView(next)
}

func (m *model) checkOverdue() {
	if !m.stopFrom.IsZero() && m.now.Sub(m.stopFrom) > m.c.StopTimeout+500*time.Millisecond {
		m.fail(6, "the stop has taken %s", m.now.Sub(m.stopFrom))
	}
	if m.c.CommandOnly || m.s.Stopping {
		return // then the deadline of the whole counts
	}
	for id, l := range m.lives {
		if l == nil {
			continue
		}
		if l.alive && l.suspended && asksToEnd(l.pending) && !l.asked.IsZero() {
			m.fail(14, "%d was asked to end, and is not woken", id)
		}
		if l.alive && l.asked.IsZero() && !l.silent.IsZero() && m.now.After(l.silent) {
			m.fail(13, "%d has been silent since %s, and was not asked to end", id, l.silent)
		}
		if l.alive && !l.asked.IsZero() && l.temper != stuck && m.now.Sub(l.asked) > m.c.StopTimeout {
			m.fail(12, "%d was asked to end %s ago", id, m.now.Sub(l.asked))
		}
		if !l.ended.IsZero() && m.now.Sub(l.ended) > m.c.StopTimeout &&
			len(survivors(l.members, syscall.SIGKILL)) < len(l.members) {
			m.fail(12, "the group of %d, which ended %s ago, lives", id, m.now.Sub(l.ended))
		}
	}
}

func (m *model) checkView(next time.Time) {
	if m.s.LockHeld && (m.lock.held == 0 || m.lock.held != m.lock.want) {
		m.fail(5, "the lock is shown as held")
	}
	for _, v := range m.s.View(m.c) {
		id := Bot
		if v.Critical {
			id = Web
		}
		l := m.lives[id]
		want := status.Process{State: m.word, Restarts: max(0, m.starts[id]-1)}
		switch {
		case l != nil && l.alive:
			want.PID = l.pid
			switch {
			case !l.asked.IsZero():
				want.State = status.Stopping
			case l.suspended:
				want.State = status.Suspended
			case l.leaves:
				want.State = status.Stopping
			case l.waits:
				want.State = status.Standby
			case l.ready:
				want.State = status.Running
			default:
				want.State = status.Starting
			}
		case l != nil && !l.empty():
			if want.State = status.Stopping; id == Bot && m.scheduled {
				want.State = status.Waiting
			}
		case id == Web:
			if want.State = status.Stopped; m.webWaits && !m.s.Stopping {
				want.State = status.Waiting
			} else if m.failed {
				want.State = status.Failed
			}
		}
		if v.State != want.State || v.PID != want.PID || v.Restarts != want.Restarts {
			m.fail(5, "%s is shown as %s, pid %d, %d restarts; it is %s, %d, %d", v.Name, v.State, v.PID, v.Restarts,
				want.State, want.PID, want.Restarts)
		}
		if id == Bot && m.scheduled != (v.NextStartAt != nil) {
			m.fail(5, "the bot's next start is shown as %v, and is known: %v", v.NextStartAt, m.scheduled)
		}
		if v.NextStartAt != nil && (l == nil || l.empty()) && (next.IsZero() || next.After(m.s.Procs[id].NextStart)) {
			m.fail(7, "the start at %s is forgotten", v.NextStartAt)
		}
		if (v.LastEnd != nil) != (m.ends[id] > 0) || v.LastEnd != nil && v.LastEnd.Code != m.codes[id] {
			m.fail(5, "the last end of %s is shown as %v, it was the %dth, with %d", v.Name, v.LastEnd, m.ends[id], m.codes[id])
		}
	}
}

func (m *model) checkExit() {
	web := m.lives[Web]
	want := m.web
	switch {
	case m.fault:
		want = 70
	case web != nil && web.alive: // nothing could end it
		want = 137
	}
	if m.exit != want {
		m.fail(9, "init ends with %d, want %d", m.exit, want)
	}
	if m.c.SingleChild && !m.fault {
		return // whatever is left is nobody's to end
	}
	if !m.childless() && m.now.Sub(m.stopFrom) < m.c.StopTimeout+waitAfterKill {
		m.fail(6, "init ends before what it could still wait for")
	}
	for id, l := range m.lives {
		if l != nil && (l.alive && l.temper != stuck || len(survivors(l.members, syscall.SIGKILL)) < len(l.members)) {
			m.fail(6, "init leaves some of %d behind that could be killed", id)
		}
	}
}

// shrink is the shortest run that still fails that leaving out parts of input leads to.
func shrink(input []byte) []byte {
	for size := len(input) / 2 &^ 1; size >= 2; {
		shorter := false
		for at := 1; at+size <= len(input); at += size {
			part := slices.Concat(input[:at], input[at+size:])
			if _, err := play(part); err != nil {
				input, shorter = part, true
				break
			}
		}
		if !shorter {
			size = size / 2 &^ 1
		}
	}
	return input
}

func report(t *testing.T, input []byte, err error) {
	t.Helper()
	input = shrink(input)
	trace, last := play(input)
	if last == nil {
		last = err
	}
	t.Fatalf("%v\n%s\ninput: %q", last, strings.Join(trace, "\n"), input)
}

// Random worlds. TANDEM_SEED repeats a run, which is said at its beginning.
func TestModel(t *testing.T) {
	seed := testenv.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	runs := 3000
	if testing.Short() {
		runs = 600
	}
	for range runs {
		input := make([]byte, 1+2*random.IntN(100))
		for i := range input {
			input[i] = byte(random.UintN(256))
		}
		if random.IntN(2) == 0 { // often both run at once, as they mostly do
			input = slices.Insert(input, 1, 19, 0, 20, 0)
		}
		if _, err := play(input); err != nil {
			report(t, input, err)
		}
	}
}

func FuzzModel(f *testing.F) {
	for kind := range byte(12) {
		f.Add([]byte{kind, 24, 0, 0, 1, 21, 0, 22, 6, 10, 0})
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 400 {
			return
		}
		if _, err := play(input); err != nil {
			report(t, input, err)
		}
	})
}
