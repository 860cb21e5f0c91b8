package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/inbox"
)

func claimOrder(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "hi"), text(8, 1, "hi"), text(9, 1, "hi"))
	for _, s := range []string{"7a", "8a", "7b", "9a", "8b"} {
		f.answer(int64(s[0]-'0'), s)
	}
	first := f.claim(2)
	same(t, "the first two", deliveryTexts(first), []string{"7a", "8a"})
	if d := first[0]; d.Attempt != 1 || d.Part != 0 || d.ChatID != 7 || d.ConversationID != f.conversation(7).ID ||
		f.message(d.MessageID).Delivery != inbox.Sending {
		t.Errorf("a claimed delivery: %+v", d)
	}
	same(t, "while two are being sent", f.claimTexts(10), []string{"9a"})
	same(t, "while three are", f.claimTexts(10), nil)
	f.record(inbox.Outcome{DeliveryID: first[0].ID, Attempt: first[0].Attempt, State: inbox.Sent, TelegramMessageID: 100})
	same(t, "after one was sent", f.claimTexts(10), []string{"7b"})
	f.record(inbox.Outcome{DeliveryID: first[1].ID, Attempt: first[1].Attempt, State: inbox.Sent, TelegramMessageID: 100})
	same(t, "after another was sent", f.claimTexts(10), []string{"8b"})
	if m := f.message(first[0].MessageID); m.Delivery != inbox.Sent || m.Error != "" {
		t.Errorf("a sent message: %+v", m)
	}
}

// turns : a conversation that was served goes behind those that wait, and none is served before its time.
func turns(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "hi"), text(8, 1, "hi"), text(9, 1, "hi"))
	for _, s := range []string{"7a", "7b", "7c", "8a", "8b", "9a"} {
		f.answer(int64(s[0]-'0'), s)
	}
	sent := func(list []inbox.Delivery) {
		for _, d := range list {
			f.record(inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, State: inbox.Sent, TelegramMessageID: 100 + d.ID})
		}
	}
	var order []string
	for range 3 {
		list := f.claim(1)
		order = append(order, deliveryTexts(list)...)
		sent(list)
	}
	same(t, "the first three", order, []string{"7a", "8a", "9a"})
	f.answer(9, "9b")
	at := time.Now().Add(time.Hour)
	claim := func(what string, notYet map[int64]time.Time, wantNext time.Time, want ...string) {
		t.Helper()
		list, next, err := f.ClaimDeliveries(t.Context(), f.tenure, 1, notYet)
		must(t, err)
		same(t, what, deliveryTexts(list), want)
		if !next.Equal(wantNext) {
			t.Errorf("%s: next is %v, want %v", what, next, wantNext)
		}
		sent(list)
	}
	seven, eight, nine := f.conversation(7).ID, f.conversation(8).ID, f.conversation(9).ID
	claim("all but one have to wait", map[int64]time.Time{seven: at, eight: at.Add(time.Minute)}, at, "9b")
	claim("all have to wait", map[int64]time.Time{seven: at, eight: at.Add(time.Minute), nine: at}, at)
	claim("none has to wait", nil, time.Time{}, "7b")
	claim("the next", map[int64]time.Time{nine: at}, time.Time{}, "8b")
	claim("the last", nil, time.Time{}, "7c")
}

