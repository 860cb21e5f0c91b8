package simulator_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
)

// control calls the control API and decodes the response into out, when there is one.
func control(t *testing.T, tg *simtest.Telegram, call, body string, out any) (status int) {
	t.Helper()
	method, path, _ := strings.Cut(call, " ")
	req, err := http.NewRequestWithContext(t.Context(), method, tg.URL+"/control/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			t.Fatalf("%s: %d %s: %v", call, resp.StatusCode, b, err)
		}
	}
	return resp.StatusCode
}

func TestControlPlaysTheCustomer(t *testing.T) {
	tg := simtest.Start(t)
	ok := func(call, body string, out any) {
		t.Helper()
		if status := control(t, tg, call, body, out); status != 200 {
			t.Errorf("%s %s: %d", call, body, status)
		}
	}
	first := tg.Polls(0).Next
	ok("POST customers", `{"chat_id":7,"first_name":"Ada","username":"ada"}`, nil)
	var got struct {
		Message  simulator.Message `json:"message"`
		UpdateID int64             `json:"update_id"`
	}
	ok("POST messages", `{"chat_id":7,"text":"hello"}`, &got)
	if got.UpdateID != first || got.Message.From.FirstName != "Ada" {
		t.Errorf("injected: %+v", got)
	}
	ok("POST edits", `{"chat_id":7,"message_id":1,"text":"hello!"}`, nil)
	ok("POST presses", `{"chat_id":7,"message_id":1,"data":"y"}`, nil)
	ok("POST block", `{"chat_id":7}`, nil)
	ok("POST unblock", `{"chat_id":7}`, nil)
	ok("POST updates", `{"update_id":1,"novelty":{"deep":[1,2]}}`, nil)
	var batch struct {
		IDs []int64 `json:"update_ids"`
	}
	ok("POST batch", `{"count":5,"chat_ids":[7,8],"text":"number %d"}`, &batch)
	if len(batch.IDs) != 5 || batch.IDs[4] != first+10 {
		t.Errorf("batch: %+v", batch)
	}
	a := ask(t, tg, "getUpdates", p{})
	var kinds []string
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(a.Result, &list); err != nil {
		t.Fatal(err)
	}
	for _, u := range list {
		for kind := range u {
			if kind != "update_id" {
				kinds = append(kinds, kind)
			}
		}
	}
	want := "[message edited_message callback_query my_chat_member my_chat_member novelty " +
		"message message message message message]"
	if fmt.Sprint(kinds) != want {
		t.Errorf("queued %v, want %s", kinds, want)
	}

	ask(t, tg, "sendMessage", p{"chat_id": 7, "text": "answer"})
	var sent []simulator.Sent
	ok("GET sent?n=1&within=1s", "", &sent)
	var messages []simulator.Message
	ok("GET messages?chat_id=7", "", &messages)
	if len(sent) != 1 || sent[0].Text != "answer" || messages[len(messages)-1].Text != "answer" ||
		messages[0].Text != "hello!" {
		t.Errorf("sent %+v, chat %+v", sent, messages)
	}
	var polls simulator.PollStats
	ok("GET polls", "", &polls)
	if polls.Requests != 1 || polls.Pending != 11 {
		t.Errorf("polls: %+v", polls)
	}
	var state simulator.State
	ok("GET state", "", &state)
	if len(state.Bots) != 1 || len(state.Bots[0].Chats) != 2 || state.Bots[0].Chats[0].FirstName != "Ada" {
		t.Errorf("state: %+v", state)
	}
	var calls []simulator.Call
	ok("GET calls?method=sendmessage", "", &calls)
	if len(calls) != 1 || calls[0].Params["text"] != "answer" || calls[0].Token != "123456789" {
		t.Errorf("calls: %+v", calls)
	}
	for _, list := range []string{"duplicates", "leaks"} {
		var none []any
		if ok("GET "+list, "", &none); none == nil || len(none) != 0 {
			t.Errorf("%s: %v, want an empty list", list, none)
		}
	}
	if status := control(t, tg, "GET sent?n=2&within=20ms", "", nil); status != 400 {
		t.Errorf("waiting in vain gives %d", status)
	}
	ok("DELETE records", "", nil)
	if n := len(tg.Sent()); n != 0 {
		t.Errorf("%d messages are left in an emptied recorder", n)
	}
}

