package store

import (
	"slices"
	"testing"

	"tandem/internal/inbox"
)

// olderBot is a bot of the release before: its statements, as it has them.
type olderBot struct {
	t     *testing.T
	s     *Store
	epoch int64
}

// takeOver begins its tenure.
func (o *olderBot) takeOver() {
	o.t.Helper()
	err := o.s.change(o.t.Context(), "test", func(l *ledger) error {
		if err := l.one(to(&o.epoch), `SELECT epoch FROM bots WHERE id = 1`); err != nil {
			return err
		}
		o.epoch++
		err := l.later(`UPDATE bots SET epoch = $1, signed_off = FALSE, state = $2, reason = '', retry_at = 0, sends_at = 0,
			instance = $3, since = $4, heartbeat_at = $4 WHERE id = $5`,
			o.epoch, string(inbox.BotPolling), "older", l.now, 1)
		if err != nil {
			return err
		}
		return l.breakOff(1)
	})
	if err != nil {
		o.t.Fatal(err)
	}
}

// sends claims all that it sees, has it sent, and says what that was.
func (o *olderBot) sends() (texts []string) {
	o.t.Helper()
	for {
		before := len(texts)
		err := o.s.change(o.t.Context(), "test", func(l *ledger) error {
			type row struct {
				id, conversation int64
				text             string
			}
			list, err := all(l.tx, func(scan func(...any) error) (r row, err error) {
				return r, scan(&r.id, &r.conversation, &r.text)
			}, `SELECT d.id, d.conversation_id, d.text FROM deliveries d
				WHERE d.bot_id = 1 AND d.turn AND d.state = 'queued' ORDER BY d.not_before, d.updated_at, d.id`)
			for _, r := range list {
				texts = append(texts, r.text)
				err := l.later(`UPDATE deliveries SET state = 'sent', telegram_message_id = id, updated_at = $1 WHERE id = $2`,
					l.now, r.id)
				if err != nil {
					return err
				}
				if err := l.giveTurn(r.conversation); err != nil {
					return err
				}
			}
			return err
		})
		if err != nil {
			o.t.Fatal(err)
		}
		if len(texts) == before {
			return texts
		}
	}
}

// TestAnOlderBot : what it cannot do never reaches it, in a rolling update and after a step back. All keeps its order,
// and says why it waits.
func TestAnOlderBot(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, _ database, url string) {
		s := running(t, url)
		s.skill = 1
		ctx := t.Context()
		tenure, err := s.TakeOver(ctx, 1, "newer")
		if err != nil {
			t.Fatal(err)
		}
		var in []inbox.Update
		for chat := range int64(2) {
			in = append(in, inbox.Update{ID: chat + 1, Raw: []byte("{}"), Message: &inbox.IncomingMessage{
				ChatID: chat + 7, MessageID: 1, Kind: "text", Text: "hello", Customer: inbox.Customer{ID: chat + 7, Name: "n"}}})
		}
		if err := s.StoreUpdates(ctx, tenure, in, 3); err != nil {
			t.Fatal(err)
		}
		list, _, err := s.Conversations(ctx, inbox.ConversationFilter{Limit: 9})
		if err != nil || len(list) != 2 {
			t.Fatalf("have %d conversations, %v", len(list), err)
		}
		here, there := list[0].ID, list[1].ID
		answer := func(conversation int64, text string, needs inbox.Skill) inbox.Message {
			t.Helper()
			m, _, err := s.AddAnswer(ctx, conversation, inbox.Answer{Text: text})
			if err != nil {
				t.Fatal(err)
			}
			if needs > 0 { // as one is written that has it from the beginning
				statement(t, s, `UPDATE deliveries SET needs = $1, turn = FALSE WHERE message_id = $2`, int64(needs), m.ID)
				err := s.change(ctx, "test", func(l *ledger) error { return l.giveTurn(conversation) })
				if err != nil {
					t.Fatal(err)
				}
			}
			return m
		}
		waits := func(m inbox.Message, reason inbox.WaitReason) {
			t.Helper()
			m, err := s.Message(ctx, m.ID)
			if err != nil {
				t.Fatal(err)
			}
			have := inbox.WaitReason("")
			if m.Waits != nil {
				have = m.Waits.Reason
			}
			if have != reason {
				t.Errorf("%q waits because of %q (%v), want %q", m.Text, have, m.Waits, reason)
			}
		}
		want := func(what string, have []string, texts ...string) {
			t.Helper()
			if !slices.Equal(have, texts) {
				t.Errorf("%s: sent %q, want %q", what, have, texts)
			}
		}
		bot := &olderBot{t: t, s: s}
		newer := func() (texts []string) {
			t.Helper()
			tenure, err := s.TakeOver(ctx, 1, "newer")
			if err != nil {
				t.Fatal(err)
			}
			for {
				claimed, _, err := s.ClaimDeliveries(ctx, tenure, 8, nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(claimed) == 0 {
					return texts
				}
				for _, d := range claimed {
					texts = append(texts, d.Text)
					err := s.RecordOutcome(ctx, tenure,
						inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, State: inbox.Sent, TelegramMessageID: d.ID})
					if err != nil {
						t.Fatal(err)
					}
				}
			}
		}

		// A newer page beside it: first and there go, the file and what is behind it waits.
		bot.takeOver()
		answer(here, "first", 0)
		file := answer(here, "file", 1)
		behind := answer(here, "behind", 0)
		answer(there, "there", 0)
		want("the older bot", bot.sends(), "first", "there")
		waits(file, inbox.WaitsBotOlder)
		waits(behind, inbox.WaitsBehind)
		want("the older bot again", bot.sends())
		want("the newer bot", newer(), "file", "behind")

		// A step back, while one has its turn; one that is alone can be taken back under the older bot.
		file = answer(here, "second file", 1)
		alone := answer(there, "third file", 1)
		bot.takeOver()
		answer(here, "last", 0)
		want("after a step back", bot.sends())
		waits(file, inbox.WaitsBotOlder)
		waits(alone, inbox.WaitsBotOlder)
		if _, err := s.TakeBack(ctx, alone.ID); err != nil {
			t.Error(err)
		}
		answer(there, "instead", 0)
		want("after one was taken back", bot.sends(), "instead")

		// One that was being sent when the older bot took over is unknown, and goes to no older bot when it is tried again.
		s.skill = 1
		if tenure, err = s.TakeOver(ctx, 1, "newer"); err != nil {
			t.Fatal(err)
		}
		if claimed, _, err := s.ClaimDeliveries(ctx, tenure, 8, nil); err != nil || len(claimed) != 1 {
			t.Fatalf("claimed %v, %v", claimed, err)
		}
		bot.takeOver()
		want("behind one that is unknown", bot.sends(), "last")
		if _, err := s.RetryAnswer(ctx, file.ID); err != nil {
			t.Error(err)
		}
		want("one that is tried again", bot.sends())
		waits(file, inbox.WaitsBotOlder)

		// A bot that says what it can do, which is less.
		answer(there, "needs more", 2)
		want("a bot that can do some", newer(), "second file")
		s.skill = 2
		want("a bot that can do all", newer(), "needs more")
	})
}
