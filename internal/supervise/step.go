package supervise

import (
	"log/slog"
	"slices"
	"strconv"
	"syscall"
	"time"

	"tandem/internal/exitcode"
	"tandem/internal/status"
)

// stepper is one Step under way.
type stepper struct {
	State
	c       *Config
	now     time.Time
	actions []Action
}

// Step is what init does when e happens at now. It changes neither s nor c.
func (s State) Step(c *Config, now time.Time, e Event) (State, []Action) {
	if s.Exited {
		return s, nil
	}
	m := &stepper{State: s, c: c, now: now}
	m.forgivePause()
	switch e := e.(type) {
	case Begin:
		m.begin()
	case Tick:
		m.tick()
	case Started:
		m.started(e)
	case StartFailed:
		m.startFailed(e)
	case LeaderEnded:
		m.leaderEnded(e)
	case Suspended:
		m.suspended(e)
	case GroupEmpty:
		m.groupEmpty(e.ID)
	case Childless:
		m.childless()
	case LockTaken:
		m.lockTaken(e.Wish)
	case LockBusy:
		m.lockBusy(e)
	case LockFailed:
		m.lockFailed(e)
	case LockLost:
		m.lockLost(e.Wish)
	case Noticed:
		m.noticed(e)
	case Signal:
		m.signal(e.Signal)
	case Ask:
		m.ask(e)
	case Fault:
		m.fault(e.Reason)
	}
	m.askStrays()
	m.beat()
	for id := range m.Procs {
		if p := &m.Procs[id]; p.Since.IsZero() || p.state(m.Stopping) != s.Procs[id].state(s.Stopping) {
			p.Since = now
		}
	}
	return m.State, m.actions
}

func (m *stepper) do(a Action) { m.actions = append(m.actions, a) }

func (m *stepper) say(level slog.Level, text string, attrs ...slog.Attr) {
	m.do(Say{Level: level, Text: text, Attrs: attrs})
}

// debugIfCommandOnly is level, but debug where init is a plain PID 1: that has nothing to say while all goes well.
func (m *stepper) debugIfCommandOnly(level slog.Level) slog.Level {
	if m.c.CommandOnly {
		return slog.LevelDebug
	}
	return level
}

func (m *stepper) name(id ID) slog.Attr { return slog.String("name", m.c.Names[id]) }

func (m *stepper) begin() {
	if m.c.Names[Web] != "" {
		m.do(Start{Web}) // first, and waiting for nobody
	}
	if m.c.Names[Bot] == "" {
		return
	}
	switch p := &m.Procs[Bot]; {
	case m.c.Disabled != "":
		p.RestState = status.Disabled
		p.because(m.c.Disabled)
		m.say(slog.LevelInfo, "process is disabled", m.name(Bot), slog.String("reason", p.Reason))
	case m.c.Broken != "":
		m.failBot(m.c.Broken, "mend the setting and start a new container")
	default:
		m.launch(Bot)
	}
}

// launch begins the start of a process that does not run. The bot takes the polling lock first.
func (m *stepper) launch(id ID) {
	p := &m.Procs[id]
	p.NextStart, p.StartAgain = time.Time{}, false
	if id == Web {
		m.do(Start{Web})
		return
	}
	p.Phase, p.StandsBy = Locking, false
	p.because("takes the polling lock")
	m.Wish++
	m.do(TakeLock{m.Wish})
}

func (m *stepper) started(e Started) {
	p := &m.Procs[e.ID]
	p.Phase, p.PID, p.StartedAt, p.KillAt, p.PollAt = Alive, e.PID, m.now, time.Time{}, time.Time{}
	p.TryUntil = time.Time{}
	p.because("")
	p.Starts++
	m.expectNotices(e.ID)
	m.say(m.debugIfCommandOnly(slog.LevelInfo), "process started", m.name(e.ID),
		slog.Int("pid", e.PID), slog.Int("restarts", p.Starts-1))
	if m.Stopping {
		m.terminate(e.ID)
	}
}