func TestControlBots(t *testing.T) {
	tg := simtest.Start(t)
	const token = `{"token":"42:another-bot-of-this-server"}`
	var bot simulator.Bot
	if status := control(t, tg, "POST bots", token, &bot); status != 200 || bot.ID != 42 {
		t.Errorf("added %+v with %d", bot, status)
	}
	url := tg.URL + "/bot42:another-bot-of-this-server/getMe"
	if a, err := try(t.Context(), url, p{}); err != nil || !a.OK {
		t.Errorf("the added bot: %v (%v)", a, err)
	}
	control(t, tg, "DELETE bots", token, nil)
	if a, err := try(t.Context(), url, p{}); err != nil || a.Code != 401 {
		t.Errorf("the revoked token: %v (%v)", a, err)
	}
}

func TestControlFaults(t *testing.T) {
	tg := simtest.Start(t)
	tg.Customer(7, "hello")
	var added struct {
		ID int64 `json:"id"`
	}
	if status := control(t, tg, "POST faults", `{"preset":"flood","chat_id":7,"times":1}`, &added); status != 200 {
		t.Fatalf("a preset: %d", status)
	}
	send := func() response { return ask(t, tg, "sendMessage", p{"chat_id": 7, "text": "x"}) }
	if a, b := send(), send(); a.Code != 429 || !b.OK {
		t.Errorf("with a flood once: %v, then %v", a, b)
	}
	control(t, tg, "POST faults", `{"kind":"answer","status":418,"description":"I'm a teapot"}`, nil)
	if a := send(); a.Code != 418 {
		t.Errorf("with a fault of our own: %v", a)
	}
	var faults []simulator.FaultState
	if control(t, tg, "GET faults", "", &faults); len(faults) != 1 || faults[0].Seen != 1 {
		t.Errorf("faults: %+v", faults)
	}
	control(t, tg, fmt.Sprint("DELETE faults?id=", faults[0].ID), "", nil)
	if a := send(); !a.OK {
		t.Errorf("after it was cleared: %v", a)
	}
	for name := range slices.Values(simulator.Presets()) {
		if status := control(t, tg, "POST faults", `{"preset":"`+name+`"}`, nil); status != 200 {
			t.Errorf("the preset %s is refused with %d", name, status)
		}
	}
	control(t, tg, "DELETE faults", "", nil)
	if a := send(); !a.OK {
		t.Errorf("after all were cleared: %v", a)
	}
}

func TestControlRefusesMistakes(t *testing.T) {
	tg := simtest.Start(t)
	for _, c := range []struct{ call, body, want string }{
		{"POST messages", `{"chat_id":7,"txt":"x"}`, `unknown field "txt"`},
		{"POST messages", `{"text":"x"}`, "chat_id is missing"},
		{"POST messages", `{"chat_id":7,"text":"  "}`, "without anything to see"},
		{"POST messages", `{"bot_id":5,"chat_id":7,"text":"x"}`, "no such bot"},
		{"POST updates", `[]`, "an update is a JSON object"},
		{"POST bots", `{"token":"nonsense"}`, "123456789:secret"},
		{"POST faults", `{"preset":"nonsense"}`, "there is no preset"},
		{"POST faults", `{"kind":"nonsense"}`, "there is no kind"},
		{"POST faults", `{"kind":"slow"}`, "needs delay_ms"},
		{"POST faults", `{"kind":"answer"}`, "needs a status"},
		{"POST edits", `{"chat_id":7,"message_id":9,"text":"x"}`, "none that the customer"},
	} {
		var out struct {
			Error string `json:"error"`
		}
		if status := control(t, tg, c.call, c.body, &out); status != 400 || !strings.Contains(out.Error, c.want) {
			t.Errorf("%s %s: %d %q, want 400 %q", c.call, c.body, status, out.Error, c.want)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", tg.URL+"/control/messages",
		strings.NewReader(`{"chat_id":7,"text":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != 403 {
		t.Errorf("another site's page may play the customer: %d", resp.StatusCode)
	}
}

func TestControlEvents(t *testing.T) {
	tg := simtest.Start(t)
	resp, err := http.Get(tg.URL + "/control/events")
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			if strings.HasPrefix(s.Text(), "data: ") {
				lines <- s.Text()
			}
		}
	}()
	next := func() string {
		select {
		case line := <-lines:
			return line
		case <-time.After(5 * time.Second):
			t.Fatal("no event in 5 s")
			return ""
		}
	}
	before := next()
	tg.Customer(7, "hello")
	if after := next(); after == before {
		t.Errorf("the message gives the same event %q again", after)
	}
	resp.Body.Close()
	for range lines { // until the reader has ended
	}
}
