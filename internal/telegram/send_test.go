package telegram

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"tandem/internal/exitcode"
	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
)

// once is the fault for the next message only.
func once(f simulator.Fault) simulator.Fault {
	f.Method, f.Times = "sendMessage", 1
	return f
}

func TestWhatBecomesOfADelivery(t *testing.T) {
	sent, failed, unknown := inbox.Sent, inbox.Failed, inbox.Unknown
	refused := func(code int, text string) simulator.Fault { return once(simulator.Refused(code, text)) }
	r := newRig(t, rigOptions{timing: slower(func(q *timing) { q.sendLimit = 300 * time.Millisecond })})
	chat := int64(100)
	// A delivery that is tried again and then taken is Sent; requests says how often it was sent.
	for name, c := range map[string]struct {
		fault    simulator.Fault
		want     inbox.DeliveryState
		requests int
		words    string
		why      inbox.Reach
	}{
		"429":                {once(simulator.Flood(1)), sent, 2, "", ""},
		"429 as a string":    {once(simulator.FloodString(1)), sent, 2, "", ""},
		"429 in the header":  {once(simulator.FloodHeader(1)), sent, 2, "", ""},
		"429 without a time": {once(simulator.FloodMissing()), sent, 2, "", ""},
		"restart":            {once(simulator.Restart()), sent, 2, "", ""},
		"redirect":           {once(simulator.Redirect("/control/elsewhere")), sent, 2, "", ""},
		"403 page":           {once(simulator.Fault{Kind: simulator.Raw, Status: 403, Body: "<html>"}), sent, 2, "", ""},
		"502 page":           {once(simulator.BadGateway()), unknown, 1, "HTTP 502 with a page of HTML", ""},
		"json 502":           {refused(502, "Bad Gateway"), unknown, 1, "Bad Gateway", ""},
		"portal":             {once(simulator.CaptivePortal()), unknown, 1, "HTTP 200 with a page of HTML", ""},
		"empty":              {once(simulator.Empty()), unknown, 1, "empty body", ""},
		"truncated":          {once(simulator.Truncated()), unknown, 1, "damaged JSON", ""},
		"reset before":       {once(simulator.Cut()), unknown, 1, "did not arrive", ""},
		// The one before is not to be told from this one.
		"reset after": {once(simulator.CutAfter()), unknown, 1, "did not arrive", ""},
		"hang after":  {once(simulator.StallAfter()), unknown, 1, "no answer in time", ""},
		"huge": {once(simulator.Fault{Kind: simulator.Raw, Status: 200, Body: strings.Repeat(" ", maxResponseBytes+1)}),
			unknown, 1, "longer than", ""},
		"deleted at once": {
			refused(500, "Internal Server Error: sent message was immediately deleted and can't be returned"),
			unknown, 1, "deleted it at once", ""},
		"blocked": {refused(403, "Forbidden: bot was blocked by the user"), failed, 1,
			"the customer has blocked the bot", inbox.BlockedBot},
		"blocked, raw": {refused(403, "Forbidden: USER_IS_BLOCKED"), failed, 1,
			"the customer has blocked the bot", inbox.BlockedBot},
		"deactivated": {refused(403, "Forbidden: user is deactivated"), failed, 1, "account is gone",
			inbox.AccountGone},
		"deactivated, raw": {refused(400, "Bad Request: INPUT_USER_DEACTIVATED"), failed, 1, "account is gone",
			inbox.AccountGone},
		"not started": {refused(403, "Forbidden: bot can't initiate conversation with a user"), failed, 1,
			"a bot cannot begin", inbox.NeverStarted},
		"kicked": {refused(403, "Forbidden: bot was kicked from the group chat"), failed, 1,
			"may not write", ""},
		"chat not found": {refused(400, "Bad Request: chat not found"), failed, 1, "no such chat", ""},
		"too long":       {refused(400, "Bad Request: message is too long"), failed, 1, "too long", ""},
		"entities": {refused(400, "Bad Request: can't parse entities: oops"), failed, 1,
			"can't parse entities", ""},
		"migrated":             {once(simulator.Migrated(-100)), failed, 1, "may not write", ""},
		"413":                  {refused(413, "Request Entity Too Large"), failed, 1, "Telegram refused it", ""},
		"thread gone":          {refused(400, "Bad Request: message thread not found"), failed, 1, "topic is gone", ""},
		"thread closed":        {refused(400, "Bad Request: TOPIC_CLOSED"), failed, 1, "topic is closed", ""},
		"replied message gone": {refused(400, "Bad Request: message to be replied not found"), sent, 2, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			chat++
			r.t = t
			r.tg.Customer(chat, "hello")
			r.conversation(chat)
			c.fault.ChatID = chat
			r.tg.AddFault(c.fault)
			m := r.delivery(r.answer(chat, "the answer").ID, c.want)
			if n := r.requests("sendMessage", chat); n != c.requests {
				t.Errorf("%d requests, want %d", n, c.requests)
			}
			if !strings.Contains(m.Error, c.words) || (m.Error == "") != (c.want == sent) {
				t.Errorf("error %q, want %q in it", m.Error, c.words)
			}
			if got := r.conversation(chat); got.Unreachable != c.why || got.Blocked != (c.why != inbox.Reachable) {
				t.Errorf("blocked: %v, unreachable: %q, want %q", got.Blocked, got.Unreachable, c.why)
			}
			// Neither failed nor unknown holds up what follows.
			r.tg.ClearFaults()
			r.delivery(r.answer(chat, "the next one").ID, sent)
			if got := r.conversation(chat); got.Blocked { // for it was taken
				t.Errorf("still unreachable: %q", got.Unreachable)
			}
		})
	}
	r.t = t
	if d := r.tg.Duplicates(); len(d) > 0 {
		t.Errorf("sent twice: %+v", d)
	}
}