func heldBack(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "hi"), text(8, 1, "hi"))
	f.answer(7, "7a")
	f.answer(7, "7b")
	d := f.claim(1)[0]
	retryAt := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	f.record(inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, State: inbox.Queued, Error: "Too Many Requests",
		RetryAt: retryAt})
	if m := f.message(d.MessageID); m.Delivery != inbox.Queued || m.Error != "" {
		t.Errorf("a message to be tried again: %+v", m)
	}
	f.answer(8, "8a")
	list, next, err := f.ClaimDeliveries(t.Context(), f.tenure, 10, nil)
	must(t, err)
	same(t, "while 7 is held back", deliveryTexts(list), []string{"8a"})
	if !next.Equal(retryAt) {
		t.Errorf("next is %v, want %v", next, retryAt)
	}
	retryAt = time.Now().Add(100 * time.Millisecond).Truncate(time.Microsecond)
	f.record(inbox.Outcome{DeliveryID: list[0].ID, Attempt: list[0].Attempt, State: inbox.Queued, RetryAt: retryAt})
	for list = nil; len(list) == 0; {
		if time.Since(retryAt) > 10*time.Second {
			t.Fatal("not claimed long after it was due")
		}
		list, next, err = f.ClaimDeliveries(t.Context(), f.tenure, 10, nil)
		must(t, err)
	}
	if time.Now().Before(retryAt) || list[0].Text != "8a" || list[0].Attempt != 2 ||
		!next.After(retryAt.Add(time.Minute)) {
		t.Errorf("claimed %+v, next %v, for an attempt at %v", list, next, retryAt)
	}
	f.record(inbox.Outcome{DeliveryID: list[0].ID, Attempt: list[0].Attempt, State: inbox.Queued})
	same(t, "to be tried at once", f.claimTexts(10), []string{"8a"})
}

// probes : what was never held back goes first, and what was held back when there is nothing else.
func probes(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "hi"), text(8, 1, "hi"))
	f.answer(7, "7a")
	f.recordNext(inbox.Outcome{State: inbox.Queued, RetryAt: time.Now().Add(-time.Second)})
	f.answer(8, "8a")
	for _, want := range [][]string{{"8a"}, {"7a"}, nil} {
		list, _, err := f.ClaimProbe(t.Context(), f.tenure)
		must(t, err)
		same(t, "a probe", deliveryTexts(list), want)
	}
}

// whatWaits : an answer that Telegram asks to hold back says until when, and those behind it say so. Both are told of
// when that changes.
func whatWaits(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "hi"), text(8, 1, "hi"))
	first, second := f.answer(7, "a"), f.answer(7, "b")
	check := func(what string, m inbox.Message, reason inbox.WaitReason, until time.Time, words string) {
		t.Helper()
		w := f.message(m.ID).Waits
		switch {
		case reason == "" && w != nil, reason != "" && w == nil:
			t.Errorf("%s: %+v", what, w)
		case w != nil && (w.Reason != reason || w.Until == nil || !w.Until.Equal(until) || !strings.Contains(w.Text, words)):
			t.Errorf("%s: %+v until %v, want %s until %v", what, w, w.Until, reason, until)
		}
	}
	check("not tried yet", first, "", time.Time{}, "")
	check("behind one that was not tried", second, "", time.Time{}, "")
	told := func() map[int64]bool {
		seq, err := f.LastEvent(t.Context())
		must(t, err)
		events, err := f.Events(t.Context(), max(seq-2, 0), 9)
		must(t, err)
		ids := map[int64]bool{}
		for _, e := range events {
			if e.Type == inbox.MessageUpdated {
				ids[e.MessageID] = true
			}
		}
		return ids
	}
	now := time.Now().Truncate(time.Microsecond)
	d := f.claim(1)[0]
	until := now.Add(30 * 24 * time.Hour)
	f.record(inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, State: inbox.Queued, Error: "it is asked for",
		RetryAt: now.Add(50 * time.Millisecond), PausedUntil: until})
	check("paused", first, inbox.WaitsPaused, until, "it is asked for; it is tried again every hour")
	check("behind", second, inbox.WaitsBehind, until, "it is asked for")
	if ids := told(); !ids[first.ID] || !ids[second.ID] {
		t.Errorf("told of %v, want %d and %d", ids, first.ID, second.ID)
	}
	if last := f.conversation(7).LastMessage; last.Waits == nil || last.Waits.Reason != inbox.WaitsBehind {
		t.Errorf("in the list: %+v", last)
	}
	var claimed []inbox.Delivery
	for began := time.Now(); len(claimed) == 0 && time.Since(began) < 10*time.Second; {
		claimed = f.claim(1)
	}
	check("being sent", first, "", time.Time{}, "")
	check("behind one that is being sent", second, "", time.Time{}, "")
	if ids := told(); !ids[first.ID] || !ids[second.ID] {
		t.Errorf("told of %v, want %d and %d", ids, first.ID, second.ID)
	}
	// A clock that was put back: nothing is ever held back for so long.
	f.record(inbox.Outcome{DeliveryID: d.ID, Attempt: 2, State: inbox.Queued, RetryAt: now.Add(365 * 24 * time.Hour)})
	same(t, "held back by a clock that was wrong", f.claimTexts(1), []string{"a"})
	f.record(inbox.Outcome{DeliveryID: d.ID, Attempt: 3, State: inbox.Sent, TelegramMessageID: 1})

	sendsAt := now.Add(time.Hour)
	report := inbox.BotReport{Username: "b", Name: "B", State: inbox.BotPolling, Instance: "x",
		RetryAt: now.Add(time.Minute), SendsAt: sendsAt}
	must(t, f.ReportBot(t.Context(), f.tenure, report))
	check("while nothing is sent", second, inbox.WaitsPaused, sendsAt, "all that it sends")
	bots, err := f.Bots(t.Context())
	must(t, err)
	if b := bots[0]; b.RetryAt == nil || !b.RetryAt.Equal(report.RetryAt) || b.SendsAt == nil ||
		!b.SendsAt.Equal(sendsAt) {
		t.Errorf("the bot: %+v", b)
	}
	report.RetryAt, report.SendsAt, report.Username, report.Name = time.Time{}, time.Time{}, "", ""
	must(t, f.ReportBot(t.Context(), f.tenure, report))
	check("after that", second, "", time.Time{}, "")
	bots, err = f.Bots(t.Context())
	must(t, err)
	if b := bots[0]; b.RetryAt != nil || b.SendsAt != nil || b.Username != "b" || b.Name != "B" {
		t.Errorf("the bot: %+v", b)
	}
}

