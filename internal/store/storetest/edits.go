package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"tandem/internal/inbox"
)

// before is what a message said before, oldest first, and until when.
func (f *fixture) before(id int64) (list []string) {
	f.t.Helper()
	var after int64
	for {
		items, next, err := f.Edits(f.t.Context(), id, 40, after)
		must(f.t, err)
		for _, w := range items {
			list = append(list, fmt.Sprintf("%s (%d)", w.Text+w.Details, w.Until.Unix()-at(0).Unix()))
		}
		if after = next; next == 0 {
			return list
		}
	}
}

func edits(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "one"), text(7, 2, "two"))
	id := f.messages(7)[0].ID
	c := f.conversation(7).ID
	last := f.lastEvent()
	if list := f.before(id); len(list) != 0 {
		t.Errorf("a message that was never edited said %q before", list)
	}

	f.receive(edit(7, 1, "one!", at(20)))
	f.receive(edit(7, 1, "older", at(10)))
	m := f.message(id)
	if m.Text != "one!" || m.EditedAt == nil || !m.EditedAt.Equal(at(20)) || m.Edits != 1 {
		t.Errorf("after two edits out of order: %+v", m)
	}
	f.receive(edit(7, 1, "one!", at(30))) // as for a link preview
	if m := f.message(id); !m.EditedAt.Equal(at(20)) || m.Edits != 1 {
		t.Errorf("after an edit that changes nothing shown: %+v", m)
	}
	f.receive(edit(7, 1, "late", at(25))) // older than one seen, though that one changed nothing
	withFile := edit(7, 1, "one!", at(40))
	withFile.Edit.Attachments = []inbox.Attachment{{Kind: "photo", FileID: "f", FileUniqueID: "u", Name: "a.jpg"}}
	f.receive(withFile)
	m = f.message(id)
	if m.Text != "one!" || len(m.Attachments) != 1 || !m.EditedAt.Equal(at(40)) {
		t.Errorf("after an edit of the attachments: %+v", m)
	}
	again := edit(7, 1, "one!", at(41))
	again.Edit.Attachments = []inbox.Attachment{
		{Kind: "photo", FileID: "another id of the same file", FileUniqueID: "u", Name: "a.jpg"}}
	f.receive(again)
	f.receive(edit(7, 1, "one!", at(50)))
	var updated []string
	for range 3 {
		updated = append(updated, said(inbox.MessageUpdated, c, id))
	}
	same(t, "events", f.events(last), updated)
	same(t, "what stood before", f.before(id), []string{"one (20)", "one! (40)", "one!a.jpg (50)"})
	if m := f.message(id); m.Edits != 3 {
		t.Errorf("it counts %d edits", m.Edits)
	}
	if _, _, err := f.Edits(t.Context(), id+100, 10, 0); !errors.Is(err, inbox.ErrNotFound) {
		t.Errorf("the edits of what is not there: %v", err)
	}
	f.indexed()
	found, _, err := f.Conversations(t.Context(), inbox.ConversationFilter{Limit: 1, Query: "ONE!"})
	must(t, err)
	if len(found) != 1 {
		t.Error("the edited text is not found")
	}
}

func editFirst(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(edit(7, 1, "as edited", at(10)))
	f.receive(text(7, 1, "as first written"))
	list := f.messages(7)
	if len(list) != 1 || list[0].Text != "as edited" || list[0].EditedAt == nil {
		t.Errorf("have %+v, want the edited message alone", list)
	}
}

// order is the chats of the list, first the newest, read one by one.
func (f *fixture) order() (chats []int64) {
	f.t.Helper()
	var before int64
	for {
		list, next, err := f.Conversations(f.t.Context(), inbox.ConversationFilter{Limit: 1, Before: before, Brief: true})
		must(f.t, err)
		for _, c := range list {
			chats = append(chats, c.ChatID)
		}
		if before = next; next == 0 {
			return chats
		}
	}
}

