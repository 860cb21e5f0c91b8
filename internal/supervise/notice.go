package supervise

import (
	"log/slog"
	"time"
)

// maxLateness is how late init may notice that a time is over. Later than that, init itself did not run, as in a
// container that was paused. Then the process had no chance to show life either.
const maxLateness = time.Second

// expectNotices begins to listen to a process that was just started. A process that nobody listens to counts as ready.
func (m *stepper) expectNotices(id ID) {
	p := &m.Procs[id]
	p.forgetNotices()
	p.Ready = !m.c.Notify[id]
	if id == Bot && !p.Ready && m.c.StartTimeout > 0 {
		p.StartBy = m.now.Add(m.c.StartTimeout)
	}
}

// forgetNotices forgets what a process said: it counts for one run only.
func (p *Proc) forgetNotices() {
	p.Ready, p.Leaving, p.StandsBy, p.StatusText, p.HungReason = false, false, false, "", ""
	p.StartBy, p.AliveBy = time.Time{}, time.Time{}
}

// noticed takes in what a process says of itself. Only a bot that says too little is ended. A web that hangs is for
// the container's health check to see, because to end web is to end the container (docs/adr/0045).
func (m *stepper) noticed(e Noticed) {
	p := &m.Procs[e.ID]
	if !m.c.Notify[e.ID] || p.PID != e.PID || p.Phase != Alive && p.Phase != Ending {
		return
	}
	if e.HasStatus {
		p.StatusText = e.Status
	}
	if p.Phase == Ending {
		return
	}
	if e.ID == Bot && e.StandBy && !p.StandsBy {
		m.say(slog.LevelInfo, "process stands by", m.name(e.ID), slog.String("reason", p.StatusText))
	}
	p.StandsBy = e.ID == Bot && (p.StandsBy || e.StandBy) && !e.StandByOver
	if e.Ready && !p.Ready {
		p.Ready, p.StartBy = true, time.Time{}
		m.say(slog.LevelInfo, "process is ready", m.name(e.ID), slog.String("after", m.sinceStart(p)))
	}
	if e.ID == Web {
		p.Leaving = p.Leaving || e.Stopping
		return
	}
	switch {
	case e.Stopping && !p.Leaving:
		p.Leaving, p.StartBy = true, time.Time{}
		p.AliveBy = m.now.Add(m.c.StopTimeout)
	case p.Leaving:
		p.AliveBy = later(p.AliveBy, m.now.Add(e.ExtendBy))
	case p.Ready && m.c.Watchdog > 0:
		if e.Watchdog || e.Ready || p.AliveBy.IsZero() {
			p.AliveBy = m.now.Add(m.c.Watchdog)
		}
	case !p.StartBy.IsZero():
		p.StartBy = later(p.StartBy, m.now.Add(e.ExtendBy))
	}
	if e.Trigger {
		reason := "hung: it says so itself"
		if p.StatusText != "" {
			reason += " (" + p.StatusText + ")"
		}
		m.endHung(reason)
	}
}

// endIfHung ends a bot that has not shown life in time.
func (m *stepper) endIfHung() {
	p := &m.Procs[Bot]
	if p.Phase != Alive {
		return
	}
	switch {
	case m.overdue(&p.StartBy, m.c.StartTimeout):
		m.endHung("hung at its start: it has not said READY=1 within " + m.sinceStart(p))
	case p.Leaving && m.overdue(&p.AliveBy, m.c.StopTimeout):
		m.endHung("hung at its end: it said STOPPING=1 and runs on")
	case !p.Leaving && m.overdue(&p.AliveBy, m.c.Watchdog):
		m.endHung("hung: no WATCHDOG=1 from it for " + m.c.Watchdog.String())
	}
}

// overdue says whether the time by is over. If init notices that too late, by is put off by extension.
func (m *stepper) overdue(by *time.Time, extension time.Duration) bool {
	if by.IsZero() || m.now.Before(*by) {
		return false
	}
	if m.now.Sub(*by) > maxLateness {
		*by = m.now.Add(extension)
		return false
	}
	return true
}

// endHung asks a bot to end that hangs.
func (m *stepper) endHung(reason string) {
	p := &m.Procs[Bot]
	attrs := []slog.Attr{m.name(Bot), slog.Int("pid", p.PID), slog.String("reason", reason)}
	if !p.Ready && !p.Leaving {
		attrs = append(attrs, slog.String("next",
			"if it does not speak sd_notify(3), set BOT_NOTIFY=false; if it needs longer, BOT_START_TIMEOUT"))
	}
	m.say(slog.LevelError, "process hangs: it is ended and started again", attrs...)
	p.HungReason = reason
	p.because(reason)
	m.terminate(Bot)
}

// sinceStart is how long ago a process was started.
func (m *stepper) sinceStart(p *Proc) string {
	return m.now.Sub(p.StartedAt).Round(time.Millisecond).String()
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
