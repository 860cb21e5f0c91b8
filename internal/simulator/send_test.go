package simulator_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
)

func TestSendMessageIsRefused(t *testing.T) {
	tg := simtest.Start(t)
	yes := true
	for id := int64(1); id <= 6; id++ {
		tg.Customer(id, "hello")
	}
	if err := tg.Block(0, 2); err != nil {
		t.Fatal(err)
	}
	for _, c := range []simulator.Customer{
		{ChatID: 3, Deactivated: &yes}, {ChatID: 4, NotStarted: &yes}, {ChatID: -5, Title: "Staff"},
	} {
		if err := tg.Put(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := tg.Block(0, -5); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("😀", 4097)
	for _, c := range []struct {
		params p
		want   string
	}{
		{p{"text": "x"}, "400 Bad Request: chat_id is empty"},
		{p{"chat_id": 1}, "400 Bad Request: message text is empty"},
		{p{"chat_id": 99, "text": "x"}, "400 Bad Request: chat not found"},
		{p{"chat_id": 99, "text": long}, "400 Bad Request: chat not found"}, // the chat is looked at first
		{p{"chat_id": 99, "text": strings.Repeat("x", 33<<10)}, "400 Bad Request: text is too long"},
		{p{"chat_id": 1, "text": long}, "400 Bad Request: message is too long"},
		{p{"chat_id": 1, "text": long, "reply_to_message_id": "77"}, "400 Bad Request: message to be replied not found"},
		{p{"chat_id": 1, "text": "x", "reply_parameters": `{"message_id":77}`},
			"400 Bad Request: message to be replied not found"},
		{p{"chat_id": 1, "text": " \n\u00a0\u2800\u200b "}, "400 Bad Request: text must be non-empty"},
		{p{"chat_id": 1, "text": "x", "message_thread_id": 3}, "400 Bad Request: message thread not found"},
		{p{"chat_id": 2, "text": "x"}, "403 Forbidden: bot was blocked by the user"},
		{p{"chat_id": 3, "text": "x"}, "403 Forbidden: user is deactivated"},
		{p{"chat_id": 4, "text": "x"}, "403 Forbidden: bot can't initiate conversation with a user"},
		{p{"chat_id": -5, "text": "x"}, "403 Forbidden: bot was kicked from the group chat"},
	} {
		if a := ask(t, tg, "sendMessage", c.params); a.String() != c.want {
			t.Errorf("%.60v: %v, want %s", c.params, a, c.want)
		}
	}
	if sent := tg.Sent(); len(sent) != 0 {
		t.Errorf("refused messages were recorded as sent: %+v", sent)
	}
	for _, params := range []p{
		{"chat_id": 1, "text": strings.Repeat("😀", 4096)},
		{"chat_id": 1, "text": "x", "reply_to_message_id": "77", "allow_sending_without_reply": "true"},
		{"chat_id": 1, "text": "a*b_c [x](", "reply_parameters": `{"message_id":77,"allow_sending_without_reply":true}`},
	} {
		if a := ask(t, tg, "sendMessage", params); !a.OK {
			t.Errorf("%.60v: %v", params, a)
		}
	}
}

func TestMessageIDsCountInEachChat(t *testing.T) {
	tg := simtest.Start(t)
	for _, c := range []struct{ chat, want int64 }{{1, 1}, {2, 1}, {1, 2}, {2, 2}} {
		if id := tg.Customer(c.chat, "x"); id != c.want {
			t.Errorf("message of chat %d has the id %d, want %d", c.chat, id, c.want)
		}
	}
}

func TestEditDeletePress(t *testing.T) {
	tg := simtest.Start(t)
	mine := tg.Customer(7, "question")
	m := message(t, ask(t, tg, "sendMessage", p{"chat_id": 7, "text": "answer",
		"reply_markup": `{"inline_keyboard":[[{"text":"Yes","callback_data":"y"}]]}`}))
	const keyboard = `{"inline_keyboard":[[{"text":"Yes","callback_data":"y"}]]}`
	for _, c := range []struct {
		method string
		params p
		want   string
	}{
		{"editMessageText", p{"message_id": m.MessageID, "text": "better"}, "ok"},
		{"editMessageText", p{"message_id": m.MessageID, "text": "better"},
			"400 Bad Request: message is not modified: specified new " +
				"message content and reply markup are exactly the same as a current content and reply markup of the message"},
		{"editMessageText", p{"message_id": m.MessageID, "text": "better", "reply_markup": keyboard}, "ok"},
		{"editMessageText", p{"message_id": mine, "text": "not yours"}, "400 Bad Request: message can't be edited"},
		{"editMessageText", p{"message_id": 99, "text": "x"}, "400 Bad Request: message to edit not found"},
		{"deleteMessage", p{"message_id": 99}, "400 Bad Request: message to delete not found"},
		{"sendChatAction", p{"action": "dancing"}, "400 Bad Request: wrong parameter action in request"},
		{"sendChatAction", p{"action": "typing"}, "ok"},
		{"answerCallbackQuery", p{"callback_query_id": "1"},
			"400 Bad Request: query is too old and response timeout expired or query ID is invalid"},
		{"deleteMessage", p{"message_id": m.MessageID}, "ok"},
		{"deleteMessage", p{"message_id": m.MessageID}, "400 Bad Request: message to delete not found"},
	} {
		c.params["chat_id"] = 7
		if a := ask(t, tg, c.method, c.params); a.String() != c.want {
			t.Errorf("%s %v: %v, want %s", c.method, c.params, a, c.want)
		}
	}
	query, err := tg.Press(0, 7, mine, "y")
	if err != nil {
		t.Fatal(err)
	}
	if a := ask(t, tg, "answerCallbackQuery", p{"callback_query_id": query}); !a.OK {
		t.Errorf("answering a button: %v", a)
	}
	if a := ask(t, tg, "answerCallbackQuery", p{"callback_query_id": query}); a.OK {
		t.Error("the same button was answered twice")
	}
}

func TestBlockingIsAnnounced(t *testing.T) {
	tg := simtest.Start(t)
	tg.Customer(7, "hello")
	for range 2 { // the second time changes nothing
		if err := tg.Block(0, 7); err != nil {
			t.Fatal(err)
		}
	}
	tg.Customer(7, "I changed my mind") // writing unblocks
	var list []map[string]json.RawMessage
	a := ask(t, tg, "getUpdates", p{})
	if err := json.Unmarshal(a.Result, &list); err != nil || len(list) != 4 {
		t.Fatalf("want message, blocked, unblocked, message; got %s (%v)", a.Result, err)
	}
	for i, want := range []string{"", `"new_chat_member":{"status":"kicked"`, `"new_chat_member":{"status":"member"`, ""} {
		if want != "" && !strings.Contains(string(list[i]["my_chat_member"]), want) {
			t.Errorf("update %d is %s, want %s", i, list[i]["my_chat_member"], want)
		}
	}
}

func TestRateLimits(t *testing.T) {
	now := time.Now()
	tg := simtest.Start(t, simulator.Options{Now: func() time.Time { return now }, ChatRate: 0.2, BotRate: 2})
	for id := int64(1); id <= 3; id++ {
		tg.Customer(id, "hello")
	}
	send := func(chat int) response { return ask(t, tg, "sendMessage", p{"chat_id": chat, "text": "x"}) }
	if a := send(1); !a.OK {
		t.Fatalf("the first: %v", a)
	}
	a := send(1)
	if a.String() != "429 Too Many Requests: retry after 5" || a.Header.Get("Retry-After") != "5" ||
		string(a.Parameters) != `{"retry_after":5}` {
		t.Errorf("too fast in one chat: %v, header %q, parameters %s", a, a.Header.Get("Retry-After"), a.Parameters)
	}
	if a := send(2); !a.OK {
		t.Errorf("another chat: %v", a)
	}
	if a := send(3); a.String() != "429 Too Many Requests: retry after 1" {
		t.Errorf("the third of this second: %v", a)
	}
}

func TestFiles(t *testing.T) {
	tg := simtest.Start(t)
	in, _, err := tg.Receive(simulator.Incoming{ChatID: 7, Text: "see here",
		File: &simulator.IncomingFile{Name: "list.txt", MediaType: "text/plain", Data: []byte("one\ntwo")}})
	if err != nil || in.Document == nil || in.Caption != "see here" {
		t.Fatalf("a document came as %+v (%v)", in, err)
	}
	fetch := func(id string) string {
		a := ask(t, tg, "getFile", p{"file_id": id})
		var f struct {
			Path string `json:"file_path"`
		}
		if err := json.Unmarshal(a.Result, &f); err != nil {
			t.Fatalf("getFile: %v %s", a, a.Result)
		}
		resp, err := http.Get(tg.URL + "/file/bot" + simtest.Token + "/" + f.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("fetching %s: %d %s (%v)", f.Path, resp.StatusCode, b, err)
		}
		return string(b)
	}
	if got := fetch(in.Document.FileID); got != "one\ntwo" {
		t.Errorf("the document holds %q", got)
	}

	upload := func(method, field string, data []byte, extra p) response {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		_ = form.WriteField("chat_id", "7")
		for name, value := range extra {
			_ = form.WriteField(name, fmt.Sprint(value))
		}
		part, _ := form.CreateFormFile(field, "up.bin")
		_, _ = part.Write(data)
		_ = form.Close()
		req, err := http.NewRequestWithContext(t.Context(), "POST", tg.URL+"/bot"+simtest.Token+"/"+method, &body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", form.FormDataContentType())
		a, err := do(req)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	sent := message(t, upload("sendDocument", "document", []byte("answer"), p{"caption": "here"}))
	if sent.Document == nil || sent.Caption != "here" || fetch(sent.Document.FileID) != "answer" {
		t.Errorf("the sent document is %+v", sent)
	}
	photo := message(t, upload("sendPhoto", "file0", []byte("jpeg"), p{"photo": "attach://file0"}))
	if len(photo.Photo) != 1 || fetch(photo.Photo[0].FileID) != "jpeg" {
		t.Errorf("the sent photo is %+v", photo)
	}
	if again := message(t, ask(t, tg, "sendDocument",
		p{"chat_id": 7, "document": sent.Document.FileID})); again.Document.FileID != sent.Document.FileID {
		t.Errorf("sent again by its id: %+v", again)
	}
	for _, c := range []struct {
		a    response
		want string
	}{
		{upload("sendDocument", "document", nil, nil), "400 Bad Request: file must be non-empty"},
		{upload("sendPhoto", "photo", make([]byte, 10<<20+1), nil), "400 Bad Request: file is too big"},
		{upload("sendDocument", "document", make([]byte, 50<<20+1), nil), "413 Request Entity Too Large"},
		{ask(t, tg, "sendDocument", p{"chat_id": 7}), "400 Bad Request: there is no document in the request"},
		{ask(t, tg, "sendDocument", p{"chat_id": 7, "document": "no-such"}),
			"400 Bad Request: wrong file identifier/HTTP URL specified"},
		{ask(t, tg, "getFile", p{"file_id": "no-such"}),
			"400 Bad Request: wrong file_id or the file is temporarily unavailable"},
		{ask(t, tg, "getFile", p{}), "400 Bad Request: file_id not specified"},
	} {
		if c.a.String() != c.want {
			t.Errorf("%v, want %s", c.a, c.want)
		}
	}
	if n := len(tg.Sent()); n != 3 {
		t.Errorf("%d files recorded as sent, want 3", n)
	}
}

func TestCommandsAreKept(t *testing.T) {
	tg := simtest.Start(t)
	if a := ask(t, tg, "getMyCommands", nil); string(a.Result) != "[]" {
		t.Errorf("before: %s", a.Result)
	}
	const list = `[{"command":"help","description":"what I can do"}]`
	if a := ask(t, tg, "setMyCommands", p{"commands": list}); !a.OK {
		t.Errorf("setMyCommands: %v", a)
	}
	if a := ask(t, tg, "getMyCommands", nil); string(a.Result) != list {
		t.Errorf("after: %s", a.Result)
	}
	wrong := p{"commands": `[{"command":"Help me","description":"x"}]`}
	if a := ask(t, tg, "setMyCommands", wrong); a.String() != "400 Bad Request: BOT_COMMAND_INVALID" {
		t.Errorf("a bad command: %v", a)
	}
}
