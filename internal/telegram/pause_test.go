package telegram

import (
	"context"
	"strings"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
)

const month = 30 * 24 * time.Hour

// aMonth is a 429 that asks for a pause of a month, once.
func aMonth(method string) simulator.Fault {
	f := simulator.Flood(int(month.Seconds()))
	f.Method, f.Times, f.Interrupt = method, 1, true
	return f
}

func (r *rig) status() inbox.BotStatus {
	r.t.Helper()
	bots, err := r.db.Bots(context.Background())
	if err != nil || len(bots) != 1 {
		r.t.Fatalf("%+v, %v", bots, err)
	}
	return bots[0]
}

// TestAPauseForGetMeIsNoneForTheRest : polls and messages go on, and who the bot is is asked again later.
func TestAPauseForGetMeIsNoneForTheRest(t *testing.T) {
	tg := simtest.Start(t)
	tg.AddFault(aMonth("getMe"))
	r := start(t, tg, openStore(t, ""), rigOptions{timing: slower(func(q *timing) { q.hold = time.Second })})
	tg.Customer(7, "hello")
	r.conversation(7)
	r.delivery(r.answer(7, "here I am").ID, inbox.Sent)
	r.eventually("polling, and its name", func() bool {
		b := r.status()
		return b.State == inbox.BotPolling && b.Username != "" && b.RetryAt == nil && b.Reason == ""
	})
}

// TestAPauseThatNobodyEndsIsSaid : getMe and getUpdates both ask for a month.
func TestAPauseThatNobodyEndsIsSaid(t *testing.T) {
	tg := simtest.Start(t)
	for _, method := range []string{"getMe", "getUpdates"} {
		f := aMonth(method)
		f.Times = 0
		tg.AddFault(f)
	}
	r := start(t, tg, openStore(t, ""), rigOptions{})
	reason := r.state(inbox.BotUnreachable)
	year := time.Now().Add(month).UTC().Format("Jan 2006")
	r.eventually("until when, and when it is asked again", func() bool {
		b := r.status()
		return strings.Contains(b.Reason, "pause in polling until") && strings.Contains(b.Reason, year) && strings.Contains(b.Reason, "every 1h0m0s") &&
			b.RetryAt != nil && time.Until(*b.RetryAt) > 55*time.Minute && time.Until(*b.RetryAt) <= time.Hour
	})
	if n := strings.Count(r.log.String(), "Telegram asks for a pause"); n == 0 || n > 2 {
		t.Errorf("%d lines in the log, the reason is %q", n, reason)
	}
	if err := r.bot.Alive(); err != nil {
		t.Error(err)
	}
	if took := r.stopped(); took > 4*time.Second {
		t.Errorf("the stop took %v", took)
	}
}

// TestALongPauseInPolling : it is asked again after hold, and nothing else waits for it.
func TestALongPauseInPolling(t *testing.T) {
	r := newRig(t, rigOptions{timing: slower(func(q *timing) { q.hold = 2 * time.Second })})
	r.tg.Customer(7, "hello")
	r.conversation(7)
	polls := r.tg.Polls(0).Requests
	r.tg.AddFault(aMonth("getUpdates"))
	began := time.Now()
	r.state(inbox.BotUnreachable)
	r.delivery(r.answer(7, "meanwhile").ID, inbox.Sent)
	if b := r.status(); b.State != inbox.BotUnreachable || b.RetryAt == nil { // a message that was sent says nothing of polls
		t.Errorf("after a message: %+v", b)
	}
	r.needPolls(polls + 1)
	r.state(inbox.BotPolling)
	if waited := time.Since(began); waited < 2*time.Second {
		t.Errorf("polled again after %v", waited)
	}
	if b := r.status(); b.RetryAt != nil {
		t.Errorf("the pause is over: %+v", b)
	}
}

