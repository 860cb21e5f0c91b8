package test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/proctest"
	"tandem/internal/simulator"
)

// TestAnEditMakesItselfSeen takes edits from Telegram to the API: one in a closed conversation, one that changes
// nothing, one that makes a rich message of a text, a place that moves, and one of a message that was never stored.
func TestAnEditMakesItselfSeen(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		r := newRig(t, database).start().waitWeb().waitPolling()
		first, _, err := r.tg.Receive(simulator.Incoming{ChatID: 7, Text: "Send it to Elm Street 5"})
		if err != nil {
			t.Fatal(err)
		}
		c := r.conversation(7)
		r.waitDelivery(r.answer(c.ID, "We will."), inbox.Sent)
		r.api("PATCH", fmt.Sprintf("/conversations/%d", c.ID), raw{"status": "closed"}, nil)
		if _, err := r.tg.CustomerWrites(8, "hello"); err != nil {
			t.Fatal(err)
		}
		other := r.conversation(8)
		// through waits until the bot has stored all that was sent before.
		through := func(words string) {
			t.Helper()
			if _, err := r.tg.CustomerWrites(8, words); err != nil {
				t.Fatal(err)
			}
			proctest.Eventually(t, soon, words, func() bool {
				return slices.ContainsFunc(r.messages(other.ID), func(m inbox.Message) bool { return m.Text == words })
			})
		}
		edited := func(fields string, seconds int64) string {
			return fmt.Sprintf(`{"edited_message":{"message_id":%d,"date":%d,"edit_date":%d,
				"chat":{"id":7,"type":"private"},%s}}`, first.MessageID, first.Date, first.Date+seconds, fields)
		}
		r.push(edited(`"text":"Send it to Elm Street 5"`, 1)) // as for a link preview
		through("an edit that changes nothing")
		if is := r.conversation(7); is.Status != inbox.Closed || r.conversations()[0].ID != other.ID {
			t.Errorf("an edit that changes nothing: %+v", is)
		}
		r.push(edited(`"text":"Send it to Oak Street 9"`, 2))
		proctest.Eventually(t, soon, "it is open, and the first", func() bool {
			list := r.conversations()
			return len(list) > 0 && list[0].ID == c.ID && list[0].Status == inbox.Open
		})
		r.push(edited(`"rich_message":{"blocks":[{"type":"heading","text":"Order 4417","size":1},
			{"type":"paragraph","text":["to ",{"type":"bold","text":"Elm Street 5"}]}]}`, 3))
		through("a rich message")
		message := func() inbox.Message { return r.onlyIncoming(c.ID) }
		if m := message(); m.Text != "Order 4417\nto Elm Street 5" || m.Edits != 2 {
			t.Errorf("after an edit into a rich message: %+v", m)
		}
		var before struct {
			Items []struct {
				Text  string
				Until time.Time
			}
			NextCursor *string `json:"next_cursor"`
		}
		r.api("GET", fmt.Sprintf("/messages/%d/edits", message().ID), nil, &before)
		if len(before.Items) != 2 || before.Items[0].Text != "Send it to Elm Street 5" ||
			before.Items[1].Text != "Send it to Oak Street 9" || before.NextCursor != nil ||
			before.Items[0].Until.Unix() != first.Date+2 {
			t.Errorf("before it said %+v", before)
		}

		r.push(fmt.Sprintf(`{"message":{"message_id":50,"date":%d,"chat":{"id":8,"type":"private"},
			"location":{"latitude":1,"longitude":2,"live_period":900}}}`, first.Date))
		through("a place")
		r.api("PATCH", fmt.Sprintf("/conversations/%d", other.ID), raw{"status": "closed"}, nil)
		if _, err := r.tg.CustomerWrites(7, "thank you"); err != nil {
			t.Fatal(err)
		}
		proctest.Eventually(t, soon, "the other conversation is the first", func() bool {
			list := r.conversations()
			return len(list) > 0 && list[0].ID == c.ID
		})
		r.push(fmt.Sprintf(`{"edited_message":{"message_id":50,"date":%d,"edit_date":%d,"chat":{"id":8,"type":"private"},
			"location":{"latitude":1.5,"longitude":2,"live_period":900}}}`, first.Date, first.Date+9))
		r.push(fmt.Sprintf(`{"edited_message":{"message_id":49,"date":1714730400,"edit_date":%d,
			"chat":{"id":8,"type":"private"},"text":"of old"}}`, first.Date+9))
		var list []inbox.Message
		defer func() {
			if t.Failed() {
				t.Logf("the conversation is %+v", list)
			}
		}()
		proctest.Eventually(t, soon, "the place moves, and the edit of what is older comes", func() bool {
			list = r.messages(other.ID)
			return slices.ContainsFunc(list, func(m inbox.Message) bool {
				return m.Place != nil && m.Place.Latitude == 1.5 && m.Edits == 0 && m.EditedAt == nil
			}) && slices.ContainsFunc(list, func(m inbox.Message) bool { return m.Text == "of old" && m.Service })
		})
		if is := r.conversation(8); is.Status != inbox.Closed || r.conversations()[0].ID == other.ID {
			t.Errorf("a place that moves and an edit of what is older: %+v", is)
		}
		r.stop()
	})
}

// onlyIncoming is the one message of the customer in a conversation.
func (r *rig) onlyIncoming(conversationID int64) inbox.Message {
	r.t.Helper()
	list := r.messages(conversationID)
	i := slices.IndexFunc(list, func(m inbox.Message) bool { return m.Direction == inbox.In })
	if i < 0 {
		r.t.Fatal("the customer's message is not there")
	}
	return list[i]
}
