package store

import (
	"testing"
	"time"

	"tandem/internal/inbox"
)

// TestMessagesOfAnOlderVersionAreReadAnew : those that it stored, and those that it edited, once and newest first.
func TestMessagesOfAnOlderVersionAreReadAnew(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, kind database, address string) {
		s := running(t, address)
		ctx := t.Context()
		tenure, err := s.TakeOver(ctx, 1, "test:1")
		if err != nil {
			t.Fatal(err)
		}
		message := func(id int64) *inbox.IncomingMessage {
			return &inbox.IncomingMessage{ChatID: 7, MessageID: id, Kind: "text", Text: "do NOT",
				Date:     time.Unix(1_800_000_000, 0),
				Customer: inbox.Customer{ID: 7, Name: "Ann"},
				Content:  inbox.Content{Entities: []inbox.Entity{{Type: "strikethrough", Offset: 3, Length: 3}}}}
		}
		var updates []inbox.Update
		for id := range int64(4) {
			updates = append(updates, inbox.Update{ID: id + 1, Kind: "message", Raw: []byte{byte(id)}, Message: message(id + 1)})
		}
		if err := s.StoreUpdates(ctx, tenure, updates, 5); err != nil {
			t.Fatal(err)
		}
		unread := func() []inbox.UnreadMessage {
			t.Helper()
			list, err := s.UnreadMessages(ctx, tenure, 10)
			if err != nil {
				t.Fatal(err)
			}
			if left, err := s.Unread(ctx); err != nil || left != int64(len(list)) {
				t.Errorf("%d are said to be left of %d, %v", left, len(list), err)
			}
			return list
		}
		if list := unread(); len(list) != 0 {
			t.Fatalf("what this version has stored is unread: %+v", list)
		}
		older := kind.open(t, address)
		defer older.Close()
		for _, as := range []string{
			`UPDATE messages SET content = '', content_of = -1, text = 'as it was', search = 'as it was' WHERE id <= 2`,
			`UPDATE messages SET text = 'edited', edit_seen = 9, edited_at = 9 WHERE id = 3`,
		} {
			if _, err := older.Exec(as); err != nil {
				t.Fatal(err)
			}
		}
		if m, err := s.Message(ctx, 3); err != nil || len(m.Entities) != 0 {
			t.Errorf("the entities of another wording are shown: %+v, %v", m, err)
		}
		list := unread()
		if len(list) != 3 || list[0].ID != 3 || list[0].EditSeen != 9 || list[2].ID != 1 ||
			string(list[2].Raws[0]) != "\x00" {
			t.Fatalf("unread: %+v", list)
		}
		event, err := s.LastEvent(ctx)
		if err != nil {
			t.Fatal(err)
		}
		list[0].EditSeen = 8 // it was edited meanwhile
		list[1].Message = message(2)
		list[1].Message.Attachments = []inbox.Attachment{{Kind: "photo", FileID: "f", FileUniqueID: "u"}}
		if err := s.ReadAnew(ctx, tenure, list); err != nil {
			t.Fatal(err)
		}
		events, err := s.Events(ctx, event, 10)
		if err != nil || len(events) != 1 || events[0].MessageID != 2 || events[0].Type != inbox.MessageUpdated {
			t.Errorf("events: %+v, %v", events, err)
		}
		m, err := s.Message(ctx, 2)
		if err != nil || m.Text != "do NOT" || len(m.Entities) != 1 || len(m.Attachments) != 1 || m.EditedAt != nil {
			t.Errorf("read anew: %+v, %v", m, err)
		}
		if list := unread(); len(list) != 1 || list[0].ID != 3 {
			t.Errorf("left: %+v", list)
		}
		indexed(t, s)
		found, _, err := s.Conversations(ctx, inbox.ConversationFilter{Limit: 1, Query: "as it was"})
		if err != nil || len(found) != 1 {
			t.Errorf("one without a raw update has lost its words: %+v, %v", found, err)
		}
		if err := s.ReadAnew(ctx, inbox.Tenure{BotID: 1, Epoch: tenure.Epoch + 1}, list); err == nil {
			t.Error("a stranger has written")
		}
	})
}
