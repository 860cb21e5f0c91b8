package supervise

import (
	"log/slog"
	"syscall"
	"time"

	"tandem/internal/exitcode"
	"tandem/internal/status"
)

func (m *stepper) signal(sig syscall.Signal) {
	if m.c.CommandOnly {
		m.passToCommand(sig)
		return
	}
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT:
		switch {
		case !m.Stopping:
			m.say(slog.LevelInfo, "stop asked for", slog.String("signal", SignalName(sig)),
				slog.String("deadline", m.c.StopTimeout.String()))
			m.Quit = sig == syscall.SIGQUIT
			m.stop("stop asked for by "+SignalName(sig), exitcode.OK)
			m.StopAt = m.now
		case m.StopAt.IsZero(): // web's end had begun the stop: this is the first one
			m.StopAt = m.now
		case m.now.Sub(m.StopAt) >= secondSignalAfter && !m.Killed:
			m.say(slog.LevelWarn, "stop asked for again: everything is killed", slog.String("signal", SignalName(sig)))
			m.Deadline = m.now
			m.kill()
		}
	case syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU:
		// Passed on, they would freeze web; obeyed, init.
	default:
		m.pass(sig)
	}
}

func (m *stepper) pass(sig syscall.Signal) {
	if p := &m.Procs[Web]; p.Phase == Alive || p.Phase == Ending {
		m.do(Send{Web, sig})
	}
}

// passToCommand is what `init -- COMMAND` does with a signal. One of job control stops init as well: else the shell
// that init was started from would not see its job stopped. To the group such a signal goes as SIGSTOP, because the
// kernel would drop it where no shell is above. --rewrite says otherwise, and with 0 that nothing is to happen.
func (m *stepper) passToCommand(sig syscall.Signal) {
	as, rewritten := m.c.Rewrite[sig]
	jobControl := sig == syscall.SIGTSTP || sig == syscall.SIGTTIN || sig == syscall.SIGTTOU
	switch {
	case rewritten && as == 0:
		return
	case rewritten:
	case jobControl && !m.c.SingleChild:
		as = syscall.SIGSTOP
	default:
		as = sig
	}
	if p := &m.Procs[Web]; p.Phase == Alive || p.Phase == Ending {
		if m.c.SingleChild {
			m.do(Send{Web, as})
		} else {
			m.do(SendGroup{Web, as})
		}
	}
	if jobControl {
		m.do(Suspend{})
	}
}

// stop begins init's end: code is what it ends with unless web says otherwise.
func (m *stepper) stop(cause string, code int) {
	if m.Stopping {
		return
	}
	m.Stopping, m.StopCause, m.Code = true, cause, code
	m.Deadline, m.NameAt = m.now.Add(m.c.StopTimeout), m.now.Add(namedAfter)
	for id := range m.Procs {
		p := &m.Procs[id]
		p.StartAgain, p.NextStart, p.NameAt = false, time.Time{}, time.Time{}
		switch p.Phase {
		case Waiting:
			p.Phase, p.RestState = Resting, status.Stopped
			p.because("init stops")
		case Locking:
			p.Phase, p.RestState = Resting, status.Stopped
			p.because("init stops")
			m.release()
		case Alive:
			m.terminate(ID(id))
		case Emptying:
			p.RestState = status.Stopped
			p.because("init stops")
		}
	}
}

// terminate asks a process to end.
func (m *stepper) terminate(id ID) {
	p := &m.Procs[id]
	p.Phase, p.KillAt = Ending, m.now.Add(m.c.StopTimeout)
	p.StartBy, p.AliveBy = time.Time{}, time.Time{}
	if !m.Stopping {
		p.NameAt = m.now.Add(namedAfter)
	}
	m.do(Send{id, m.stopWith(m.c, id)})
	m.do(Send{id, syscall.SIGCONT}) // a process in state T acts on no other signal than SIGKILL before
}

// stopWith is the signal that asks id to end. An image whose STOPSIGNAL is SIGQUIT, like nginx's, has a web that drains
// on that. A bot has nothing to do with it.
func (s State) stopWith(c *Config, id ID) syscall.Signal {
	if id == Web && s.Quit && c.StopSignal[Web] == 0 {
		return syscall.SIGQUIT
	}
	return c.StopWith(id)
}

