package storetest

import (
	"errors"
	"strings"
	"testing"

	"tandem/internal/inbox"
)

// claimOne claims the one delivery that is due.
func (f *fixture) claimOne() inbox.Delivery {
	f.t.Helper()
	list, _, err := f.ClaimDeliveries(f.t.Context(), f.tenure, 10, nil)
	must(f.t, err)
	if len(list) != 1 {
		f.t.Fatalf("claimed %+v, want one", list)
	}
	return list[0]
}

func (f *fixture) end(d inbox.Delivery, state inbox.DeliveryState, why string) {
	f.t.Helper()
	o := inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, Operation: d.Operation, State: state, Error: why}
	if state == inbox.Sent {
		o.TelegramMessageID = 1000 + d.ID
	}
	must(f.t, f.RecordOutcome(f.t.Context(), f.tenure, o))
}

// wantChange compares how far a change is, "" for none.
func (f *fixture) wantChange(what string, id int64, want string) {
	f.t.Helper()
	have := ""
	if c := f.message(id).Change; c != nil {
		have = strings.TrimSpace(string(c.Operation) + " " + string(c.State) + " " + c.Error)
	}
	if have != want {
		f.t.Errorf("%s: the change is %q, want %q", what, have, want)
	}
}

// editsOfAnswers : what was sent says what the customer has until Telegram has taken the edit.
func editsOfAnswers(t *testing.T, open Open) {
	f := setUp(t, open)
	ctx := t.Context()
	f.receive(text(7, 1, "hello"))
	m := f.answer(7, "Good mroning")
	if _, err := f.EditAnswer(ctx, m.ID, "Good evening"); err != nil {
		t.Fatal(err)
	}
	if have := f.message(m.ID); have.Text != "Good evening" || have.Change != nil || have.Edits != 0 {
		t.Errorf("what nobody has seen is not changed at once: %+v", have)
	}
	d := f.claimOne()
	if d.Text != "Good evening" {
		t.Errorf("sent is %q", d.Text)
	}
	if _, err := f.EditAnswer(ctx, m.ID, "x"); !errors.Is(err, inbox.ErrConflict) {
		t.Errorf("one that is being sent: %v", err)
	}
	f.end(d, inbox.Sent, "")
	target := 1000 + d.ID

	last := f.lastEvent()
	have, err := f.EditAnswer(ctx, m.ID, "Good morning")
	must(t, err)
	if have.Text != "Good evening" || have.Change == nil || have.Change.State != inbox.Queued {
		t.Errorf("queued: %+v", have)
	}
	same(t, "events", f.events(last), []string{said(inbox.MessageUpdated, m.ConversationID, m.ID)})
	if _, err := f.EditAnswer(ctx, m.ID, "Good day"); err != nil { // in place of that one
		t.Fatal(err)
	}
	next := f.answer(7, "behind it")
	d = f.claimOne()
	if d.Operation != inbox.Edit || d.Text != "Good day" || len(d.Targets) != 1 || d.Targets[0] != target || d.Caption {
		t.Errorf("to be done is %+v, to %d", d, target)
	}
	f.wantChange("under way", m.ID, "edit sending")
	for _, change := range []func() error{
		func() error { _, err := f.EditAnswer(ctx, m.ID, "x"); return err },
		func() error { _, _, err := f.DeleteAnswer(ctx, m.ID); return err },
	} {
		if err := change(); !errors.Is(err, inbox.ErrConflict) {
			t.Errorf("while it is being changed: %v", err)
		}
	}
	f.end(d, inbox.Queued, "a pause")
	f.wantChange("to be tried again", m.ID, "edit queued")
	d = f.claimOne()
	f.end(d, inbox.Sent, "")
	f.end(d, inbox.Sent, "") // said once more
	f.wantChange("done", m.ID, "")
	if have := f.message(m.ID); have.Text != "Good day" || have.Edits != 1 || have.EditedAt == nil ||
		have.Delivery != inbox.Sent {
		t.Errorf("edited: %+v", have)
	}
	if before := f.before(m.ID); len(before) != 1 || !strings.HasPrefix(before[0], "Good evening (") {
		t.Errorf("before it said %q", before)
	}
	f.end(f.claimOne(), inbox.Sent, "")
	if have := f.message(next.ID); have.Delivery != inbox.Sent {
		t.Errorf("what came behind it: %+v", have)
	}

	if _, err := f.EditAnswer(ctx, m.ID, "Good night"); err != nil {
		t.Fatal(err)
	}
	f.end(f.claimOne(), inbox.Failed, "refused")
	f.wantChange("refused", m.ID, "edit failed refused")
	if have := f.message(m.ID); have.Text != "Good day" || have.Delivery != inbox.Sent || have.Edits != 1 {
		t.Errorf("after a refusal: %+v", have)
	}
	if _, err := f.EditAnswer(ctx, m.ID, "Good day"); err != nil {
		t.Fatal(err)
	}
	f.wantChange("with the words that it has", m.ID, "")
	if list, _, err := f.ClaimDeliveries(ctx, f.tenure, 10, nil); err != nil || len(list) != 0 {
		t.Errorf("there is still %+v, %v", list, err)
	}

	for what, text := range map[string]string{"nothing to see": " \u200b", "too long": strings.Repeat("word ", 900)} {
		if _, err := f.EditAnswer(ctx, m.ID, text); !errors.Is(err, inbox.ErrUnfit) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := f.EditAnswer(ctx, f.messages(7)[0].ID, "x"); !errors.Is(err, inbox.ErrConflict) {
		t.Errorf("the customer's: %v", err)
	}
	if _, err := f.EditAnswer(ctx, m.ID+100, "x"); !errors.Is(err, inbox.ErrNotFound) {
		t.Errorf("one that is not there: %v", err)
	}
	unknown := f.answer(7, "who knows")
	f.end(f.claimOne(), inbox.Unknown, "the line broke")
	for _, change := range []func() error{
		func() error { _, err := f.EditAnswer(ctx, unknown.ID, "x"); return err },
		func() error { _, _, err := f.DeleteAnswer(ctx, unknown.ID); return err },
	} {
		if err := change(); !errors.Is(err, inbox.ErrConflict) {
			t.Errorf("one whose fate is unknown: %v", err)
		}
	}
}

// editsOfParts : a long answer is changed part by part, and what it does not need any more goes.
func editsOfParts(t *testing.T, open Open) {
	f := setUp(t, open)
	ctx := t.Context()
	f.receive(text(7, 1, "hello"))
	part := func(letter string) string { return strings.Repeat(letter, inbox.MaxPart) }
	m := f.answer(7, part("a")+part("b")+part("c"))
	var targets []int64
	for range 3 {
		d := f.claimOne()
		targets = append(targets, 1000+d.ID)
		f.end(d, inbox.Sent, "")
	}
	if _, err := f.EditAnswer(ctx, m.ID, part("a")+"x"); err != nil {
		t.Fatal(err)
	}
	d := f.claimOne()
	if d.Operation != inbox.Edit || d.Text != "x" || d.Part != 1 || d.Targets[0] != targets[1] {
		t.Errorf("first %+v", d)
	}
	f.end(d, inbox.Sent, "")
	if have := f.message(m.ID); !strings.HasSuffix(have.Text, "c") || have.Change == nil {
		t.Error("it says what not all of it says yet")
	}
	d = f.claimOne()
	if d.Operation != inbox.Delete || d.Part != 2 || d.Targets[0] != targets[2] {
		t.Errorf("then %+v", d)
	}
	f.end(d, inbox.Sent, "")
	if have := f.message(m.ID); have.Text != part("a")+"x" || have.Change != nil || have.Edits != 1 ||
		len(have.Parts) != 2 {
		t.Errorf("in the end it has %d characters in %d parts, %+v", len(have.Text), len(have.Parts), have.Change)
	}
	if _, err := f.EditAnswer(ctx, m.ID, part("a")+part("b")+"c"); !errors.Is(err, inbox.ErrUnfit) {
		t.Errorf("into a part that is gone: %v", err)
	}
	if _, err := f.EditAnswer(ctx, m.ID, part("d")+"y"); err != nil {
		t.Fatal(err)
	}
	f.end(f.claimOne(), inbox.Sent, "")
	f.end(f.claimOne(), inbox.Failed, "refused")
	f.wantChange("the second part is refused", m.ID, "edit failed part 2 of 2 was not changed: refused")
}

// deletesOfAnswers : an answer goes at once where nothing was sent, else when Telegram has deleted it. It stays here.
func deletesOfAnswers(t *testing.T, open Open) {
	f := setUp(t, open)
	ctx := t.Context()
	f.receive(text(7, 1, "hello"))
	never := f.answer(7, "not yet sent")
	if m, done, err := f.DeleteAnswer(ctx, never.ID); err != nil || !done || m.DeletedAt == nil {
		t.Errorf("nothing of it was sent: %v, %v", done, err)
	}
	m := f.answer(7, "a mistake")
	d := f.claimOne()
	f.end(d, inbox.Sent, "")
	have, done, err := f.DeleteAnswer(ctx, m.ID)
	if err != nil || done || have.DeletedAt != nil {
		t.Errorf("%+v, %v, %v", have, done, err)
	}
	f.wantChange("queued", m.ID, "delete queued")
	target := 1000 + d.ID
	d = f.claimOne()
	if d.Operation != inbox.Delete || len(d.Targets) != 1 || d.Targets[0] != target {
		t.Errorf("to be done is %+v", d)
	}
	// The bot ends while it asks. The next one asks again: to delete it twice is to delete it once.
	f.takeOver()
	f.wantChange("after another bot took over", m.ID, "delete queued")
	d = f.claimOne()
	f.end(d, inbox.Sent, "")
	if have := f.message(m.ID); have.DeletedAt == nil || have.Text != "a mistake" || have.Change != nil {
		t.Errorf("deleted: %+v", have)
	}
	if _, done, err := f.DeleteAnswer(ctx, m.ID); err != nil || !done {
		t.Errorf("again: %v, %v", done, err)
	}
	if _, err := f.EditAnswer(ctx, m.ID, "x"); !errors.Is(err, inbox.ErrConflict) {
		t.Errorf("an edit of what is deleted: %v", err)
	}
	if _, _, err := f.DeleteAnswer(ctx, f.messages(7)[0].ID); !errors.Is(err, inbox.ErrConflict) {
		t.Errorf("the customer's: %v", err)
	}
	q, err := f.Queue(ctx)
	must(t, err)
	if q.Queued+q.Sending+q.Failed+q.Unknown != 0 {
		t.Errorf("the queue is %+v", q)
	}
}
