package web

import (
	"bytes"
	"encoding/json"
	"testing"

	"tandem/internal/inbox"
)

// A list that is written item by item is the one that is made whole.
func TestAListIsTheSameItemByItem(t *testing.T) {
	for n := range 4 {
		items := make([]inbox.Message, n)
		for i := range items {
			items[i] = inbox.Message{ID: int64(i), Text: "a <b> \x01 \"c\" 😀", Attachments: []inbox.Attachment{}}
		}
		l := newList(items, toCursor("m", int64(n)), sizeOfMessage)
		want, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := l.writeItems(&b); err != nil || b.String() != string(want)+"\n" {
			t.Errorf("%v\nhave %s\nwant %s", err, b.String(), want)
		}
	}
}
