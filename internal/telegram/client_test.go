package telegram

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/simulator/simtest"
)

func TestParseToken(t *testing.T) {
	for in, ok := range map[string]bool{
		simtest.Token: true, "1:" + strings.Repeat("a", 20): true,
		"": false, "token": false, "123456": false, "123:short": false,
		"0:" + strings.Repeat("a", 35): false, "12a:" + strings.Repeat("a", 35): false,
		"123:" + strings.Repeat("a", 80): false, "123:" + strings.Repeat("a", 20) + "/x": false,
		" 1:" + strings.Repeat("a", 20): false, "123456789012345678:" + strings.Repeat("a", 35): false,
	} {
		token, err := ParseToken(in)
		if (err == nil) != ok {
			t.Errorf("%q: %v", in, err)
		}
		if err == nil && token.wire() != in {
			t.Errorf("%q became %q", in, token.wire())
		}
		if err != nil && len(in) > 20 && strings.Contains(err.Error(), in) {
			t.Errorf("the error shows it: %v", err)
		}
	}
}

func TestTokenIsNotShownHoweverItIsPrinted(t *testing.T) {
	token := mustToken(t)
	c := unfenced(newEndpoint("http://127.0.0.1:1", token, nil))
	defer c.close()
	inStruct := struct{ t Token }{token}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, v := range []any{token, &token, inStruct, &inStruct, c, *c, New(Options{Token: token, APIURL: "http://x"})} {
			s := fmt.Sprintf(format, v)
			if strings.Contains(s, secretHalf) || strings.Contains(s, fmt.Sprintf("%x", secretHalf)) {
				t.Errorf("%s of %T: %s", format, v, s)
			}
		}
	}
	if b, err := json.Marshal(map[string]any{"t": token, "s": struct{ T Token }{token}}); err != nil ||
		strings.Contains(string(b), secretHalf) {
		t.Errorf("%s, %v", b, err)
	}
}

// TestTokenIsInNoError lets servers and lines do their worst, and echo the path.
func TestTokenIsInNoError(t *testing.T) {
	for name, h := range map[string]func(w http.ResponseWriter, r *http.Request){
		"echo": func(w http.ResponseWriter, r *http.Request) { http.Error(w, "cannot POST "+r.URL.Path, 404) },
		"json": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"ok":false,"error_code":400,"description":%q}`, r.URL.Path)
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"abort":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"result":   func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"ok":true,"result":"odd"}`) },
		"types": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"ok":false,"error_code":"429","description":5,"parameters":[{"retry_after":{}}]}`)
		},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" || r.Header.Get("Referer") != "" {
				t.Error("a redirect was followed")
			}
			h(w, r)
		}))
		c := unfenced(newEndpoint(server.URL+"/", mustToken(t), nil))
		for i, resp := range []response{
			c.call(t.Context(), "getMe", nil, maxResponseBytes),
			c.send(t.Context(), inbox.Delivery{ChatID: 7, Text: "x", ReplyTo: 3, ThreadID: 4}, true, true),
		} {
			if s := fmt.Sprintf("%v %+v %#v", resp, resp, resp); strings.Contains(s, secretHalf) {
				t.Errorf("%s %d: %s", name, i, s)
			}
		}
		c.close()
		server.Close()
	}
	c := unfenced(newEndpoint("http://127.0.0.1:1", mustToken(t), nil))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if resp := c.send(ctx, inbox.Delivery{ChatID: 7, Text: "x"}, true, true); resp.class != broken || resp.maybeTaken ||
		strings.Contains(resp.Error(), secretHalf) {
		t.Errorf("cancelled before it left: %+v", resp)
	}
}

func TestWhatASendAsksFor(t *testing.T) {
	tg := simtest.Start(t)
	tg.Customer(7, "hello")
	c := unfenced(newEndpoint(tg.URL, mustToken(t), nil))
	defer c.close()
	text := "a*b_c [x]( <b> \U0001F600"
	resp := c.send(t.Context(), inbox.Delivery{ChatID: 7, Text: text, ThreadID: 1}, true, true)
	if resp.class != taken || messageID(resp.result) == 0 {
		t.Fatal(resp)
	}
	p := tg.Calls("sendMessage")[0].Params
	if p["text"] != text || p["chat_id"] != "7" || p["allow_sending_without_reply"] != "true" || p["parse_mode"] != "" ||
		p["message_thread_id"] != "" {
		t.Errorf("%v", p)
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		header http.Header
		want   class
		maybe  bool
		wait   time.Duration
	}{
		{200, `{"ok":true,"result":true}`, nil, taken, false, 0},
		{200, ``, nil, broken, true, 0},
		{200, `null`, nil, broken, true, 0},
		{200, `[]`, nil, broken, true, 0},
		{200, `{"result":{}}`, nil, broken, true, 0},
		{200, `{"ok":"true"}`, nil, broken, true, 0},
		{200, `{"ok":false}`, nil, broken, true, 0},
		{200, `{"ok":false,"error_code":403,"description":"Forbidden"}`, nil, refused, false, 0},
		{403, `{"ok":false,"description":"Forbidden"}`, nil, refused, false, 0},
		{403, `<html>`, nil, broken, false, 0},
		{302, ``, nil, broken, false, 0},
		{502, `<html>`, nil, broken, true, 0},
		{500, `{"ok":false,"error_code":500,"description":"Internal Server Error: restart"}`, nil, broken, false, 0},
		{500, `{"ok":false,"error_code":500,"description":"Internal Server Error"}`, nil, broken, true, 0},
		{401, `{"ok":false,"error_code":401,"description":"Unauthorized"}`, nil, unauthorized, false, 0},
		{404, `{"ok":false,"error_code":404,"description":"Not Found"}`, nil, unauthorized, false, 0},
		{421, `{"ok":false,"error_code":421,"description":"Misdirected Request"}`, nil, unauthorized, false, 0},
		{409, `{"ok":false,"error_code":409,"description":"Conflict: x"}`, nil, conflict, false, 0},
		{429, `{"ok":false,"error_code":429,"description":"x","parameters":{"retry_after":7}}`, nil, flooded, false,
			7 * time.Second},
		{429, `{"ok":false,"error_code":"429","description":"x","parameters":{"retry_after":"7"}}`, nil, flooded, false,
			7 * time.Second},
		{429, `{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 9","parameters":null}`, nil,
			flooded, false, 9 * time.Second},
		{429, `{"ok":false,"error_code":429}`, http.Header{"Retry-After": {"3"}}, flooded, false, 3 * time.Second},
		{420, `{"ok":false,"error_code":420,"description":"FLOOD_WAIT_X","parameters":{"retry_after":7}}`, nil, flooded,
			false, 7 * time.Second},
		{429, `{"ok":false,"error_code":429,"parameters":{"retry_after":1.5}}`, nil, flooded, false, 1500 * time.Millisecond},
		{429, `{"ok":false,"error_code":429,"parameters":{"retry_after":0}}`, nil, flooded, false, 0},
		{429, `{"ok":false,"error_code":429,"parameters":{"retry_after":1000000000000000000}}`, nil, flooded, false,
			30 * 24 * time.Hour},
		{429, `{"ok":false,"error_code":429,"parameters":{"retry_after":1e999}}`, nil, flooded, false, 0},
		{429, `{"ok":false,"error_code":429,"parameters":{"retry_after":true}}`, nil, flooded, false, 0},
		{429, `{"ok":false,"error_code":429,"parameters":[]}`, nil, flooded, false, 0},
		{429, `{"ok":false,"error_code":429}`, http.Header{"Retry-After": {"Tue, 01 Jan 2999 00:00:00 GMT"}}, flooded, false,
			30 * 24 * time.Hour},
		{429, `{"ok":false,"error_code":429}`, http.Header{"Retry-After": {"Sat, 01 Jan 2000 00:00:00 GMT"}}, flooded,
			false, 0},
		{429, `{"ok":false,"error_code":429}`, http.Header{"Retry-After": {"soon"}}, flooded, false, 0},
		{429, `<html>slow down</html>`, http.Header{"Retry-After": {"3"}}, flooded, false, 3 * time.Second},
		{429, ``, nil, flooded, false, 0},
		{429, `{"ok":false,"error_code":429,"parameters":{"retry_after":-1}}`, nil, flooded, false, 0},
		{429, `{"ok":false,"error_code":429,"parameters":{"retry_after":1e300}}`, nil, flooded, false, 30 * 24 * time.Hour},
	} {
		resp := judge(c.status, c.header, []byte(c.body))
		if resp.class != c.want || resp.maybeTaken != c.maybe || resp.retryAfter != c.wait {
			t.Errorf("%d %s: %+v", c.status, c.body, resp)
		}
	}
}

