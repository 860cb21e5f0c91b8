package telegram

import (
	"strings"
	"testing"

	"tandem/internal/inbox"
	"tandem/internal/simulator"
)

// TestWhatWasSentIsEditedAndDeleted : at Telegram as here, once, whatever happens on the way, and what is refused is
// said in words.
func TestWhatWasSentIsEditedAndDeleted(t *testing.T) {
	r := newRig(t, rigOptions{})
	ctx := t.Context()
	r.tg.Customer(7, "hello")
	r.conversation(7)
	m := r.answer(7, "Good mroning")
	r.delivery(m.ID, inbox.Sent)
	at := func() (texts []string) {
		for _, m := range r.tg.Messages(0, 7)[1:] {
			texts = append(texts, m.Text)
		}
		return texts
	}
	settled := func(what, want string) inbox.Message {
		t.Helper()
		var have inbox.Message
		r.eventually(what, func() (ok bool) {
			have = r.message(m.ID)
			if have.Change == nil {
				return want == ""
			}
			return have.Change.State == inbox.Failed && strings.Contains(have.Change.Error, want) && want != ""
		})
		return have
	}
	edit := func(text string) {
		t.Helper()
		if _, err := r.db.EditAnswer(ctx, m.ID, text); err != nil {
			t.Fatal(err)
		}
	}
	edit("Good morning")
	if have := settled("an edit", ""); have.Text != "Good morning" || have.Edits != 1 || at()[0] != "Good morning" {
		t.Errorf("edited: %+v, at Telegram %q", have, at())
	}
	for name, f := range map[string]simulator.Fault{
		"the line breaks after it": simulator.CutAfter(), "it breaks before": simulator.Cut(), "a pause": simulator.Flood(1),
		"a restart": simulator.Restart(),
	} {
		f.Method, f.Times = "editMessageText", 1
		r.tg.AddFault(f)
		edit("Good day: " + name)
		if have := settled(name, ""); have.Text != "Good day: "+name || at()[0] != have.Text || len(at()) != 1 {
			t.Errorf("%s: %+v, at Telegram %q", name, have, at())
		}
	}
	refused := simulator.Refused(400, "Bad Request: message can't be edited")
	refused.Method, refused.Times = "editMessageText", 1
	r.tg.AddFault(refused)
	before := at()[0]
	edit("x")
	if have := settled("a refusal", "does not let it be edited"); have.Text != before || have.Delivery != inbox.Sent {
		t.Errorf("refused: %+v", have)
	}

	lost := simulator.CutAfter()
	lost.Method, lost.Times = "deleteMessage", 1
	r.tg.AddFault(lost)
	if _, done, err := r.db.DeleteAnswer(ctx, m.ID); err != nil || done {
		t.Fatal(done, err)
	}
	if have := settled("a deletion whose answer is lost", ""); have.DeletedAt == nil || len(at()) != 0 {
		t.Errorf("deleted: %+v, at Telegram %q", have, at())
	}
	m = r.answer(7, "too old")
	r.delivery(m.ID, inbox.Sent)
	old := simulator.Refused(400, "Bad Request: message can't be deleted for everyone")
	old.Method, old.Times = "deleteMessage", 1
	r.tg.AddFault(old)
	if _, _, err := r.db.DeleteAnswer(ctx, m.ID); err != nil {
		t.Fatal(err)
	}
	if have := settled("one that is refused", "48 hours"); have.DeletedAt != nil || have.Delivery != inbox.Sent {
		t.Errorf("not deleted: %+v", have)
	}
	if d := r.tg.Duplicates(); len(d) > 0 {
		t.Errorf("sent twice: %+v", d)
	}
}

func (r *rig) message(id int64) inbox.Message {
	r.t.Helper()
	m, err := r.db.Message(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}