// editSeen : changed words in a conversation that is closed or answered make themselves seen. One that waits for an
// answer stays where it is.
func editSeen(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "Send it to Elm Street 5"), text(8, 1, "hello"), text(9, 1, "hello"))
	id := f.messages(7)[0].ID
	f.receive(edit(7, 1, "Send it to Elm Street 6", at(10)))
	same(t, "the list after an edit in what waits", f.order(), []int64{9, 8, 7})

	f.answer(7, "We will")
	f.receive(text(8, 2, "hello again"))
	last := f.lastEvent()
	f.receive(edit(7, 1, "Send it to Oak Street 9", at(20)))
	same(t, "the list after an edit in what was answered", f.order(), []int64{7, 8, 9})
	c := f.conversation(7)
	same(t, "events", f.events(last), []string{
		said(inbox.ConversationUpdated, c.ID, 0), said(inbox.MessageUpdated, c.ID, id)})
	if c.Edited == nil || c.Edited.Text != "Send it to Oak Street 9" || c.LastMessage.Text != "We will" {
		t.Errorf("in the list: %+v, for %+v", c.LastMessage, c.Edited)
	}
	f.receive(text(9, 2, "still here"))
	same(t, "the list after a message", f.order(), []int64{9, 7, 8})

	_, err := f.SetConversationStatus(t.Context(), c.ID, inbox.Closed)
	must(t, err)
	f.receive(edit(7, 1, "Send it to Oak Street 9", at(30)))
	if c := f.conversation(7); c.Status != inbox.Closed {
		t.Errorf("an edit that changes nothing made it %s", c.Status)
	}
	f.receive(edit(7, 1, "Send it to Oak Street 10", at(40)))
	if c := f.conversation(7); c.Status != inbox.Open {
		t.Errorf("an edit in a closed conversation left it %s", c.Status)
	}
	same(t, "the list after an edit in what was closed", f.order(), []int64{7, 9, 8})
	open1, _, err := f.Conversations(t.Context(), inbox.ConversationFilter{Limit: 1, Status: inbox.Open})
	must(t, err)
	if len(open1) != 1 || open1[0].ID != c.ID || open1[0].Edited != nil {
		t.Errorf("first of the open ones: %+v", open1)
	}
	f.receive(text(7, 2, "thank you"))
	if c := f.conversation(7); c.Edited != nil || c.LastMessage.Text != "thank you" {
		t.Errorf("in the list after a message: %+v, for %+v", c.LastMessage, c.Edited)
	}
	same(t, "what stood before", f.before(id), []string{
		"Send it to Elm Street 5 (10)", "Send it to Elm Street 6 (20)", "Send it to Oak Street 9 (40)"})
}

// editWithoutWords : a place that moves, ticks, votes and payments bring a message up to date, and nothing else.
func editWithoutWords(t *testing.T, open Open) {
	f := setUp(t, open)
	done, votes := true, int64(2)
	now := map[string]func(m *inbox.IncomingMessage){
		"location": func(m *inbox.IncomingMessage) {
			m.Details, m.Content.Place = "1.0, 2.0", &inbox.Place{Latitude: 1, Longitude: 2}
		},
		"checklist": func(m *inbox.IncomingMessage) {
			m.Details, m.Content.Items = "Moving (☑ boxes)", []inbox.Item{{Text: "boxes", Done: &done}}
		},
		"poll": func(m *inbox.IncomingMessage) {
			m.Details, m.Content.Items = "Lunch?", []inbox.Item{{Text: "boxes", Votes: &votes}}
		},
		"invoice": func(m *inbox.IncomingMessage) {
			m.Details, m.Content.Items = "paid", []inbox.Item{{Text: "boxes"}}
		},
	}
	chat := int64(7)
	for kind, change := range now {
		chat++
		first := text(chat, 1, "")
		first.Message.Kind, first.Message.Details = kind, "as it was"
		first.Message.Content.Items = []inbox.Item{{Text: "boxes"}}
		if kind == "location" {
			first.Message.Content.Items = nil
		}
		f.receive(first)
		f.answer(chat, "seen")
		c := f.conversation(chat)
		_, err := f.SetConversationStatus(t.Context(), c.ID, inbox.Closed)
		must(t, err)
		f.receive(text(7, chat, "another conversation"))
		id, last := f.messages(chat)[0].ID, f.lastEvent()
		u := edit(chat, 1, "", at(10))
		u.Edit.Kind = kind
		change(u.Edit)
		f.receive(u)
		m := f.message(id)
		if m.Details != u.Edit.Details || m.Edits != 0 || m.EditedAt != nil || len(f.before(id)) != 0 {
			t.Errorf("%s: %+v, before %q", kind, m, f.before(id))
		}
		same(t, kind+": events", f.events(last), []string{said(inbox.MessageUpdated, c.ID, id)})
		if c := f.conversation(chat); c.Status != inbox.Closed || f.order()[0] != 7 {
			t.Errorf("%s: it is %s, the list is %v", kind, c.Status, f.order())
		}
	}
	words := edit(8, 1, "", at(20))
	words.Edit.Kind, words.Edit.Content.Items = f.messages(8)[0].Kind, []inbox.Item{{Text: "boxes and bags"}}
	f.receive(words)
	if m := f.messages(8)[0]; m.Edits != 1 || f.order()[0] != 8 {
		t.Errorf("other items are no other words: %+v", m)
	}
}

