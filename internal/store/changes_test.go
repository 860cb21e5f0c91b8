package store

import (
	"testing"

	"tandem/internal/inbox"
)

// TestAnOlderBotChangesNothing : an edit or a deletion never reaches a bot of the release before, which would send it
// as a message. It keeps its place before what was written later, and the next bot does it.
func TestAnOlderBotChangesNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, _ database, url string) {
		s := running(t, url)
		ctx := t.Context()
		tenure, err := s.TakeOver(ctx, 1, "newer")
		if err != nil {
			t.Fatal(err)
		}
		err = s.StoreUpdates(ctx, tenure, []inbox.Update{{ID: 1, Raw: []byte("{}"), Message: &inbox.IncomingMessage{
			ChatID: 7, MessageID: 1, Kind: "text", Text: "hello", Customer: inbox.Customer{ID: 7, Name: "n"}}}}, 2)
		if err != nil {
			t.Fatal(err)
		}
		answer := func(text string, silent bool) inbox.Message {
			t.Helper()
			m, _, err := s.AddAnswer(ctx, 1, inbox.Answer{Text: text, Silent: silent})
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		edited, deleted := answer("first", false), answer("second", false)
		o := &olderBot{t: t, s: s}
		o.takeOver()
		if texts := o.sends(); len(texts) != 2 {
			t.Fatalf("it sends %q", texts)
		}
		if _, err := s.EditAnswer(ctx, edited.ID, "first, in other words"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.DeleteAnswer(ctx, deleted.ID); err != nil {
			t.Fatal(err)
		}
		behind, quiet := answer("third", false), answer("at night", true)
		if texts := o.sends(); len(texts) != 0 {
			t.Errorf("an older bot sends %q", texts)
		}
		o.takeOver() // another one
		if texts := o.sends(); len(texts) != 0 {
			t.Errorf("another older bot sends %q", texts)
		}
		for id, want := range map[int64]inbox.WaitReason{edited.ID: inbox.WaitsBotOlder, deleted.ID: inbox.WaitsBehind,
			behind.ID: inbox.WaitsBehind, quiet.ID: inbox.WaitsBehind} {
			if m, err := s.Message(ctx, id); err != nil || m.Waits == nil || m.Waits.Reason != want {
				t.Errorf("%q waits for %+v, want %q: %v", m.Text, m.Waits, want, err)
			}
		}
		if tenure, err = s.TakeOver(ctx, 1, "newer again"); err != nil {
			t.Fatal(err)
		}
		for _, want := range []struct {
			operation inbox.Operation
			text      string
			silent    bool
		}{{inbox.Edit, "first, in other words", false}, {inbox.Delete, "", false}, {inbox.Send, "third", false},
			{inbox.Send, "at night", true}} {
			list, _, err := s.ClaimDeliveries(ctx, tenure, 10, nil)
			if err != nil || len(list) != 1 {
				t.Fatalf("claimed %+v, %v", list, err)
			}
			d := list[0]
			if d.Operation != want.operation || d.Text != want.text || d.Silent != want.silent {
				t.Errorf("claimed %+v, want %+v", d, want)
			}
			err = s.RecordOutcome(ctx, tenure, inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, State: inbox.Sent,
				TelegramMessageID: 100 + d.ID})
			if err != nil {
				t.Fatal(err)
			}
		}
		if m, err := s.Message(ctx, edited.ID); err != nil || m.Text != "first, in other words" || m.Waits != nil {
			t.Errorf("edited: %+v, %v", m, err)
		}
		if m, err := s.Message(ctx, deleted.ID); err != nil || m.DeletedAt == nil {
			t.Errorf("deleted: %+v, %v", m, err)
		}
	})
}
