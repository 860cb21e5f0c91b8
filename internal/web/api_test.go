package web_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/proctest"
)

type conversationList struct {
	Items      []inbox.Conversation
	NextCursor string `json:"next_cursor"`
}

type messageList struct {
	Items      []inbox.Message
	NextCursor string `json:"next_cursor"`
}

func TestConversationsOfTheAPI(t *testing.T) {
	r := newRig(t)
	for i := range int64(7) {
		r.customer(10+i, fmt.Sprintf("Customer %d", i), fmt.Sprintf("text %d", i))
	}
	closed := r.conversation(12)
	a := r.api("PATCH", fmt.Sprintf("/conversations/%d", closed.ID), map[string]string{"status": "closed"})
	if a.StatusCode != 200 || !strings.Contains(a.body, `"status":"closed"`) {
		t.Fatalf("closing: %s %s", a.Status, a.body)
	}

	var seen []int64
	for cursor, pages := "", 0; ; pages++ {
		var l conversationList
		r.api("GET", "/conversations?limit=3&cursor="+cursor, nil).into(t, &l)
		for _, c := range l.Items {
			seen = append(seen, c.Customer.ID)
			if c.LastMessage == nil || c.LastMessage.Text != fmt.Sprintf("text %d", c.Customer.ID-10) {
				t.Errorf("last message of %d: %+v", c.Customer.ID, c.LastMessage)
			}
		}
		if cursor = l.NextCursor; cursor == "" {
			if pages != 2 {
				t.Errorf("%d pages, want 3", pages+1)
			}
			break
		}
	}
	if want := []int64{16, 15, 14, 13, 12, 11, 10}; !slices.Equal(seen, want) {
		t.Errorf("the pages have %v, want %v", seen, want)
	}
	r.indexed()
	for query, want := range map[string]int{"status=open": 6, "status=closed": 1, "q=customer+3": 1, "q=TEXT+4": 1,
		"q=100%25": 0, "q=": 7, "q=%27%3B--": 0} {
		var l conversationList
		a := r.api("GET", "/conversations?"+query, nil)
		if a.into(t, &l); len(l.Items) != want || !strings.Contains(a.body, `"items":[`) {
			t.Errorf("%s: %d conversations, want %d: %s", query, len(l.Items), want, a.body)
		}
	}
	r.customer(12, "Customer 2", "again")
	if got := r.conversation(12); got.Status != inbox.Open {
		t.Errorf("a closed conversation is %s after the customer wrote, want open", got.Status)
	}
}