// waitsForTheBot : an answer says that no bot is there to send it, or that the bot cannot reach Telegram.
func waitsForTheBot(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "hi"))
	first, second := f.answer(7, "a"), f.answer(7, "b")
	check := func(what, words string) {
		t.Helper()
		for _, m := range []inbox.Message{f.message(first.ID), f.message(second.ID), *f.conversation(7).LastMessage} {
			switch w := m.Waits; {
			case words == "" && w == nil:
			case words == "" || w == nil || w.Reason != inbox.WaitsBotDown || !strings.Contains(w.Text, words) || w.Until != nil:
				t.Errorf("%s: %q waits for %+v", what, m.Text, w)
			}
		}
	}
	report := func(state inbox.BotState, retryAt time.Time) {
		t.Helper()
		must(t, f.ReportBot(t.Context(), f.tenure, inbox.BotReport{State: state, Instance: "x", RetryAt: retryAt}))
	}
	check("while it starts", "")
	report(inbox.BotPolling, time.Time{})
	check("while it polls", "")
	report(inbox.BotUnreachable, time.Time{})
	check("while Telegram is away", "cannot reach Telegram")
	report(inbox.BotUnreachable, time.Now().Add(time.Hour))
	check("while only polls pause", "")
	for _, state := range []inbox.BotState{inbox.BotStopped, inbox.BotConflict, inbox.BotFailed} {
		must(t, f.SignOff(t.Context(), f.tenure, state, ""))
		check(string(state), "not running")
		f.takeOver()
		check("the next one", "")
	}
}

// waitsInLine : one before which many go says how many, and about until when.
func waitsInLine(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "hi"), text(8, 1, "hi"))
	var last inbox.Message
	for range 8 {
		last = f.answer(7, "a")
	}
	w := f.message(last.ID).Waits
	if w == nil || w.Reason != inbox.WaitsBehind || w.Text != "7 messages of this conversation go before it" ||
		w.Until == nil || time.Until(*w.Until) > 10*time.Second {
		t.Errorf("behind seven: %+v", w)
	}
	if w := f.messages(7)[2].Waits; w != nil {
		t.Errorf("behind one: %+v", w)
	}
	long := strings.Repeat(strings.Repeat("x", inbox.MaxPart)+"\n", 6)
	for range 27 {
		f.answer(7, long)
	}
	w = f.message(f.answer(8, "b").ID).Waits
	if w == nil || w.Reason != inbox.WaitsBehind || w.Text != "197 messages go before it" || w.Until == nil ||
		time.Until(*w.Until) > 10*time.Second {
		t.Errorf("in another conversation: %+v", w)
	}
}

