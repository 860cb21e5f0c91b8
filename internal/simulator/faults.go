package simulator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Kind of a fault: what happens instead of the ordinary response.
type Kind string

const (
	// Answer gives an error of the Bot API: Status, Description, Parameters, Header.
	Answer Kind = "answer"
	// Raw gives any HTTP response: Status, Header, Body.
	Raw Kind = "raw"
	// Reset breaks the connection before the call is accepted: nothing happens on Telegram's side.
	Reset Kind = "reset"
	// ResetAfter accepts the call and breaks the connection instead of answering: the client cannot know.
	ResetAfter Kind = "reset_after"
	// Hang gives no response until the fault is cleared, then breaks the connection. Nothing is accepted.
	Hang Kind = "hang"
	// HangAfter accepts the call and then hangs in the same way.
	HangAfter Kind = "hang_after"
	// Slow accepts the call and dribbles the response's body over Delay.
	Slow Kind = "slow"
	// Late accepts the call after Delay and answers as ever.
	Late Kind = "late"
)

// Fault makes calls fail. It applies to calls of Method ("" is all) to ChatID (0 is all) whose text has Text in
// it; the first Skip of them are spared and the next Times are hit (0 is until cleared). Of several that match,
// the oldest one is applied.
type Fault struct {
	Kind   Kind   `json:"kind"`
	Method string `json:"method,omitempty"`
	ChatID int64  `json:"chat_id,omitempty"`
	Text   string `json:"text,omitempty"`
	Skip   int    `json:"skip,omitempty"`
	Times  int    `json:"times,omitempty"`
	// DelayMS is waited for, in milliseconds, before anything else; with Slow it is what the body takes.
	DelayMS int `json:"delay_ms,omitempty"`

	Status      int               `json:"status,omitempty"`
	Description string            `json:"description,omitempty"`
	Parameters  json.RawMessage   `json:"parameters,omitempty"`
	Header      map[string]string `json:"header,omitempty"`
	Body        string            `json:"body,omitempty"`

	// Label names it in the recorder; the kind when "".
	Label string `json:"label,omitempty"`
	// Interrupt also hits a getUpdates that is waiting already, as a network or a stranger would.
	Interrupt bool `json:"interrupt,omitempty"`
}

// Name is the label, or else the kind.
func (f Fault) Name() string { return cmp.Or(f.Label, string(f.Kind)) }

type activeFault struct {
	Fault
	id      int64
	seen    int
	cleared chan struct{}
}

func (f *activeFault) matches(method string, p params) bool {
	if f.Method != "" && f.Method != "*" && !strings.EqualFold(f.Method, method) {
		return false
	}
	if f.ChatID != 0 && f.ChatID != p.int("chat_id", 0) {
		return false
	}
	return f.Text == "" || strings.Contains(p["text"], f.Text) || strings.Contains(p["caption"], f.Text)
}

// hit counts a matching call and says whether the fault applies to it. The lock is held.
func (f *activeFault) hit() bool {
	if f.Times > 0 && f.seen >= f.Skip+f.Times {
		return false
	}
	f.seen++
	return f.seen > f.Skip
}

// check says what is wrong with a fault that came from outside.
func (f Fault) check() error {
	switch f.Kind {
	case Reset, ResetAfter, Hang, HangAfter:
	case Slow, Late:
		if f.DelayMS <= 0 {
			return fmt.Errorf("a fault of the kind %s needs delay_ms", f.Kind)
		}
	case Answer, Raw:
		if f.Status < 200 || f.Status > 599 {
			return fmt.Errorf("a fault of the kind %s needs a status of 200 to 599, not %d", f.Kind, f.Status)
		}
	default:
		return fmt.Errorf("there is no kind %q of a fault, only answer, raw, reset, reset_after, hang, hang_after, "+
			"slow and late; or give a preset: %s", f.Kind, strings.Join(Presets(), ", "))
	}
	if len(f.Parameters) > 0 && !json.Valid(f.Parameters) {
		return errors.New("parameters must be JSON")
	}
	return nil
}

// AddFault starts a fault and returns its id for ClearFault.
func (s *Server) AddFault(f Fault) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextID++
	a := &activeFault{Fault: f, id: s.nextID, cleared: make(chan struct{})}
	s.faults = append(s.faults, a)
	if f.Interrupt {
		for _, b := range s.bots {
			if b.waiting != nil && a.matches("getupdates", nil) && a.hit() {
				b.waiting.finish(response{interrupt: a})
				b.waiting = nil
			}
		}
	}
	s.touch()
	return a.id
}

