package telegram

import (
	"strings"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/simulator/simtest"
)

func TestMessageInAnswerOut(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.tg.Customer(7, "hello there")
	c := r.conversation(7)
	if c.LastMessage == nil || c.LastMessage.Text != "hello there" {
		t.Fatalf("stored: %+v", c)
	}
	m := r.answer(7, "hello back")
	sent := r.tg.NeedSent(1, patience)
	if sent[0].ChatID != 7 || sent[0].Text != "hello back" {
		t.Errorf("sent: %+v", sent)
	}
	r.delivery(m.ID, inbox.Sent)
	r.tg.NeedConfirmed(patience)
	if err := r.bot.Ready(); err != nil {
		t.Errorf("not ready while it polls: %v", err)
	}
	if took := r.stopped(); took > 4*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if reason := r.state(inbox.BotStopped); reason != "" {
		t.Errorf("stopped with the reason %q", reason)
	}
}

// TestOneGreetingForManyStarts : a bot that was down is asked for as many as the customer pressed Start.
func TestOneGreetingForManyStarts(t *testing.T) {
	tg := simtest.Start(t)
	for range 11 {
		tg.Customer(7, "/start")
	}
	tg.Customer(8, "/start")
	r := start(t, tg, openStore(t, ""), rigOptions{})
	tg.NeedConfirmed(patience)
	tg.Customer(7, "/start") // a little later
	tg.Customer(9, "/start") // the last update of all
	tg.NeedSent(3, patience)
	r.eventually("all of them", func() bool { return len(r.messages(7)) == 13 && len(r.messages(9)) == 2 })
	for _, s := range tg.Sent() {
		if s.Text != greeting {
			t.Errorf("sent %q", s.Text)
		}
	}
	if n := len(tg.Sent()); n != 3 {
		t.Errorf("%d greetings, want one for each customer", n)
	}
}

func TestStartIsAnsweredOnceInTheUpdatesOwnTransaction(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.tg.Customer(7, "/start deep-link")
	r.tg.Customer(7, "/start@"+r.tg.State().Bots[0].Username)
	r.tg.Customer(7, "/start@another_bot")
	r.tg.Customer(7, "/help")
	r.tg.Customer(7, "/unknown")
	sent := r.tg.NeedSent(2, patience)
	want := []string{greeting, help}
	for i, s := range sent {
		if s.Text != want[i] {
			t.Errorf("reply %d is %q", i, s.Text)
		}
	}
	r.eventually("all five messages", func() bool { return len(r.messages(7)) == 7 })
	for _, m := range r.messages(7) {
		if m.Direction == inbox.Out && m.Author.Kind != inbox.ByBot {
			t.Errorf("an automatic reply is by %+v", m.Author)
		}
		if m.Direction == inbox.In && !strings.HasPrefix(m.Text, "/") {
			t.Errorf("in: %q", m.Text)
		}
	}
}