func (m *stepper) startFailed(e StartFailed) {
	p := &m.Procs[e.ID]
	if e.ID == Web && e.Temporary && m.tryWebAgain(p, e.Reason) {
		return
	}
	p.HasEnded = true
	p.LastEnd = End{At: m.now, Code: e.Code, Reason: e.Reason}
	if e.ID == Web {
		p.Phase, p.RestState = Resting, status.Failed
		p.becauseItEnded(e.Reason, 0)
		m.say(slog.LevelError, "process cannot be started: init ends", m.name(Web),
			slog.String("reason", e.Reason), slog.Int("code", e.Code))
		m.stop("cannot start "+m.c.Names[Web]+": "+e.Reason, e.Code)
		m.leaveOthers()
		return
	}
	m.release()
	if e.Temporary && !m.Stopping {
		p.Phase, p.NextStart = Waiting, m.now.Add(m.backoff(p))
		p.becauseItEnded("cannot be started: "+e.Reason, 0)
		m.say(slog.LevelError, "process cannot be started now", m.name(Bot),
			slog.String("reason", e.Reason), m.nextStart(), m.delay())
		return
	}
	m.failBot("cannot be started: "+e.Reason, "mend it and say: init start "+m.c.Names[Bot])
	p.ReasonOfEnd = true
}

// tryWebAgain has web started again in a moment, if it could not be started for a reason that may pass at once: a new
// file of it is still being written, or there are no processes left just now.
func (m *stepper) tryWebAgain(p *Proc, reason string) bool {
	if p.TryUntil.IsZero() {
		p.TryUntil = m.now.Add(tryWebFor)
		m.say(slog.LevelWarn, "process cannot be started now: it is tried again for a moment", m.name(Web),
			slog.String("reason", reason))
	}
	if m.Stopping || !m.now.Before(p.TryUntil) {
		return false
	}
	p.Phase, p.NextStart, p.StartAgain = Waiting, m.now.Add(tryWebEvery), true
	p.because("cannot be started now: " + reason)
	return true
}

// failBot lays the bot to rest, which will not be started again by itself. next is what a person should do.
func (m *stepper) failBot(reason, next string) {
	p := &m.Procs[Bot]
	p.Phase, p.RestState = Resting, status.Failed
	p.because(reason)
	m.say(slog.LevelError, "process failed: it will not be started again by itself", m.name(Bot),
		slog.String("reason", reason), slog.String("next", next))
}

func (m *stepper) leaderEnded(e LeaderEnded) {
	p := &m.Procs[e.ID]
	wasEnding := p.Phase == Ending
	// The zombie keeps its number, so that this cannot hit a stranger.
	switch {
	case m.c.SingleChild: // nobody else is init's to end
	case m.Killed || !p.KillAt.IsZero() && !m.now.Before(p.KillAt):
		m.do(SendGroup{e.ID, syscall.SIGKILL})
	default:
		m.do(SendGroup{e.ID, syscall.SIGTERM})
		m.do(SendGroup{e.ID, syscall.SIGCONT})
	}
	reason := meaning(e.Code, e.Signal)
	if e.ID == Web && e.Code != exitcode.OK && slices.Contains(m.c.SuccessExit, e.Code) {
		reason = strconv.Itoa(e.Code) + ": counts as 0"
	}
	if e.Detail != "" {
		reason += " (" + e.Detail + ")"
	}
	hung := p.HungReason != ""
	if hung {
		reason = p.HungReason + " (" + reason + ")"
	}
	p.forgetNotices()
	p.Phase, p.HasEnded, p.SuspendedBy = Emptying, true, 0
	ran := m.now.Sub(p.StartedAt)
	p.LastEnd = End{At: m.now, Code: e.Code, Signal: e.Signal, Reason: reason, Ran: ran, OOM: e.OOM}
	p.PollAt = m.now.Add(pollGroupEvery)
	if p.KillAt.IsZero() {
		p.KillAt = m.now.Add(m.c.StopTimeout)
	}
	if p.NameAt.IsZero() && !wasEnding && !m.Stopping {
		p.NameAt = m.now.Add(namedAfter)
	}
	attrs := []slog.Attr{m.name(e.ID), slog.Int("pid", p.PID), slog.Int("code", e.Code)}
	if e.Signal != 0 {
		attrs = append(attrs, slog.String("signal", SignalName(e.Signal)))
	}
	attrs = append(attrs, slog.String("reason", reason), slog.String("ran", ran.Round(time.Millisecond).String()))

	switch {
	case e.ID == Web:
		m.webEnded(e, reason, attrs)
	case m.Stopping:
		p.RestState = status.Stopped
		p.because("init stops")
		m.say(slog.LevelInfo, "process ended", attrs...)
	case wasEnding && p.StartAgain:
		m.say(slog.LevelInfo, "process ended", append(attrs, slog.String("next", "starts again, as an operator asked"))...)
	case wasEnding && !hung:
		p.RestState = status.Stopped
		p.because("stopped by an operator")
		m.say(slog.LevelInfo, "process ended",
			append(attrs, slog.String("next", "stays stopped until told: init start "+m.c.Names[Bot]))...)
	default:
		m.botEnded(e, hung, ran, reason, attrs)
	}
}