// ClearFault ends a fault and what hangs by it; no fault of that id is no error.
func (s *Server) ClearFault(id int64) { s.clearFaults(func(f *activeFault) bool { return f.id == id }) }

// ClearFaults ends all faults and what hangs by them.
func (s *Server) ClearFaults() { s.clearFaults(func(*activeFault) bool { return true }) }

func (s *Server) clearFaults(which func(*activeFault) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var kept []*activeFault
	for _, f := range s.faults {
		if which(f) {
			close(f.cleared)
		} else {
			kept = append(kept, f)
		}
	}
	s.faults = kept
	s.touch()
}

// FaultState is a fault and how often a call was seen that it matches.
type FaultState struct {
	ID   int64 `json:"id"`
	Seen int   `json:"seen"`
	Fault
}

// Faults are those that are not cleared and not used up.
func (s *Server) Faults() []FaultState {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []FaultState{}
	for _, f := range s.faults {
		if f.Times == 0 || f.seen < f.Skip+f.Times {
			out = append(out, FaultState{ID: f.id, Seen: f.seen, Fault: f.Fault})
		}
	}
	return out
}

// fault finds the fault for a call, counts it, and waits for its delay.
func (s *Server) fault(ctx context.Context, method string, p params) *activeFault {
	s.mu.Lock()
	var hit *activeFault
	for _, f := range s.faults {
		if f.matches(method, p) && f.hit() {
			hit = f
			s.touch()
			break
		}
	}
	s.mu.Unlock()
	if hit != nil && hit.DelayMS > 0 && hit.Kind != Slow {
		timer := time.NewTimer(time.Duration(hit.DelayMS) * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-hit.cleared:
		case <-ctx.Done():
		case <-s.closed:
		}
	}
	return hit
}

// serve carries the fault out. accept does what the call asks for; note records the outcome, always before
// the client can see it.
func (f *activeFault) serve(ctx context.Context, w http.ResponseWriter, closed <-chan struct{}, accept func() response,
	note func(response)) {
	switch f.Kind {
	case Reset:
		note(response{description: "connection reset before it was accepted"})
		reset(w)
	case ResetAfter:
		note(response{description: "connection reset after it was served with " + strconv.Itoa(accept().status)})
		reset(w)
	case Hang, HangAfter:
		words := "hangs before it was accepted"
		if f.Kind == HangAfter {
			words = "hangs after it was served with " + strconv.Itoa(accept().status)
		}
		note(response{description: words})
		select {
		case <-f.cleared:
			reset(w)
		case <-ctx.Done():
		case <-closed:
			reset(w)
		}
	case Slow:
		out := accept()
		note(out)
		f.dribble(ctx, w, out, closed)
	case Late:
		out := accept()
		note(out)
		out.write(w)
	case Raw:
		note(response{status: f.Status})
		for name, value := range f.Header {
			w.Header().Set(name, value)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(f.Body)))
		w.WriteHeader(f.Status)
		_, _ = w.Write([]byte(f.Body)) // the client may have hung up
	default:
		out := response{status: f.Status, description: f.Description, parameters: f.Parameters}
		note(out)
		for name, value := range f.Header {
			w.Header().Set(name, value)
		}
		out.write(w)
	}
}

// dribble writes the response in small pieces over the fault's delay.
func (f *activeFault) dribble(ctx context.Context, w http.ResponseWriter, out response, closed <-chan struct{}) {
	body := out.body()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(out.status)
	f.trickle(ctx, w, body, closed)
}

// trickle writes the body of a response so.
func (f *activeFault) trickle(ctx context.Context, w http.ResponseWriter, body []byte, closed <-chan struct{}) {
	const pieces = 20
	step := max(len(body)/pieces, 1)
	tick := time.NewTicker(max(time.Duration(f.DelayMS)*time.Millisecond/pieces, time.Millisecond))
	defer tick.Stop()
	for len(body) > 0 {
		n := min(step, len(body))
		if _, err := w.Write(body[:n]); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush() // httptest's recorder cannot, a connection can
		body = body[n:]
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-f.cleared:
			tick.Reset(time.Millisecond)
		case <-closed:
			return
		}
	}
}

// reset closes the connection with a TCP reset.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the close is an orderly one
	}
	_ = conn.Close()
}
