package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"tandem/internal/inbox"
)

func TestCannedAnswersThroughTheAPI(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		r := newRigOn(t, openStore(t, database))
		alice, bob := r.signIn("alice"), r.signIn("bob")
		as := func(c *http.Client, method, path, body string, status int) (canned inbox.Canned, names []string) {
			t.Helper()
			header := []string{"Content-Type", "application/json", "Origin", r.http.URL}
			if c == http.DefaultClient {
				header = append(header, "Authorization", "Bearer "+r.token())
			}
			var send any
			if body != "" {
				send = body
			}
			a := r.call(c, method, "/api/v1/canned"+path, send, header...)
			if a.StatusCode != status {
				t.Errorf("%s %s %.40s: %s %.200s, want %d", method, path, body, a.Status, a.body, status)
				return
			}
			if method == "GET" {
				var list struct{ Items []inbox.Canned }
				a.into(t, &list)
				for _, c := range list.Items {
					names = append(names, c.Name)
				}
			} else if status < 300 && status != 204 {
				a.into(t, &canned)
			}
			return canned, names
		}
		program := http.DefaultClient
		own, _ := as(alice, "POST", "", `{"name":" Hello ","text":"Hello {first_name}","folder":"greetings",
			"then":{"tags":["VIP"],"status":"closed"}}`, 201)
		if own.ID == 0 || own.Shared || own.Name != "Hello" || own.Folder != "greetings" ||
			!slices.Equal(own.Then.Tags, []string{"VIP"}) || *own.Then.Status != inbox.Closed || own.Then.Assignee != nil {
			t.Errorf("made %+v", own)
		}
		shared, _ := as(program, "POST", "", `{"name":"Bye","text":"Goodbye"}`, 201)
		if !shared.Shared {
			t.Error("what a program makes is not shared")
		}
		sees := func(c *http.Client, want ...string) {
			t.Helper()
			if _, names := as(c, "GET", "", "", 200); !slices.Equal(names, want) {
				t.Errorf("sees %q, want %q", names, want)
			}
		}
		sees(alice, "Bye", "Hello")
		sees(bob, "Bye")
		sees(program, "Bye")
		path := fmt.Sprintf("/%d", own.ID)
		as(bob, "PATCH", path, `{"name":"Mine now"}`, 404)
		as(bob, "DELETE", path, "", 404)
		as(program, "PATCH", path, `{"name":"Mine now"}`, 404)
		if c, _ := as(alice, "PATCH", path, `{"shared":true}`, 200); !c.Shared || c.Text != own.Text {
			t.Errorf("shared: %+v", c)
		}
		sees(bob, "Bye", "Hello")
		as(bob, "PATCH", path, `{"shared":false,"text":"Hi"}`, 200)
		sees(alice, "Bye")
		sees(bob, "Bye", "Hello")
		as(bob, "DELETE", path, "", 204)
		as(bob, "DELETE", path, "", 404)
		sees(bob, "Bye")
		for _, wrong := range []string{`{}`, `{"name":"x"}`, `{"name":" ","text":"x"}`, `{"name":"x","text":" "}`,
			`{"name":"x","text":"x","shared":false}`, `{"name":"x","text":"x","then":{"status":"gone"}}`,
			`{"name":"x","text":"x","then":{"tags":[""]}}`, `{"name":"x","text":"x","then":{"assignee":-1}}`,
			`{"name":"` + strings.Repeat("x", inbox.MaxCannedName+1) + `","text":"x"}`,
			`{"name":"x","text":"` + strings.Repeat("x", inbox.MaxCannedText+1) + `"}`} {
			as(program, "POST", "", wrong, 422)
		}
	})
}

// The page on which they are kept works without the script.
func TestCannedAnswersWithoutTheScript(t *testing.T) {
	r := newRig(t)
	alice, bob := r.signIn("alice"), r.signIn("bob")
	add := func(name, shared string, status int) response {
		t.Helper()
		a := r.call(alice, "POST", "/canned", url.Values{"name": {name}, "text": {"Hello <b>{first_name}</b>"},
			"shared": {shared}})
		if a.StatusCode != status {
			t.Errorf("%q: %s", name, a.Status)
		}
		return a
	}
	add("mine", "", 303)
	add("ours", "yes", 303)
	if a := add(" ", "", 422); !strings.Contains(a.body, "It is empty") && !strings.Contains(a.body, "is empty") ||
		!strings.Contains(a.body, "{first_name}") {
		t.Error("what was refused is not there any more")
	}
	if w := r.page(bob, "/canned").words(); !strings.Contains(w, "ours") || strings.Contains(w, "mine") ||
		!strings.Contains(w, "Hello <b>{first_name}</b>") {
		t.Errorf("bob sees %s", w)
	}
	for _, f := range r.page(alice, "/canned").class("saved")[0].tag("form") {
		if a := r.call(alice, "POST", f.attr("action"), url.Values{}); a.StatusCode != 303 {
			t.Errorf("removing: %s", a.Status)
		}
	}
	if w := r.page(bob, "/canned").words(); !strings.Contains(w, "There are none yet") {
		t.Errorf("bob still sees %s", w)
	}
}
