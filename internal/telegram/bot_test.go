package telegram

import (
	"strings"
	"testing"
	"time"

	"tandem/internal/inbox"
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

func TestStartIsAnsweredOnceInTheUpdatesOwnTransaction(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.tg.Customer(7, "/start deep-link")
	r.tg.Customer(7, "/start@"+r.tg.State().Bots[0].Username)
	r.tg.Customer(7, "/start@another_bot")
	r.tg.Customer(7, "/help")
	r.tg.Customer(7, "/unknown")
	sent := r.tg.NeedSent(3, patience)
	want := []string{greeting, greeting, help}
	for i, s := range sent {
		if s.Text != want[i] {
			t.Errorf("reply %d is %q", i, s.Text)
		}
	}
	r.eventually("all five messages", func() bool { return len(r.messages(7)) == 8 })
	for _, m := range r.messages(7) {
		if m.Direction == inbox.Out && m.Author.Kind != inbox.ByBot {
			t.Errorf("an automatic reply is by %+v", m.Author)
		}
		if m.Direction == inbox.In && !strings.HasPrefix(m.Text, "/") {
			t.Errorf("in: %q", m.Text)
		}
	}
}
