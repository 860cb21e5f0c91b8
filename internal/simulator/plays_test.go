package simulator_test

import (
	"fmt"
	"strings"
	"testing"

	"tandem/internal/simulator/simtest"
)

// TestWhatACustomerPlays : a quote, a rich message, a topic and reactions, as the Bot API has them, and the mistakes.
func TestWhatACustomerPlays(t *testing.T) {
	tg := simtest.Start(t)
	send := func(body string) map[string]any {
		t.Helper()
		var v struct{ Message map[string]any }
		if status := control(t, tg, "POST messages", body, &v); status != 200 {
			t.Fatalf("%s: %d", body, status)
		}
		return v.Message
	}
	send(`{"chat_id":7,"text":"red 🟢 or blue?"}`)
	m := send(`{"chat_id":7,"text":"this one","reply_to":1,"quote":"or blue"}`)
	if have := fmt.Sprint(m["quote"]); have != "map[is_manual:true position:7 text:or blue]" {
		t.Errorf("the quote is %s", have)
	}
	m = send(`{"chat_id":7,"rich_message":{"blocks":[{"type":"heading","text":"Order 4417","size":1}]}}`)
	if m["text"] != nil || !strings.Contains(fmt.Sprint(m["rich_message"]), "Order 4417") {
		t.Errorf("the rich message is %v", m)
	}
	m = send(`{"chat_id":7,"text":"in a topic","topic":"Invoices"}`)
	thread := m["message_thread_id"].(float64)
	if made, ok := m["reply_to_message"].(map[string]any); m["is_topic_message"] != true || !ok ||
		made["message_id"] != thread || made["forum_topic_created"].(map[string]any)["name"] != "Invoices" {
		t.Errorf("in a topic: %v", m)
	}
	m = send(fmt.Sprintf(`{"chat_id":7,"text":"again","message_thread_id":%v}`, thread))
	if made, ok := m["reply_to_message"].(map[string]any); !ok || made["message_id"] != thread {
		t.Errorf("again in the topic: %v", m)
	}
	for _, emoji := range []string{`"👍","❤"`, `"🔥"`} {
		if s := control(t, tg, "POST reactions", `{"chat_id":7,"message_id":1,"emoji":[`+emoji+`]}`, nil); s != 200 {
			t.Errorf("%s: %d", emoji, s)
		}
	}
	var shown []struct{ Reactions []string }
	control(t, tg, "GET messages?chat_id=7", "", &shown)
	if len(shown) == 0 || fmt.Sprint(shown[0].Reactions) != "[🔥]" {
		t.Errorf("whoever plays the customer sees %+v", shown)
	}
	a := ask(t, tg, "getUpdates", p{"allowed_updates": `["message","message_reaction"]`})
	if !a.OK {
		t.Fatal(a)
	}
	control(t, tg, "POST reactions", `{"chat_id":7,"message_id":1,"emoji":[]}`, nil)
	if body := string(ask(t, tg, "getUpdates", p{"offset": -1}).Result); !strings.Contains(body, `"new_reaction":[]`) ||
		!strings.Contains(body, `"old_reaction":[{"emoji":"🔥","type":"emoji"}]`) {
		t.Errorf("the update is %s", body)
	}

	long := strings.Repeat("x", 129)
	for _, c := range []struct{ call, body, want string }{
		{"POST messages", `{"chat_id":7,"text":"x","quote":"red"}`, "needs reply_to"},
		{"POST messages", `{"chat_id":7,"text":"x","reply_to":1,"quote":"green"}`, "no part of message 1"},
		{"POST messages", `{"chat_id":7,"rich_message":{"blocks":[]}}`, "a list that is not empty"},
		{"POST messages", `{"chat_id":7,"rich_message":"x"}`, "a list that is not empty"},
		{"POST messages", `{"chat_id":7,"text":"x","rich_message":{"blocks":["a"]}}`, "in itself"},
		{"POST messages", `{"chat_id":7,"text":"x","topic":" "}`, "1 to 128 characters"},
		{"POST messages", `{"chat_id":7,"text":"x","topic":"` + long + `"}`, "1 to 128 characters"},
		{"POST reactions", `{"chat_id":7,"message_id":99,"emoji":["👍"]}`, "no message 99"},
		{"POST reactions", `{"chat_id":7,"message_id":1,"emoji":["👍","❤","🔥","😮"]}`, "at most 3"},
		{"POST edits", fmt.Sprintf(`{"chat_id":7,"message_id":%v,"text":"x"}`, thread), "none that the customer"},
	} {
		var wrong struct{ Error string }
		if status := control(t, tg, c.call, c.body, &wrong); status != 400 || !strings.Contains(wrong.Error, c.want) {
			t.Errorf("%s %.60s: %d %q, want %q", c.call, c.body, status, wrong.Error, c.want)
		}
	}
}
