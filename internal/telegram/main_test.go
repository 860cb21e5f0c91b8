package telegram

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/inbox"
	"tandem/internal/proctest"
	"tandem/internal/simulator/simtest"
	"tandem/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// quick makes what a test would wait for short, and nothing else different.
var quick = timing{
	pollWait: 50 * time.Second, pollMargin: 10 * time.Second, idlePause: 20 * time.Millisecond,
	maxBatchBytes: maxUpdatesBytes,
	sendLimit:     5 * time.Second, claimEvery: 200 * time.Millisecond,
	maxHold: time.Hour, maxHoldAll: time.Minute,
	backoffFirst: 20 * time.Millisecond, backoffMost: 200 * time.Millisecond,
	settleFor: 20 * time.Millisecond, drainFor: 300 * time.Millisecond, recordFor: 200 * time.Millisecond,
	fencedWait: 200 * time.Millisecond, heartbeatEvery: time.Second, storeLimit: time.Minute, hangMargin: time.Minute,
	anewPause: time.Millisecond, anewIdle: 50 * time.Millisecond,
}

// rig is a bot at work on a real store and a simulated Telegram.
type rig struct {
	t     *testing.T
	tg    *simtest.Telegram
	db    *store.Store
	bot   *Bot
	log   *proctest.Log
	stop  context.CancelFunc
	ended chan error
}

// rigOptions change a rig before its bot runs.
type rigOptions struct {
	database string // SQLite in a new directory when ""
	timing   *timing
	apiURL   string
	wrap     func(inbox.BotStore) inbox.BotStore
	guard    func() error
	files    FileOptions
}

func openStore(t *testing.T, url string) *store.Store {
	t.Helper()
	if url == "" {
		url = "sqlite:" + filepath.Join(t.TempDir(), "inbox.db")
	}
	db := store.Open(url, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = db.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done; db.Close() })
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := db.WaitReady(wait); err != nil {
		t.Fatal(err)
	}
	return db
}

// start runs a bot until the test ends or it ends itself.
func start(t *testing.T, tg *simtest.Telegram, db *store.Store, o rigOptions) *rig {
	t.Helper()
	token, err := ParseToken(simtest.Token)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, tg: tg, db: db, log: &proctest.Log{}, ended: make(chan error, 1)}
	var botStore inbox.BotStore = db
	if o.wrap != nil {
		botStore = o.wrap(db)
	}
	if o.apiURL == "" {
		o.apiURL = tg.URL
	}
	r.bot = New(Options{
		Token: token, APIURL: o.apiURL, Instance: t.Name(), Store: botStore, Guard: o.guard, Files: o.files,
		Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	r.bot.times = quick
	if o.timing != nil {
		r.bot.times = *o.timing
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	done := make(chan struct{})
	go func() { defer close(done); r.ended <- r.bot.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
		if strings.Contains(r.log.String(), secretHalf) {
			t.Errorf("the token is in the log:\n%s", r.log.String())
		}
		if t.Failed() {
			t.Logf("the bot's log:\n%s", r.log.String())
		}
	})
	return r
}

// secretHalf of the token must not be in anything that a person can read.
var secretHalf = strings.SplitN(simtest.Token, ":", 2)[1]

// unfenced is a client that may always send.
func unfenced(e *endpoint) *client { return e.while(func() bool { return true }) }

// newRig is a bot that polls.
func newRig(t *testing.T, o rigOptions) *rig {
	t.Helper()
	tg := simtest.Start(t)
	r := start(t, tg, openStore(t, o.database), o)
	r.needPolls(1)
	return r
}

func (r *rig) needPolls(n int) {
	r.t.Helper()
	if err := r.tg.WaitFor(patience, func() bool { return r.tg.Polls(0).Requests >= n }); err != nil {
		r.t.Fatalf("want %d polls, got %d: %v", n, r.tg.Polls(0).Requests, err)
	}
}

// end waits for the bot's own end.
func (r *rig) end() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(patience):
		r.t.Fatal("the bot has not ended")
		return nil
	}
}

// stopped stops the bot and returns how long that took.
func (r *rig) stopped() time.Duration {
	r.t.Helper()
	began := time.Now()
	r.stop()
	if err := r.end(); err != nil {
		r.t.Fatalf("a stop ended with: %v", err)
	}
	return time.Since(began)
}

