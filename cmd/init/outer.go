package main

import (
	"os"
	"strings"
	"sync"
	"time"

	"tandem/internal/sdnotify"
	"tandem/internal/status"
)

// outer is who supervises init, like systemd or podman, if that listens to it (sd_notify(3)). It hears when init is
// ready and when init stops, and at each change what the processes are doing. If it watches init, it hears that init
// and web are alive.
type outer struct {
	sender *sdnotify.Sender // nil for nobody
	mode   mode
	turn   func(done func()) // has the loop turn once
	wake   chan struct{}

	mu       sync.Mutex
	show     func() *status.Status // nil before the first
	stopping bool

	saidReady, saidStopping bool   // run's own
	said                    string // what the processes were doing
	late                    bool   // it was not told in time that web is alive
}

// minSignOfLife is how often init says at most that it is alive, whatever is asked for.
const minSignOfLife = 10 * time.Millisecond

func newOuter(m mode, turn func(done func())) *outer {
	return &outer{sender: sdnotify.New(os.Getenv), mode: m, turn: turn, wake: make(chan struct{}, 1)}
}

// put hands over the state. It never waits.
func (o *outer) put(show func() *status.Status, stopping bool) {
	if o.sender == nil {
		return
	}
	o.mu.Lock()
	o.show, o.stopping = show, stopping
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// run is the actor. At init's end it says the last.
func (o *outer) run(done <-chan struct{}) {
	var due <-chan time.Time // never, without a watchdog
	if o.sender.Interval > 0 {
		t := time.NewTicker(max(o.sender.Interval/2, minSignOfLife))
		defer t.Stop()
		due = t.C
	}
	for {
		select {
		case <-o.wake:
			o.tell(false)
			if o.late {
				o.showLife(done)
			}
		case <-due:
			o.showLife(done)
		case <-done:
			o.tell(true)
			return
		}
	}
}

func (o *outer) tell(over bool) {
	o.mu.Lock()
	show, stopping := o.show, o.stopping || over
	o.mu.Unlock()
	if show == nil {
		return
	}
	s := show()
	var lines []string
	if !o.saidReady && !stopping && isReady(s, o.mode) {
		o.saidReady = true
		lines = append(lines, "READY=1")
	}
	if !o.saidStopping && stopping {
		o.saidStopping = true
		lines = append(lines, "STOPPING=1")
	}
	if doing := inALine(s); doing != o.said {
		o.said = doing
		lines = append(lines, sdnotify.Status(doing))
	}
	if lines != nil {
		o.sender.Send(lines...)
	}
}

// showLife tells the watchdog that init is alive, once its loop has turned. While there is no web it waits for the next
// change.
func (o *outer) showLife(done <-chan struct{}) {
	turned := make(chan struct{})
	o.turn(func() { close(turned) })
	select {
	case <-turned:
	case <-done:
		return
	}
	o.mu.Lock()
	show, stopping := o.show, o.stopping
	o.mu.Unlock()
	if o.late = show == nil || !stopping && !isAlive(show(), o.mode); !o.late {
		o.sender.Send("WATCHDOG=1")
	}
}

// isAlive says whether there is what init is there for. An init of the bot alone goes on without it.
func isAlive(s *status.Status, m mode) bool {
	web, _ := s.Process("web")
	return m == botOnly || web.PID != 0
}

// isReady says whether init does what it is there for. That is the work of web. An init of the bot alone is ready as
// well while its bot cannot run: it says why, and starts it again.
func isReady(s *status.Status, m mode) bool {
	if m != botOnly {
		web, _ := s.Process("web")
		return web.State == status.Running
	}
	bot, _ := s.Process("bot")
	switch bot.State {
	case status.Starting, status.Stopping:
		return false
	case status.Waiting: // at first for the lock, for an instant
		return bot.NextStartAt != nil
	}
	return true
}

// maxReasonOutside bounds what is told of one process, in bytes.
const maxReasonOutside = 200

// inALine is what the processes are doing.
func inALine(s *status.Status) string {
	var all []string
	for _, p := range s.Processes {
		text := p.Name + " " + string(p.State)
		if p.Reason != "" {
			reason := p.Reason
			if len(reason) > maxReasonOutside {
				reason = strings.ToValidUTF8(reason[:maxReasonOutside], "") + "..."
			}
			text += " (" + reason + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}
