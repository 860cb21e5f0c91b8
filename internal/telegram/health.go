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

	tellMu sync.Mutex // held while tell is called, so that the last word it hears is the newest
	tell   func(Condition)
}

func newHealth(tell func(Condition)) *health {
	return &health{changed: make(chan struct{}, 1), state: inbox.BotStarting, tell: tell}
}

func (h *health) set(state inbox.BotState, reason string) {
	h.mu.Lock()
	same := h.state == state && h.reason == reason && !h.standby
	h.state, h.reason, h.standby = state, reason, false
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
