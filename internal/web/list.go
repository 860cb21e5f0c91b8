package web

import (
	"encoding/json"
	"io"

	"tandem/internal/inbox"
)

// sizeOfMessage is about how many bytes it has in a response.
func sizeOfMessage(m *inbox.Message) int {
	n := 500 + len(m.Text) + len(m.Details) + len(m.Notice) + len(m.Author.Name) + len(m.Error)
	if m.Change != nil {
		n += 100 + len(m.Change.Error)
	}
	for i := range m.Entities {
		n += 250 + 2*len(m.Entities[i].URL) // with its tags on the page
	}
	for i := range m.Items {
		n += 100 + len(m.Items[i].Text)
	}
	for i := range m.Reactions {
		n += 150 + len(m.Reactions[i].By)
	}
	if r := m.Reply; r != nil {
		n += 300 + len(r.Text) + len(r.From)
	}
	for _, a := range m.Attachments {
		n += 200 + len(a.Name) + len(a.FileID)
	}
	return n
}

func sizeOfConversation(c *inbox.Conversation) int {
	n := 500 + len(c.Customer.Name) + len(c.Customer.Username)
	for _, name := range c.FormerNames {
		n += 10 + len(name)
	}
	if c.LastMessage != nil {
		n += sizeOfMessage(c.LastMessage)
	}
	return n
}

// list is one page of a listing; NextCursor is null on the last one.
type list[T any] struct {
	Items      []T     `json:"items"`
	NextCursor *string `json:"next_cursor"`
	size       int
}

func newList[T any](items []T, next *string, size func(*T) int) list[T] {
	l := list[T]{Items: items, NextCursor: next}
	if items == nil {
		l.Items = []T{}
	}
	for i := range items {
		l.size += size(&items[i])
	}
	return l
}

func (l list[T]) bytes() int { return l.size }

// writeItems writes what json.Marshal gives and a newline, one item after the other, and forgets each.
func (l list[T]) writeItems(w io.Writer) error {
	open := `{"items":[`
	for i := range l.Items {
		b, err := json.Marshal(l.Items[i])
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, open); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		var none T
		open, l.Items[i] = ",", none
	}
	if len(l.Items) > 0 {
		open = ""
	}
	b, err := json.Marshal(l.NextCursor)
	if err != nil {
		return err
	}
	_, err = w.Write(append([]byte(open+`],"next_cursor":`), append(b, "}\n"...)...))
	return err
}

// largeResponse is a response that may be too large to be made whole in memory.
type largeResponse interface {
	bytes() int
	writeItems(w io.Writer) error
}
