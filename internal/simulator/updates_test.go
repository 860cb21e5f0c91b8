package simulator_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
)

// result of a poll that runs beside the test.
type result struct {
	response
	err  error
	took time.Duration
}

// pollLater polls in the background and returns once the server sees the poll waiting.
func pollLater(t *testing.T, tg *simtest.Telegram, ctx context.Context, params p) <-chan result {
	t.Helper()
	before := tg.Polls(0)
	out := make(chan result, 1)
	go func() {
		start := time.Now()
		a, err := try(ctx, tg.URL+"/bot"+simtest.Token+"/getUpdates", params)
		out <- result{a, err, time.Since(start)}
	}()
	if err := tg.WaitFor(5*time.Second, func() bool { return tg.Polls(0).Requests > before.Requests }); err != nil {
		t.Fatalf("the poll did not arrive: %v", err)
	}
	return out
}

func need(t *testing.T, ch <-chan result) result {
	t.Helper()
	select {
	case r := <-ch:
		return r
	case <-time.After(10 * time.Second):
		t.Fatal("the poll was not answered in 10 s")
		return result{}
	}
}

func wantIDs(t *testing.T, a response, want ...int64) {
	t.Helper()
	got := updates(t, a)
	if fmt.Sprint(got) != fmt.Sprint(want) && len(got)+len(want) > 0 {
		t.Errorf("updates %v, want %v", got, want)
	}
}

func TestOffsetConfirms(t *testing.T) {
	tg := simtest.Start(t)
	first := tg.Polls(0).Next
	for i := range 5 {
		tg.Customer(7, fmt.Sprint("message ", i))
	}
	poll := func(params p) response { return ask(t, tg, "getUpdates", params) }
	wantIDs(t, poll(p{"limit": "2"}), first, first+1)
	wantIDs(t, poll(p{"limit": 0}), first)                                                       // cut to 1
	wantIDs(t, poll(p{"offset": first + 1, "limit": "100"}), first+1, first+2, first+3, first+4) // confirms one
	if st := tg.Polls(0); st.Pending != 4 || st.Confirmed != first+1 {
		t.Errorf("after the confirmation of one: %+v", st)
	}
	wantIDs(t, poll(p{"offset": first + 3}), first+3, first+4)
	wantIDs(t, poll(p{"offset": first}), first+3, first+4) // what was confirmed does not come back
}

func TestOddOffsets(t *testing.T) {
	for name, c := range map[string]struct {
		offset  func(next int64) int64
		want    int // of 5 pending
		pending int
	}{
		"10 above the tail is valid":      {func(n int64) int64 { return n + 10 }, 0, 0},
		"11 above the tail counts as 0":   {func(n int64) int64 { return n + 11 }, 5, 5},
		"far below the tail counts as 0":  {func(n int64) int64 { return n - 2_000_001 }, 5, 5},
		"-2 drops all but the last two":   {func(int64) int64 { return -2 }, 2, 2},
		"-100 of five drops nothing":      {func(int64) int64 { return -100 }, 5, 5},
		"0 is the earliest not confirmed": {func(int64) int64 { return 0 }, 5, 5},
	} {
		t.Run(name, func(t *testing.T) {
			tg := simtest.Start(t)
			for i := range 5 {
				tg.Customer(7, fmt.Sprint("message ", i))
			}
			a := ask(t, tg, "getUpdates", p{"offset": c.offset(tg.Polls(0).Next)})
			if got := updates(t, a); len(got) != c.want || tg.Polls(0).Pending != c.pending {
				t.Errorf("%d updates, %d pending; want %d and %d", len(got), tg.Polls(0).Pending, c.want, c.pending)
			}
		})
	}
}

func TestLongPoll(t *testing.T) {
	tg := simtest.Start(t)
	start := time.Now()
	wantIDs(t, ask(t, tg, "getUpdates", p{"timeout": 1}))
	if took := time.Since(start); took < time.Second || took > 10*time.Second {
		t.Errorf("an empty poll of 1 s took %v", took)
	}

	waiting := pollLater(t, tg, t.Context(), p{"timeout": 50, "offset": 5})
	next := tg.Polls(0).Next
	tg.Customer(7, "wakes it up")
	r := need(t, waiting)
	wantIDs(t, r.response, next)
	if r.took > 5*time.Second {
		t.Errorf("a message woke the poll after %v", r.took)
	}
}