// takenBack : an answer of which nothing was sent is never sent, and stays with its text.
func takenBack(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "hi"))
	first, second := f.answer(7, "a"), f.answer(7, strings.Repeat("x", inbox.MaxPart)+"\nb")
	third := f.answer(7, "c")
	back := func(id int64) (inbox.Message, error) { return f.TakeBack(t.Context(), id) }
	last := f.lastEvent()
	for range 2 { // a repeat changes nothing
		m, err := back(second.ID)
		must(t, err)
		if m.DeletedAt == nil || m.Text != second.Text || m.Delivery == inbox.Queued || m.Waits != nil {
			t.Errorf("taken back: %+v", m)
		}
	}
	if events := f.events(last); len(events) != 3 { // of that one, and of two whose place in the line has changed
		t.Errorf("events: %v", events)
	}
	d := f.claim(9)
	same(t, "claimed", deliveryTexts(d), []string{"a"})
	if _, err := back(first.ID); !errors.Is(err, inbox.ErrConflict) {
		t.Errorf("while it is being sent: %v", err)
	}
	f.record(inbox.Outcome{DeliveryID: d[0].ID, Attempt: 1, State: inbox.Sent, TelegramMessageID: 9})
	if _, err := back(first.ID); !errors.Is(err, inbox.ErrConflict) {
		t.Errorf("after it was sent: %v", err)
	}
	f.recordNext(inbox.Outcome{State: inbox.Unknown, Error: "e"})
	if _, err := back(third.ID); !errors.Is(err, inbox.ErrConflict) {
		t.Errorf("when it is not known: %v", err)
	}
	fourth := f.answer(7, "d")
	f.recordNext(inbox.Outcome{State: inbox.Failed, Error: "e"})
	if m, err := back(fourth.ID); err != nil || m.DeletedAt == nil {
		t.Errorf("one that was refused: %+v, %v", m, err)
	}
	for _, id := range []int64{second.ID, fourth.ID} {
		if _, err := f.RetryAnswer(t.Context(), id); !errors.Is(err, inbox.ErrConflict) {
			t.Errorf("sent again: %v", err)
		}
	}
	if _, err := back(f.messages(7)[0].ID); !errors.Is(err, inbox.ErrConflict) {
		t.Errorf("a customer's: %v", err)
	}
	if _, err := back(999); !errors.Is(err, inbox.ErrNotFound) {
		t.Errorf("none: %v", err)
	}
	same(t, "nothing is left", f.claimTexts(9), nil)
	q, err := f.Queue(t.Context())
	must(t, err)
	same(t, "the queue", q, inbox.QueueStats{Unknown: 1})
}

func failedDoesNotHoldUp(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "hi"))
	for _, s := range []string{"a", "b", "c"} {
		f.answer(7, s)
	}
	a := f.claim(10)[0]
	f.record(inbox.Outcome{DeliveryID: a.ID, Attempt: a.Attempt, State: inbox.Failed, Error: "chat not found",
		Unreachable: inbox.AccountGone})
	if m := f.message(a.MessageID); m.Delivery != inbox.Failed || m.Error != "chat not found" {
		t.Errorf("a failed message: %+v", m)
	}
	if c := f.conversation(7); !c.Blocked || c.Unreachable != inbox.AccountGone {
		t.Errorf("blocked: %v, why: %q", c.Blocked, c.Unreachable)
	}
	b := f.claim(10)[0]
	f.record(inbox.Outcome{DeliveryID: b.ID, Attempt: b.Attempt, State: inbox.Unknown, Error: "the line broke"})
	if m := f.message(b.MessageID); m.Delivery != inbox.Unknown || m.Error != "the line broke" {
		t.Errorf("a message of unknown fate: %+v", m)
	}
	c := f.claim(10)
	same(t, "the third", deliveryTexts(c), []string{"c"})
	f.record(inbox.Outcome{DeliveryID: c[0].ID, Attempt: c[0].Attempt, State: inbox.Sent, TelegramMessageID: 9})
	if c := f.conversation(7); c.Blocked || c.Unreachable != inbox.Reachable {
		t.Errorf("after one was delivered: %v, why: %q", c.Blocked, c.Unreachable)
	}
}