func TestNothingListensIsNotUnknown(t *testing.T) {
	c := unfenced(newEndpoint("http://127.0.0.1:1", mustToken(t), nil))
	defer c.close()
	resp := c.send(context.Background(), inbox.Delivery{ChatID: 7, Text: "x"}, true, true)
	if resp.class != broken || resp.maybeTaken || strings.Contains(resp.Error(), secretHalf) {
		t.Errorf("%+v", resp)
	}
}

func TestOrderInAChatHoldsThroughRetries(t *testing.T) {
	r := newRig(t, rigOptions{})
	for chat := int64(1); chat <= 3; chat++ {
		r.tg.Customer(chat, "hello")
		r.conversation(chat)
	}
	for range 3 {
		f := once(simulator.Restart())
		f.ChatID, f.Text = 1, "answer 1"
		r.tg.AddFault(f)
	}
	f := once(simulator.Flood(1))
	f.ChatID, f.Text = 1, "answer 2"
	r.tg.AddFault(f)
	var last []inbox.Message
	for i := range 6 {
		for chat := int64(1); chat <= 3; chat++ {
			last = append(last, r.answer(chat, fmt.Sprintf("answer %d", i)))
		}
	}
	for _, m := range last {
		r.delivery(m.ID, inbox.Sent)
	}
	next := map[int64]int{}
	for _, s := range r.tg.Sent() {
		if want := fmt.Sprintf("answer %d", next[s.ChatID]); s.Text != want {
			t.Errorf("chat %d got %q instead of %q", s.ChatID, s.Text, want)
		}
		next[s.ChatID]++
	}
}

func TestFloodOfOneChatDoesNotStopOthers(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.tg.Customer(1, "hello")
	r.tg.Customer(2, "hello")
	r.conversation(1)
	r.conversation(2)
	f := simulator.Flood(60)
	f.ChatID = 1
	r.tg.AddFault(f)
	held := r.answer(1, "held back")
	r.eventually("the 429", func() bool { return r.requests("sendMessage", 1) == 1 })
	r.delivery(held.ID, inbox.Queued)
	r.delivery(r.answer(2, "not held back").ID, inbox.Sent)
	if n := r.requests("sendMessage", 1); n != 1 {
		t.Errorf("%d requests: the chat that must wait was tried again", n)
	}
}