func TestCancelledPollIsNoticed(t *testing.T) {
	tg := simtest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	waiting := pollLater(t, tg, ctx, p{"timeout": 50})
	cancel()
	if r := need(t, waiting); !errors.Is(r.err, context.Canceled) {
		t.Errorf("the cancelled poll ended with %v", r.err)
	}
	if err := tg.WaitFor(5*time.Second, func() bool { return tg.Polls(0).Waiting == 0 }); err != nil {
		t.Fatalf("the server still holds the poll: %v", err)
	}
	// The next one is alone: nobody is displaced.
	next := pollLater(t, tg, t.Context(), p{"timeout": 50, "offset": 9})
	tg.Customer(7, "hello")
	if r := need(t, next); !r.OK {
		t.Errorf("the poll after a cancelled one: %v", r)
	}
	if st := tg.Polls(0); st.MaxOpen != 1 || st.Conflicts != 0 {
		t.Errorf("one poll at a time counts as %+v", st)
	}
}

func TestBatchIsOneAnswer(t *testing.T) {
	tg := simtest.Start(t)
	waiting := pollLater(t, tg, t.Context(), p{"timeout": 50})
	err := tg.Batch(func() error {
		for i := range 30 {
			tg.Customer(int64(1+i%3), fmt.Sprint("message ", i))
		}
		return nil
	})
	if r := need(t, waiting); err != nil || len(updates(t, r.response)) != 30 {
		t.Errorf("the waiting poll got %d of 30 (%v)", len(updates(t, r.response)), err)
	}
}

func TestAnswerIsCutAt4MiB(t *testing.T) {
	tg := simtest.Start(t)
	update := []byte(`{"message":{"text":"` + strings.Repeat("x", 1<<20) + `"}}`)
	for range 6 {
		if _, err := tg.Push(0, update); err != nil {
			t.Fatal(err)
		}
	}
	if got := updates(t, ask(t, tg, "getUpdates", p{})); len(got) != 3 {
		t.Errorf("%d updates of 1 MiB in one response, want 3", len(got))
	}
}

