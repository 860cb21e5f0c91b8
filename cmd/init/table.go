package main

import (
	"fmt"
	"strings"
	"time"

	"tandem/internal/status"
)

// table is a status for people: a line for each process, with why, the last end and the next start below it where
// there is something to say; dir is where it may have left its last words. It is short enough for 80 columns but for the reasons.
func table(s *status.Status, name, dir string, now time.Time) string {
	var b strings.Builder
	line := func(head, format string, args ...any) {
		fmt.Fprintf(&b, "%-6s"+format+"\n", append([]any{head}, args...)...)
	}
	fact := func(what, format string, args ...any) { line("", "%-11s"+format, append([]any{what}, args...)...) }

	fmt.Fprintf(&b, "%-6s%-11s%-8s%-8s%s\n", "", "STATE", "FOR", "PID", "RESTARTS")
	for _, p := range s.Processes {
		if name != "" && p.Name != name {
			continue
		}
		pid, since := "-", "-"
		if p.PID != 0 {
			pid = fmt.Sprint(p.PID)
		}
		if p.Since != nil {
			since = span(now.Sub(*p.Since))
		}
		line(p.Name, "%-11s%-8s%-8s%d", p.State, since, pid, p.Restarts)
		why := p.Reason
		if e := p.LastEnd; e != nil && strings.HasPrefix(why, e.Reason) {
			if words := p.Words(dir); words != "" {
				loop := strings.TrimPrefix(why, e.Reason)
				if !strings.HasSuffix(loop, " in a row)") {
					loop = ""
				}
				why = words + loop // it knows better than its exit code
			}
		}
		if why != "" {
			fact("why", "%s", why)
		}
		if p.StatusText != "" && p.StatusText != why {
			fact("says", "%s", p.StatusText)
		}
		if e := p.LastEnd; e != nil {
			said := ": " + e.Reason
			if strings.HasPrefix(why, e.Reason) {
				said = "" // the line above has it
			}
			fact("last end", "%s, %s ago%s%s", clock(e.At), span(now.Sub(e.At)), ran(e), said)
		}
		if p.NextStartAt != nil {
			fact("next start", "%s, in %s", clock(*p.NextStartAt), span(p.NextStartAt.Sub(now)))
		}
	}
	if l := s.Lock; l != nil && name != "web" {
		holder := "not held by this bot"
		if l.Held {
			holder = "held by this bot"
		} else if l.Holder != "" {
			holder = "not held by this bot but by " + l.Holder
		}
		line("lock", "%s: %s", l.Path, holder)
	}
	if name == "" {
		line("init", "%s, pid %d, up %s, %d orphans reaped", s.Init.Version, s.Init.PID, span(now.Sub(s.Init.StartedAt)), s.OrphansReaped)
	}
	return b.String()
}

// ran is how long a process had run before its end e; "" for one that could not be started.
func ran(e *status.End) string {
	switch d := time.Duration(e.RanMS) * time.Millisecond; {
	case d == 0:
		return ""
	case d < 10*time.Second:
		return ", after " + d.String()
	default:
		return ", after " + span(d)
	}
}

// clock is a time as a person compares it with the log, whose times are UTC too in a container.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// span is a duration in its two largest units: what was longer ago needs no seconds. A negative one is 0s.
func span(d time.Duration) string {
	d = max(0, d.Round(time.Second))
	switch day := 24 * time.Hour; {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	}
}
