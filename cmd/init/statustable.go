package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"tandem/internal/exitcode"
	"tandem/internal/status"
)

// statusTable is the status of one or several inits for people. Each process has a line. Below it is why, its last end
// and its next start, where there is something to say. name is the only process to show, "" for all. dir is where a
// process may have left its last words. But for the reasons the table fits into 80 columns.
func statusTable(all []*status.Status, name, dir string, now time.Time) string {
	var t lines
	fmt.Fprintf(&t, "%-6s%-11s%-8s%-8s%s\n", "", "STATE", "FOR", "PID", "RESTARTS")
	for _, s := range all {
		for _, p := range s.Processes {
			if name == "" || p.Name == name {
				t.process(p, dir, now)
			}
		}
	}
	for _, s := range all {
		if s.Lock != nil && name != "web" {
			t.lock(s)
		}
	}
	if name != "" {
		return t.String()
	}
	for _, s := range all {
		of := ""
		if len(all) > 1 && len(s.Processes) == 1 {
			of = " (of " + s.Processes[0].Name + ")"
		}
		t.line("init", "%s, pid %d, up %s, %d orphans reaped%s",
			s.Init.Version, s.Init.PID, span(now.Sub(s.Init.StartedAt)), s.OrphansReaped, of)
	}
	return t.String()
}

// lines are those of a table.
type lines struct{ strings.Builder }

// line adds a line. Control characters are left out: a process may have said them, or somebody who can write RUN_DIR.
func (t *lines) line(head, format string, args ...any) {
	t.WriteString(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, fmt.Sprintf("%-6s"+format, append([]any{head}, args...)...)) + "\n")
}

func (t *lines) fact(what, format string, args ...any) {
	t.line("", "%-11s"+format, append([]any{what}, args...)...)
}

func (t *lines) process(p status.Process, dir string, now time.Time) {
	pid, since := "-", "-"
	if p.PID != 0 {
		pid = fmt.Sprint(p.PID)
	}
	if p.Since != nil {
		since = span(now.Sub(*p.Since))
	}
	t.line(p.Name, "%-11s%-8s%-8s%d", p.State, since, pid, p.Restarts)
	why, ofEnd := p.Reason, p.OfEnd()
	if e := p.LastEnd; ofEnd {
		if words := p.Words(dir); words != "" { // which say more than its exit code
			why, ofEnd = words+status.InARow(p.InARow, e.Code != exitcode.TempFail), false
		}
	}
	if why != "" {
		t.fact("why", "%s", why)
	}
	standsBy := p.State == status.Standby && p.PID != 0 // then what it says is the reason above
	if p.StatusText != "" && !standsBy {
		t.fact("says", "%s", p.StatusText)
	}
	if e := p.LastEnd; e != nil {
		said := ": " + e.Reason
		if ofEnd {
			said = "" // the line above has it
		}
		t.fact("last end", "%s, %s ago%s%s", clock(e.At), span(now.Sub(e.At)), ran(e), said)
	}
	if p.NextStartAt != nil {
		t.fact("next start", "%s, in %s", clock(*p.NextStartAt), span(p.NextStartAt.Sub(now)))
	}
}

func (t *lines) lock(s *status.Status) {
	bot, _ := s.Process("bot")
	who := "not held by this bot"
	switch {
	case s.Lock.Held && bot.State == status.Standby: // it has this lock, and waits for the one in the database
		who = "kept for this bot, which waits for another lock"
	case s.Lock.Held:
		who = "held by this bot"
	case s.Lock.Holder != "":
		who = "not held by this bot but by " + s.Lock.Holder
	}
	t.line("lock", "%s: %s", s.Lock.Path, who)
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

// clock is a time as a person compares it with the log. In a container the log has UTC, too.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// span is a duration in its two largest units. A negative one is 0s.
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
