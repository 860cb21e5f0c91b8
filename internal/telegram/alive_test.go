package telegram

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
)

// hangingStore is a database driver that never comes back, and does not hear its context.
type hangingStore struct {
	inbox.BotStore
	hangs atomic.Bool
	end   chan struct{}
}

func (s *hangingStore) StoreUpdates(ctx context.Context, t inbox.Tenure, batch []inbox.Update, next int64) error {
	if s.hangs.Load() {
		<-s.end
	}
	return s.BotStore.StoreUpdates(ctx, t, batch, next)
}

func TestAHangIsFound(t *testing.T) {
	tg, hanging := simtest.Start(t), &hangingStore{end: make(chan struct{})}
	r := start(t, tg, openStore(t, ""), rigOptions{
		wrap:   func(s inbox.BotStore) inbox.BotStore { hanging.BotStore = s; return hanging },
		timing: slower(func(q *timing) { q.storeLimit, q.hangMargin = 50*time.Millisecond, 50*time.Millisecond }),
	})
	t.Cleanup(func() { close(hanging.end) })
	r.needPolls(1)
	hanging.hangs.Store(true)
	r.tg.Customer(7, "hello")
	r.eventually("the hang to be found", func() bool { return r.bot.Alive() != nil })
	if err := r.bot.Alive(); !strings.Contains(err.Error(), "the poll loop has not moved on") {
		t.Error(err)
	}
}

// What a part said of a step that is over does not count any more: neither after an outage of Telegram nor after the
// end.
func TestWhatIsOverIsNoHang(t *testing.T) {
	r := newRig(t, rigOptions{timing: slower(func(q *timing) { q.pollWait = time.Second })})
	promised := func() (parts []string) {
		r.bot.vitals.mu.Lock()
		defer r.bot.vitals.mu.Unlock()
		for part := range r.bot.vitals.due {
			parts = append(parts, part)
		}
		return parts
	}
	for name, fault := range map[string]simulator.Fault{"cut": simulator.Cut(), "flood": simulator.Flood(1)} {
		fault.Times, fault.Method = 3, "getUpdates"
		r.tg.AddFault(fault)
		r.eventually(name+": the poll alone to be promised, as before", func() bool {
			return slices.Equal(promised(), []string{thePoll}) && len(r.tg.Faults()) == 0
		})
		r.tg.ClearFaults()
	}
	r.stop()
	if err := r.end(); err != nil || len(promised()) > 0 {
		t.Errorf("ended with %v, and promises %q", err, promised())
	}
}
