package telegram

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tandem/internal/exitcode"
	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
)

// TestSessionEndedByTheServer lets two bots on one database compete while the sessions that hold their lock
// are ended again and again: one polls at any time, nothing is lost, and neither ends.
func TestSessionEndedByTheServer(t *testing.T) {
	url := pgtest.URL(t)
	tg := simtest.Start(t)
	settle := slower(func(q *timing) { q.settleFor, q.fencedWait = 300*time.Millisecond, 10*time.Second })
	a := start(t, tg, openStore(t, url), rigOptions{timing: settle})
	a.needPolls(1)
	b := start(t, tg, openStore(t, url), rigOptions{timing: settle})
	b.eventually("the second to stand by", func() bool { return strings.Contains(b.log.String(), "standing by") })
	if err := b.bot.Ready(); err != nil {
		t.Errorf("standing by is not ready: %v", err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	admin, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	const rounds = 10
	for i := range rounds {
		polls := tg.Polls(0).Requests
		tg.Customer(7, fmt.Sprint("message ", i))
		a.eventually("the lock's session to end", func() bool {
			var n int
			err := admin.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM pg_locks
				WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&n)
			if err != nil {
				t.Fatal(err)
			}
			return n > 0
		})
		a.needPolls(polls + 1)
		a.eventually("the message", func() bool { return len(a.messages(7)) == i+1 })
	}
	a.delivery(a.answer(7, "still here").ID, inbox.Sent)
	if p := tg.Polls(0); p.MaxOpen > 1 || p.Conflicts > 0 {
		t.Errorf("two polled at once: %+v", p)
	}
	for _, r := range []*rig{a, b} {
		select {
		case err := <-r.ended:
			t.Errorf("a bot ended: %v", err)
		default:
		}
	}
	if d := tg.Duplicates(); len(d) > 0 {
		t.Errorf("sent twice: %+v", d)
	}
}

func TestDatabaseThatIsRestarted(t *testing.T) {
	server := pgtest.Server(t)
	r := newRig(t, rigOptions{database: server.URL(), timing: slower(func(q *timing) { q.fencedWait = 10 * time.Second })})
	r.tg.Customer(7, "before")
	r.conversation(7)
	slow := simulator.Delay(60_000)
	slow.Method = "sendMessage"
	id := r.tg.AddFault(slow)
	m := r.answer(7, "under way")
	r.delivery(m.ID, inbox.Sending)
	server.Stop()
	r.tg.ClearFault(id)
	r.tg.Customer(7, "meanwhile")
	r.eventually("it not to be ready", func() bool { return r.bot.Ready() != nil })
	server.Start()
	r.eventually("both messages", func() bool { return r.db.Ready() == nil && len(r.messages(7)) == 3 })
	r.tg.NeedConfirmed(patience)
	// What Telegram took is Sent where the answer came in time for the lost lock, and never sent again.
	r.eventually("an outcome", func() bool {
		got, err := r.db.Message(context.Background(), m.ID)
		return err == nil && (got.Delivery == inbox.Sent || got.Delivery == inbox.Unknown)
	})
	r.tg.ClearFaults()
	r.delivery(r.answer(7, "after").ID, inbox.Sent)
	if d := r.tg.Duplicates(); len(d) > 0 {
		t.Errorf("sent twice: %+v", d)
	}
}

func TestTakenOverElsewhere(t *testing.T) {
	r := newRig(t, rigOptions{})
	if _, err := r.db.TakeOver(context.Background(), simtest.BotID, "another one"); err != nil {
		t.Fatal(err)
	}
	r.tg.Customer(7, "too late")
	// On SQLite no lock is lost with it, so the bot waits for one in vain and then says what is wrong.
	err := r.end()
	if exitcode.Of(err) != exitcode.TempFail || !strings.Contains(err.Error(), "POLL_LOCK_FILE") {
		t.Fatalf("ended with %d: %v", exitcode.Of(err), err)
	}
	if p := r.tg.Polls(0); p.Pending != 1 {
		t.Errorf("a late write was acknowledged: %+v", p)
	}
}

func TestWaitsAfterOneThatDidNotSignOff(t *testing.T) {
	tg := simtest.Start(t)
	db := openStore(t, "")
	if _, err := db.TakeOver(context.Background(), simtest.BotID, "killed"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r := start(t, tg, db, rigOptions{timing: slower(func(q *timing) { q.settleFor = 500 * time.Millisecond })})
	r.needPolls(1)
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("polled after %v", took)
	}
	r.stopped()
	start(t, tg, db, rigOptions{timing: slower(func(q *timing) { q.settleFor = time.Hour })}).needPolls(2)
}

func TestPanicEndsWithoutTheToken(t *testing.T) {
	r := newRig(t, rigOptions{wrap: func(s inbox.BotStore) inbox.BotStore { return panicking{s} }})
	r.tg.Customer(7, "boom")
	err := r.end()
	if exitcode.Of(err) != exitcode.Failure || !strings.Contains(err.Error(), "the bot broke") ||
		strings.Contains(err.Error(), secretHalf) {
		t.Errorf("ended with %d: %v", exitcode.Of(err), err)
	}
}

type panicking struct{ inbox.BotStore }

func (panicking) StoreUpdates(context.Context, inbox.Tenure, []inbox.Update, int64) error {
	panic("https://api.telegram.org/bot" + simtest.Token + "/getUpdates")
}

// held is a store whose lock a test makes doubtful or takes away.
type held struct {
	inbox.BotStore
	mu    sync.Mutex
	doubt bool
	lost  chan struct{} // of the lock that was taken last
	taken int
}

func (h *held) PollLock(ctx context.Context, botID int64, instance string,
	waiting func(string)) (inbox.PollLock, error) {
	lock, err := h.BotStore.PollLock(ctx, botID, instance, waiting)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taken++
	h.doubt, h.lost = false, make(chan struct{})
	return heldLock{lock, h, h.lost}, err
}

// lose tells the bot that its lock is lost.
func (h *held) lose() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.lost)
}