// conversation waits for the conversation of a chat.
func (r *rig) conversation(chat int64) inbox.Conversation {
	r.t.Helper()
	var found inbox.Conversation
	r.eventually(fmt.Sprintf("the conversation of chat %d", chat), func() bool {
		list, _, err := r.db.Conversations(context.Background(), inbox.ConversationFilter{Limit: 200})
		if err != nil {
			return false
		}
		for _, c := range list {
			if c.ChatID == chat {
				found = c
				return true
			}
		}
		return false
	})
	return found
}

// messages of a chat, oldest first.
func (r *rig) messages(chat int64) []inbox.Message {
	r.t.Helper()
	list, _, err := r.db.Messages(context.Background(), r.conversation(chat).ID, 200, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Reverse(list)
	return list
}

// answer is an operator's answer to a chat that has written.
func (r *rig) answer(chat int64, text string) inbox.Message {
	r.t.Helper()
	m, _, err := r.db.AddAnswer(context.Background(), r.conversation(chat).ID,
		inbox.Answer{Text: text, Author: inbox.Author{Kind: inbox.ByOperator, ID: "1", Name: "Ann"}})
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

// delivery waits until the message is in the state.
func (r *rig) delivery(id int64, want inbox.DeliveryState) inbox.Message {
	r.t.Helper()
	var m inbox.Message
	r.eventually(fmt.Sprintf("message %d to be %s", id, want), func() bool {
		var err error
		m, err = r.db.Message(context.Background(), id)
		return err == nil && m.Delivery == want
	})
	return m
}

// state waits until the database says that the bot is in the state, and returns the reason.
func (r *rig) state(want inbox.BotState) string {
	r.t.Helper()
	reason := ""
	r.eventually("the bot to be "+string(want), func() bool {
		bots, err := r.db.Bots(context.Background())
		if err != nil || len(bots) != 1 {
			return false
		}
		reason = bots[0].Reason
		return bots[0].State == want
	})
	return reason
}

// requests counts the calls of method that were answered or cut off: of all methods when it is "", of all
// chats when chat is 0.
func (r *rig) requests(method string, chat int64) int {
	n := 0
	for _, c := range r.tg.Calls(method) {
		if chat == 0 || c.Params["chat_id"] == strconv.FormatInt(chat, 10) {
			n++
		}
	}
	return n
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	proctest.Eventually(r.t, patience, what, ok)
}

// brokenStore fails calls when a test says so.
type brokenStore struct {
	inbox.BotStore
	mu    sync.Mutex
	fail  map[string]error
	calls map[string]int // that failed

	claims int // all of them
}

func (b *brokenStore) set(method string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail == nil {
		b.fail, b.calls = map[string]error{}, map[string]int{}
	}
	b.fail[method] = err
}

func (b *brokenStore) failing(method string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.fail[method]
	if err != nil {
		b.calls[method]++
	}
	return err
}

// count is how many calls of method were made to fail.
func (b *brokenStore) count(method string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls[method]
}

func (b *brokenStore) ClaimDeliveries(
	ctx context.Context, t inbox.Tenure, n int, notYet map[int64]time.Time,
) ([]inbox.Delivery, time.Time, error) {
	b.mu.Lock()
	b.claims++
	b.mu.Unlock()
	if err := b.failing("ClaimDeliveries"); err != nil {
		return nil, time.Time{}, err
	}
	return b.BotStore.ClaimDeliveries(ctx, t, n, notYet)
}

func (b *brokenStore) ClaimProbe(ctx context.Context, t inbox.Tenure) ([]inbox.Delivery, time.Time, error) {
	b.mu.Lock()
	b.claims++
	b.mu.Unlock()
	if err := b.failing("ClaimDeliveries"); err != nil {
		return nil, time.Time{}, err
	}
	return b.BotStore.ClaimProbe(ctx, t)
}

func (b *brokenStore) StoreUpdates(ctx context.Context, t inbox.Tenure, u []inbox.Update, next int64) error {
	if err := b.failing("StoreUpdates"); err != nil {
		return err
	}
	return b.BotStore.StoreUpdates(ctx, t, u, next)
}

func (b *brokenStore) RecordOutcome(ctx context.Context, t inbox.Tenure, o inbox.Outcome) error {
	if err := b.failing("RecordOutcome"); err != nil {
		return err
	}
	return b.BotStore.RecordOutcome(ctx, t, o)
}

var errAway = fmt.Errorf("%w: taken away by the test", inbox.ErrUnavailable)
