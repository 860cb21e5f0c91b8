package telegram

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/inbox"
)

func TestPresses(t *testing.T) {
	const from = `"from":{"id":7,"is_bot":false,"first_name":"Pia"}`
	const chat = `"chat":{"id":7,"type":"private","first_name":"Pia"}`
	rate := "rate:5"
	u := decode(t, `{"update_id":1,"callback_query":{"id":"4382bf",`+from+`,"message":{"message_id":5001,"date":`+
		`1796000000,`+
		`"from":{"id":1,"is_bot":true,"first_name":"Shop"},`+chat+`,"text":"How was it?","message_thread_id":11,`+
		`"reply_markup":`+
		`{"inline_keyboard":[[{"text":"bad","callback_data":"rate:1"},{"text":"good","callback_data":"rate:5"}]]}},`+
		`"chat_instance":"-1","data":"rate:5"}}`)
	want := &inbox.IncomingMessage{ChatID: 7, Kind: inbox.KindPressed, Details: rate, ReplyTo: 5001, ThreadID: 11,
		Customer: inbox.Customer{ID: 7, Name: "Pia"},
		Content: inbox.Content{Pressed: &rate, Button: "good",
			Reply: &inbox.Reply{Text: "How was it?", From: "Shop", Origin: inbox.FromChat}}}
	if diff := cmp.Diff(want, u.Message); diff != "" || u.Press != "4382bf" || u.Problem != "" {
		t.Errorf("%q %q\n%s", u.Press, u.Problem, diff)
	}
	for fields, pressed := range map[string]string{
		`"message":{` + chat + `,"message_id":1,"date":0},"data":"a\u0000b"`: "a\uFFFDb",
		`"message":{` + chat + `},"game_short_name":"chess"`:                 "chess",
		`"message":{` + chat + `},"data":7`:                                  "",
	} {
		u := decode(t, `{"update_id":1,"callback_query":{"id":"1",`+from+`,`+fields+`}}`)
		if u.Message == nil || *u.Message.Content.Pressed != pressed || u.Press != "1" {
			t.Errorf("%s: %+v", fields, u.Message)
		}
	}
	for _, fields := range []string{`"data":"x","inline_message_id":"1"`, `"message":{"chat":{"id":-7,"type":` +
		`"group"}},"data":"x"`,
		`"message":7`} {
		if u := decode(t, `{"update_id":1,"callback_query":{"id":"1",`+from+`,`+
			``+fields+`}}`); u.Message != nil || u.Press != "1" {
			t.Errorf("%s: %+v", fields, u)
		}
	}
}

func TestReactions(t *testing.T) {
	const from = `"chat":{"id":7,"type":"private"},"message_id":5,"user":{"id":7,"first_name":"Pia"},"date":1796000000,`
	u := decode(t, `{"update_id":1,"message_reaction":{`+from+`"old_reaction":[],"new_reaction":[{"type":"emoji",`+
		`"emoji":"👍"},`+
		`{"type":"custom_emoji","custom_emoji_id":"5"},{"type":"paid"},7,{"type":"hologram_wave"}]}}`)
	want := []inbox.Reaction{{Emoji: "👍", By: "Pia"}, {CustomEmojiID: "5", Name: "custom emoji", By: "Pia"},
		{Emoji: "⭐", Name: "paid star", By: "Pia"}, {Name: "hologram wave", By: "Pia"}}
	if u.Reacted == nil || u.Reacted.MessageID != 5 || u.Reacted.ChatID != 7 || u.Problem != "" {
		t.Fatalf("%+v", u)
	}
	if diff := cmp.Diff(want, u.Reacted.Reactions); diff != "" {
		t.Error(diff)
	}
	if u := decode(t, `{"update_id":1,"message_reaction":{"chat":{"id":-7,"type":"group"},"message_id":`+
		`5}}`); u.Reacted != nil {
		t.Errorf("in a group: %+v", u.Reacted)
	}
	if u := decode(t, `{"update_id":1,"message_reaction":{"chat":{"id":7,"type":"private"}}}`); u.Problem == "" {
		t.Error("to no message, and no problem")
	}
}

// TestAPressIsStoredThenAnswered : it is a line that moves nothing. While it cannot be stored it is not answered.
func TestAPressIsStoredThenAnswered(t *testing.T) {
	var broken *brokenStore
	r := newRig(t, rigOptions{wrap: func(db inbox.BotStore) inbox.BotStore {
		broken = &brokenStore{BotStore: db}
		return broken
	}})
	r.tg.Customer(7, "hello")
	c := r.conversation(7)
	m := r.answer(7, "How was it?")
	r.delivery(m.ID, inbox.Sent)
	sent := r.tg.Sent()[0].MessageID
	if _, err := r.db.SetConversationStatus(t.Context(), c.ID, inbox.Closed); err != nil {
		t.Fatal(err)
	}
	broken.set("StoreUpdates", errAway)
	if _, err := r.tg.Press(0, 7, sent, "rate:5"); err != nil {
		t.Fatal(err)
	}
	r.eventually("an attempt to store it", func() bool { return broken.count("StoreUpdates") > 0 })
	if n := r.requests("answerCallbackQuery", 0); n != 0 {
		t.Errorf("answered %d times before it was stored", n)
	}
	broken.set("StoreUpdates", nil)
	r.eventually("the answer", func() bool { return r.requests("answerCallbackQuery", 0) == 1 })
	list := r.messages(7)
	line := list[len(list)-1]
	if line.Kind != inbox.KindPressed || line.Pressed == nil || *line.Pressed != "rate:5" || !line.Service ||
		line.Reply == nil || line.Reply.MessageID == nil || *line.Reply.MessageID != m.ID {
		t.Errorf("the line: %+v", line)
	}
	if now := r.conversation(7); now.Status != inbox.Closed || now.LastMessageID != m.ID {
		t.Errorf("it moved the conversation: %+v", now)
	}
	if line.Text != "" {
		t.Errorf("nobody wrote %q", line.Text)
	}
}
