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
}

func newHealth() *health {
	return &health{changed: make(chan struct{}, 1), state: inbox.BotStarting}
}

func (h *health) set(state inbox.BotState, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state == state && h.reason == reason && !h.standby {
		return
	}
	h.state, h.reason, h.standby = state, reason, false
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

func (h *health) standBy(holder string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.standby, h.holder = true, holder
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
