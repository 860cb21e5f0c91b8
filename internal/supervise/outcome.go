package supervise

import (
	"time"

	"tandem/internal/exitcode"
	"tandem/internal/status"
)

// Outcome is what came of an operator's request: a line for people, and the status for `init start|stop|restart` to end
// with: 0 if the process is as it was asked to be, 75 if it is not yet but will try by itself, 78 if it cannot run as
// configured, 1 otherwise.
type Outcome struct {
	Code int
	Text string
}

func refused(reason string) Outcome { return Outcome{exitcode.Failure, reason} }

// Grant is a granted Ask, with what was known when it was asked.
type Grant struct {
	Ask
	At     time.Time
	Starts int
	Ran    bool // the process was running
}

// Grant makes a Grant of an Ask that is about to be put to Step.
func (s State) Grant(a Ask, now time.Time) Grant {
	p := s.Procs[a.ID]
	return Grant{Ask: a, At: now, Starts: p.Starts, Ran: p.Phase == Alive}
}

const (
	// startsWell is how long a process that cannot say that it is ready must run until its start counts as one: most of
	// those that cannot run have ended by then.
	startsWell = time.Second
	// askLimit is how long a request is waited for beyond the time that a stop takes.
	askLimit = 30 * time.Second
)

// Outcome is what has come of a granted request by now, zero while it is being carried out; then look says when to ask
// again if nothing happens before.
func (s State) Outcome(c *Config, g Grant, now time.Time) (o Outcome, look time.Time) {
	p, name := s.Procs[g.ID], c.Names[g.ID]
	say := func(code int, text string) (Outcome, time.Time) {
		return Outcome{code, name + ": " + text}, time.Time{}
	}
	limit := g.At.Add(c.StopTimeout + askLimit)
	wait := func(at time.Time) (Outcome, time.Time) {
		if !now.Before(limit) {
			text := "still " + string(p.word(s.Stopping))
			if why := or(p.Reason, p.Text); why != "" {
				text += ": " + why
			}
			return say(exitcode.TempFail, text+"; look again with: init status "+name)
		}
		if at.IsZero() || at.After(limit) {
			at = limit
		}
		return Outcome{}, at
	}

	switch {
	case s.Stopping:
		return refused("init is stopping"), time.Time{}
	case p.Phase == Ending, p.Phase == Emptying, p.Phase == Waiting && p.Again:
		return wait(time.Time{})
	case g.Verb == "stop" && p.Phase != Resting:
		return say(exitcode.Failure, "stopped, and started again by another request")
	case g.Verb == "stop" && p.Rest == status.Disabled:
		return say(exitcode.OK, "not running: "+p.Reason)
	case g.Verb == "stop":
		return say(exitcode.OK, "stopped")
	}
	switch p.Phase {
	case Locking:
		if p.StandsBy {
			return say(exitcode.TempFail, "standby: "+p.Reason+"; it starts by itself once the lock is free")
		}
		return wait(time.Time{})
	case Alive:
		pid := ", pid " + itoa(p.PID)
		switch {
		case p.StandsBy:
			return say(exitcode.TempFail, "standby"+pid+": "+p.Text)
		case !p.Ready, p.Leaving:
			return wait(time.Time{})
		case g.Ran && p.Starts == g.Starts:
			return say(exitcode.OK, "runs already"+pid)
		case !c.Notify[g.ID] && now.Before(p.StartedAt.Add(startsWell)):
			return wait(p.StartedAt.Add(startsWell))
		case g.Verb == "restart":
			return say(exitcode.OK, "restarted"+pid)
		}
		return say(exitcode.OK, "started"+pid)
	case Waiting:
		return say(exitcode.TempFail, p.Reason+"; next start at "+p.NextStart.UTC().Format("15:04:05 UTC"))
	}
	if p.Rest == status.Failed {
		return say(exitcode.Config, "failed: "+p.Reason)
	}
	return say(exitcode.Failure, or(string(p.Rest), "not running")+": "+p.Reason)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
