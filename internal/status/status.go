// Package status is the shape of status.json (and of `init status --json`): what init knows of its two
// processes. init writes it, web and people read it.
package status

import (
	"path/filepath"
	"time"

	"tandem/internal/smalljson"
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
	Reason      string     `json:"reason,omitempty"`      // why it is in a state in which it does not run
	StatusText  string     `json:"status_text,omitempty"` // what it says that it is doing, if init listens to it
	PID         int        `json:"pid"`
	StartedAt   *time.Time `json:"started_at"` // of its last start, nil before the first
	Restarts    int        `json:"restarts"`
	LastEnd     *End       `json:"last_end"`
	NextStartAt *time.Time `json:"next_start_at,omitempty"`
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
func (s *Status) Marshal() []byte { return smalljson.Marshal(s.fields) }

// Together is what several inits with one RUN_DIR say, as JSON: of one its status, as it is; of more the same members, which
// then speak of the processes of all, with the first one's init and the first lock, and beside them each status in "inits".
func Together(all []*Status) []byte {
	if len(all) == 1 {
		return all[0].Marshal()
	}
	var sum Status
	var each []Status
	for i, s := range all {
		if i == 0 {
			sum.Init = s.Init
		}
		if sum.Lock == nil {
			sum.Lock = s.Lock
		}
		sum.Processes = append(sum.Processes, s.Processes...)
		sum.OrphansReaped += s.OrphansReaped
		each = append(each, *s)
	}
	return smalljson.Marshal(func(f *smalljson.Fields) {
		sum.fields(f)
		smalljson.Objects(f, "inits", &each, (*Status).fields)
	})
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
	if err := smalljson.Unmarshal(b, s.fields); err != nil {
		return nil, err
	}
	return &s, nil
}

// The members as init writes and reads them. The tags above say the same to encoding/json, which web uses; a test
// holds the two together.

func (s *Status) fields(f *smalljson.Fields) {
	f.Object("init", s.Init.fields)
	smalljson.Objects(f, "processes", &s.Processes, (*Process).fields)
	smalljson.OrOmit(f, "lock", &s.Lock, func(name string, l *Lock) { f.Object(name, l.fields) })
	f.Int("orphans_reaped", &s.OrphansReaped)
}

func (i *Init) fields(f *smalljson.Fields) {
	f.Int("pid", &i.PID)
	f.Time("started_at", &i.StartedAt)
	f.String("version", &i.Version)
}

func (p *Process) fields(f *smalljson.Fields) {
	f.String("name", &p.Name)
	f.Bool("critical", &p.Critical)
	f.String("state", (*string)(&p.State))
	smalljson.OrOmit(f, "since", &p.Since, f.Time)
	f.OmitEmpty("reason", &p.Reason)
	f.OmitEmpty("status_text", &p.StatusText)
	f.Int("pid", &p.PID)
	smalljson.OrNull(f, "started_at", &p.StartedAt, f.Time)
	f.Int("restarts", &p.Restarts)
	smalljson.OrNull(f, "last_end", &p.LastEnd, func(name string, e *End) { f.Object(name, e.fields) })
	smalljson.OrOmit(f, "next_start_at", &p.NextStartAt, f.Time)
}

func (e *End) fields(f *smalljson.Fields) {
	f.Time("at", &e.At)
	f.Int("code", &e.Code)
	f.String("signal", &e.Signal)
	f.String("reason", &e.Reason)
	f.Int("ran_ms", &e.RanMS)
	f.Bool("oom_killed", &e.OOMKilled)
}

func (l *Lock) fields(f *smalljson.Fields) {
	f.String("path", &l.Path)
	f.Bool("held", &l.Held)
	f.String("holder", &l.Holder)
}
