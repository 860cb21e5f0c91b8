package telegram

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/exitcode"
	"tandem/internal/inbox"
	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
)

func TestNothingIsAcknowledgedBeforeItIsStored(t *testing.T) {
	broken := &brokenStore{}
	r := newRig(t, rigOptions{wrap: func(s inbox.BotStore) inbox.BotStore { broken.BotStore = s; return broken }})
	r.tg.Customer(7, "first")
	r.conversation(7)
	r.tg.NeedConfirmed(patience)
	before := r.tg.Polls(0)

	broken.set("StoreUpdates", errAway)
	r.tg.Customer(7, "second")
	r.tg.Customer(8, "third")
	r.eventually("attempts to store", func() bool { return broken.count("StoreUpdates") > 10 })
	if p := r.tg.Polls(0); p.Confirmed != before.Confirmed || p.Pending != 2 || p.Requests > before.Requests+1 {
		t.Errorf("while nothing could be stored: %+v, before: %+v", p, before)
	}
	broken.set("StoreUpdates", nil)
	r.tg.NeedConfirmed(patience)
	if got := len(r.messages(7)) + len(r.messages(8)); got != 3 {
		t.Errorf("want 3 messages, got %d", got)
	}
}

func TestBatchInHandIsStoredAtStop(t *testing.T) {
	broken := &brokenStore{}
	r := newRig(t, rigOptions{wrap: func(s inbox.BotStore) inbox.BotStore { broken.BotStore = s; return broken },
		// However long this test takes to mend the store.
		timing: slower(func(q *timing) { q.drainFor, q.recordFor = patience, patience })})
	broken.set("StoreUpdates", errAway)
	r.tg.Customer(7, "in hand")
	r.eventually("an attempt to store", func() bool { return broken.count("StoreUpdates") > 0 })
	r.stop()
	broken.set("StoreUpdates", nil)
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	if m := r.messages(7); len(m) != 1 {
		t.Errorf("stored: %+v", m)
	}
	if p := r.tg.Polls(0); p.Pending != 1 {
		t.Errorf("acknowledged without a next poll: %+v", p)
	}
}

func TestBatchInHandIsGivenUpInTime(t *testing.T) {
	broken := &brokenStore{}
	r := newRig(t, rigOptions{wrap: func(s inbox.BotStore) inbox.BotStore { broken.BotStore = s; return broken }})
	broken.set("StoreUpdates", errAway)
	r.tg.Customer(7, "in hand")
	r.eventually("an attempt to store", func() bool { return broken.count("StoreUpdates") > 0 })
	if took := r.stopped(); took > 4*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if p := r.tg.Polls(0); p.Pending != 1 {
		t.Errorf("acknowledged what was not stored: %+v", p)
	}
}

