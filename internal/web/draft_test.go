package web_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "modernc.org/sqlite"

	"tandem/internal/inbox"
	"tandem/internal/web"
)

// failing is a real store of which storing an answer fails as one wants.
type failing struct {
	inbox.OperatorStore
	mu    sync.Mutex
	err   error
	panic bool
}

func (f *failing) set(err error, panic bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.panic = err, panic
}

func (f *failing) AddAnswer(ctx context.Context, id int64, a inbox.Answer) (inbox.Message, bool, error) {
	f.mu.Lock()
	err, fault := f.err, f.panic
	f.mu.Unlock()
	if fault {
		panic("a fault of ours")
	}
	if err != nil {
		return inbox.Message{}, false, err
	}
	return f.OperatorStore.AddAnswer(ctx, id, a)
}

// typed is the answer that a page gives back: the text, and where and under what key it goes when it is sent again.
func typed(t *testing.T, body string) (action string, fields url.Values) {
	t.Helper()
	page := parse(t, body)
	for _, id := range []string{"lost-text", "compose-text"} {
		area := page.id(id)
		if area.Data == "" {
			continue
		}
		fields = url.Values{"text": {area.text()}}
		for form := area.Parent; form != nil; form = form.Parent {
			if form.Data == "form" {
				action = (&node{form}).attr("action")
				for _, input := range (&node{form}).tag("input") {
					fields.Set(input.attr("name"), input.attr("value"))
				}
			}
		}
		return action, fields
	}
	return "", url.Values{}
}

// Whatever keeps an answer from being stored, and however often: the page that says so has the text, and when the
// trouble is over one press stores it, once.
func TestNoAnswerIsLostWithoutTheScript(t *testing.T) {
	db := openStore(t, "sqlite:"+filepath.Join(t.TempDir(), "tandem.db"))
	broken := &failing{OperatorStore: db}
	r := newRigOn(t, db, func(c *web.Config) { c.Store = broken })
	r.customer(7, "Ana", "hello")
	here := fmt.Sprintf("/conversations/%d", r.conversation(7).ID)
	text := "First line\n\n<b>second</b> & \"third\" 😀 %41"
	stored := func() (n int) {
		items, _, err := r.store.Messages(t.Context(), r.conversation(7).ID, 200, 0)
		r.ok(err)
		for _, m := range items {
			if m.Text == text {
				n++
			}
		}
		return n
	}
	signedIn := r.signIn("alice")
	defer signedIn.CloseIdleConnections()
	for _, x := range []struct {
		name   string
		status int
		err    error
		panic  bool
		client func() *http.Client
	}{
		{"busy", 503, &inbox.Error{Kind: inbox.Busy, Reason: "much is going on"}, false, nil},
		{"too long", 503, context.DeadlineExceeded, false, nil},
		{"full", 503, &inbox.Error{Kind: inbox.Full, Reason: "full", Reading: true}, false, nil},
		{"away", 503, &inbox.Error{Kind: inbox.Unreachable, Reason: "away"}, false, nil},
		{"conflict", 409, &inbox.Error{Kind: inbox.Conflict, Reason: "not now"}, false, nil},
		{"fault", 500, errors.New("a fault"), false, nil},
		{"panic", 500, nil, true, nil},
		{"signed out", 401, nil, false, func() *http.Client { return browser(t) }},
	} {
		before := stored()
		broken.set(x.err, x.panic)
		action, fields := typed(t, r.call(signedIn, "GET", here, nil).body)
		key := fields.Get("key")
		fields.Set("text", text)
		c := signedIn
		if x.client != nil {
			c = x.client()
		}
		for n := range 3 {
			a := r.call(c, "POST", action, fields)
			if a.StatusCode != x.status {
				t.Fatalf("%s: %s\n%s", x.name, a.Status, a.body)
			}
			if action, fields = typed(t, a.body); fields.Get("text") != text || fields.Get("key") != key || action == "" {
				t.Fatalf("%s: the answer to try %d has %q, for %s", x.name, n+1, fields, action)
			}
		}
		broken.set(nil, false)
		for range 2 {
			if a := r.call(signedIn, "POST", action, fields); a.StatusCode != 303 {
				t.Errorf("%s: afterwards: %s", x.name, a.Status)
			}
		}
		if n := stored() - before; n != 1 {
			t.Errorf("%s: stored %d times", x.name, n)
		}
	}
	// What another site sent may not be the operator's own words: they are for him to copy, and no button sends them.
	a := r.call(signedIn, "POST", here+"/answers", url.Values{"text": {text}, "key": {"k"}},
		"Sec-Fetch-Site", "cross-site")
	if action, fields := typed(t, a.body); a.StatusCode != 403 || fields.Get("text") != text || action != "" ||
		strings.Contains(a.body, "<button class=\"primary\">Send") {
		t.Errorf("from another site: %s, %q for %q", a.Status, fields, action)
	}
	// Too long for the address: what was read of it comes back, and never half a letter.
	for name, body := range map[string]string{"known": strings.Repeat("%F0%9F%98%80", 200_000),
		"letters": strings.Repeat("xyz ", 400_000)} {
		a = r.call(signedIn, "POST", here+"/answers", "key=k&text="+body, "Content-Type", "application/x-www-form-urlencoded")
		if _, fields := typed(t, a.body); a.StatusCode != 413 || len(fields.Get("text")) < 300_000 ||
			fields.Get("key") != "k" || strings.Contains(fields.Get("text"), "%") {
			t.Errorf("%s: %s, %d bytes are left, key %q", name, a.Status, len(fields.Get("text")), fields.Get("key"))
		}
	}
	if a := r.call(signedIn, "POST", here+"/answers",
		url.Values{"text": {text}, "key": {"schlüssel"}}); a.StatusCode != 400 {
		t.Errorf("a bad key: %s", a.Status)
	} else if _, fields := typed(t, a.body); fields.Get("text") != text || strings.Contains(fields.Get("key"), "ü") {
		t.Errorf("a bad key: %q is left", fields)
	}
	if a := r.call(signedIn, "POST", "/conversations/999/answers",
		url.Values{"text": {text}, "key": {"k"}}); a.StatusCode != 404 {
		t.Errorf("no conversation: %s", a.Status)
	} else if _, fields := typed(t, a.body); fields.Get("text") != text {
		t.Errorf("no conversation: %q is left", fields)
	}
}

