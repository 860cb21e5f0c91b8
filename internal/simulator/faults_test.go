package simulator_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
)

// raw sends a message to chat 7 and gives what came back, undecoded.
func raw(ctx context.Context, tg *simtest.Telegram, text string) (
	status int, header http.Header, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, "POST", tg.URL+"/bot"+simtest.Token+"/sendMessage",
		strings.NewReader(`{"chat_id":7,"text":"`+text+`"}`))
	if err != nil {
		return 0, nil, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(b), err
}

func TestFaultAnswers(t *testing.T) {
	tg := simtest.Start(t)
	tg.Customer(7, "hello")
	for name, c := range map[string]struct {
		fault  simulator.Fault
		status int
		body   string // a part of it
		header string // Retry-After or Location
	}{
		"401":             {simulator.Unauthorized(), 401, `"description":"Unauthorized"`, ""},
		"403":             {simulator.Blocked(), 403, "bot was blocked by the user", ""},
		"400":             {simulator.Refused(400, "Bad Request: PEER_ID_INVALID"), 400, "PEER_ID_INVALID", ""},
		"404":             {simulator.NotFound(), 404, "Not Found", ""},
		"migrated":        {simulator.Migrated(-1001), 400, `"parameters":{"migrate_to_chat_id":-1001}`, ""},
		"429":             {simulator.Flood(3600), 429, `"parameters":{"retry_after":3600}`, "3600"},
		"429 as a string": {simulator.FloodString(4), 429, `"parameters":{"retry_after":"4"}`, ""},
		"429 header only": {simulator.FloodHeader(6), 429, `"Too Many Requests"}`, "6"},
		"429 bare":        {simulator.FloodMissing(), 429, `"Too Many Requests"}`, ""},
		"500":             {simulator.Restart(), 500, "Internal Server Error: restart", ""},
		"502":             {simulator.BadGateway(), 502, "<center><h1>502 Bad Gateway", ""},
		"504":             {simulator.GatewayTimeout(), 504, "504 Gateway Time-out", ""},
		"captive portal":  {simulator.CaptivePortal(), 200, "<html>", ""},
		"empty":           {simulator.Empty(), 200, "", ""},
		"truncated":       {simulator.Truncated(), 200, `{"ok":true,"result":[`, ""},
		"redirect":        {simulator.Redirect("/elsewhere"), 302, "", "/elsewhere"},
	} {
		tg.ClearFaults()
		tg.AddFault(c.fault)
		status, header, body, err := raw(t.Context(), tg, "x")
		if err != nil || status != c.status || !strings.Contains(body, c.body) ||
			header.Get("Retry-After")+header.Get("Location") != c.header {
			t.Errorf("%s: %d %q %v (%v)", name, status, body, header, err)
		}
	}
	tg.ClearFaults()
	if sent := tg.Sent(); len(sent) != 0 {
		t.Errorf("a fault let messages through: %+v", sent)
	}
	if status, _, _, err := raw(t.Context(), tg, "x"); status != 200 || err != nil {
		t.Errorf("after the faults were cleared: %d (%v)", status, err)
	}
}

func TestBrokenConnections(t *testing.T) {
	tg := simtest.Start(t)
	tg.Customer(7, "hello")
	for _, c := range []struct {
		fault    simulator.Fault
		accepted bool
	}{{simulator.Cut(), false}, {simulator.CutAfter(), true}} {
		tg.Forget()
		c.fault.Times = 1
		tg.AddFault(c.fault)
		if _, _, _, err := raw(t.Context(), tg, "x"); err == nil ||
			!strings.Contains(err.Error(), "reset") && !strings.Contains(err.Error(), "EOF") {
			t.Errorf("%s: the client saw %v", c.fault.Name(), err)
		}
		if got := len(tg.Sent()) == 1; got != c.accepted {
			t.Errorf("%s: accepted is %t, want %t", c.fault.Name(), got, c.accepted)
		}
		calls := tg.Calls("sendMessage")
		if len(calls) != 1 || calls[0].Fault != c.fault.Name() || calls[0].Status != 0 {
			t.Errorf("%s: recorded as %+v", c.fault.Name(), calls)
		}
	}
}