func TestOddUpdatesAreKeptAndHoldUpNothing(t *testing.T) {
	r := newRig(t, rigOptions{})
	odd := []string{
		`{"message":"not an object"}`,
		`{"message":{"message_id":"x","chat":{"id":9,"type":"private"},"date":1,"text":"id is a word"}}`,
		`{"message":{"message_id":1,"text":"no chat"}}`,
		`{"message":{"message_id":2,"chat":{"id":9,"type":"private"},"photo":[],"new_chat_photo":[],"from":null,` +
			`"date":"soon"}}`,
		`{"guest_message":{"text":"from the future"}}`,
		`{"message":null}`,
		`{}`,
		`{"message":` + strings.Repeat(`{"reply_to_message":`, 500) + `{}` + strings.Repeat(`}`, 500) + `}`,
		`{"my_chat_member":{"chat":{"id":9,"type":"private"},"from":{"id":9},"new_chat_member":{"status":"floating"}}}`,
	}
	err := r.tg.Batch(func() error {
		r.tg.Customer(7, "before")
		for _, o := range odd {
			if _, err := r.tg.Push(0, []byte(o)); err != nil {
				return fmt.Errorf("%s: %w", o, err)
			}
		}
		r.tg.Customer(8, "after")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r.tg.NeedConfirmed(patience)
	if got := r.messages(7)[0].Text + r.messages(8)[0].Text; got != "beforeafter" {
		t.Errorf("around the odd ones: %q", got)
	}
	if got := r.messages(9)[0]; got.Kind != "photo" || got.Text != "" || got.Notice != "photo" {
		t.Errorf("a photo without sizes: %+v", got)
	}
	r.tg.Customer(7, "later")
	r.eventually("what came later", func() bool { return len(r.messages(7)) == 2 })
}

func TestConflictEndsPollingAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		begin func(r *rig)
		words []string
	}{
		"another program": {func(r *rig) { r.tg.AddFault(simulator.Conflict()) },
			[]string{"another program polls", "@BotFather"}},
		"a newer poll": {func(r *rig) {
			r.eventually("the bot has acknowledged all", func() bool { return r.tg.Polls(0).Pending == 0 })
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			stranger := unfenced(newEndpoint(r.tg.URL, r.bot.Token, nil))
			done := make(chan struct{})
			go func() {
				defer close(done)
				for ctx.Err() == nil { // it may lose a conflict itself, to the next poll of the bot
					stranger.call(ctx, "getUpdates", getUpdates{Limit: 1, Timeout: 50, Allowed: allowedUpdates}, maxResponseBytes)
				}
			}()
			r.t.Cleanup(func() { cancel(); <-done; stranger.close() })
		}, []string{"another program polls"}},
		"webhook": {func(r *rig) {
			resp := unfenced(r.bot.endpoint).call(context.Background(), "setWebhook",
				map[string]string{"url": "https://example.org/hook"}, maxResponseBytes)
			if resp.class != taken {
				r.t.Fatal(resp)
			}
		}, []string{"webhook is set", "deleteWebhook"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{})
			r.tg.Customer(7, "hello")
			r.conversation(7)
			c.begin(r)
			err := r.end()
			if exitcode.Of(err) != exitcode.TempFail {
				t.Fatalf("ended with %d: %v", exitcode.Of(err), err)
			}
			polls := r.tg.Polls(0).Requests
			reason := r.state(inbox.BotConflict)
			for _, w := range c.words {
				if !strings.Contains(reason, w) || !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in the reason: %q, or the error: %v", w, reason, err)
				}
			}
			if now := r.tg.Polls(0).Requests; now != polls {
				t.Errorf("polled again after the conflict: %d, then %d", polls, now)
			}
		})
	}
}

// TestAConflictWhileTheNameIsLearned : a getMe may end at any time, so the name is read under its lock. Only the race
// detector can see it.
func TestAConflictWhileTheNameIsLearned(t *testing.T) {
	r := newRig(t, rigOptions{timing: slower(func(q *timing) { q.fencedWait = patience })})
	x := &tenure{Bot: r.bot, client: unfenced(r.bot.endpoint)}
	var asked sync.WaitGroup
	asked.Go(func() { x.getMe(t.Context()) })
	if err := x.conflict(t.Context(), response{class: conflict}); !errors.Is(err, inbox.ErrFenced) {
		t.Error(err)
	}
	asked.Wait()
}

func TestConflictLetsDeliveriesUnderWayEnd(t *testing.T) {
	r := newRig(t, rigOptions{timing: slower(func(q *timing) { q.drainFor = 5 * time.Second })})
	r.tg.Customer(7, "hello")
	slow := simulator.Delay(60_000)
	slow.Method = "sendMessage"
	id := r.tg.AddFault(slow)
	m := r.answer(7, "under way")
	r.delivery(m.ID, inbox.Sending)
	r.tg.AddFault(simulator.Conflict())
	time.AfterFunc(200*time.Millisecond, func() { r.tg.ClearFault(id) }) // while it ends
	if err := r.end(); exitcode.Of(err) != exitcode.TempFail {
		t.Fatal(err)
	}
	r.delivery(m.ID, inbox.Sent)
}