// editRead : compared is what Telegram sent before and now, whatever another version has made of it.
func editRead(t *testing.T, open Open) {
	f := setUp(t, open)
	stored := text(7, 1, "[rich message: this version cannot show it]")
	stored.Raw = []byte("before")
	f.receive(stored)
	f.answer(7, "yes")
	f.receive(text(8, 1, "hello"))
	id := f.messages(7)[0].ID
	reread := func(raw []byte) *inbox.IncomingMessage {
		if string(raw) == "before" {
			return incoming(7, 1, "Order 4417")
		}
		m := incoming(7, 1, string(raw))
		m.EditedAt = new(at(10))
		return m
	}
	same4417 := edit(7, 1, "Order 4417", at(10))
	same4417.Edit.ReplyTo, same4417.Reread, same4417.Raw = 0, reread, []byte("Order 4417")
	f.receive(same4417)
	m := f.message(id)
	if m.Text != "Order 4417" || m.Edits != 0 || m.EditedAt != nil || f.order()[0] != 8 {
		t.Errorf("an edit that changes nothing: %+v, the list is %v", m, f.order())
	}
	other := edit(7, 1, "Order 4418", at(20))
	other.Reread, other.Raw = reread, []byte("Order 4418")
	f.receive(other)
	same(t, "what stood before", f.before(id), []string{"Order 4417 (20)"})
	same(t, "the list", f.order(), []int64{7, 8})
}

// editOlder : an edit of a message older than all that is stored is a quiet line at the end, in any conversation.
func editOlder(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 5, "hello"), text(8, 1, "hello"))
	c := f.conversation(7)
	_, err := f.SetConversationStatus(t.Context(), c.ID, inbox.Closed)
	must(t, err)
	old := func(words string, seconds int) inbox.Update {
		u := edit(7, 1, words, at(seconds))
		u.Edit.Date = time.Date(2024, 5, 3, 10, 0, 0, 0, time.UTC)
		return u
	}
	for i, words := range []string{"Elm Street", "Oak Street"} {
		f.receive(old(words, 10*i))
		list := f.messages(7)
		if m := list[len(list)-1]; len(list) != 2 || m.Text != words || !m.Service || !m.Older || m.Edits != int64(i) ||
			m.TelegramDate.Year() != 2024 {
			t.Errorf("after %q: %d messages, the last is %+v", words, len(list), m)
		}
		if c := f.conversation(7); c.Status != inbox.Closed || c.LastMessage.Text != "hello" {
			t.Errorf("after %q: %+v", words, c)
		}
		same(t, "the list", f.order(), []int64{8, 7})
	}
	lost := old("lost on its way", 30)
	lost.Edit.MessageID, lost.Edit.Date = 6, time.Now().Add(time.Hour)
	f.receive(lost)
	if c := f.conversation(7); c.Status != inbox.Open || c.LastMessage.Text != "lost on its way" || c.LastMessage.Service {
		t.Errorf("what is not older is no news: %+v", c)
	}
}

// editsWithoutEnd : of many wordings the first stays, and the latest ones.
func editsWithoutEnd(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "0"))
	id := f.messages(7)[0].ID
	for i := range inbox.MaxWordings + 5 {
		f.receive(edit(7, 1, fmt.Sprint(i+1), at(i+1)))
	}
	list := f.before(id)
	if m := f.message(id); len(list) != inbox.MaxWordings || list[0] != "0 (1)" || list[1] != "6 (7)" ||
		list[len(list)-1] != "104 (105)" || m.Edits != inbox.MaxWordings+5 {
		t.Errorf("%d are kept of %d: %q", len(list), m.Edits, list)
	}
}
