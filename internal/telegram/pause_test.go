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
	r := start(t, tg, openStore(t, ""), rigOptions{timing: slower(func(q *timing) { q.maxHold = time.Second })})
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
		return strings.Contains(b.Reason, "pause in polling until") && strings.Contains(b.Reason, year) &&
			strings.Contains(b.Reason, "every hour") &&
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

// TestALongPauseInPolling : nothing else waits for it, and a message that was sent says nothing of polls.
func TestALongPauseInPolling(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.tg.Customer(7, "hello")
	r.conversation(7)
	r.tg.AddFault(aMonth("getUpdates"))
	r.state(inbox.BotUnreachable)
	polls := r.tg.Polls(0).Requests
	r.delivery(r.answer(7, "meanwhile").ID, inbox.Sent)
	if b := r.status(); b.State != inbox.BotUnreachable || b.RetryAt == nil || r.tg.Polls(0).Requests != polls {
		t.Errorf("after a message: %+v", b)
	}
}

// TestALongPauseIsBroken : it is asked again after maxHold, which is when the pause is over.
func TestALongPauseIsBroken(t *testing.T) {
	const hold = time.Second
	r := newRig(t, rigOptions{timing: slower(func(q *timing) { q.maxHold = hold })})
	began := time.Now()
	r.tg.AddFault(aMonth("getUpdates"))
	r.eventually("a poll after the pause", func() bool {
		b := r.status()
		return time.Since(began) >= hold && b.State == inbox.BotPolling && b.RetryAt == nil
	})
	var asked time.Time // for the pause
	for _, c := range r.tg.Calls("getUpdates") {
		if c.Status == 429 {
			asked = c.At.Add(c.Duration)
		} else if !asked.IsZero() && c.At.Sub(asked) < hold-50*time.Millisecond {
			t.Errorf("polled %v after the pause began", c.At.Sub(asked))
		}
	}
	if asked.IsZero() {
		t.Error("there was no pause")
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

// TestAPausedAnswerIsTriedAgain : by itself after maxHold, and those behind it follow in their order.
func TestAPausedAnswerIsTriedAgain(t *testing.T) {
	r := newRig(t, rigOptions{timing: slower(func(q *timing) { q.maxHold = 500 * time.Millisecond })})
	r.tg.Customer(7, "hello")
	r.conversation(7)
	r.tg.AddFault(aMonth("sendMessage"))
	r.delivery(r.answer(7, "first").ID, inbox.Sent)
	r.delivery(r.answer(7, "second").ID, inbox.Sent)
	if sent := r.tg.Sent(); len(sent) != 2 || sent[0].Text != "first" || len(r.tg.Duplicates()) != 0 {
		t.Errorf("%+v", sent)
	}
}

// TestAPausedAnswerSaysUntilWhenAndWhy : at the answer, at those behind it, and in one line of the log.
func TestAPausedAnswerSaysUntilWhenAndWhy(t *testing.T) {
	r := newRig(t, rigOptions{})
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
	if a == nil || a.Reason != inbox.WaitsPaused || !strings.Contains(a.Text, "Telegram asks for a pause") ||
		!strings.Contains(a.Text, "every hour") ||
		time.Until(*a.Until) < 3900*time.Second || time.Until(*a.Until) > 4000*time.Second {
		t.Errorf("the first waits for %+v", a)
	}
	if b == nil || b.Reason != inbox.WaitsBehind || !strings.Contains(b.Text, "earlier answer") ||
		!b.Until.Equal(*a.Until) {
		t.Errorf("the second waits for %+v", b)
	}
	if m := r.conversation(7).LastMessage; m.Waits == nil {
		t.Errorf("in the list: %+v", m)
	}
	r.delivery(r.answer(8, "another chat").ID, inbox.Sent)
	if n := strings.Count(r.log.String(), "pause before the next message"); n != 1 ||
		!strings.Contains(r.log.String(), "retry_after=1h6m40s") {
		t.Errorf("%d lines in the log", n)
	}
}

// TestAPauseOfTheBotAsAWhole : is said at answers that were not tried, too, and ends.
func TestAPauseOfTheBotAsAWhole(t *testing.T) {
	t.Run("said", func(t *testing.T) {
		r, all := limited(t, time.Hour)
		r.eventually("the pause", func() bool { return r.status().SendsAt != nil })
		last := all[len(all)-1]
		r.eventually("the last answer to say it", func() bool {
			m, err := r.db.Message(context.Background(), last.ID)
			return err == nil && m.Waits != nil && m.Waits.Reason == inbox.WaitsPaused || m.Delivery == inbox.Sent
		})
	})
	t.Run("ends", func(t *testing.T) {
		r, all := limited(t, time.Second)
		for _, m := range all {
			r.delivery(m.ID, inbox.Sent)
		}
		r.eventually("the end of the pause", func() bool { return r.status().SendsAt == nil })
	})
}

// floodedFor has Telegram answer messages to chats 1 to 3 with 429, and waits until all sending pauses for it.
func (r *rig) floodedFor(seconds int) (held []inbox.Message) {
	r.t.Helper()
	for chat := int64(1); chat <= 4; chat++ {
		r.tg.Customer(chat, "hello")
		r.conversation(chat)
	}
	for chat := int64(1); chat <= 3; chat++ {
		f := simulator.Flood(seconds)
		f.Method, f.ChatID = "sendMessage", chat
		r.tg.AddFault(f)
	}
	for chat := int64(1); chat <= 3; chat++ {
		held = append(held, r.answer(chat, "held back"))
	}
	r.eventually("the pause", func() bool { return r.pauses() > 0 })
	return held
}

// pauses is how many pauses of all sending the log tells of.
func (r *rig) pauses() int {
	return strings.Count(r.log.String(), "limits the bot as a whole, sending pauses")
}

// TestThreeFloodedChatsDoNotStopTheFourth : the pause of the bot as a whole is short, and those of the chats are their
// own.
func TestThreeFloodedChatsDoNotStopTheFourth(t *testing.T) {
	const pause = 3 * time.Second
	r := newRig(t, rigOptions{timing: slower(func(q *timing) { q.maxHoldAll = pause })})
	held := r.floodedFor(3600)
	r.eventually("the next try to be said", func() bool {
		at := r.status().SendsAt
		return at != nil && time.Until(*at) <= pause
	})
	r.delivery(r.answer(4, "not held back").ID, inbox.Sent)
	r.delivery(r.answer(4, "nor this").ID, inbox.Sent)
	r.eventually("the pause to be over", func() bool { return r.status().SendsAt == nil })
	for i, m := range held {
		m, err := r.db.Message(context.Background(), m.ID)
		if err != nil || m.Delivery != inbox.Queued || m.Waits == nil || time.Until(*m.Waits.Until) < 55*time.Minute {
			t.Errorf("chat %d: %+v, %v", i+1, m, err)
		}
		if n := r.requests("sendMessage", int64(i+1)); n != 1 {
			t.Errorf("chat %d was tried %d times", i+1, n)
		}
	}
	if n := r.pauses(); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
}

// TestChatsThatStayFlooded : that they are refused again and again says nothing of the bot as a whole.
func TestChatsThatStayFlooded(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.floodedFor(1)
	r.delivery(r.answer(4, "not held back").ID, inbox.Sent)
	pauses, before := r.pauses(), r.requests("sendMessage", 0)
	r.eventually("each of them to be tried again, twice", func() bool { return r.requests("sendMessage", 0) >= before+6 })
	r.delivery(r.answer(4, "nor this").ID, inbox.Sent)
	if n := r.pauses(); n != pauses {
		t.Errorf("%d pauses after the one that was over", n-pauses)
	}
}

// TestALimitOfTheBotAsAWholeIsTriedByOne : one message for each pause, until one is taken.
func TestALimitOfTheBotAsAWholeIsTriedByOne(t *testing.T) {
	const pause = 500 * time.Millisecond
	r := newRig(t, rigOptions{timing: slower(func(q *timing) { q.maxHoldAll = pause })})
	const chats = 20
	for chat := int64(1); chat <= chats; chat++ {
		r.tg.Customer(chat, "hello")
		r.conversation(chat)
	}
	f := simulator.Flood(3600)
	f.Method = "sendMessage"
	r.tg.AddFault(f)
	for chat := int64(1); chat <= chats; chat++ {
		r.answer(chat, "x")
	}
	r.eventually("some tries", func() bool { return r.requests("sendMessage", 0) >= sendWorkers+3 })
	r.tg.ClearFaults()
	r.eventually("the pause to be over", func() bool { return r.status().SendsAt == nil })
	calls := r.tg.Calls("sendMessage")
	refused := 0
	for _, c := range calls {
		if c.Status == 429 {
			refused++
		}
	}
	if refused > sendWorkers+4 {
		t.Errorf("%d requests were refused", refused)
	}
	for i := sendWorkers; i < refused; i++ {
		if gap := calls[i].At.Sub(calls[i-1].At); gap < pause-50*time.Millisecond {
			t.Errorf("request %d left %v after the one before", i, gap)
		}
	}
	r.tg.NeedSent(chats-refused, patience)
}

// limited is a bot that Telegram limits as a whole, with answers for many chats.
func limited(t *testing.T, hold time.Duration) (r *rig, all []inbox.Message) {
	t.Helper()
	r = newRig(t, rigOptions{timing: slower(func(q *timing) { q.maxHold = hold })})
	for chat := int64(1); chat <= 12; chat++ {
		r.tg.Customer(chat, "hello")
		r.conversation(chat)
	}
	f := simulator.Flood(int(month.Seconds()))
	f.Method, f.Times = "sendMessage", sendWorkers
	r.tg.AddFault(f)
	for chat := int64(1); chat <= 12; chat++ {
		all = append(all, r.answer(chat, "x"))
	}
	return r, all
}
