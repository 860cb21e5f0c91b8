package telegram

import (
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