// TestALapseWhileConnecting : the lock is found to have lapsed after a request has begun and before it is written.
// Nothing of it can be taken for a request.
func TestALapseWhileConnecting(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			return // less than a request
		}
		asked.Add(1)
		fmt.Fprint(w, `{"ok":true,"result":{}}`)
	}))
	defer server.Close()
	var held atomic.Bool
	c := newEndpoint(server.URL, mustToken(t), nil).while(held.Load)
	defer c.close()
	dial, lapses := c.transport.DialContext, true
	c.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		held.Store(!lapses)
		return conn, err
	}
	send := func() response {
		held.Store(true)
		return c.send(t.Context(), inbox.Delivery{ChatID: 7, Text: "hello"}, true, true)
	}
	if resp := send(); resp.class != lapsed || resp.maybeTaken || asked.Load() != 0 {
		t.Errorf("%v (%s), and the server was asked %d times", resp.class, resp.description, asked.Load())
	}
	lapses = false
	if resp := send(); resp.class != taken || asked.Load() != 1 {
		t.Errorf("%v (%s), and the server was asked %d times", resp.class, resp.description, asked.Load())
	}
}

// TestALockThatIsLostAfterTheRequestWasWritten : what the server has whole is not said to be unsent, or it would be
// sent again by whoever has the lock next.
func TestALockThatIsLostAfterTheRequestWasWritten(t *testing.T) {
	var came atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err == nil {
			came.Add(1)
		}
		fmt.Fprint(w, `{"ok":true,"result":{"message_id":9}}`)
	}))
	defer server.Close()
	for _, length := range []int{1, 4096} {
		for heldFor := range 4 {
			c := newEndpoint(server.URL, mustToken(t), nil)
			var asked int
			came.Store(0)
			held := func() bool { asked++; return asked <= heldFor }
			text := strings.Repeat("\u00e9", length)
			resp := c.while(held).send(t.Context(), inbox.Delivery{ChatID: 7, Text: text}, true, true)
			c.close()
			switch got := came.Load(); {
			case resp.class == lapsed && got != 0:
				t.Errorf("%d letters, held for %d questions: the server has it, and it is said to be unsent", length, heldFor)
			case resp.class == taken && got != 1, resp.class != lapsed && resp.class != taken:
				t.Errorf("%d letters, held for %d questions: %v, and the server got %d", length, heldFor, resp, got)
			case heldFor == 0 && resp.class != lapsed:
				t.Errorf("%d letters went out although the lock was not held", length)
			}
		}
	}
}