// parts : one that is refused, or of which it is not known, holds the rest of its answer and no other one. What was not
// sent is sent again in order.
func parts(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "hi"))
	long := strings.Repeat("x", inbox.MaxPart) + "\n" + strings.Repeat("y", inbox.MaxPart) + "\nz"
	m := f.answer(7, long)
	if m.Text != long {
		t.Error("the text is not what was written")
	}
	f.answer(7, "next")
	check := func(what string, delivery inbox.DeliveryState, words string, parts ...inbox.Part) {
		t.Helper()
		got := f.message(m.ID)
		if got.Delivery != delivery || got.Error != words {
			t.Errorf("%s: %s %q", what, got.Delivery, got.Error)
		}
		same(t, what, got.Parts, parts)
	}
	sends := func(part int, state inbox.DeliveryState) {
		t.Helper()
		d := f.claim(10)
		if len(d) != 1 || d[0].Part != part-1 || d[0].MessageID != m.ID {
			t.Fatalf("part %d: claimed %+v", part, d)
		}
		f.record(inbox.Outcome{DeliveryID: d[0].ID, Attempt: d[0].Attempt, State: state,
			TelegramMessageID: int64(50 + part), Error: "no"})
	}
	retry := func() {
		t.Helper()
		got, err := f.RetryAnswer(t.Context(), m.ID)
		must(t, err)
		if got.Delivery != inbox.Queued || got.Error != "" {
			t.Errorf("after retry: %s %q", got.Delivery, got.Error)
		}
	}
	part := func(n int, state inbox.DeliveryState, words string) inbox.Part {
		return inbox.Part{Part: n, Delivery: state, Error: words}
	}
	const failed, unknown, sent, queued = inbox.Failed, inbox.Unknown, inbox.Sent, inbox.Queued
	const held1, held2 = "held: part 1 was not delivered", "held: it is not known whether part 2 was delivered"
	check("at first", queued, "", part(1, queued, ""), part(2, queued, ""), part(3, queued, ""))
	sends(1, failed)
	check("part 1 is refused", failed, "no",
		part(1, failed, "no"), part(2, failed, held1), part(3, failed, held1))
	next := f.claim(10)
	same(t, "the next message", deliveryTexts(next), []string{"next"})
	f.record(inbox.Outcome{DeliveryID: next[0].ID, Attempt: next[0].Attempt, State: sent, TelegramMessageID: 40})

	retry()
	sends(1, failed) // again
	check("part 1 is refused again", failed, "no",
		part(1, failed, "no"), part(2, failed, held1), part(3, failed, held1))
	retry()
	sends(1, sent)
	check("part 1 is sent", queued, "", part(1, sent, ""), part(2, queued, ""), part(3, queued, ""))
	sends(2, unknown)
	check("of part 2 it is not known", unknown, "no",
		part(1, sent, ""), part(2, unknown, "no"), part(3, failed, held2))
	retry()
	f.claim(1)
	f.takeOver() // in the middle of part 2
	got := f.message(m.ID)
	if got.Delivery != unknown || len(got.Parts) != 3 || got.Parts[2].Error != held2 {
		t.Errorf("after the bot ended: %s %+v", got.Delivery, got.Parts)
	}
	retry()
	sends(2, sent)
	sends(3, sent)
	check("all are sent", sent, "", part(1, sent, ""), part(2, sent, ""), part(3, sent, ""))
}

