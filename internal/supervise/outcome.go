package supervise

import (
	"cmp"
	"strconv"
	"time"

	"tandem/internal/exitcode"
	"tandem/internal/status"
)

// Outcome is what came of an operator's request: a line for people, and the status for `init start|stop|restart` to end
// with. That is 0 if the process is as it was asked to be, 75 if it is not yet but will try by itself, 78 if it cannot
// run as configured, and else 1.
type Outcome struct {
	Code int
	Text string
}

func refused(reason string) Outcome { return Outcome{exitcode.Failure, reason} }

// PendingAsk is an Ask with what was known just before Step got it. What came of it is measured by that.
type PendingAsk struct {
	Ask
	At       time.Time
	Starts   int
	WasAlive bool
}

// Pending makes a PendingAsk of an Ask that is about to be put to Step.
func (s State) Pending(a Ask, now time.Time) PendingAsk {
	p := s.Procs[a.ID]
	return PendingAsk{Ask: a, At: now, Starts: p.Starts, WasAlive: p.Phase == Alive}
}

const (
	// startCountsAfter is how long a process that cannot say that it is ready must run until its start counts as one.
	// Most of those that cannot run have ended by then.
	startCountsAfter = time.Second
	// maxAskWait is how long an operator waits beyond the time that a stop takes.
	maxAskWait = 30 * time.Second
)

// Outcome is what has come of a granted request by now. While the request is being carried out, it is zero, and
// lookAgainAt says when to ask again if nothing happens before.
func (s State) Outcome(c *Config, a PendingAsk, now time.Time) (o Outcome, lookAgainAt time.Time) {
	p, name := s.Procs[a.ID], c.Names[a.ID]
	say := func(code int, text string) (Outcome, time.Time) {
		return Outcome{code, name + ": " + text}, time.Time{}
	}
	limit := a.At.Add(c.StopTimeout + maxAskWait)
	wait := func(at time.Time) (Outcome, time.Time) {
		if !now.Before(limit) {
			text := "still " + string(p.state(s.Stopping))
			if why := cmp.Or(p.Reason, p.StatusText); why != "" {
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
	case p.Phase == Ending, p.Phase == Emptying, p.Phase == Waiting && p.StartAgain:
		return wait(time.Time{})
	case a.Verb == "stop" && p.Phase != Resting:
		return say(exitcode.Failure, "stopped, and started again by another request")
	case a.Verb == "stop" && p.RestState == status.Disabled:
		return say(exitcode.OK, "not running: "+p.Reason)
	case a.Verb == "stop":
		return say(exitcode.OK, "stopped")
	}
	switch p.Phase {
	case Locking:
		if p.StandsBy {
			return say(exitcode.TempFail, "standby: "+p.Reason+"; it starts by itself once the lock is free")
		}
		return wait(time.Time{})
	case Alive:
		pid := ", pid " + strconv.Itoa(p.PID)
		switch {
		case p.SuspendedBy != 0:
			return say(exitcode.TempFail, "suspended"+pid+": a signal has stopped it; it goes on when it gets SIGCONT")
		case p.StandsBy:
			return say(exitcode.TempFail, "standby"+pid+": "+p.StatusText)
		case !p.Ready, p.Leaving:
			return wait(time.Time{})
		case a.WasAlive && p.Starts == a.Starts:
			return say(exitcode.OK, "runs already"+pid)
		case !c.Notify[a.ID] && now.Before(p.StartedAt.Add(startCountsAfter)):
			return wait(p.StartedAt.Add(startCountsAfter))
		case a.Verb == "restart":
			return say(exitcode.OK, "restarted"+pid)
		}
		return say(exitcode.OK, "started"+pid)
	case Waiting:
		return say(exitcode.TempFail, p.Reason+"; next start at "+p.NextStart.UTC().Format("15:04:05 UTC"))
	}
	if p.RestState == status.Failed {
		return say(exitcode.Config, "failed: "+p.Reason)
	}
	return say(exitcode.Failure, cmp.Or(string(p.RestState), "not running")+": "+p.Reason)
}
