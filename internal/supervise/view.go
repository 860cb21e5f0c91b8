package supervise

import (
	"time"

	"tandem/internal/status"
)

// View is what status.json shows of the processes. The Executor adds the rest.
func (s State) View(c *Config) []status.Process {
	var list []status.Process
	for id, p := range s.Procs {
		if c.Names[id] == "" {
			continue
		}
		v := status.Process{
			Name: c.Names[id], Critical: ID(id) == Web, State: p.state(s.Stopping), Reason: p.Reason,
			Since: wall(p.Since), Restarts: max(0, p.Starts-1),
		}
		if p.Phase == Alive || p.Phase == Ending {
			v.PID, v.StatusText = p.PID, p.StatusText
		}
		if p.Phase == Alive && p.StandsBy {
			v.Reason = p.StatusText
		}
		if p.Phase == Alive && p.SuspendedBy != 0 {
			v.Reason = "stopped by " + SignalName(p.SuspendedBy) + " (state T); it goes on when it gets SIGCONT"
		}
		if p.InARow >= status.ManyInARow {
			v.InARow = p.InARow
		}
		v.ReasonSinceEnd = p.HasEnded && v.Reason != "" && !p.ReasonOfEnd
		if p.Starts > 0 {
			v.StartedAt = wall(p.StartedAt)
		}
		if p.HasEnded {
			v.LastEnd = p.LastEnd.view()
		}
		if !p.NextStart.IsZero() {
			v.NextStartAt = wall(p.NextStart)
		}
		list = append(list, v)
	}
	return list
}

func (e End) view() *status.End {
	v := &status.End{
		At: *wall(e.At), Code: e.Code, Reason: e.Reason, RanMS: int(e.Ran.Milliseconds()), OOMKilled: e.OOM,
	}
	if e.Signal != 0 {
		v.Signal = SignalName(e.Signal)
	}
	return v
}

// state is what a process is doing, in one word.
func (p *Proc) state(stopping bool) status.State {
	switch p.Phase {
	case Waiting:
		return status.Waiting
	case Locking: // most often for an instant
		if !p.StandsBy {
			return status.Waiting
		}
		return status.Standby
	case Alive:
		switch {
		case p.SuspendedBy != 0:
			return status.Suspended
		case p.Leaving:
			return status.Stopping
		case p.StandsBy:
			return status.Standby
		case !p.Ready:
			return status.Starting
		}
		return status.Running
	case Ending:
		return status.Stopping
	case Emptying:
		if !p.NextStart.IsZero() && !stopping {
			return status.Waiting
		}
		return status.Stopping
	}
	if p.RestState == "" { // before its first start
		return status.Waiting
	}
	return p.RestState
}

// wall is t for people: without the monotonic part, in UTC, to the microsecond.
func wall(t time.Time) *time.Time {
	t = t.Round(0).UTC().Truncate(time.Microsecond)
	return &t
}
