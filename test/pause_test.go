package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/proctest"
	"tandem/internal/simulator"
)

// month is a retry_after that is as good as for ever.
const month = 30 * 24 * 3600

// TestTelegramAsksForAPauseOfAMonth: a pause holds back only what it was asked for. Everybody can read until when.
func TestTelegramAsksForAPauseOfAMonth(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		r := newRig(t, database, "WEB_OPS_ADDR="+proctest.FreeAddr(t))
		flood := func(method string, times int) int64 {
			f := simulator.Flood(month)
			f.Method, f.Times, f.Interrupt = method, times, true
			return r.tg.AddFault(f)
		}
		flood("getMe", 1)
		r.start().waitWeb().waitPolling()
		stays := r.webMustStay()
		r.roundTrip(7, "after a getMe that was refused")
		c := r.conversation(7)

		flood("sendMessage", 1)
		first := r.answer(c.ID, "first")
		waits := func(m inbox.Message, reason inbox.WaitReason) {
			t.Helper()
			proctest.Eventually(t, soon, fmt.Sprintf("answer %d waits: %s", m.ID, reason), func() bool {
				for _, other := range r.messages(c.ID) {
					if w := other.Waits; other.ID == m.ID && w != nil {
						return w.Reason == reason && w.Until != nil && time.Until(*w.Until) > 29*24*time.Hour &&
							strings.Contains(w.Text, "Telegram asks for a pause")
					}
				}
				return false
			})
		}
		waits(first, inbox.WaitsPaused)
		waits(r.answer(c.ID, "second"), inbox.WaitsBehind)
		r.WaitLine(soon, `"level":"WARN"`, `"process":"bot"`, "Telegram asks for a pause before the next message",
			`"until"`, `"next_try"`)
		r.roundTrip(8, "another customer is not held back")

		flood("getUpdates", 1)
		r.mustSay("Telegram asks the bot for a pause", "pause in polling until", "Next try")
		m := r.answer(r.conversation(8).ID, "sent in the pause")
		r.waitDelivery(m, inbox.Sent)
		stays()
		r.stop()
	})
}