func outcomes(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "hi"))
	f.answer(7, "a")
	d := f.claim(1)[0]
	last := f.lastEvent()
	sent := inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, State: inbox.Sent, TelegramMessageID: 50}
	f.record(sent)
	f.record(sent) // said again, as after a commit whose answer was cut off
	if n := len(f.events(last)); n != 1 {
		t.Errorf("have %d events, want 1", n)
	}
	other := sent
	other.State = inbox.Failed
	if err := f.RecordOutcome(t.Context(), f.tenure, other); !errors.Is(err, inbox.ErrFenced) {
		t.Errorf("another outcome: %v, want ErrFenced", err)
	}
	if err := f.RecordOutcome(t.Context(), f.tenure,
		inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, State: inbox.Sending}); err == nil {
		t.Error("sending was taken for an outcome")
	}
	if err := f.RecordOutcome(t.Context(), f.tenure, inbox.Outcome{DeliveryID: 999, State: inbox.Sent}); err == nil {
		t.Error("an outcome of nothing was taken")
	}
	if m := f.message(d.MessageID); m.Delivery != inbox.Sent {
		t.Errorf("delivery is %s", m.Delivery)
	}
}

// outcomeSaidLate : the outcome of an attempt is said again while the next attempt is under way. It does not queue that
// one a second time.
func outcomeSaidLate(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "hi"))
	f.answer(7, "a")
	first := f.claim(1)[0]
	again := inbox.Outcome{DeliveryID: first.ID, Attempt: first.Attempt, State: inbox.Queued}
	f.record(again)
	second := f.claim(1)[0]
	f.record(again)
	same(t, "while it is being sent", f.claimTexts(10), nil)
	f.record(inbox.Outcome{DeliveryID: second.ID, Attempt: second.Attempt, State: inbox.Sent, TelegramMessageID: 50})
	if m := f.message(first.MessageID); m.Delivery != inbox.Sent {
		t.Errorf("delivery is %s", m.Delivery)
	}
}

func brokenOff(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "hi"), text(8, 1, "hi"))
	m := f.answer(7, "7a")
	f.answer(7, "7b")
	f.answer(8, "8a")
	f.claim(10)
	last := f.lastEvent()
	f.takeOver()
	got := f.message(m.ID)
	if got.Delivery != inbox.Unknown || got.Error == "" {
		t.Errorf("what was being sent: %s %q", got.Delivery, got.Error)
	}
	if n := len(f.events(last)); n != 3 {
		t.Errorf("have %v, want bot.updated and message.updated of two", f.events(last))
	}
	same(t, "the next one goes on", f.claimTexts(10), []string{"7b"})
}

func retry(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "hi"))
	m := f.answer(7, "a")
	for _, id := range []int64{m.ID, f.messages(7)[0].ID} {
		if _, err := f.RetryAnswer(t.Context(), id); !errors.Is(err, inbox.ErrConflict) {
			t.Errorf("message %d: %v, want ErrConflict", id, err)
		}
	}
	for attempt, state := range []inbox.DeliveryState{inbox.Failed, inbox.Unknown, inbox.Sent} {
		d := f.claim(1)
		if len(d) != 1 || d[0].Attempt != attempt+1 {
			t.Fatalf("claimed %+v, want attempt %d", d, attempt+1)
		}
		f.record(inbox.Outcome{DeliveryID: d[0].ID, Attempt: d[0].Attempt, State: state, Error: "e", TelegramMessageID: 1})
		got, err := f.RetryAnswer(t.Context(), m.ID)
		if state == inbox.Sent {
			if !errors.Is(err, inbox.ErrConflict) {
				t.Errorf("a sent one: %v, want ErrConflict", err)
			}
			continue
		}
		must(t, err)
		if got.Delivery != inbox.Queued || got.Error != "" {
			t.Errorf("retried: %+v", got)
		}
	}
}

func idempotencyKey(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "hi"), text(8, 1, "hi"))
	add := func(chat int64, s string, author inbox.Author) (inbox.Message, bool, error) {
		return f.AddAnswer(t.Context(), f.conversation(chat).ID, inbox.Answer{Text: s, Key: "k", Author: author})
	}
	first, created, err := add(7, "a", ann)
	must(t, err)
	if !created {
		t.Error("the first was not created")
	}
	again, created, err := add(7, "a", ann)
	must(t, err)
	if created || again.ID != first.ID {
		t.Errorf("the second is %d, created %v; want %d", again.ID, created, first.ID)
	}
	if _, _, err := add(7, "b", ann); !errors.Is(err, inbox.ErrKeyReused) {
		t.Errorf("another text: %v", err)
	}
	if _, _, err := add(8, "a", ann); !errors.Is(err, inbox.ErrKeyReused) {
		t.Errorf("another conversation: %v", err)
	}
	if _, created, err := add(7, "a", inbox.Author{Kind: inbox.ByAPI, ID: "1", Name: "Ann"}); err != nil || !created {
		t.Errorf("another author: %v, %v", created, err)
	}
	if _, _, err := f.AddAnswer(t.Context(), f.conversation(7).ID,
		inbox.Answer{Text: " \u200b", Author: ann}); err == nil {
		t.Error("a blank answer was taken")
	}
}