func TestRefusedTokenEndsForGood(t *testing.T) {
	for name, fault := range map[string]simulator.Fault{"401": simulator.Unauthorized(), "404": simulator.NotFound()} {
		t.Run(name+" at the start", func(t *testing.T) {
			tg := simtest.Start(t)
			tg.AddFault(fault)
			r := start(t, tg, openStore(t, ""), rigOptions{})
			needRefused(t, r)
			if polls := tg.Polls(0).Requests; polls != 0 {
				t.Errorf("polled %d times with a refused token", polls)
			}
		})
		t.Run(name+" in the middle", func(t *testing.T) {
			r := newRig(t, rigOptions{})
			r.tg.AddFault(fault)
			needRefused(t, r)
		})
	}
	t.Run("revoked", func(t *testing.T) {
		r := newRig(t, rigOptions{})
		r.tg.RevokeToken(simtest.Token)
		needRefused(t, r)
	})
	t.Run("a page that is no Bot API", func(t *testing.T) {
		tg := simtest.Start(t)
		tg.AddFault(simulator.Fault{Kind: simulator.Raw, Status: 404, Body: "<html>not here</html>"})
		r := start(t, tg, openStore(t, ""), rigOptions{})
		if err := r.end(); exitcode.Of(err) != exitcode.Config || !strings.Contains(err.Error(), "TELEGRAM_API_URL") {
			t.Fatalf("ended with %d: %v", exitcode.Of(err), err)
		}
	})
}

func needRefused(t *testing.T, r *rig) {
	t.Helper()
	err := r.end()
	if exitcode.Of(err) != exitcode.Config || !strings.Contains(err.Error(), "token refused") ||
		!strings.Contains(err.Error(), "@BotFather") {
		t.Fatalf("ended with %d: %v", exitcode.Of(err), err)
	}
	if reason := r.state(inbox.BotFailed); !strings.Contains(reason, "token refused") {
		t.Errorf("reason: %q", reason)
	}
}

func TestTroubleIsGoneThroughWithoutSpinning(t *testing.T) {
	stall, empty, truncated := simulator.Stall(), simulator.Empty(), simulator.Truncated()
	stall.Interrupt, empty.Interrupt, truncated.Interrupt = true, true, true
	r := newRig(t, rigOptions{timing: slower(func(q *timing) {
		q.backoffFirst, q.pollWait = 40*time.Millisecond, time.Second
		q.pollMargin, q.sendLimit = 100*time.Millisecond, 100*time.Millisecond
	})})
	chat := int64(100)
	for name, fault := range map[string]simulator.Fault{
		"502 page": simulator.BadGateway(), "504 page": simulator.GatewayTimeout(),
		"captive portal": simulator.CaptivePortal(), "redirect": simulator.Redirect("/control/elsewhere"),
		"empty": empty, "truncated": truncated,
		"reset": simulator.Cut(), "restart": simulator.Restart(), "hang": stall,
		"503 text": {Kind: simulator.Raw, Status: 503, Body: "no upstream", Interrupt: true},
		"json 502": {Kind: simulator.Answer, Status: 502, Description: "Bad Gateway", Interrupt: true},
		"a list": {Kind: simulator.Raw, Status: 200, Body: `{"ok":true,"result":{"a":1}}`, Method: "getUpdates",
			Interrupt: true},
		"no ids": {Kind: simulator.Raw, Status: 200, Body: `{"ok":true,"result":[{"message":{}}]}`, Method: "getUpdates",
			Interrupt: true},
		"logged out": {Kind: simulator.Answer, Status: 400, Description: "Logged out", Interrupt: true},
		"polls only": {Kind: simulator.Answer, Status: 500, Description: "Internal Server Error", Method: "getUpdates",
			Interrupt: true},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			r.state(inbox.BotPolling)
			chat++
			r.tg.AddFault(fault)
			reason := r.state(inbox.BotUnreachable)
			if !strings.Contains(reason, "Telegram") {
				t.Errorf("reason: %q", reason)
			}
			r.eventually("it not to be ready", func() bool { return r.bot.Ready() != nil })
			before, began := r.requests("", 0), time.Now()
			time.Sleep(400 * time.Millisecond)
			// With growing delays of 20 to 200 ms, for the probe and for polls alone, it is about 10.
			n, took := r.requests("", 0)-before, time.Since(began)
			if float64(n) > 18*took.Seconds()/0.4 {
				t.Errorf("%d requests in %v", n, took)
			}
			r.tg.Customer(chat, "while it was away")
			r.tg.ClearFaults()
			r.conversation(chat)
		})
	}
	r.t = t
}