// beat sets the next look at the clock, as long as something is to end.
func (m *stepper) beat() {
	ends := m.Stopping && !m.Killed
	for _, p := range m.Procs {
		ends = ends || !m.Stopping && (p.Phase == Ending || p.Phase == Emptying)
	}
	switch {
	case !ends || m.Exited:
		m.Beat = time.Time{}
	case m.Beat.IsZero() || !m.now.Before(m.Beat):
		m.Beat = m.now.Add(beatEvery)
	}
}

// forgivePause puts deadlines off by the time in which init itself did not run: the whole container was paused, and
// whoever is to end was, too.
func (m *stepper) forgivePause() {
	if m.Beat.IsZero() || m.now.Sub(m.Beat) <= maxLateness {
		return
	}
	later := func(t *time.Time) {
		if !t.IsZero() {
			*t = t.Add(m.now.Sub(m.Beat))
			if least := m.now.Add(timeAfterPause); t.Before(least) {
				*t = least
			}
		}
	}
	later(&m.Deadline)
	for id := range m.Procs {
		later(&m.Procs[id].KillAt)
	}
}

// StopWith is the signal that asks id to end where no signal has asked init for it.
func (c *Config) StopWith(id ID) syscall.Signal {
	if sig := c.StopSignal[id]; sig != 0 {
		return sig
	}
	return syscall.SIGTERM
}

// kill ends everything that is left. It is repeated, so that nobody wins who forks meanwhile.
func (m *stepper) kill() {
	if !m.Killed {
		for id := range m.Procs {
			if p := &m.Procs[id]; p.Phase == Alive || p.Phase == Ending || p.Phase == Emptying {
				m.say(slog.LevelWarn, "killed at the deadline of the stop", m.name(ID(id)), slog.Int("pid", p.PID))
			}
		}
		m.Killed, m.KilledAt, m.NameAt = true, m.now, time.Time{}
		m.do(Name{Everybody: true, Kills: true})
	}
	m.KillAt = m.now.Add(killEvery)
	m.do(KillAll{})
}

func (m *stepper) fault(reason string) {
	m.say(slog.LevelError, "init failed: both processes are asked to end", slog.String("reason", reason))
	m.stop("init failed: "+reason, exitcode.Software)
	m.Fault, m.Code, m.StopCause = true, exitcode.Software, "init failed: "+reason
}

// askStrays asks what left its group to end, once, when web and bot have ended while init stops.
func (m *stepper) askStrays() {
	if !m.Stopping || m.StraysAsked || m.Exited {
		return
	}
	for _, p := range m.Procs {
		if p.Phase != Resting {
			return
		}
	}
	m.StraysAsked = true
	m.do(SendStrays{})
}

func (m *stepper) childless() {
	for _, p := range m.Procs {
		if p.Phase != Resting {
			return
		}
	}
	if m.Stopping {
		m.exit()
	}
}

func (m *stepper) exit() {
	m.Exited = true
	m.do(Exit{m.Code})
}

func (m *stepper) tick() {
	if !m.NameAt.IsZero() && !m.now.Before(m.NameAt) && m.now.Before(m.Deadline) {
		m.NameAt = time.Time{}
		m.do(Name{Everybody: true})
	}
	if m.Stopping && !m.now.Before(m.Deadline) {
		if m.Killed && m.now.Sub(m.KilledAt) >= waitAfterKill {
			m.say(slog.LevelError, "processes are left that SIGKILL has not ended: init ends without them")
			if p := &m.Procs[Web]; !m.Fault && (p.Phase == Alive || p.Phase == Ending) {
				m.Code = exitcode.Signal + int(syscall.SIGKILL)
			}
			m.exit()
			return
		}
		if !m.Killed || !m.now.Before(m.KillAt) {
			m.kill()
		}
	}
	for id := range m.Procs {
		p := &m.Procs[id]
		if p.Phase == Emptying && !m.now.Before(p.PollAt) {
			p.PollAt = m.now.Add(pollGroupEvery) // the loop looks at the group after each event
		}
		if !p.NameAt.IsZero() && !m.now.Before(p.NameAt) {
			p.NameAt = time.Time{}
			m.do(Name{ID: ID(id)})
		}
		if (p.Phase == Ending || p.Phase == Emptying) && !p.KillAt.IsZero() && !m.now.Before(p.KillAt) && !m.Stopping {
			m.say(slog.LevelWarn, "killed at the deadline of its stop", m.name(ID(id)), slog.Int("pid", p.PID))
			p.KillAt = m.now.Add(m.c.StopTimeout)
			m.do(Name{ID: ID(id), Kills: true})
			m.do(SendGroup{ID(id), syscall.SIGKILL})
		}
		m.startIfDue(ID(id))
	}
	m.endIfHung()
}