func TestFloodOfManyChatsPausesAll(t *testing.T) {
	r := newRig(t, rigOptions{})
	for chat := int64(1); chat <= 20; chat++ {
		r.tg.Customer(chat, "hello")
		r.conversation(chat)
	}
	f := simulator.Flood(60)
	f.Times = 8 // all that can be under way at once
	r.tg.AddFault(f)
	for chat := int64(1); chat <= 20; chat++ {
		r.answer(chat, "x")
	}
	r.eventually("the pause", func() bool { return strings.Contains(r.log.String(), "limits the bot as a whole") })
	time.Sleep(300 * time.Millisecond)
	if n := len(r.tg.Sent()); n > 12 {
		t.Errorf("%d messages sent in the pause", n)
	}
}

func TestOutageMakesOnlyUnknownWhatWasUnderWay(t *testing.T) {
	r := newRig(t, rigOptions{})
	const chats = 30
	for chat := int64(1); chat <= chats; chat++ {
		r.tg.Customer(chat, "hello")
		r.conversation(chat)
	}
	r.tg.AddFault(simulator.BadGateway())
	r.state(inbox.BotUnreachable)
	for chat := int64(1); chat <= chats; chat++ {
		r.answer(chat, "during the outage")
	}
	time.Sleep(500 * time.Millisecond)
	q, err := r.db.Queue(context.Background())
	if err != nil || q.Unknown > 0 || q.Queued != chats {
		t.Errorf("in an outage that was known: %+v, %v", q, err)
	}
	r.tg.ClearFaults()
	r.tg.NeedSent(chats, patience)

	f := simulator.BadGateway()
	f.Method = "sendMessage"
	f.Times = 9
	r.tg.AddFault(f)
	for chat := int64(1); chat <= chats; chat++ {
		r.answer(chat, "in the next one")
	}
	r.tg.NeedSent(2*chats-9, patience)
	r.eventually("all outcomes to be written, nine of them unknown", func() bool {
		q, err := r.db.Queue(context.Background())
		return err == nil && q.Unknown == 9 && q.Queued+q.Sending == 0
	})
}

func TestOutcomeIsKeptWhileTheDatabaseIsAway(t *testing.T) {
	broken := &brokenStore{}
	r := newRig(t, rigOptions{wrap: func(s inbox.BotStore) inbox.BotStore { broken.BotStore = s; return broken }})
	r.tg.Customer(7, "hello")
	r.conversation(7)
	broken.set("RecordOutcome", errAway)
	m := r.answer(7, "once")
	r.eventually("attempts to write the outcome", func() bool { return broken.count("RecordOutcome") > 5 })
	r.delivery(m.ID, inbox.Sending)
	broken.set("RecordOutcome", nil)
	r.delivery(m.ID, inbox.Sent)
	if n := r.requests("sendMessage", 7); n != 1 {
		t.Errorf("sent %d times", n)
	}
}

func TestOutcomeThatCannotBeWrittenBecomesUnknownToTheNextBot(t *testing.T) {
	broken := &brokenStore{}
	r := newRig(t, rigOptions{wrap: func(s inbox.BotStore) inbox.BotStore { broken.BotStore = s; return broken }})
	r.tg.Customer(7, "hello")
	r.conversation(7)
	broken.set("RecordOutcome", errAway)
	m := r.answer(7, "once")
	r.eventually("an attempt to write the outcome", func() bool { return broken.count("RecordOutcome") > 0 })
	if took := r.stopped(); took > 4*time.Second {
		t.Errorf("the stop took %v", took)
	}
	start(t, r.tg, r.db, rigOptions{})
	r.delivery(m.ID, inbox.Unknown)
	r.delivery(r.answer(7, "the next").ID, inbox.Sent)
	if d := r.tg.Duplicates(); len(d) > 0 {
		t.Errorf("sent twice: %+v", d)
	}
}