// suspended takes in that a signal has stopped a process, or that it goes on. It is left as it is: whoever has stopped
// it, a debugger for one, wakes it. A bot that is silent meanwhile for too long is ended like any other.
func (m *stepper) suspended(e Suspended) {
	p := &m.Procs[e.ID]
	if p.Phase != Alive && p.Phase != Ending || p.SuspendedBy == e.By {
		return
	}
	switch pid := slog.Int("pid", p.PID); {
	case p.Phase == Ending: // SIGCONT has come with its stop signal
	case e.By != 0:
		m.say(slog.LevelWarn, "process is suspended: it does nothing until it gets SIGCONT", m.name(e.ID), pid,
			slog.String("signal", SignalName(e.By)))
	default:
		m.say(slog.LevelInfo, "process goes on", m.name(e.ID), pid)
	}
	p.SuspendedBy = e.By
}

func (m *stepper) webEnded(e LeaderEnded, reason string, attrs []slog.Attr) {
	p := &m.Procs[Web]
	if p.StartAgain && !m.Stopping {
		m.say(slog.LevelInfo, "process ended", append(attrs, slog.String("next", "starts again, as an operator asked"))...)
		return
	}
	p.StartAgain, p.RestState = false, status.Stopped
	p.because("init stops")
	code := e.Code
	if slices.Contains(m.c.SuccessExit, code) {
		code = exitcode.OK
	}
	level := slog.LevelInfo
	if code != 0 {
		level = slog.LevelError
	}
	m.say(m.debugIfCommandOnly(level), "process ended: init ends with its status",
		append(attrs, slog.Int("status", code))...)
	if m.Stopping {
		if !m.Fault {
			m.Code = code
		}
		return
	}
	m.stop(m.c.Names[Web]+" ended: "+reason, code)
	m.leaveOthers()
}

// leaveOthers ends init at once where the command alone counts: whatever is left is not waited for, as with tini.
func (m *stepper) leaveOthers() {
	if m.c.SingleChild {
		m.exit()
	}
}

// botEnded keeps the contract of the exit codes for a bot that ended by itself. One that hung has crashed, whatever its
// code.
func (m *stepper) botEnded(e LeaderEnded, hung bool, ran time.Duration, reason string, attrs []slog.Attr) {
	p := &m.Procs[Bot]
	if ran >= longRun {
		p.Failures, p.Conflicts, p.LostLocks = 0, 0, 0
	}
	switch {
	case hung:
		m.crashed(p, reason, attrs)
	case e.Signal == 0 && e.Code == exitcode.OK:
		p.RestState = status.Finished
		p.becauseItEnded("it ended with 0", 0)
		m.say(slog.LevelInfo, "process finished",
			append(attrs, slog.String("next", "stays so until told: init start "+m.c.Names[Bot]))...)
	case e.Signal == 0 && e.Code == exitcode.Config:
		p.RestState = status.Failed
		p.becauseItEnded(reason+"; its own last lines in the log say why", 0)
		m.say(slog.LevelError, "process failed: it will not be started again by itself",
			append(attrs, slog.String("next", "mend what its last lines complain of, then start a new container, "+
				"or say: init start "+m.c.Names[Bot]))...)
	case e.Signal == 0 && e.Code == exitcode.TempFail:
		p.Failures = 0
		d := double(m.c.ConflictDelay, p.Conflicts, max(maxConflictDelay, m.c.ConflictDelay))
		p.Conflicts++
		p.NextStart = m.now.Add(d)
		p.becauseItEnded(reason+status.InARow(p.Conflicts, false), p.Conflicts)
		m.say(slog.LevelWarn, "process cannot run now",
			append(attrs, slog.Int("in_a_row", p.Conflicts), m.nextStart(), m.delay())...)
	default:
		m.crashed(p, reason, attrs)
	}
}

func (m *stepper) crashed(p *Proc, reason string, attrs []slog.Attr) {
	p.Conflicts = 0
	p.NextStart = m.now.Add(m.backoff(p))
	p.becauseItEnded(reason+status.InARow(p.Failures, true), p.Failures)
	m.say(slog.LevelError, "process crashed",
		append(attrs, slog.Int("in_a_row", p.Failures), m.nextStart(), m.delay())...)
}

