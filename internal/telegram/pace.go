package telegram

import (
	"slices"
	"time"
)

// Limits are how fast messages leave. The zero value is no limit.
type Limits struct {
	Window time.Duration // no more than Most leave within any
	Most   int
	Gap    time.Duration // for each one that leaves, nothing more leaves: so that a second's worth is spread over it
	Chat   time.Duration // from one message to a chat to the next
	Burst  int           // that may leave at once to a chat that had none for long
}

// TelegramLimits are what Telegram lets a bot send (Bots FAQ): about 30 messages a second, and one a second to a chat,
// with more now and then. A little below, because what leaves evenly does not arrive evenly.
var TelegramLimits = Limits{
	Window: 1020 * time.Millisecond, Most: 30, Gap: 30 * time.Millisecond,
	Chat: 1020 * time.Millisecond, Burst: 3,
}

// pace says when messages may leave, before Telegram has to ask for a pause. It is not for several goroutines.
type pace struct {
	Limits
	left  []time.Time         // when those of the last window left, oldest first
	quiet time.Time           // nothing leaves before
	full  map[int64]time.Time // by conversation: when its whole burst is there again
}

func newPace(l Limits) *pace { return &pace{Limits: l, full: map[int64]time.Time{}} }

// allowance is how many may leave now, at most, and if that is none when to ask again.
func (p *pace) allowance(now time.Time, most int) (n int, wait time.Duration) {
	if p.Most == 0 {
		return most, 0
	}
	i, _ := slices.BinarySearchFunc(p.left, now.Add(-p.Window), time.Time.Compare)
	for i < len(p.left) && !p.left[i].After(now.Add(-p.Window)) {
		i++
	}
	p.left = append(p.left[:0], p.left[i:]...)
	n = min(p.Most-len(p.left), most)
	if n <= 0 {
		n, wait = 0, p.left[0].Add(p.Window).Sub(now)
	}
	if pause := p.quiet.Sub(now); pause > 0 {
		n, wait = 0, max(wait, pause)
	}
	return n, wait
}

// notYet are the conversations to which nothing may leave now, and when something may.
func (p *pace) notYet(now time.Time) map[int64]time.Time {
	var list map[int64]time.Time
	for conversation, full := range p.full {
		if !full.After(now) {
			delete(p.full, conversation)
			continue
		}
		next := full.Add(-time.Duration(p.Burst-1) * p.Chat)
		// One that waits for longer does so because Telegram asked for it, and its delivery is held back in the store.
		if next.After(now) && next.Sub(now) <= time.Duration(p.Burst)*p.Chat {
			if list == nil {
				list = map[int64]time.Time{}
			}
			list[conversation] = next
		}
	}
	return list
}

// note counts a message that leaves now.
func (p *pace) note(now time.Time, conversation int64) {
	if p.Most > 0 {
		p.left = append(p.left, now)
		p.quiet = later(p.quiet, now).Add(p.Gap)
	}
	if p.Chat > 0 {
		p.full[conversation] = later(p.full[conversation], now).Add(p.Chat)
	}
}

// spent is called when Telegram asked for a pause in a chat: it gets no burst after it.
func (p *pace) spent(until time.Time, conversation int64) {
	if p.Chat > 0 {
		p.full[conversation] = later(p.full[conversation], until.Add(time.Duration(p.Burst-1)*p.Chat))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