func TestStopWaitsForDeliveriesUnderWay(t *testing.T) {
	r := newRig(t, rigOptions{timing: slower(func(q *timing) { q.drainFor = 5 * time.Second })})
	r.tg.Customer(7, "hello")
	r.conversation(7)
	slow := simulator.Delay(60_000)
	slow.Method = "sendMessage"
	id := r.tg.AddFault(slow)
	m := r.answer(7, "under way")
	r.delivery(m.ID, inbox.Sending)
	time.AfterFunc(200*time.Millisecond, func() { r.tg.ClearFault(id) }) // while it stops
	if took := r.stopped(); took > 4*time.Second {
		t.Errorf("the stop took %v", took)
	}
	r.delivery(m.ID, inbox.Sent)
}

func TestStopGivesUpDeliveriesThatHang(t *testing.T) {
	r := newRig(t, rigOptions{timing: slower(func(q *timing) { q.sendLimit = time.Minute })})
	r.tg.Customer(7, "hello")
	r.conversation(7)
	r.tg.AddFault(once(simulator.StallAfter()))
	m := r.answer(7, "under way")
	r.delivery(m.ID, inbox.Sending)
	r.eventually("the request", func() bool { return len(r.tg.Sent()) == 1 })
	if took := r.stopped(); took > 4*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if got := r.delivery(m.ID, inbox.Unknown); !strings.Contains(got.Error, "stopped while") {
		t.Errorf("error: %q", got.Error)
	}
	r.state(inbox.BotStopped)
}

func TestRefusedTokenLeavesAnswersQueued(t *testing.T) {
	r := newRig(t, rigOptions{})
	for chat := int64(1); chat <= 12; chat++ {
		r.tg.Customer(chat, "hello")
		r.conversation(chat)
	}
	f := simulator.Unauthorized()
	f.Method, f.Interrupt = "sendMessage", false
	r.tg.AddFault(f)
	for chat := int64(1); chat <= 12; chat++ {
		r.answer(chat, "x")
	}
	if err := r.end(); exitcode.Of(err) != exitcode.Config {
		t.Fatalf("ended with %d: %v", exitcode.Of(err), err)
	}
	q, err := r.db.Queue(context.Background())
	if err != nil || q.Queued != 12 || q.Failed+q.Unknown+q.Sending > 0 {
		t.Errorf("queue: %+v, %v", q, err)
	}
	r.tg.ClearFaults()
	start(t, r.tg, r.db, rigOptions{})
	r.tg.NeedSent(12, patience)
}

func TestBlockedAndUnblockedByTheCustomer(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.tg.Customer(7, "hello")
	r.conversation(7)
	if err := r.tg.Block(0, 7); err != nil {
		t.Fatal(err)
	}
	r.eventually("blocked", func() bool { return r.conversation(7).Blocked })
	r.delivery(r.answer(7, "to nobody").ID, inbox.Failed)
	if err := r.tg.Unblock(0, 7); err != nil {
		t.Fatal(err)
	}
	r.eventually("unblocked", func() bool { return !r.conversation(7).Blocked })
	r.delivery(r.answer(7, "welcome back").ID, inbox.Sent)
}

