package inbox

import (
	"slices"
	"strings"
	"time"
)

// MaxWordings is how many wordings of a message are kept that stood before the present one: the first, and the latest.
const MaxWordings = 100

// Wording is what a message said until it was edited.
type Wording struct {
	N        int64     `json:"-"` // from 1, in the order in which they stood
	Kind     string    `json:"-"`
	Text     string    `json:"text"`
	Entities []Entity  `json:"entities"`          // of Text, never nil
	Details  string    `json:"details,omitempty"` // what else the sender had put into it
	Notice   string    `json:"notice,omitempty"`  // what this program says of it
	Until    time.Time `json:"until"`             // when others took their place
}

// Say fills in what this program says of the wording.
func (w *Wording) Say() {
	w.Notice = notice(w.Kind, w.Text, w.Details)
	if w.Entities == nil {
		w.Entities = []Entity{}
	}
}

// live are the kinds whose details Telegram changes without anybody writing: where somebody is, votes, ticks, payments.
// What somebody wrote into them is in their title and items as well.
var live = map[string]bool{
	"location": true, "poll": true, "checklist": true, "invoice": true, "successful_payment": true,
	"refunded_payment": true, "game": true, "giveaway": true,
}

// SameWords says that two readings of a message say the same, but for what changes without anybody writing.
func SameWords(a, b IncomingMessage) bool {
	forward := func(m IncomingMessage) Forward {
		if m.Forwarded == nil {
			return Forward{}
		}
		return *m.Forwarded
	}
	return a.Kind == b.Kind && a.Text == b.Text && a.Content.Title == b.Content.Title &&
		(a.Details == b.Details || live[a.Kind]) && forward(a) == forward(b) && SameFiles(a.Attachments, b.Attachments) &&
		slices.EqualFunc(a.Content.Entities, b.Content.Entities, sameEntity) &&
		slices.EqualFunc(a.Content.Items, b.Content.Items, func(a, b Item) bool { return a.Text == b.Text })
}

func sameEntity(a, b Entity) bool {
	var x, y EntityUser
	if a.User != nil {
		x = EntityUser{ID: a.User.ID} // under what name he goes is nobody's writing
	}
	if b.User != nil {
		y = EntityUser{ID: b.User.ID}
	}
	a.User, b.User = nil, nil
	return a == b && x == y
}

// SameFiles says that they are the same ones. file_id is another at each update, file_unique_id is the file's.
func SameFiles(a, b []Attachment) bool {
	return slices.EqualFunc(a, b, func(a, b Attachment) bool {
		return a.Kind == b.Kind && a.Name == b.Name && a.FileUniqueID == b.FileUniqueID
	})
}

// WordingOf is what a message said, and the names of its files if another message took them away.
func WordingOf(m IncomingMessage, next IncomingMessage) Wording {
	w := Wording{Kind: m.Kind, Text: m.Text, Entities: m.Content.Entities, Details: m.Details}
	if !SameFiles(m.Attachments, next.Attachments) {
		said := []string{m.Details}
		for _, a := range m.Attachments {
			said = append(said, a.Name)
		}
		w.Details = strings.Join(slices.DeleteFunc(said, Blank), ", ")
	}
	if next.EditedAt != nil {
		w.Until = *next.EditedAt
	}
	return w
}