func TestBadInputOfTheAPI(t *testing.T) {
	r := newRig(t)
	r.customer(7, "Ana", "hello")
	c := fmt.Sprintf("/conversations/%d", r.conversation(7).ID)
	post := c + "/messages"
	for _, x := range []struct {
		method, path string
		body         any
		header       []string
		status       int
		words        string
	}{
		{"GET", "/conversations?limit=0", nil, nil, 400, "1 to 200"},
		{"GET", "/conversations?limit=201", nil, nil, 400, "1 to 200"},
		{"GET", "/conversations?limit=many", nil, nil, 400, "1 to 200"},
		{"GET", "/conversations?q=a;b", nil, nil, 400, "query"},
		{"GET", "/conversations?status=new", nil, nil, 400, "open or closed"},
		{"GET", "/conversations?cursor=17", nil, nil, 400, "next_cursor"},
		{"GET", "/conversations?q=" + strings.Repeat("x", 201), nil, nil, 400, "201"},
		{"GET", c + "/messages?before=YzE", nil, nil, 400, "next_cursor"}, // a cursor of the other list
		{"GET", "/conversations/999/messages", nil, nil, 404, "no such"},
		{"GET", "/conversations/999", nil, nil, 404, "no such"},
		{"PATCH", "/conversations/999", `{"status":"open"}`, nil, 404, "no such"},
		{"PATCH", c, `{"status":"new"}`, nil, 422, "open"},
		{"PATCH", c, `{}`, nil, 422, "open"},
		{"PATCH", c, `{"status":"open","x":1}`, nil, 400, `unknown field "x"`},
		{"POST", "/conversations/999/messages", `{"text":"hello"}`, nil, 404, "no such"},
		{"POST", post, `{"text":" \u200b\n"}`, nil, 422, "empty"},
		{"POST", post, `{"text":"\u2800"}`, nil, 422, "empty"},
		{"POST", post, `{}`, nil, 422, "missing"},
		{"POST", post, `{"text":null}`, nil, 422, "missing"},
		{"POST", post, `{"text":7}`, nil, 422, "string"},
		{"POST", post, `["text"]`, nil, 400, "object"},
		{"POST", post, `{"text":"a"} {"text":"b"}`, nil, 400, "more"},
		{"POST", post, `{"text":"a","reply":1}`, nil, 400, `unknown field "reply"`},
		{"POST", post, `{"text":`, nil, 400, "JSON"},
		{"POST", post, ``, nil, 400, "empty"},
		{"POST", post, ``, []string{"Content-Type", ""}, 400, "empty"},
		{"POST", post, `text=hello`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "application/json"},
		{"POST", post, `{"text":"a"}`, []string{"Content-Type", "text/plain"}, 415, "application/json"},
		{"POST", post, map[string]string{"text": strings.Repeat("é", inbox.MaxAnswer+1)}, nil, 422, "32001"},
		{"POST", post, `{"text":"` + strings.Repeat("x", 600<<10) + `"}`, nil, 413, "bytes"},
		{"POST", post, `{"text":"a"}`, []string{"Idempotency-Key", strings.Repeat("k", 256)}, 400, "256"},
		{"POST", post, `{"text":"a"}`, []string{"Idempotency-Key", "schlüssel"}, 400, "ASCII"},
		{"POST", "/messages/999/retry", nil, nil, 404, "no such"},
		{"POST", fmt.Sprintf("/messages/%d/retry", r.conversation(7).LastMessageID), nil, nil, 409, "only an answer"},
		{"GET", "/events?after=x", nil, nil, 400, "number"},
	} {
		mustBeProblem(t, r.api(x.method, x.path, x.body, x.header...), x.status, x.words)
	}
	if items, _, _ := r.store.Messages(t.Context(), r.conversation(7).ID, 10, 0); len(items) != 1 {
		t.Errorf("bad input has stored something: %+v", items)
	}
	a := r.call(http.DefaultClient, "GET", "/api/v1/conversations", nil, "Authorization", "Bearer wrong")
	if mustBeProblem(t, a, 401, "token"); !strings.Contains(a.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("WWW-Authenticate: %s", a.Header.Get("WWW-Authenticate"))
	}
}

func TestAnAnswerThroughTheAPI(t *testing.T) {
	r := newRig(t)
	r.customer(7, "Ana", "hello")
	c := r.conversation(7)
	post := fmt.Sprintf("/conversations/%d/messages", c.ID)
	var m inbox.Message
	longest := strings.Repeat("😀", inbox.MaxAnswer)
	for _, text := range []string{"Line one\r\nline two", "\u202e a\x00b", longest} {
		a := r.api("POST", post, map[string]string{"text": text})
		a.into(t, &m)
		if a.StatusCode != 202 || m.Text != inbox.CleanText(text) || m.Direction != inbox.Out || m.Delivery != inbox.Queued ||
			m.ConversationID != c.ID || m.Author.Kind != inbox.ByAPI {
			t.Fatalf("%s %.300s", a.Status, a.body)
		}
	}
	for i := 0; ; i++ { // the last one has many parts
		r.deliver(inbox.Unknown, "the line broke")
		var l messageList
		if r.api("GET", post+"?limit=1", nil).into(t, &l); l.Items[0].Delivery == inbox.Unknown {
			m = l.Items[0]
			break
		}
		if i > 30 {
			t.Fatalf("still %s", l.Items[0].Delivery)
		}
	}
	if m.Error == "" {
		t.Error("unknown without a word why")
	}
	retry := fmt.Sprintf("/messages/%d/retry", m.ID)
	if a := r.api("POST", retry, nil); a.StatusCode != 202 || !strings.Contains(a.body, `"delivery":"queued"`) {
		t.Errorf("retry: %s %.200s", a.Status, a.body)
	}
	mustBeProblem(t, r.api("POST", retry, nil), 409)

	var seen []int64
	for before := ""; ; {
		var l messageList
		r.api("GET", post+"?limit=2&before="+before, nil).into(t, &l)
		for _, m := range l.Items {
			seen = append(seen, m.ID)
		}
		if before = l.NextCursor; before == "" {
			break
		}
	}
	if len(seen) != 4 || !slices.IsSortedFunc(seen, func(a, b int64) int { return int(b - a) }) {
		t.Errorf("pages of messages: %v, want 4, newest first", seen)
	}
}