// While another program keeps SQLite locked everything can be read, the page says what is the matter, and an answer
// stays with its author, twice in a row, too.
func TestReadingGoesOnWhileNothingCanBeStored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tandem.db")
	r := newRigOn(t, openStore(t, "sqlite:"+path))
	r.customer(7, "Ana", "hello")
	here := fmt.Sprintf("/conversations/%d", r.conversation(7).ID)
	c := r.signIn("alice")
	defer c.CloseIdleConnections()
	link := r.link("bob")
	action, fields := typed(t, r.call(c, "GET", here, nil).body)
	other, err := sql.Open("sqlite", path)
	r.ok(err)
	defer other.Close()
	lock, err := other.Conn(t.Context())
	r.ok(err)
	defer lock.Close()
	eventually(t, "the lock is ours", func() bool {
		_, err := lock.ExecContext(t.Context(), `BEGIN IMMEDIATE`)
		return err == nil
	})
	fields.Set("text", "Hello Ana")
	for range 2 {
		a := r.call(c, "POST", action, fields)
		if a.StatusCode != 503 || a.Header.Get("Retry-After") == "" ||
			!strings.Contains(a.body, "is locked by another program") {
			t.Fatalf("an answer: %s %s", a.Status, parse(t, a.body).words())
		}
		key := fields.Get("key")
		if action, fields = typed(t, a.body); fields.Get("text") != "Hello Ana" || fields.Get("key") != key {
			t.Fatalf("what was typed is lost: %q", fields)
		}
	}
	for _, path := range []string{"/", here, "/fragments/banner"} {
		a := r.call(c, "GET", path, nil)
		if page := parse(t, a.body).words(); a.StatusCode != 200 || !strings.Contains(page, "Nothing can be stored now") ||
			!strings.Contains(page, "is locked by another program") {
			t.Errorf("%s: %s %s", path, a.Status, page)
		}
	}
	for _, path := range []string{"/fragments/list", "/fragments" + here, "/fragments" + here + "/messages?id=1",
		"/sign-in/" + link,
		"/api/v1/conversations", "/api/v1" + here + "/messages"} {
		if a := r.call(c, "GET", path, nil); a.StatusCode != 200 {
			t.Errorf("%s: %s %s", path, a.Status, a.body)
		}
	}
	for path, form := range map[string]url.Values{here + "/status": {"status": {"closed"}},
		"/sign-in": {"secret": {link}}} {
		a := r.call(c, "POST", path, form)
		if page := parse(t, a.body).words(); a.StatusCode != 503 || !strings.Contains(page, "Nothing can be stored now") ||
			strings.Contains(page, "Nothing can be read") {
			t.Errorf("%s: %s %s", path, a.Status, page)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	_, err = lock.ExecContext(ctx, `ROLLBACK`)
	r.ok(err)
	eventually(t, "the answer is stored", func() bool { return r.call(c, "POST", action, fields).StatusCode == 303 })
	if a := r.call(c, "POST", action, fields); a.StatusCode != 303 {
		t.Errorf("once more: %s", a.Status)
	}
	items, _, err := r.store.Messages(t.Context(), r.conversation(7).ID, 10, 0)
	if r.ok(err); len(items) != 2 {
		t.Errorf("stored: %+v", items)
	}
	eventually(t, "the banner is gone", func() bool {
		return !strings.Contains(r.call(c, "GET", here, nil).body, "Nothing can be stored now")
	})
}