// Next is when a Tick is due. While none is it is zero, and init sleeps until something happens.
func (s State) Next() time.Time {
	var next time.Time
	due := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if s.Exited {
		return next
	}
	due(s.Beat)
	due(s.NameAt)
	for _, p := range s.Procs {
		due(p.NameAt)
		switch p.Phase {
		case Waiting:
			due(p.NextStart)
		case Alive:
			due(p.StartBy)
			due(p.AliveBy)
		case Emptying:
			due(p.PollAt)
			fallthrough
		case Ending:
			if !s.Stopping {
				due(p.KillAt)
			}
		}
	}
	if s.Stopping {
		if s.Killed {
			due(s.KillAt)
		} else {
			due(s.Deadline)
		}
	}
	return next
}

// ask is what an operator may want of a process.
func (m *stepper) ask(e Ask) {
	p := &m.Procs[e.ID]
	name := m.c.Names[e.ID]
	refuse := func(reason string) { m.do(RefuseAsk{reason}) }
	switch {
	case m.Stopping:
		refuse("init is stopping")
		return
	case name == "":
		refuse("this init does not have that process")
		return
	case e.ID == Web && e.Verb != "restart":
		refuse(name + " is the critical process: its end is the container's end; stop the container, or say: " +
			"init restart " + name)
		return
	case e.ID == Bot && e.Verb != "stop" && m.c.Disabled != "":
		refuse("it is disabled: " + m.c.Disabled)
		return
	case e.ID == Bot && e.Verb != "stop" && m.c.Broken != "":
		refuse("it cannot be started as configured: " + m.c.Broken)
		return
	}
	if e.Verb != "stop" { // an operator's word starts the delays anew
		p.Failures, p.Conflicts, p.LostLocks = 0, 0, 0
	}
	m.say(slog.LevelInfo, "operator asks", m.name(e.ID), slog.String("verb", e.Verb))
	m.do(GrantAsk{})
	switch e.Verb {
	case "stop":
		m.askStop(e.ID)
	case "start":
		switch p.Phase {
		case Resting, Waiting:
			m.launch(e.ID)
		case Ending, Emptying:
			m.askAgain(e.ID)
		}
	case "restart":
		switch p.Phase {
		case Resting, Waiting:
			m.launch(e.ID)
		case Alive:
			m.terminate(e.ID)
			m.askAgain(e.ID)
		case Ending, Emptying:
			m.askAgain(e.ID)
		}
	}
}

// askAgain has a process started as soon as it has ended, without a delay.
func (m *stepper) askAgain(id ID) {
	p := &m.Procs[id]
	p.StartAgain, p.NextStart = true, time.Time{}
}

func (m *stepper) askStop(id ID) {
	p := &m.Procs[id]
	p.StartAgain, p.NextStart, p.HungReason = false, time.Time{}, ""
	rest := func() {
		p.Phase, p.RestState = Resting, status.Stopped
		p.because("stopped by an operator")
	}
	switch p.Phase {
	case Resting:
		if p.RestState != status.Disabled {
			rest()
		}
	case Waiting:
		rest()
	case Locking:
		rest()
		m.release()
	case Alive:
		m.terminate(id)
	case Emptying:
		p.RestState = status.Stopped
		p.because("stopped by an operator")
	}
}
