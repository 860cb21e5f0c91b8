// Package simtest gives a test a running Telegram of its own: a simulator on a free loopback port that ends
// with the test.
package simtest

import (
	"net/http/httptest"
	"testing"
	"time"

	"tandem/internal/simulator"
)

// Token is the one valid token of a Telegram from Start, of the bot with the id BotID.
const (
	Token = "123456789:AAF0simulated-token-for-tests-000000"
	BotID = 123456789
)

// Telegram is a simulator with one bot, and its address.
type Telegram struct {
	*simulator.Server
	URL string // for TELEGRAM_API_URL
	t   testing.TB
}

// Start runs a simulator until the test ends. Without options a 409 or a repeated poll is held back for 50 ms
// instead of 3 s and update ids are the same in every run. It fails the test when the token was seen outside
// the path.
func Start(t testing.TB, options ...simulator.Options) *Telegram {
	t.Helper()
	o := simulator.Options{Seed: 1, ConflictHold: 50 * time.Millisecond, RepeatHold: 50 * time.Millisecond}
	if len(options) > 0 {
		o = options[0]
	}
	s, err := simulator.New(o)
	if err != nil {
		t.Fatalf("starting the simulator: %v", err)
	}
	s.AddBot(Token)
	http := httptest.NewServer(s)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the simulator: %v", err)
		}
		http.CloseClientConnections()
		http.Close()
		for _, leak := range s.Leaks() {
			t.Errorf("a bot's token was seen in the %s of %s", leak.Where, leak.Path)
		}
	})
	return &Telegram{Server: s, URL: http.URL, t: t}
}

// Customer writes to the bot; an error fails the test. It returns the message's id.
func (tg *Telegram) Customer(chatID int64, text string) int64 {
	tg.t.Helper()
	m, err := tg.CustomerWrites(chatID, text)
	if err != nil {
		tg.t.Fatalf("customer %d writes: %v", chatID, err)
	}
	return m.MessageID
}

// NeedSent waits for n messages from the bot in all and fails the test when they do not come.
func (tg *Telegram) NeedSent(n int, within time.Duration) []simulator.Sent {
	tg.t.Helper()
	sent, err := tg.WaitSent(n, within)
	if err != nil {
		tg.t.Fatalf("want %d messages from the bot, got %d (%+v): %v", n, len(sent), sent, err)
	}
	return sent
}

// NeedConfirmed waits until the bot has confirmed all updates and fails the test when it does not.
func (tg *Telegram) NeedConfirmed(within time.Duration) {
	tg.t.Helper()
	err := tg.WaitFor(within, func() bool { p := tg.Polls(BotID); return p.Pending == 0 })
	if err != nil {
		tg.t.Fatalf("want every update confirmed, %d are pending: %v", tg.Polls(BotID).Pending, err)
	}
}
