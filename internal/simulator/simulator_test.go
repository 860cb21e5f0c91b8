package simulator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// response of the Bot API as a client sees it.
type response struct {
	HTTP        int             `json:"-"`
	Header      http.Header     `json:"-"`
	OK          bool            `json:"ok"`
	Result      json.RawMessage `json:"result"`
	Code        int             `json:"error_code"`
	Description string          `json:"description"`
	Parameters  json.RawMessage `json:"parameters"`
}

func (a response) String() string {
	if a.OK {
		return "ok"
	}
	return fmt.Sprintf("%d %s", a.Code, a.Description)
}

func ask(t testing.TB, tg *simtest.Telegram, method string, params any) response {
	t.Helper()
	a, err := try(context.Background(), tg.URL+"/bot"+simtest.Token+"/"+method, params)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return a
}

// try posts params as JSON on a connection of its own.
func try(ctx context.Context, url string, params any) (response, error) {
	body, err := json.Marshal(params) // a json.RawMessage goes as it is
	if err != nil {
		return response{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return response{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	return do(req)
}

func do(req *http.Request) (response, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return response{}, err
	}
	a := response{HTTP: resp.StatusCode, Header: resp.Header}
	if err := json.Unmarshal(b, &a); err != nil {
		return a, fmt.Errorf("%d %q: %w", resp.StatusCode, b, err)
	}
	return a, nil
}

type p = map[string]any

func jsonText(s string) json.RawMessage { return json.RawMessage(s) }

// updates are the ids of a response to getUpdates.
func updates(t testing.TB, a response) []int64 {
	t.Helper()
	if !a.OK {
		t.Fatalf("getUpdates: %v", a)
	}
	var list []struct {
		ID int64 `json:"update_id"`
	}
	if err := json.Unmarshal(a.Result, &list); err != nil {
		t.Fatalf("getUpdates: %v in %s", err, a.Result)
	}
	ids := []int64{}
	for _, u := range list {
		ids = append(ids, u.ID)
	}
	return ids
}

func message(t testing.TB, a response) simulator.Message {
	t.Helper()
	var m simulator.Message
	if err := json.Unmarshal(a.Result, &m); err != nil || !a.OK {
		t.Fatalf("want a message, got %v %s (%v)", a, a.Result, err)
	}
	return m
}

func TestGetMe(t *testing.T) {
	tg := simtest.Start(t)
	a := ask(t, tg, "getMe", nil)
	var me struct {
		ID       int64  `json:"id"`
		IsBot    bool   `json:"is_bot"`
		Username string `json:"username"`
	}
	if err := json.Unmarshal(a.Result, &me); err != nil || me.ID != simtest.BotID || !me.IsBot || me.Username == "" {
		t.Errorf("getMe gives %s (%v)", a.Result, err)
	}
}

func TestRefusesWhatTelegramRefuses(t *testing.T) {
	tg := simtest.Start(t)
	for path, want := range map[string]string{
		"/bot123456789:another-secret-of-this-bot/getMe": "401 Unauthorized",
		"/bot99:unknown-bot-unknown-bot/getMe":           "401 Unauthorized",
		"/bot0123:leading-zero/getMe":                    "401 Unauthorized: invalid token specified",
		"/botnonsense/getMe":                             "404 Not Found",
		"/bot/getMe":                                     "404 Not Found",
		"/bot" + simtest.Token:                           "404 Not Found",
		"/bot" + simtest.Token + "/":                     "404 Not Found",
		"/bot" + simtest.Token + "/getMe/more":           "404 Not Found",
		"/bot" + simtest.Token + "/noSuchMethod":         "404 Not Found: method not found",
		"/elsewhere":                                     "404 Not Found",
	} {
		a, err := try(t.Context(), tg.URL+path, p{})
		if err != nil || a.String() != want || a.HTTP != a.Code {
			t.Errorf("%s: %v (%d, %v), want %s", path, a, a.HTTP, err, want)
		}
	}
	tg.RevokeToken(simtest.Token)
	if a := ask(t, tg, "getMe", nil); a.String() != "401 Unauthorized" {
		t.Errorf("after the token was revoked: %v", a)
	}
}

func TestSendAndReceive(t *testing.T) {
	tg := simtest.Start(t)
	id := tg.Customer(7, "hello")
	got := ask(t, tg, "getUpdates", p{"timeout": "1"})
	var list []struct {
		Message simulator.Message `json:"message"`
	}
	if err := json.Unmarshal(got.Result, &list); err != nil || len(list) != 1 {
		t.Fatalf("getUpdates: %v, %s", err, got.Result)
	}
	in := list[0].Message
	if in.MessageID != id || in.Text != "hello" || in.Chat.ID != 7 || in.From.ID != 7 || in.From.IsBot {
		t.Errorf("the update holds %+v", in)
	}
	out := message(t, ask(t, tg, "sendMessage",
		p{"chat_id": "7", "text": " good\r\nday\t\u202e ", "reply_to_message_id": "1"}))
	if out.Text != "good\nday" || out.MessageID != id+1 || out.ReplyToMessage == nil ||
		out.ReplyToMessage.Text != "hello" {
		t.Errorf("the sent message is %+v", out)
	}
	sent := tg.NeedSent(1, time.Second)
	if sent[0].Text != "good\nday" || sent[0].ChatID != 7 || sent[0].MessageID != out.MessageID || sent[0].ReplyTo != id {
		t.Errorf("recorded: %+v", sent[0])
	}
}

func TestParametersInEveryForm(t *testing.T) {
	tg := simtest.Start(t)
	tg.Customer(7, "hello")
	base := tg.URL + "/bot" + simtest.Token + "/sendMessage"
	form := url.Values{"chat_id": {"7"}, "text": {"as a form"}}
	multipart := "--B\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n7\r\n" +
		"--B\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nmultipart\r\n--B--\r\n"
	for _, c := range []struct{ method, url, kind, body, want string }{
		{"POST", base, "application/x-www-form-urlencoded", form.Encode(), "as a form"},
		{"GET", base + "?" + form.Encode(), "", "", "as a form"},
		{"POST", base, "multipart/form-data; boundary=B", multipart, "multipart"},
		{"POST", base, "application/json; charset=utf-8", `{"chat_id":7,"text":"a number"}`, "a number"},
		{"POST", strings.Replace(base, "sendMessage", "SENDmessage", 1), "application/json",
			`{"chat_id":"7","text":"a string"}`, "a string"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, c.url, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", c.kind)
		a, err := do(req)
		if err != nil || !a.OK || message(t, a).Text != c.want {
			t.Errorf("%s %q: %v %s (%v)", c.method, c.kind, a, a.Result, err)
		}
	}
	if a, err := try(t.Context(), base, []string{"no object"}); err != nil ||
		a.String() != "400 Bad Request: can't parse JSON object" {
		t.Errorf("a list as parameters: %v (%v)", a, err)
	}
}