func TestHangingEndsWhenCleared(t *testing.T) {
	tg := simtest.Start(t)
	tg.Customer(7, "hello")
	for _, c := range []struct {
		fault simulator.Fault
		sent  int
	}{{simulator.Stall(), 0}, {simulator.StallAfter(), 1}} {
		tg.Forget()
		id := tg.AddFault(c.fault)
		done := make(chan error, 1)
		go func() { _, _, _, err := raw(t.Context(), tg, "x"); done <- err }()
		err := tg.WaitFor(5*time.Second,
			func() bool { return len(tg.Faults()) == 1 && tg.Faults()[0].Seen == 1 && len(tg.Sent()) == c.sent })
		if err != nil {
			t.Fatalf("%s: the call did not arrive: %v", c.fault.Name(), err)
		}
		select {
		case err := <-done:
			t.Errorf("%s: answered with %v", c.fault.Name(), err)
		default:
		}
		tg.ClearFault(id)
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%s: the call succeeded", c.fault.Name())
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: still hangs after the fault was cleared", c.fault.Name())
		}
	}
}

func TestSlowAndLate(t *testing.T) {
	tg := simtest.Start(t)
	tg.Customer(7, "hello")
	for _, f := range []simulator.Fault{simulator.Dribble(300), simulator.Delay(200)} {
		id := tg.AddFault(f)
		start := time.Now()
		status, _, body, err := raw(t.Context(), tg, "x")
		if took := time.Since(start); err != nil || status != 200 || !strings.HasSuffix(body, "}") ||
			took < 200*time.Millisecond {
			t.Errorf("%s: %d %q after %v (%v)", f.Name(), status, body, took, err)
		}
		tg.ClearFault(id)
	}
	if n := len(tg.Sent()); n != 2 {
		t.Errorf("%d messages were accepted, want both", n)
	}
}

func TestFaultsAreNarrowed(t *testing.T) {
	tg := simtest.Start(t)
	tg.Customer(7, "hello")
	tg.Customer(8, "hello")
	f := simulator.Restart()
	f.Method, f.ChatID, f.Text, f.Skip, f.Times = "SENDMESSAGE", 7, "poison", 1, 2
	tg.AddFault(f)
	send := func(chat int, text string) int {
		return ask(t, tg, "sendMessage", p{"chat_id": chat, "text": text}).HTTP
	}
	for i, c := range []struct {
		chat int
		text string
		want int
	}{
		{7, "plain", 200}, {8, "poison", 200}, {7, "poison 1", 200}, {7, "poison 2", 500}, {7, "plain", 200},
		{7, "poison 3", 500}, {7, "poison 4", 200},
	} {
		if got := send(c.chat, c.text); got != c.want {
			t.Errorf("%d: %q to %d gives %d, want %d", i, c.text, c.chat, got, c.want)
		}
	}
	if left := tg.Faults(); len(left) != 0 {
		t.Errorf("a used-up fault is still there: %+v", left)
	}
}

func TestFaultInterruptsAWaitingPoll(t *testing.T) {
	tg := simtest.Start(t)
	waiting := pollLater(t, tg, t.Context(), p{"timeout": 50})
	tg.AddFault(simulator.Conflict())
	if r := need(t, waiting); r.Code != 409 {
		t.Errorf("the waiting poll: %v", r)
	}
	if a := ask(t, tg, "getUpdates", p{"timeout": 50}); a.Code != 409 {
		t.Errorf("the next one: %v", a)
	}
	if a := ask(t, tg, "getMe", nil); !a.OK {
		t.Errorf("getMe beside it: %v", a)
	}
	tg.ClearFaults()
	waiting = pollLater(t, tg, t.Context(), p{"timeout": 50, "offset": 3})
	cut := simulator.Cut()
	cut.Times = 1
	tg.AddFault(cut)
	if r := need(t, waiting); r.err == nil {
		t.Errorf("the cut poll: %v", r)
	}
	if a := ask(t, tg, "getMe", nil); !a.OK { // the poll used the fault up
		t.Errorf("getMe after the cut: %v", a)
	}
}