func fiftyAtOnce(t *testing.T, open Open) {
	handle := open(t)
	f := &fixture{t: t, Store: handle()}
	second := handle()
	f.takeOver()
	f.receive(text(7, 1, "hi"))
	c := f.conversation(7).ID
	var wg sync.WaitGroup
	ids := make([]int64, 50)
	made := make([]bool, 50)
	for i := range ids {
		s := []Store{f.Store, second}[i%2]
		wg.Go(func() {
			m, created, err := s.AddAnswer(t.Context(), c, inbox.Answer{Text: "a", Key: "k", Author: ann})
			if err != nil {
				t.Error(err)
			}
			ids[i], made[i] = m.ID, created
		})
	}
	wg.Wait()
	n := 0
	for i := range ids {
		if made[i] {
			n++
		}
		if ids[i] != ids[0] {
			t.Errorf("answer %d is message %d, not %d", i, ids[i], ids[0])
		}
	}
	if n != 1 || len(f.messages(7)) != 2 {
		t.Errorf("%d of 50 created a message, and there are %d", n, len(f.messages(7)))
	}
}

func thread(t *testing.T, open Open) {
	f := setUp(t, open)
	in := text(7, 1, "hi")
	in.Message.ThreadID = 12
	f.receive(in)
	if m := f.answer(7, "a"); m.ThreadID != 12 || m.Author != ann || m.Direction != inbox.Out || m.Kind != "text" ||
		m.TelegramDate != nil {
		t.Errorf("the answer: %+v", m)
	}
	if d := f.claim(1)[0]; d.ThreadID != 12 || d.ReplyTo != 0 {
		t.Errorf("its delivery: %+v", d)
	}
}

func queue(t *testing.T, open Open) {
	f := setUp(t, open)
	q, err := f.Queue(t.Context())
	must(t, err)
	same(t, "empty", q, inbox.QueueStats{})
	f.receive(text(7, 1, "hi"))
	for _, state := range []inbox.DeliveryState{inbox.Sent, inbox.Failed, inbox.Unknown} {
		f.answer(7, "x")
		f.recordNext(inbox.Outcome{State: state})
	}
	f.answer(7, "sending")
	f.claim(1)
	oldest := f.answer(7, "queued")
	f.answer(7, "queued")
	q, err = f.Queue(t.Context())
	must(t, err)
	same(t, "queue", q, inbox.QueueStats{Queued: 2, Sending: 1, Failed: 1, Unknown: 1, Oldest: &oldest.CreatedAt})
}

// claimedByTwo : whoever claims, a part is handed out once.
func claimedByTwo(t *testing.T, open Open) {
	handle := open(t)
	f := &fixture{t: t, Store: handle()}
	second := handle()
	f.takeOver()
	var updates []inbox.Update
	for chat := range int64(20) {
		u := text(chat+1, 1, "hi")
		u.Reply = fmt.Sprint(chat)
		updates = append(updates, u)
	}
	f.receive(updates...)
	var mu sync.Mutex
	count := map[int64]int{}
	var wg sync.WaitGroup
	for i := range 8 {
		s := []Store{f.Store, second}[i%2]
		wg.Go(func() {
			for {
				list, _, err := s.ClaimDeliveries(t.Context(), f.tenure, 3, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if len(list) == 0 {
					return
				}
				mu.Lock()
				for _, d := range list {
					count[d.ID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(count) != 20 {
		t.Errorf("%d of 20 were claimed", len(count))
	}
	for id, n := range count {
		if n != 1 {
			t.Errorf("delivery %d was claimed %d times", id, n)
		}
	}
}