// takes is how often the lock was taken.
func (h *held) takes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.taken
}

type heldLock struct {
	inbox.PollLock
	h    *held
	lost chan struct{}
}

func (l heldLock) Lost() <-chan struct{} { return l.lost }

func (l heldLock) Held() bool {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	return !l.h.doubt
}

// TestADoubtfulLockStopsPollAndSend : a bot that was frozen finds by its clock that the lock may be another's: it
// neither polls nor sends before it has it again.
func TestADoubtfulLockStopsPollAndSend(t *testing.T) {
	h := &held{}
	r := newRig(t, rigOptions{wrap: func(s inbox.BotStore) inbox.BotStore { h.BotStore = s; return h }})
	r.tg.Customer(7, "before")
	r.conversation(7)
	h.mu.Lock()
	h.doubt = true
	h.mu.Unlock()
	m := r.answer(7, "claimed in doubt")
	r.eventually("the lock to be taken again", func() bool { return h.takes() == 2 })
	r.delivery(m.ID, inbox.Sent) // by the next tenure: it was not sent, so it is no unknown one
	r.tg.Customer(7, "after")
	r.eventually("both messages and the answer", func() bool { return len(r.messages(7)) == 3 })
	if d := r.tg.Duplicates(); len(d) > 0 {
		t.Errorf("sent twice: %+v", d)
	}
	if !strings.Contains(r.log.String(), "the lock between hosts was lost") {
		t.Error("it did not say why it stopped")
	}
}

// TestDrainEndsBeforeTheLockIsGiven : what is under way when a line goes dead ends before another may send.
func TestDrainEndsBeforeTheLockIsGiven(t *testing.T) {
	if end := inbox.LockKnown + usualTiming.drainFor; end > inbox.LockTrust || inbox.LockTrust >= inbox.LockGiven ||
		inbox.LockGiven >= inbox.LockLease {
		t.Errorf("under way until %v, trusted until %v, given between %v and %v", end, inbox.LockTrust, inbox.LockGiven,
			inbox.LockLease)
	}
}