func slower(change func(*timing)) *timing {
	q := quick
	change(&q)
	return &q
}

func TestServerThatAnswersAtOnceIsNotAskedWithoutEnd(t *testing.T) {
	for name, body := range map[string]string{
		"nothing": `{"ok":true,"result":[]}`,
		"the same": `{"ok":true,"result":[{"update_id":5,"message":{"message_id":1,"date":1700000000,` +
			`"chat":{"id":7,"type":"private"},"text":"again"}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			const lull = 100 * time.Millisecond
			r := newRig(t, rigOptions{timing: slower(func(q *timing) { q.idlePause = lull })})
			r.tg.AddFault(simulator.Fault{Kind: simulator.Raw, Method: "getUpdates", Status: 200, Body: body, Interrupt: true})
			before, began := r.requests("getUpdates", 0), time.Now()
			const polls = 8 // the first two may have been answered before
			r.eventually("some polls", func() bool { return r.requests("getUpdates", 0)-before >= polls })
			if took := time.Since(began); took < (polls-3)*lull {
				t.Errorf("%d polls in %v", polls, took)
			}
		})
	}
}

func TestFloodOfPollsWaitsAsLongAsTelegramSays(t *testing.T) {
	r := newRig(t, rigOptions{})
	flood := simulator.Flood(1)
	flood.Method, flood.Times, flood.Interrupt = "getUpdates", 1, true
	r.tg.AddFault(flood)
	r.tg.Customer(7, "hello")
	r.conversation(7)
	var at time.Time
	for _, c := range r.tg.Calls("getUpdates") {
		if c.Status == http.StatusTooManyRequests {
			at = c.At.Add(c.Duration)
		} else if !at.IsZero() {
			if wait := c.At.Sub(at); wait < 950*time.Millisecond {
				t.Errorf("polled again after %v", wait)
			}
			return
		}
	}
	t.Error("no poll after the 429")
}

func TestGuardIsAskedBeforeEachPoll(t *testing.T) {
	gone := make(chan struct{})
	r := newRig(t, rigOptions{guard: func() error {
		select {
		case <-gone:
			return errors.New("the lock file was replaced")
		default:
			return nil
		}
	}})
	close(gone)
	r.tg.Customer(7, "wakes the poll up")
	if err := r.end(); exitcode.Of(err) != exitcode.TempFail || !strings.Contains(err.Error(), "replaced") {
		t.Fatalf("ended with %d: %v", exitcode.Of(err), err)
	}
	if n := r.tg.Polls(0).Requests; n != 1 {
		t.Errorf("%d polls", n)
	}
	bots, err := r.db.Bots(t.Context())
	if err != nil || len(bots) != 1 || bots[0].State != inbox.BotStopped || !strings.Contains(bots[0].Reason, "replaced") {
		t.Errorf("what the page is told: %+v, %v", bots, err)
	}
}

func TestUpdateIDsMayBeginAnewAndOffsetsAreNeverNegative(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.tg.Customer(7, "high id")
	r.tg.NeedConfirmed(patience)
	if err := r.tg.SetNextUpdateID(0, 17); err != nil {
		t.Fatal(err)
	}
	r.tg.Customer(7, "low id")
	r.eventually("both", func() bool { return len(r.messages(7)) == 2 })
	for _, c := range r.tg.Calls("getUpdates") {
		if strings.HasPrefix(c.Params["offset"], "-") {
			t.Errorf("offset %s", c.Params["offset"])
		}
		var allowed []string
		if err := json.Unmarshal([]byte(c.Params["allowed_updates"]), &allowed); err != nil || len(allowed) != 5 {
			t.Errorf("allowed_updates %s", c.Params["allowed_updates"])
		}
	}
}

func TestNextBotGoesOnWhereTheLastOneEnded(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.tg.Customer(7, "first")
	r.conversation(7)
	r.stopped()
	r.tg.Customer(7, "second")
	next := start(t, r.tg, r.db, rigOptions{})
	next.eventually("both messages, once", func() bool { return len(next.messages(7)) == 2 })
	next.tg.NeedConfirmed(patience)
	if n := len(next.messages(7)); n != 2 {
		t.Errorf("%d messages", n)
	}
}
