package telegram

import (
	"fmt"
	"sync"
	"time"
)

// vitals is by when each part of the bot will have moved on. The part says it before it does something that may take
// time. Every such thing has a limit of its own, so a part that is late does not wait: it hangs. A Telegram or a
// database that is slow or away is no hang.
type vitals struct {
	mu  sync.Mutex
	due map[string]time.Time
}

// The parts.
const (
	thePoll  = "the poll loop"
	theProbe = "the probe of a Telegram that was away"
)

// within says that part will have moved on by d from now; 0 takes back what it said.
func (v *vitals) within(part string, d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.due == nil {
		v.due = map[string]time.Time{}
	}
	delete(v.due, part)
	if d > 0 {
		v.due[part] = time.Now().Add(d)
	}
}

// Alive is nil while every part of the bot moves, else it says which one hangs.
func (b *Bot) Alive() error {
	b.vitals.mu.Lock()
	defer b.vitals.mu.Unlock()
	for part, due := range b.vitals.due {
		if late := time.Since(due); late > 0 {
			return fmt.Errorf("%s has not moved on, %s after it should have", part, late.Round(time.Millisecond))
		}
	}
	return nil
}