// The same key 50 times at once, through the API and the form of the page: one message.
func TestOneKeyOneMessage(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		r := newRigOn(t, openStore(t, database))
		r.customer(7, "Ana", "hello")
		c := r.conversation(7)
		client := r.signIn("alice")
		post := fmt.Sprintf("/api/v1/conversations/%d/messages", c.ID)
		ids := make([]int64, 50)
		var wg sync.WaitGroup
		for i := range ids {
			wg.Go(func() {
				a, err := r.try(client, "POST", post, `{"text":"once"}`, "Idempotency-Key", "k1")
				if err != nil || a.StatusCode != 202 {
					t.Errorf("%v %s %s", err, a.Status, a.body)
					return
				}
				var m inbox.Message
				a.into(t, &m)
				ids[i] = m.ID
			})
		}
		wg.Wait()
		if slices.Sort(ids); ids[0] != ids[49] || ids[0] == 0 {
			t.Errorf("the answers name messages %d to %d, want one", ids[0], ids[49])
		}
		a := r.call(client, "POST", post, `{"text":"once"}`, "Idempotency-Key", "k1")
		if a.Header.Get("Idempotent-Replayed") != "true" {
			t.Error("a repeat does not say that it is one")
		}
		mustBeProblem(t, r.call(client, "POST", post, `{"text":"twice"}`, "Idempotency-Key", "k1"), 422, "Idempotency-Key")
		// Another author may use the same key.
		a = r.api("POST", fmt.Sprintf("/conversations/%d/messages", c.ID), `{"text":"once"}`, "Idempotency-Key", "k1")
		if a.StatusCode != 202 || a.Header.Get("Idempotent-Replayed") != "" {
			t.Errorf("the key of another author: %s %s", a.Status, a.body)
		}
		items, _, err := r.store.Messages(t.Context(), c.ID, 100, 0)
		if r.ok(err); len(items) != 3 {
			t.Errorf("%d messages, want the customer's and one of each author", len(items))
		}
		client.CloseIdleConnections()
	})
}

func TestARevokedTokenIsRefused(t *testing.T) {
	r := newRig(t)
	if a := r.api("GET", "/conversations", nil); a.StatusCode != 200 {
		t.Fatal(a.Status)
	}
	token, err := r.store.TokenByHash(t.Context(), hashOf(r.token()))
	r.ok(err)
	r.ok(r.store.RevokeToken(t.Context(), token.Name))
	mustBeProblem(t, r.api("GET", "/conversations", nil), 401, "revoked")
}

// While the database is away the API says so at once, and works again by itself.
func TestTheDatabaseGoesAwayAndComesBack(t *testing.T) {
	server := pgtest.Server(t)
	r := newRigOn(t, openStore(t, server.URL()))
	r.customer(7, "Ana", "hello")
	id := r.conversation(7).ID
	client := r.signIn("alice")
	r.token()
	server.Stop()
	eventually(t, "/readyz is 503", func() bool {
		a := r.call(http.DefaultClient, "GET", "/readyz", nil)
		return a.StatusCode == 503 && strings.Contains(a.body, "reasons")
	})
	for _, a := range []response{
		r.api("GET", "/conversations", nil), r.api("POST", fmt.Sprintf("/conversations/%d/messages", id), `{"text":"x"}`),
		r.api("GET", "/events?after=0", nil), r.call(client, "GET", "/api/v1/conversations", nil),
	} {
		mustBeProblem(t, a, 503)
		if a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", a.Request.URL.Path)
		}
	}
	if a := r.call(http.DefaultClient, "GET", "/healthz", nil); a.StatusCode != 200 {
		t.Errorf("/healthz: %s", a.Status)
	}
	a := r.call(client, "GET", fmt.Sprintf("/conversations/%d", id), nil)
	if page := parse(t, a.body); a.StatusCode != 503 || !strings.Contains(page.words(), "The database is not available") ||
		strings.Contains(page.words(), "Ana") {
		t.Errorf("the page: %s %s", a.Status, page.words())
	}
	a = r.call(client, "GET", "/fragments/banner", nil)
	if a.StatusCode != 503 || !strings.Contains(a.body, "The database is not available") ||
		a.Header.Get("X-Banner") == "" {
		t.Errorf("the banner: %s %s", a.Status, a.body)
	}
	server.Start()
	eventually(t, "the page is back", func() bool {
		return r.call(client, "GET", fmt.Sprintf("/conversations/%d", id), nil).StatusCode == 200
	})
	if a := r.api("GET", "/conversations", nil); a.StatusCode != 200 {
		t.Errorf("the API when the database is back: %s", a.Status)
	}
	client.CloseIdleConnections()
}