func TestConflictRule(t *testing.T) {
	const text = "409 Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"

	t.Run("the newer poll displaces the waiting one", func(t *testing.T) {
		tg := simtest.Start(t, simulator.Options{ConflictHold: time.Minute, RepeatHold: time.Millisecond})
		older := pollLater(t, tg, t.Context(), p{"timeout": 50})
		newer := pollLater(t, tg, t.Context(), p{"timeout": 50})
		if r := need(t, older); r.String() != text || r.HTTP != 409 || r.took > 5*time.Second {
			t.Errorf("the older poll: %v after %v", r, r.took)
		}
		tg.Customer(7, "for the newer")
		if r := need(t, newer); !r.OK || len(updates(t, r.response)) != 1 {
			t.Errorf("the newer poll: %v", r)
		}
		if st := tg.Polls(0); st.MaxOpen != 2 || st.Conflicts != 1 {
			t.Errorf("two polls at once count as %+v", st)
		}
	})

	t.Run("a displaced poll whose client is gone is no second one", func(t *testing.T) {
		tg := simtest.Start(t, simulator.Options{GoneGrace: time.Hour, RepeatHold: time.Millisecond})
		// Without a connection between them, the server learns of the cancelled client exactly when the test says so.
		ctx, hangUp := context.WithCancel(t.Context())
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			r := httptest.NewRequestWithContext(ctx, "GET", "/bot"+simtest.Token+"/getUpdates?timeout=50", nil)
			tg.ServeHTTP(httptest.NewRecorder(), r)
		}()
		if err := tg.WaitFor(5*time.Second, func() bool { return tg.Polls(0).Requests == 1 }); err != nil {
			t.Fatal(err)
		}
		newer := pollLater(t, tg, t.Context(), p{"timeout": 50})
		hangUp()
		<-killed
		tg.Customer(7, "for the newer")
		if r := need(t, newer); !r.OK {
			t.Errorf("the newer poll: %v", r)
		}
		if st := tg.Polls(0); st.MaxOpen != 1 || st.Conflicts != 0 {
			t.Errorf("a takeover counts as %+v", st)
		}
	})

	t.Run("both are served while updates are pending", func(t *testing.T) {
		tg := simtest.Start(t)
		tg.Customer(7, "for both")
		id := tg.Polls(0).Next - 1
		wantIDs(t, ask(t, tg, "getUpdates", p{"timeout": 50}), id)
		wantIDs(t, ask(t, tg, "getUpdates", p{"timeout": 50, "offset": id}), id)
		if st := tg.Polls(0); st.Conflicts != 0 {
			t.Errorf("pollers that never waited got %d conflicts", st.Conflicts)
		}
	})

	t.Run("a poll without timeout displaces nobody", func(t *testing.T) {
		tg := simtest.Start(t)
		waiting := pollLater(t, tg, t.Context(), p{"timeout": 50})
		wantIDs(t, ask(t, tg, "getUpdates", p{"timeout": 0, "offset": 9}))
		tg.Customer(7, "still there")
		if r := need(t, waiting); !r.OK {
			t.Errorf("the waiting poll: %v", r)
		}
	})

	t.Run("repeated conflicts are held back", func(t *testing.T) {
		const hold = 600 * time.Millisecond
		tg := simtest.Start(t, simulator.Options{ConflictHold: hold, RepeatHold: time.Millisecond})
		first := pollLater(t, tg, t.Context(), p{"timeout": 50})
		second := pollLater(t, tg, t.Context(), p{"timeout": 50})
		if r := need(t, first); r.String() != text {
			t.Errorf("the first: %v", r)
		}
		displacedAt := time.Now()
		third := pollLater(t, tg, t.Context(), p{"timeout": 50})
		r := need(t, second)
		if took := time.Since(displacedAt); r.String() != text || took < hold {
			t.Errorf("the second conflict came after %v: %v; want it held back for %v", took, r, hold)
		}
		tg.Customer(7, "for the third")
		if r := need(t, third); !r.OK {
			t.Errorf("the third: %v", r)
		}
	})

	t.Run("a webhook", func(t *testing.T) {
		tg := simtest.Start(t)
		waiting := pollLater(t, tg, t.Context(), p{"timeout": 50})
		if a := ask(t, tg, "setWebhook", p{"url": "https://example.org/hook"}); !a.OK || a.Description != "Webhook was set" {
			t.Fatalf("setWebhook: %v %s", a, a.Description)
		}
		if r := need(t, waiting); r.String() != "409 Conflict: terminated by setWebhook request" {
			t.Errorf("the waiting poll: %v", r)
		}
		tg.Customer(7, "waits for the webhook to go")
		const active = "409 Conflict: can't use getUpdates method while webhook is active; " +
			"use deleteWebhook to delete the webhook first"
		if a := ask(t, tg, "getUpdates", p{}); a.String() != active {
			t.Errorf("getUpdates beside a webhook: %v", a)
		}
		a := ask(t, tg, "getWebhookInfo", nil)
		if !strings.Contains(string(a.Result), `"pending_update_count":1`) ||
			!strings.Contains(string(a.Result), "https://example.org/hook") {
			t.Errorf("getWebhookInfo: %s", a.Result)
		}
		ask(t, tg, "deleteWebhook", p{})
		if got := updates(t, ask(t, tg, "getUpdates", p{})); len(got) != 1 {
			t.Errorf("after deleteWebhook %d updates, want the one that was kept", len(got))
		}
		if a := ask(t, tg, "setWebhook", p{"url": "http://example.org"}); a.Code != 400 {
			t.Errorf("a webhook without TLS: %v", a)
		}
	})
}

// TestTwoSpinningBots is what people see when they start a bot twice: each is told every few seconds, and
// every update still arrives.
func TestTwoSpinningBots(t *testing.T) {
	tg := simtest.Start(t, simulator.Options{ConflictHold: 100 * time.Millisecond, RepeatHold: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			offset := int64(0)
			for ctx.Err() == nil {
				a, err := try(ctx, tg.URL+"/bot"+simtest.Token+"/getUpdates", p{"timeout": 50, "offset": offset})
				if err == nil && a.OK {
					for _, id := range updates(t, a) {
						offset = id + 1
					}
				}
			}
		})
	}
	err := tg.WaitFor(10*time.Second, func() bool { return tg.Polls(0).Conflicts >= 5 })
	tg.Customer(7, "in the middle")
	confirmed := tg.WaitFor(10*time.Second, func() bool { return tg.Polls(0).Pending == 0 })
	cancel()
	wg.Wait()
	st := tg.Polls(0)
	if err != nil || confirmed != nil || st.MaxOpen != 2 {
		t.Errorf("two bots at once: %+v (%v, %v)", st, err, confirmed)
	}
	if st.Requests > 20*st.Conflicts {
		t.Errorf("%d requests for %d conflicts: the held-back 409 should slow them down", st.Requests, st.Conflicts)
	}
}