// TestAnAnswerToGetMeEndsAPauseInPolling : and one that asks for a pause itself does not keep messages from being sent.
func TestAnAnswerToGetMeEndsAPauseInPolling(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.tg.Customer(7, "hello")
	r.conversation(7)
	r.tg.AddFault(aMonth("getUpdates"))
	r.eventually("the pause", func() bool { return r.status().RetryAt != nil })
	polls := r.tg.Polls(0).Requests

	r.tg.AddFault(aMonth("getMe"))
	r.tg.AddFault(once(simulator.Restart()))
	r.delivery(r.answer(7, "while getMe is flooded").ID, inbox.Sent)
	if n := r.tg.Polls(0).Requests; n != polls {
		t.Errorf("polled %d times in the pause", n-polls)
	}
	r.tg.AddFault(once(simulator.Restart()))
	r.delivery(r.answer(7, "now getMe answers").ID, inbox.Sent)
	r.needPolls(polls + 1)
	r.state(inbox.BotPolling)
}

// TestAPausedAnswerSaysUntilWhenAndWhy : at the answer, at those behind it, and in one line of the log; then it is
// tried by itself.
func TestAPausedAnswerSaysUntilWhenAndWhy(t *testing.T) {
	r := newRig(t, rigOptions{timing: slower(func(q *timing) { q.hold = 3 * time.Second })})
	r.tg.Customer(7, "hello")
	r.tg.Customer(8, "hello")
	r.conversation(7)
	f := simulator.Flood(4000)
	f.Method, f.ChatID, f.Times = "sendMessage", 7, 1
	r.tg.AddFault(f)
	first := r.answer(7, "first")
	waits := func(m inbox.Message) *inbox.Waits {
		m, err := r.db.Message(context.Background(), m.ID)
		if err != nil {
			t.Fatal(err)
		}
		return m.Waits
	}
	r.eventually("the first to be paused", func() bool { return waits(first) != nil })
	second := r.answer(7, "second")
	a, b := waits(first), waits(second)
	if a == nil || a.Reason != inbox.WaitsPaused || !strings.Contains(a.Text, "Telegram asks for a pause") || !strings.Contains(a.Text, "every hour") ||
		time.Until(*a.Until) < 3900*time.Second || time.Until(*a.Until) > 4000*time.Second {
		t.Errorf("the first waits for %+v", a)
	}
	if b == nil || b.Reason != inbox.WaitsBehind || !strings.Contains(b.Text, "earlier answer") || !b.Until.Equal(*a.Until) {
		t.Errorf("the second waits for %+v", b)
	}
	if m := r.conversation(7).LastMessage; m.Waits == nil {
		t.Errorf("in the list: %+v", m)
	}
	r.delivery(r.answer(8, "another chat").ID, inbox.Sent)
	if n := strings.Count(r.log.String(), "pause before the next message"); n != 1 || !strings.Contains(r.log.String(), "retry_after=1h6m40s") {
		t.Errorf("%d lines in the log", n)
	}
	r.delivery(first.ID, inbox.Sent)
	r.delivery(second.ID, inbox.Sent)
	if waits(first) != nil || waits(second) != nil {
		t.Error("what was sent waits")
	}
	if n := len(r.tg.Duplicates()); n != 0 {
		t.Errorf("%d sent twice", n)
	}
}

// TestAPauseOfTheBotAsAWholeIsSaid : at answers that were not tried, too, and it ends.
func TestAPauseOfTheBotAsAWholeIsSaid(t *testing.T) {
	r := newRig(t, rigOptions{timing: slower(func(q *timing) { q.hold = 3 * time.Second })})
	for chat := int64(1); chat <= 12; chat++ {
		r.tg.Customer(chat, "hello")
		r.conversation(chat)
	}
	f := simulator.Flood(int(month.Seconds()))
	f.Method, f.Times = "sendMessage", sendWorkers
	r.tg.AddFault(f)
	var all []inbox.Message
	for chat := int64(1); chat <= 12; chat++ {
		all = append(all, r.answer(chat, "x"))
	}
	r.eventually("the pause", func() bool { return r.status().SendsAt != nil })
	last := all[len(all)-1]
	r.eventually("the last answer to say it", func() bool {
		m, err := r.db.Message(context.Background(), last.ID)
		return err == nil && m.Waits != nil && m.Waits.Reason == inbox.WaitsPaused || m.Delivery == inbox.Sent
	})
	for _, m := range all {
		r.delivery(m.ID, inbox.Sent)
	}
	r.eventually("the end of the pause", func() bool { return r.status().SendsAt == nil })
}