func TestWithoutADatabase(t *testing.T) {
	r := newRigOn(t, unconnected(""))
	if a := r.call(http.DefaultClient, "GET", "/readyz", nil); a.StatusCode != 503 ||
		!strings.Contains(a.body, "DATABASE_URL") {
		t.Errorf("/readyz: %s %s", a.Status, a.body)
	}
	if a := r.call(browser(t), "GET", "/", nil); a.StatusCode != 503 ||
		!strings.Contains(parse(t, a.body).words(), "DATABASE_URL") {
		t.Errorf("the page: %s %s", a.Status, a.body)
	}
	if a := r.call(browser(t), "GET", "/sign-in/x", nil); a.StatusCode != 503 {
		t.Errorf("a sign-in link: %s", a.Status)
	}
	mustBeProblem(t, r.call(http.DefaultClient, "GET", "/api/v1/conversations", nil, "Authorization", "Bearer x"),
		503, "DATABASE_URL")
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	proctest.Eventually(t, soon, what, ok)
}

// What programs and proxies send that know no better.
func TestHeadersAndParametersLeftToOthers(t *testing.T) {
	r := newRig(t)
	r.customer(7, "Ana", "hello")
	post := fmt.Sprintf("/conversations/%d/messages", r.conversation(7).ID)
	const curls = "application/x-www-form-urlencoded" // of curl -d
	for _, media := range []string{"", curls} {
		if a := r.api("POST", post, ` {"text":"by a program"}`, "Content-Type", media); a.StatusCode != 202 {
			t.Errorf("JSON that is called %q: %s", media, a.Status)
		}
	}
	alice := r.signIn("alice")
	for _, media := range []string{"", curls} {
		mustBeProblem(t, r.call(alice, "POST", "/api/v1"+post, `{"text":"by another site's form"}`, "Content-Type", media),
			415, "application/json")
	}

	for _, path := range []string{"/conversations?status=&q=&limit=&cursor=", post + "?limit=&before="} {
		if a := r.api("GET", path, nil); a.StatusCode != 200 {
			t.Errorf("%s: %s", path, a.Status)
		}
	}
	s := r.stream("after=") // begins now
	defer s.close()
	m := r.answer(r.conversation(7).ID, "new")
	if e, _ := s.next(); !strings.Contains(e.data, fmt.Sprintf(`"message_id":%d,`, m.ID)) {
		t.Errorf("after= begins with %+v", e)
	}

	// A proxy's password goes through to here; the session counts.
	basic := []string{"Authorization", "Basic YWxpY2U6c2VjcmV0"}
	if a := r.call(alice, "GET", "/api/v1/conversations", nil, basic...); a.StatusCode != 200 {
		t.Errorf("signed in behind a proxy with a password: %s", a.Status)
	}
	mustBeProblem(t, r.call(http.DefaultClient, "GET", "/api/v1/conversations", nil, basic...), 401, "Bearer")
	mustBeProblem(t, r.call(alice, "GET", "/api/v1/conversations", nil, "Authorization", "Bearer"), 401, "Bearer")
}

// An error tells its reader what to do, not what we were doing.
func TestAConflictInPlainWords(t *testing.T) {
	r := newRig(t)
	r.customer(7, "Ana", "hello")
	a := r.api("POST", fmt.Sprintf("/messages/%d/retry", r.conversation(7).LastMessageID), nil)
	mustBeProblem(t, a, 409, "only an answer that failed")
	if strings.Contains(a.body, "conflict:") {
		t.Errorf("the words of our code are in %s", a.body)
	}
}
