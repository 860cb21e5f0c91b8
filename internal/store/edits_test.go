package store

import (
	"slices"
	"testing"
	"time"

	"tandem/internal/inbox"
)

// TestEditsBesideAnOlderVersion : the list is right while a program writes that knows the last message alone, and what
// such a bot edited keeps what stood before, once.
func TestEditsBesideAnOlderVersion(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, kind database, address string) {
		s := running(t, address)
		ctx := t.Context()
		tenure, err := s.TakeOver(ctx, 1, "test:1")
		if err != nil {
			t.Fatal(err)
		}
		message := func(chat int64, text string, edited int64) *inbox.IncomingMessage {
			m := &inbox.IncomingMessage{ChatID: chat, MessageID: 1, Kind: "text", Text: text,
				Date: time.Unix(1_800_000_000, 0), Customer: inbox.Customer{ID: chat, Name: "Ann"}}
			if edited != 0 {
				at := time.Unix(edited, 0)
				m.EditedAt = &at
			}
			return m
		}
		n := int64(0)
		receive := func(u inbox.Update) {
			t.Helper()
			n++
			u.ID, u.Raw = n, []byte{byte(n)}
			if err := s.StoreUpdates(ctx, tenure, []inbox.Update{u}, n+1); err != nil {
				t.Fatal(err)
			}
		}
		order := func(want ...int64) {
			t.Helper()
			list, _, err := s.Conversations(ctx, inbox.ConversationFilter{Limit: 9, Status: inbox.Open})
			if err != nil {
				t.Fatal(err)
			}
			var have []int64
			for _, c := range list {
				have = append(have, c.ChatID)
			}
			if !slices.Equal(have, want) {
				t.Errorf("the list is %v, want %v", have, want)
			}
		}
		for chat := range int64(3) {
			receive(inbox.Update{Kind: "message", Message: message(chat+1, "hello", 0)})
		}
		if _, err := s.SetConversationStatus(ctx, 1, inbox.Closed); err != nil {
			t.Fatal(err)
		}
		order(3, 2)
		receive(inbox.Update{Kind: "edited_message", Edit: message(1, "hello!", 1_800_000_010)})
		order(1, 3, 2)
		older := kind.open(t, address)
		defer older.Close()
		write := func(list ...string) {
			t.Helper()
			for _, sql := range list {
				if _, err := older.Exec(sql); err != nil {
					t.Fatal(sql, err)
				}
			}
		}
		write(`UPDATE counters SET last_message = last_message + 1`,
			`INSERT INTO messages (id, bot_id, conversation_id, direction, kind, text, search, author_kind, author_id,
				author_name, created_at, edit_seen, thread_id, album_id, delivery, error)
			SELECT last_message, 1, 2, 'in', 'text', 'older', 'older', 'customer', '2', 'Ann', 1, 0, 0, '', '', ''
				FROM counters`,
			`UPDATE conversations SET last_message_id = (SELECT last_message FROM counters) WHERE id = 2`)
		order(2, 1, 3)
		receive(inbox.Update{Kind: "edited_message", Edit: message(1, "hello?", 1_800_000_020)})
		order(2, 1, 3) // nobody has answered it, and it is open

		// An older bot edits: it replaces the words, and knows nothing else.
		write(`UPDATE messages SET text = 'hello again', edited_at = 1800000040000000, edit_seen = 1800000040000000
			WHERE id = 1`)
		anew := func() {
			t.Helper()
			list, err := s.UnreadMessages(ctx, tenure, 10)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(list, func(m inbox.UnreadMessage) bool { return m.ID == 1 })
			if i < 0 {
				t.Fatalf("not to be read anew: %+v", list)
			}
			list[i].Message = message(1, "hello again", 1_800_000_040)
			list[i].Before = []inbox.IncomingMessage{*message(1, "hello!", 1_800_000_010), *message(1, "hello?", 1_800_000_020),
				*message(1, "hello?", 1_800_000_025), *message(1, "hey", 1_800_000_030)}
			if err := s.ReadAnew(ctx, tenure, list[i:i+1]); err != nil {
				t.Fatal(err)
			}
		}
		anew()
		write(`UPDATE messages SET content_of = -1 WHERE id = 1`)
		anew()
		list, next, err := s.Edits(ctx, 1, 10, 0)
		if err != nil || next != 0 {
			t.Fatal(next, err)
		}
		var have []string
		for _, w := range list {
			have = append(have, w.Text)
		}
		if want := []string{"hello", "hello!", "hello?", "hey"}; !slices.Equal(have, want) {
			t.Errorf("before it said %q, want %q", have, want)
		}
		if m, err := s.Message(ctx, 1); err != nil || m.Edits != 4 || m.Text != "hello again" {
			t.Errorf("%+v, %v", m, err)
		}
	})
}
