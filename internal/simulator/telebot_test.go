package simulator_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	tele "gopkg.in/telebot.v3"

	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
)

// TestTelebotAgrees lets an independent client read what the simulator says.
func TestTelebotAgrees(t *testing.T) {
	tg := simtest.Start(t)
	bot, err := tele.NewBot(tele.Settings{URL: tg.URL, Token: simtest.Token})
	if err != nil {
		t.Fatalf("telebot starts with getMe: %v", err)
	}
	if bot.Me.ID != simtest.BotID || !bot.Me.IsBot || bot.Me.Username == "" {
		t.Errorf("telebot takes the bot for %+v", bot.Me)
	}
	in := tg.Customer(7, "/start now")
	customer := tele.ChatID(7)
	sent, err := bot.Send(customer, "hello", &tele.SendOptions{ReplyTo: &tele.Message{ID: int(in)}})
	if err != nil || sent.Text != "hello" || sent.Chat.ID != 7 || sent.ReplyTo == nil ||
		sent.ReplyTo.Text != "/start now" {
		t.Fatalf("Send: %+v (%v)", sent, err)
	}
	if time.Since(sent.Time()).Abs() > time.Minute {
		t.Errorf("the message's date is read as %v", sent.Time())
	}
	if edited, err := bot.Edit(sent, "better"); err != nil || edited.Text != "better" || edited.LastEdit == 0 {
		t.Errorf("Edit: %+v (%v)", edited, err)
	}
	if err := bot.Notify(customer, tele.Typing); err != nil {
		t.Errorf("Notify: %v", err)
	}
	if err := bot.SetCommands([]tele.Command{{Text: "help", Description: "what I can do"}}); err != nil {
		t.Errorf("SetCommands: %v", err)
	}
	document, err := bot.Send(customer,
		&tele.Document{File: tele.FromReader(strings.NewReader("content")), FileName: "a.txt", Caption: "here"})
	if err != nil || document.Document == nil || document.Caption != "here" {
		t.Fatalf("sending a document: %+v (%v)", document, err)
	}
	body, err := bot.File(&document.Document.File)
	if err != nil {
		t.Fatalf("fetching it: %v", err)
	}
	content, err := io.ReadAll(body)
	body.Close()
	if err != nil || string(content) != "content" {
		t.Errorf("the document holds %q (%v)", content, err)
	}
	if err := bot.Delete(sent); err != nil {
		t.Errorf("Delete: %v", err)
	}

	var commands []string
	bot.Handle("/start", func(c tele.Context) error { commands = append(commands, c.Message().Payload); return nil })
	updates := fetch(t, bot)
	for _, u := range updates {
		bot.ProcessUpdate(u)
	}
	if len(updates) != 1 || updates[0].Message.Sender.ID != 7 || updates[0].Message.Text != "/start now" {
		t.Errorf("telebot reads the updates as %+v", updates)
	}
}

func TestTelebotKnowsTheErrors(t *testing.T) {
	tg := simtest.Start(t)
	bot, err := tele.NewBot(tele.Settings{URL: tg.URL, Token: simtest.Token, Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	tg.Customer(7, "hello")
	send := func() error { _, err := bot.Send(tele.ChatID(7), "x"); return err }

	if err := tg.Block(0, 7); err != nil {
		t.Fatal(err)
	}
	if err := send(); !errors.Is(err, tele.ErrBlockedByUser) {
		t.Errorf("blocked: %v", err)
	}
	if err := tg.Unblock(0, 7); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		fault simulator.Fault
		is    func(error) bool
	}{
		{simulator.Unauthorized(), func(err error) bool { return errors.Is(err, tele.ErrUnauthorized) }},
		{simulator.NotFound(), func(err error) bool { return errors.Is(err, tele.ErrNotFound) }},
		{simulator.Deactivated(), func(err error) bool { return errors.Is(err, tele.ErrUserIsDeactivated) }},
		{simulator.Flood(7), func(err error) bool {
			var flood tele.FloodError
			return errors.As(err, &flood) && flood.RetryAfter == 7
		}},
		{simulator.Migrated(-1001), func(err error) bool {
			var group tele.GroupError
			return errors.As(err, &group) && group.MigratedTo == -1001
		}},
	} {
		id := tg.AddFault(c.fault)
		if err := send(); !c.is(err) {
			t.Errorf("%s: telebot reads it as %T %v", c.fault.Name(), err, err)
		}
		tg.ClearFault(id)
	}
	if _, err := bot.Send(tele.ChatID(99), "x"); !errors.Is(err, tele.ErrChatNotFound) {
		t.Errorf("an unknown chat: %v", err)
	}
}

// fetch polls once with telebot's own poller.
func fetch(t *testing.T, bot *tele.Bot) []tele.Update {
	t.Helper()
	updates, stop, done := make(chan tele.Update, 10), make(chan struct{}), make(chan struct{})
	poller := &tele.LongPoller{AllowedUpdates: []string{"message"}}
	go func() { defer close(done); poller.Poll(bot, updates, stop) }()
	var out []tele.Update
	select {
	case u := <-updates:
		out = append(out, u)
	case <-time.After(5 * time.Second):
		t.Error("telebot's poller got nothing")
	}
	close(stop)
	<-done
	for len(updates) > 0 {
		out = append(out, <-updates)
	}
	return out
}
