package telegram

import (
	"slices"
	"testing"

	"tandem/internal/inbox"
)

// TestTheUpdateThatIsShownIsReadAnew : of all that a message went through, not the last that came.
func TestTheUpdateThatIsShownIsReadAnew(t *testing.T) {
	d, err := newDecoder("b")
	if err != nil {
		t.Fatal(err)
	}
	edited := func(text, date string) []byte {
		return []byte(`{"update_id":2,"edited_message":{"message_id":5,"date":1,"edit_date":` + date +
			`,"chat":{"id":7,"type":"private"},"text":"` + text + `"}}`)
	}
	first := []byte(private(`"text":"first"`))
	list := []inbox.UnreadMessage{
		{EditSeen: 0, Raws: [][]byte{first}},
		{EditSeen: 30_000_000, Raws: [][]byte{edited("late", "20"), edited("shown", "30"), first}},
		{EditSeen: 40_000_000, Raws: [][]byte{edited("other", "30"), first}},
		{EditSeen: 0, Raws: [][]byte{[]byte("{}"), []byte("damaged")}},
		{},
	}
	d.readAnew(list)
	for i, want := range []string{"first", "shown", "", "", ""} {
		have := ""
		if m := list[i].Message; m != nil {
			have = m.Text
		}
		if have != want {
			t.Errorf("%d: %q, want %q", i, have, want)
		}
	}
}

// TestWhatAMessageSaidBeforeIsReadAnew : of its updates those that came before the one that is shown, in their order.
func TestWhatAMessageSaidBeforeIsReadAnew(t *testing.T) {
	d, err := newDecoder("")
	if err != nil {
		t.Fatal(err)
	}
	raw := func(kind, text, date string) []byte {
		return []byte(`{"update_id":2,"` + kind + `":{"message_id":5,"date":1,` + date +
			`"chat":{"id":7,"type":"private"},"text":"` + text + `"}}`)
	}
	list := []inbox.UnreadMessage{{EditSeen: 30_000_000, Raws: [][]byte{
		raw("edited_message", "later", `"edit_date":40,`), raw("edited_message", "shown", `"edit_date":30,`),
		raw("edited_message", "second", `"edit_date":20,`), []byte("damaged"), raw("message", "first", ""),
	}}}
	d.readAnew(list)
	var have []string
	for _, m := range list[0].Before {
		have = append(have, m.Text)
	}
	if list[0].Message == nil || list[0].Message.Text != "shown" || !slices.Equal(have, []string{"first", "second"}) {
		t.Errorf("shown is %+v, before it said %q", list[0].Message, have)
	}
	m := reread(raw("edited_message", "second", `"edit_date":20,`))
	if m == nil || m.Text != "second" || m.EditedAt == nil {
		t.Errorf("an update of before: %+v", m)
	}
	if m := reread([]byte(`{"update_id":2,"poll":{}}`)); m != nil {
		t.Errorf("an update without a message: %+v", m)
	}
}