// backoff is the delay after one more crash in a row.
func (m *stepper) backoff(p *Proc) time.Duration {
	d := double(m.c.RestartDelay, p.Failures, m.c.RestartDelayMax)
	p.Failures++
	return d - time.Duration(m.c.Jitter()*float64(d/2))
}

// double is d doubled n times, at most limit.
func double(d time.Duration, n int, limit time.Duration) time.Duration {
	for range n {
		if d *= 2; d >= limit || d <= 0 {
			return limit
		}
	}
	return min(d, limit)
}

// nextStart and delay say when the bot is started again.
func (m *stepper) nextStart() slog.Attr {
	return slog.String("next_start_at", m.Procs[Bot].NextStart.UTC().Format("2006-01-02T15:04:05.000Z"))
}

func (m *stepper) delay() slog.Attr {
	return slog.String("delay", m.Procs[Bot].NextStart.Sub(m.now).Round(time.Millisecond).String())
}

// groupEmpty is the end of an end. Only now may the process be started again, or the lock go to another.
func (m *stepper) groupEmpty(id ID) {
	p := &m.Procs[id]
	if p.Phase != Emptying {
		return
	}
	p.Phase, p.KillAt, p.PollAt, p.NameAt, p.PID = Resting, time.Time{}, time.Time{}, time.Time{}, 0
	if id == Bot {
		m.release()
	}
	switch {
	case m.Stopping:
	case p.StartAgain && id == Web:
		m.launch(id)
	case p.StartAgain || !p.NextStart.IsZero():
		p.Phase = Waiting
		if first := m.now.Add(handOverWait); p.NextStart.Before(first) {
			p.NextStart = first
		}
	}
}

func (m *stepper) startIfDue(id ID) {
	if p := &m.Procs[id]; p.Phase == Waiting && !m.now.Before(p.NextStart) {
		m.launch(id)
	}
}

func (m *stepper) release() {
	m.LockHeld = false
	m.do(ReleaseLock{})
}

// waitsForLock says whether an answer to wish is still waited for.
func (m *stepper) waitsForLock(wish int) bool {
	return m.Procs[Bot].Phase == Locking && !m.LockHeld && wish == m.Wish
}

func (m *stepper) lockTaken(wish int) {
	if m.waitsForLock(wish) {
		m.LockHeld = true
		m.do(Start{Bot})
	}
}

func (m *stepper) lockBusy(e LockBusy) {
	if m.waitsForLock(e.Wish) {
		m.Procs[Bot].because(e.Reason)
		m.Procs[Bot].StandsBy = true
		m.say(slog.LevelInfo, "process stands by until the polling lock is free", m.name(Bot),
			slog.String("reason", e.Reason))
	}
}

func (m *stepper) lockFailed(e LockFailed) {
	if !m.waitsForLock(e.Wish) {
		return
	}
	m.release()
	if p := &m.Procs[Bot]; e.Temporary {
		p.Phase, p.StandsBy, p.NextStart = Waiting, false, m.now.Add(m.backoff(p))
		p.because("the polling lock cannot be had now: " + e.Reason)
		m.say(slog.LevelError, "process cannot be started now", m.name(Bot),
			slog.String("reason", p.Reason), m.nextStart(), m.delay())
	} else {
		m.failBot("the polling lock cannot be had: "+e.Reason, "mend it and say: init start "+m.c.Names[Bot])
	}
}

// lockLost starts a bot again at once that could not run because its lock had lost its file: the next start gets the
// file that has the name now, or waits for it. Where each lock is lost the delay doubles from one to the next.
func (m *stepper) lockLost(wish int) {
	p := &m.Procs[Bot]
	if wish != m.Wish || p.Phase != Waiting || !p.ReasonOfEnd || p.Conflicts == 0 {
		return
	}
	soon := m.now.Add(double(handOverWait, p.LostLocks, m.c.RestartDelayMax))
	p.LostLocks++
	if !soon.Before(p.NextStart) {
		return
	}
	p.Conflicts--
	p.NextStart = soon
	p.because("the polling lock's file was taken away or replaced")
	m.say(slog.LevelInfo, "process starts again with the lock's file of today", m.name(Bot),
		slog.String("reason", p.Reason), m.nextStart(), m.delay())
}
