package telegram

import (
	"sync"
	"time"

	"tandem/internal/inbox"
)

// health is what the bot says of itself: to the database, to the operations port and as metrics.
type health struct {
	changed chan struct{} // gets a word at each change

	mu       sync.Mutex
	state    inbox.BotState
	reason   string
	holder   string
	standby  bool
	lastPoll time.Time
	retryAt  time.Time // of a pause that Telegram asked for in polling
	sendsAt  time.Time // of one for all that is sent

	tellMu sync.Mutex // held while tell is called, so that the last word it hears is the newest
	tell   func(Condition)
}

func newHealth(tell func(Condition)) *health {
	return &health{changed: make(chan struct{}, 1), state: inbox.BotStarting, tell: tell}
}

func (h *health) set(state inbox.BotState, reason string) { h.pause(state, reason, time.Time{}) }

// pause is set for a state that lasts until Telegram is asked again.
func (h *health) pause(state inbox.BotState, reason string, retryAt time.Time) {
	h.mu.Lock()
	same := h.state == state && h.reason == reason && !h.standby && h.retryAt.Equal(retryAt)
	h.state, h.reason, h.standby, h.retryAt = state, reason, false, retryAt
	h.mu.Unlock()
	if same {
		return
	}
	h.told()
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// pauseSends notes until when nothing is sent, zero for a pause that is over.
func (h *health) pauseSends(until time.Time) {
	h.mu.Lock()
	same := h.sendsAt.Equal(until)
	h.sendsAt = until
	h.mu.Unlock()
	if same {
		return
	}
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

func (h *health) pauses() (retryAt, sendsAt time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.retryAt, h.sendsAt
}

func (h *health) standBy(holder string) {
	h.mu.Lock()
	h.standby, h.holder = true, holder
	h.mu.Unlock()
	h.told()
}

// told tells the present condition.
func (h *health) told() {
	if h.tell == nil {
		return
	}
	h.tellMu.Lock()
	defer h.tellMu.Unlock()
	h.mu.Lock()
	c := Condition{State: h.state, Reason: h.reason, StandBy: h.standby, Holder: h.holder}
	h.mu.Unlock()
	h.tell(c)
}

func (h *health) get() (state inbox.BotState, reason string, standby bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state, h.reason, h.standby
}

// polled notes that Telegram answered a poll.
func (h *health) polled() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lastPoll = time.Now()
}
