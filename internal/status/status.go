// Package status is the shape of status.json and of `init status --json`: what init knows of its two processes. init
// writes it, web and people read it. The package also opens and writes all files in RUN_DIR but
// locks and sockets.
package status

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"
)

// Status is the whole file.
type Status struct {
	Init          Init      `json:"init"`
	Processes     []Process `json:"processes"`
	Lock          *Lock     `json:"lock,omitempty"` // nil where no bot is supervised
	OrphansReaped int       `json:"orphans_reaped"`
}

// Init is the supervisor itself.
type Init struct {
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"started_at"`
	Version   string    `json:"version"`
}

// Process is web or bot. PID is 0 while it does not run.
type Process struct {
	Name        string     `json:"name"`
	Critical    bool       `json:"critical"`
	State       State      `json:"state"`
	Since       *time.Time `json:"since,omitempty"`       // when it came into this state
	Reason      string     `json:"reason,omitempty"`      // why it is in this state, where that is not its own wish
	StatusText  string     `json:"status_text,omitempty"` // what it says that it is doing, if init listens to it
	PID         int        `json:"pid"`
	StartedAt   *time.Time `json:"started_at"` // of its last start, nil before the first
	Restarts    int        `json:"restarts"`
	LastEnd     *End       `json:"last_end"`
	NextStartAt *time.Time `json:"next_start_at,omitempty"`

	// ReasonSinceEnd says that Reason tells of something that came after LastEnd. Without it a Reason beside a LastEnd
	// tells of that end, and the process itself may know better; see Words.
	ReasonSinceEnd bool `json:"reason_since_end,omitempty"`
	// InARow is how many ends like LastEnd there were in a row, from ManyInARow on; Reason says so, too.
	InARow int `json:"in_a_row,omitempty"`
}

// OfEnd says whether Reason tells of LastEnd.
func (p Process) OfEnd() bool { return p.LastEnd != nil && p.Reason != "" && !p.ReasonSinceEnd }

// ManyInARow is how many ends in a row are worth telling.
const ManyInARow = 3

// InARow is what follows the reason of the last of n ends in a row. It makes a crash loop visible, which has no state
// of its own.
func InARow(n int, crashes bool) string {
	switch {
	case n < ManyInARow:
		return ""
	case crashes:
		return fmt.Sprintf(" (crash loop: %d in a row)", n)
	}
	return fmt.Sprintf(" (%d in a row)", n)
}

// End is how a process ended: Code for an exit, Signal (like "SIGKILL") for a death by one.
type End struct {
	At     time.Time `json:"at"`
	Code   int       `json:"code"`
	Signal string    `json:"signal"`
	Reason string    `json:"reason"`
	// RanMS is how long it had run, in milliseconds; 0 for one that could not be started.
	RanMS int `json:"ran_ms"`
	// OOMKilled says that the kernel killed it for want of memory.
	OOMKilled bool `json:"oom_killed"`
}

// Lock is the polling lock as init sees it.
type Lock struct {
	Path   string `json:"path"`
	Held   bool   `json:"held"`   // by the bot of this init
	Holder string `json:"holder"` // who says to hold it, for people only; "" when nobody is known
}

// Process returns the one called name.
func (s *Status) Process(name string) (Process, bool) {
	for _, p := range s.Processes {
		if p.Name == name {
			return p, true
		}
	}
	return Process{}, false
}

// Marshal is s as it is written.
func (s *Status) Marshal() []byte { return marshal(s) }

// marshal is v as JSON for people: what a page would escape stays as it is.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // it cannot fail on text, numbers and times of this age
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Together is what several inits with one RUN_DIR say, as JSON. Of one it is its status as it is. Of more it has the
// same members: the processes of all, the first one's init, and the first lock. Beside them "inits" has each status.
func Together(all []*Status) []byte {
	if len(all) == 1 {
		return all[0].Marshal()
	}
	var sum struct {
		Status
		Inits []*Status `json:"inits"`
	}
	sum.Inits = all
	for i, s := range all {
		if i == 0 {
			sum.Init = s.Init
		}
		if sum.Lock == nil {
			sum.Lock = s.Lock
		}
		sum.Processes = append(sum.Processes, s.Processes...)
		sum.OrphansReaped += s.OrphansReaped
	}
	return marshal(&sum)
}

// Read reads a status file. The writer replaces it by rename, so that what is read is always whole.
func Read(path string) (*Status, error) {
	dir, err := OpenDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	b, err := dir.Read(filepath.Base(path))
	if err != nil {
		return nil, err
	}
	return Parse(b)
}

// Parse reads what is in a status file.
func Parse(b []byte) (*Status, error) {
	var s Status
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	return &s, nil
}
