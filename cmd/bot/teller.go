package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/sdnotify"
	"tandem/internal/telegram"
)

// readyAfter is for how long the bot may wait for something before it counts as ready. What it waits for is outside,
// and to start the bot again would not bring it.
const readyAfter = 2 * time.Second

// teller tells the supervisor, which is whoever started the bot, how the bot is (sd_notify(3)). The bot is ready when
// it polls, stands by, or waits for what is not in its hands.
type teller struct {
	supervisor *sdnotify.Sender
	log        *slog.Logger

	mu      sync.Mutex
	last    []string    // what was said of its condition
	waiting *time.Timer // until a start that takes long counts as a wait
	ended   bool
}

func newTeller(supervisor *sdnotify.Sender, log *slog.Logger) *teller {
	return &teller{supervisor: supervisor, log: log}
}

// changed tells the supervisor how the bot is now.
func (t *teller) changed(c telegram.Condition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.supervisor == nil || t.ended {
		return
	}
	if t.waiting != nil {
		t.waiting.Stop()
	}
	says := sdnotify.Status(c.Reason)
	switch {
	case c.StandBy:
		t.say("READY=1", "X_STANDBY=1", sdnotify.Status("the polling lock is held by "+c.Holder))
	case c.State == inbox.BotPolling:
		t.say("READY=1", "X_STANDBY=0", sdnotify.Status("polls Telegram"))
	case c.State == inbox.BotUnreachable:
		t.say("READY=1", "X_STANDBY=0", says)
	case c.State == inbox.BotStarting && c.Reason != "":
		t.say("X_STANDBY=0", says)
		t.waiting = time.AfterFunc(readyAfter, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			if !t.ended && len(t.last) == 2 && t.last[1] == says {
				t.say("READY=1", "X_STANDBY=0", says)
			}
		})
	default:
		t.say("X_STANDBY=0", says)
	}
}

// say is called with the lock held.
func (t *teller) say(lines ...string) {
	t.last = lines
	t.supervisor.Send(lines...)
}

// stopping says that the bot ends. Nothing is said after it.
func (t *teller) stopping() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.supervisor.Send("STOPPING=1")
}

// checkEvery is how often the bot checks whether it is alive, which wakes nobody else.
const checkEvery = 30 * time.Second

// alive says that the bot is alive twice in each interval that is asked for, until ctx ends. A bot that is not alive
// asks to be ended at once.
func (t *teller) alive(ctx context.Context, alive func() error) {
	if t.supervisor == nil || t.supervisor.Interval == 0 {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(min(checkEvery, t.supervisor.Interval/2))
	defer tick.Stop()
	for said := time.Now(); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := alive(); err != nil {
			t.log.Error("the bot hangs, which is an error in this program", "reason", err.Error())
			t.supervisor.Send(sdnotify.Status(err.Error()), "WATCHDOG=trigger")
			continue
		}
		if time.Since(said) < t.supervisor.Interval/2-checkEvery/10 { // the next check is nearer to the half than this one
			continue
		}
		said = time.Now()
		t.mu.Lock()
		if !t.ended { // with its condition, in case that was not heard
			t.supervisor.Send(append([]string{"WATCHDOG=1"}, t.last...)...)
		}
		t.mu.Unlock()
	}
}