func TestAnswerLeavesSoon(t *testing.T) {
	r := newRig(t, rigOptions{timing: slower(func(q *timing) { q.claimEvery = time.Minute })})
	r.tg.Customer(7, "hello")
	r.conversation(7)
	r.delivery(r.answer(7, "warm").ID, inbox.Sent)
	began := time.Now()
	r.answer(7, "soon")
	r.tg.NeedSent(2, patience)
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestIdleQueueIsNotLookedAtWithoutEnd(t *testing.T) {
	for name, url := range map[string]func(testing.TB) string{
		"sqlite": func(testing.TB) string { return "" }, "postgres": pgtest.URL,
	} {
		t.Run(name, func(t *testing.T) {
			broken := &brokenStore{}
			r := newRig(t, rigOptions{
				database: url(t), timing: slower(func(q *timing) { q.claimEvery, q.heartbeatEvery = time.Minute, time.Minute }),
				wrap: func(s inbox.BotStore) inbox.BotStore { broken.BotStore = s; return broken },
			})
			r.tg.Customer(7, "hello")
			r.conversation(7)
			r.delivery(r.answer(7, "hello").ID, inbox.Sent)
			claims := func() int {
				broken.mu.Lock()
				defer broken.mu.Unlock()
				return broken.claims
			}
			before := claims()
			time.Sleep(500 * time.Millisecond)
			if n := claims() - before; n > 4 {
				t.Errorf("%d looks at an empty queue in 500 ms", n)
			}
		})
	}
}

func TestAnswersGoOutOnceTheDatabaseGivesThem(t *testing.T) {
	broken := &brokenStore{}
	r := newRig(t, rigOptions{wrap: func(s inbox.BotStore) inbox.BotStore { broken.BotStore = s; return broken }})
	r.tg.Customer(7, "hello")
	r.conversation(7)
	broken.set("ClaimDeliveries", errAway)
	m := r.answer(7, "late")
	r.eventually("attempts to claim", func() bool { return broken.count("ClaimDeliveries") > 3 })
	broken.set("ClaimDeliveries", nil)
	r.delivery(m.ID, inbox.Sent)
}

func TestLongAnswerArrivesInParts(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.tg.Customer(7, "hello")
	r.conversation(7)
	text := strings.TrimSpace(strings.Repeat("word and word ", 800))
	m := r.answer(7, text)
	r.delivery(m.ID, inbox.Sent)
	var got []string
	for _, s := range r.tg.Sent() {
		got = append(got, s.Text)
	}
	if len(got) != 3 || strings.Join(got, " ") != text {
		t.Errorf("%d parts", len(got))
	}
}

// TestAPartThatIsRefusedHoldsTheRest : the customer never gets the end of an answer before its beginning.
func TestAPartThatIsRefusedHoldsTheRest(t *testing.T) {
	for name, fault := range map[string]simulator.Fault{
		"refused": simulator.Refused(400, "Bad Request: can't parse entities"), "unknown": simulator.CutAfter(),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{})
			r.tg.Customer(7, "hello")
			r.conversation(7)
			r.tg.AddFault(once(fault))
			text := strings.TrimSpace(strings.Repeat("word and word ", 800))
			m := r.answer(7, text)
			next := r.answer(7, "the next answer")
			r.delivery(next.ID, inbox.Sent)
			first := 0
			if name == "unknown" {
				m, first = r.delivery(m.ID, inbox.Unknown), 1
			} else {
				m = r.delivery(m.ID, inbox.Failed)
			}
			if len(m.Parts) != 3 || !strings.HasPrefix(m.Parts[1].Error, "held: ") ||
				m.Parts[1].Delivery != inbox.Failed || m.Parts[2].Error != m.Parts[1].Error {
				t.Errorf("parts: %+v", m.Parts)
			}
			if sent := r.tg.Sent(); len(sent) != first+1 || sent[first].Text != "the next answer" {
				t.Errorf("%d were sent", len(sent))
			}
			if _, err := r.db.RetryAnswer(t.Context(), m.ID); err != nil {
				t.Fatal(err)
			}
			r.delivery(m.ID, inbox.Sent)
			var got []string
			for _, s := range r.tg.Sent()[first+1:] {
				got = append(got, s.Text)
			}
			if len(got) != 3 || strings.Join(got, " ") != text {
				t.Errorf("sent again: %d parts", len(got))
			}
		})
	}
}

func mustToken(t *testing.T) Token {
	t.Helper()
	token, err := ParseToken(simtest.Token)
	if err != nil {
		t.Fatal(err)
	}
	return token
}