func TestRepeatedShortPollIsHeld(t *testing.T) {
	const hold = 300 * time.Millisecond
	tg := simtest.Start(t, simulator.Options{RepeatHold: hold})
	start := time.Now()
	wantIDs(t, ask(t, tg, "getUpdates", p{"offset": 4}))
	if took := time.Since(start); took > hold {
		t.Errorf("the first short poll took %v", took)
	}
	start = time.Now()
	wantIDs(t, ask(t, tg, "getUpdates", p{"offset": 4}))
	if took := time.Since(start); took < hold {
		t.Errorf("the same short poll again took %v, want %v", took, hold)
	}
}

func TestRepeatedPollGetsOneUpdate(t *testing.T) {
	tg := simtest.Start(t)
	for i := range 3 {
		tg.Customer(7, fmt.Sprint("message ", i))
	}
	if got := updates(t, ask(t, tg, "getUpdates", p{"offset": 1})); len(got) != 3 {
		t.Errorf("%d updates, want 3", len(got))
	}
	if got := updates(t, ask(t, tg, "getUpdates", p{"offset": 1})); len(got) != 1 {
		t.Errorf("%d updates when asked again at once, want 1", len(got))
	}
}

func TestUpdatesExpire(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	tg := simtest.Start(t, simulator.Options{Now: clock, RepeatHold: time.Millisecond})

	tg.Customer(7, "old")
	pass(23 * time.Hour)
	tg.Customer(7, "young")
	m := tg.Messages(0, 7)[0]
	if _, err := tg.Press(0, 7, m.MessageID, "yes"); err != nil {
		t.Fatal(err)
	}
	pass(2 * time.Hour)
	if got := updates(t, ask(t, tg, "getUpdates", p{})); len(got) != 1 {
		t.Errorf("%d updates after 25 h, want the one message of 2 h ago", len(got))
	}
	late := simulator.Incoming{ChatID: 7, Text: "late", Date: now.Add(-25 * time.Hour)}
	if _, id, err := tg.Receive(late); id != 0 || err != nil {
		t.Errorf("a message of yesterday was queued as %d (%v)", id, err)
	}
}

func TestAllowedUpdates(t *testing.T) {
	tg := simtest.Start(t)
	push := func() (queued []string) {
		for _, kind := range []string{"message", "edited_message", "my_chat_member", "message_reaction", "chat_member",
			"novelty"} {
			if id, err := tg.Push(0, []byte(`{"`+kind+`":{}}`)); err != nil {
				t.Fatal(err)
			} else if id != 0 {
				queued = append(queued, kind)
			}
		}
		ask(t, tg, "getUpdates", p{"offset": -1})
		ask(t, tg, "getUpdates", p{"offset": tg.Polls(0).Next})
		return queued
	}
	const byDefault = "[message edited_message my_chat_member novelty]"
	for _, c := range []struct {
		name, params, want string
	}{
		{"nothing said", `{}`, byDefault},
		{"a list", `{"allowed_updates":"[\"message\",\"message_reaction\"]"}`, "[message message_reaction novelty]"},
		{"null keeps it", `{"allowed_updates":"null"}`, "[message message_reaction novelty]"},
		{"missing keeps it", `{}`, "[message message_reaction novelty]"},
		{"nonsense keeps it", `{"allowed_updates":"message"}`, "[message message_reaction novelty]"},
		{"empty is the default", `{"allowed_updates":[]}`, byDefault},
		{"JSON list, not a string", `{"allowed_updates":["Chat_Member"]}`, "[chat_member novelty]"},
	} {
		ask(t, tg, "getUpdates", jsonText(c.params))
		if got := fmt.Sprint(push()); got != c.want {
			t.Errorf("%s: queued %v, want %v", c.name, got, c.want)
		}
	}
}

func TestUpdateIDsMayStartAnew(t *testing.T) {
	tg := simtest.Start(t)
	tg.Customer(7, "before")
	if err := tg.SetNextUpdateID(0, 5); err == nil {
		t.Error("ids changed under a pending update")
	}
	ask(t, tg, "getUpdates", p{"offset": tg.Polls(0).Next})
	old := tg.Polls(0).Next
	if err := tg.SetNextUpdateID(0, 5_000_000); err != nil {
		t.Fatal(err)
	}
	tg.Customer(7, "after")
	wantIDs(t, ask(t, tg, "getUpdates", p{"offset": old}), 5_000_000)
}
