package web_test

import (
	"cmp"
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"tandem/internal/inbox"
	"tandem/internal/web"
)

// A link is opened by a preview, by the person, pressed by many at once: one signs in, and then it is used up.
func TestTheLifeOfASignInLink(t *testing.T) {
	r := newRig(t)
	secret := r.link("alice")
	for range 3 {
		page := r.page(browser(t), "/sign-in/"+secret)
		forms := page.tag("form")
		if len(forms) != 1 || forms[0].attr("method") != "post" || forms[0].attr("action") != "/sign-in" ||
			!strings.Contains(page.words(), "Sign in as alice") {
			t.Fatalf("opening the link shows %s", page.words())
		}
	}
	var mu sync.Mutex
	codes := map[int]int{}
	var wg sync.WaitGroup
	var in *http.Client
	for range 20 {
		wg.Go(func() {
			c := browser(t)
			a, err := r.try(c, "POST", "/sign-in", url.Values{"secret": {secret}})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if codes[a.StatusCode]++; a.StatusCode == 303 {
				in = c
			}
		})
	}
	wg.Wait()
	if codes[303] != 1 || codes[410] != 19 {
		t.Fatalf("20 at once: %v, want one 303 and nineteen 410", codes)
	}
	if page := r.page(in, "/"); !strings.Contains(page.words(), "alice") ||
		strings.Contains(page.words(), "operator add") {
		t.Errorf("the one who signed in sees %s", page.words())
	}
	for _, a := range []response{
		r.call(browser(t), "GET", "/sign-in/"+secret, nil),
		r.call(browser(t), "POST", "/sign-in", url.Values{"secret": {secret}}),
		r.call(browser(t), "POST", "/sign-in", url.Values{}),
	} {
		if words := parse(t, a.body).words(); a.StatusCode != 410 || !strings.Contains(words, "does not work any more") ||
			!strings.Contains(words, "web operator add NAME") {
			t.Errorf("a used link: %s %s", a.Status, words)
		}
	}

	old, new := r.link("bob"), r.link("bob")
	if a := r.call(browser(t), "POST", "/sign-in", url.Values{"secret": {old}}); a.StatusCode != 410 {
		t.Errorf("a link that was replaced: %s, want 410", a.Status)
	}
	if a := r.call(browser(t), "POST", "/sign-in", url.Values{"secret": {new}}); a.StatusCode != 303 {
		t.Errorf("the new link: %s", a.Status)
	}
	_, err := r.store.IssueSignIn(t.Context(), "carol", hashOf("late"), time.Now().Add(-time.Second))
	r.ok(err)
	if a := r.call(browser(t), "GET", "/sign-in/late", nil); a.StatusCode != 410 {
		t.Errorf("an expired link: %s, want 410", a.Status)
	}
	if log := r.log.String(); strings.Contains(log, secret) || strings.Contains(log, new) {
		t.Error("a link's secret is in the log")
	}
}

func TestASession(t *testing.T) {
	r := newRig(t)
	c := browser(t)
	a := r.call(c, "POST", "/sign-in", url.Values{"secret": {r.link("alice")}})
	first := a.Response.Cookies()[0]
	if !first.HttpOnly || first.SameSite != http.SameSiteLaxMode || first.Secure || first.Name != "tandem" ||
		first.Path != "/" || first.MaxAge < 86400 {
		t.Errorf("the cookie over http: %s", a.Header.Get("Set-Cookie"))
	}
	if _, found, err := r.store.FindSession(t.Context(), first.Value); err != nil || found {
		t.Error("the store knows the session by the cookie's own value: a stolen database would open it")
	}
	// Signed in again, the id is another one and the old one is void.
	a = r.call(c, "POST", "/sign-in", url.Values{"secret": {r.link("alice")}})
	second := a.Response.Cookies()[0]
	if second.Value == first.Value {
		t.Error("signing in keeps the session's id")
	}
	if a := r.call(browser(t), "GET", "/fragments/banner", nil, "Cookie", "tandem="+first.Value); a.StatusCode != 401 {
		t.Errorf("the old session: %s", a.Status)
	}
	if a := r.call(c, "GET", "/fragments/banner", nil); a.StatusCode != 200 || len(a.Response.Cookies()) != 0 {
		t.Errorf("a used session: %s, %v; it must not be written at each request", a.Status, a.Response.Cookies())
	}
	// Signing out ends it for whoever has a copy of the cookie, too.
	if a := r.call(c, "POST", "/sign-out", nil); a.StatusCode != 303 {
		t.Errorf("signing out: %s", a.Status)
	}
	if a := r.call(browser(t), "GET", "/fragments/banner", nil, "Cookie", "tandem="+second.Value); a.StatusCode != 401 {
		t.Errorf("a copied session after signing out: %s", a.Status)
	}
	if a := r.call(c, "GET", "/", nil); !strings.Contains(a.body, "web operator add NAME") {
		t.Error("after signing out the page does not say how to sign in")
	}

	base, _ := url.Parse("https://inbox.example.org")
	secure := newRigOn(t, r.store, func(c *web.Config) { c.BaseURL = base })
	link, _, err := web.IssueSignIn(context.Background(), r.store, "alice", base)
	if r.ok(err); !strings.HasPrefix(link, "https://inbox.example.org/sign-in/") {
		t.Errorf("the link is %s", link)
	}
	a = secure.call(browser(t), "POST", "/sign-in", url.Values{"secret": {link[strings.LastIndex(link, "/")+1:]}})
	if cookie := a.Response.Cookies()[0]; !cookie.Secure || cookie.Name != "__Host-tandem" || cookie.Path != "/" ||
		cookie.Domain != "" {
		t.Errorf("the cookie over https: %s", a.Header.Get("Set-Cookie"))
	}
	if a.Header.Get("Strict-Transport-Security") == "" {
		t.Error("no Strict-Transport-Security over https")
	}
}

// What another site makes a signed-in browser send changes nothing.
func TestOtherSitesCannotWrite(t *testing.T) {
	r := newRig(t, func(c *web.Config) { c.BaseURL, _ = url.Parse("http://inbox.example.org:8080") })
	r.customer(7, "Ana", "hello")
	c := r.signIn("alice")
	own := r.http.URL
	for _, x := range []struct {
		header []string
		ok     bool
	}{
		{[]string{"Sec-Fetch-Site", "cross-site"}, false},
		{[]string{"Sec-Fetch-Site", "same-site"}, false},
		{[]string{"Origin", "https://evil.example"}, false},
		{[]string{"Origin", "null"}, false},
		{[]string{"Sec-Fetch-Site", "same-origin"}, true},
		{[]string{"Origin", own}, true},
		{[]string{"Origin", "http://inbox.example.org:8080"}, true}, // behind a proxy that changes Host
		{nil, true}, // no browser
	} {
		before, _, _ := r.store.Messages(t.Context(), 1, 100, 0)
		form := r.call(c, "POST", "/conversations/1/answers", url.Values{"text": {"x"}}, x.header...)
		api := r.call(c, "POST", "/api/v1/conversations/1/messages", `{"text":"x"}`, x.header...)
		after, _, _ := r.store.Messages(t.Context(), 1, 100, 0)
		if x.ok && (form.StatusCode != 303 || api.StatusCode != 202 || len(after) != len(before)+2) {
			t.Errorf("%v: %s and %s, want that both are taken", x.header, form.Status, api.Status)
		}
		if !x.ok && (form.StatusCode != 403 || api.StatusCode != 403 || len(after) != len(before)) {
			t.Errorf("%v: %s and %s, want 403 and nothing stored", x.header, form.Status, api.Status)
		}
		if !x.ok {
			mustBeProblem(t, api, 403, "another site")
		}
	}
	for _, path := range []string{"/sign-in", "/sign-out"} {
		a := r.call(c, "POST", path, url.Values{"secret": {r.link("bob")}}, "Sec-Fetch-Site", "cross-site")
		if a.StatusCode != 403 {
			t.Errorf("%s from another site: %s", path, a.Status)
		}
	}
}

// TestALinkOpenedOverPlainHTTP : where the inbox is https the browser would keep no session. So the link stays unused,
// and the page says where the inbox is.
func TestALinkOpenedOverPlainHTTP(t *testing.T) {
	base, _ := url.Parse("https://inbox.example.org")
	r := newRig(t, func(c *web.Config) { c.BaseURL = base })
	secret := r.link("alice")
	c := &http.Client{Transport: browser(t).Transport} // it keeps no cookie, as a browser none that is Secure
	fields := url.Values{}
	for _, input := range r.page(c, "/sign-in/"+secret).tag("input") {
		fields.Set(input.attr("name"), input.attr("value"))
	}
	for name, a := range map[string]response{
		"the form":          r.call(c, "POST", "/sign-in", fields),
		"a browser says so": r.call(c, "POST", "/sign-in", url.Values{"secret": {secret}}, "Origin", r.http.URL),
	} {
		page := parse(t, a.body)
		if w := page.words(); a.StatusCode != 400 || !strings.Contains(w, "Sign in at https://inbox.example.org") ||
			!strings.Contains(w, "The link is not used up") ||
			page.class("button")[0].attr("href") != "https://inbox.example.org/sign-in/"+secret {
			t.Errorf("%s: %s %s", name, a.Status, w)
		}
		if len(a.Response.Cookies()) != 0 {
			t.Errorf("%s: a session was begun", name)
		}
	}
	// Behind a proxy with https: the browser sends the cookie back.
	for _, header := range [][]string{{"Cookie", "__Host-tandem-probe=1", "Origin", "https://inbox.example.org"}} {
		a := r.call(browser(t), "POST", "/sign-in", fields, header...)
		if a.StatusCode != 303 || len(a.Response.Cookies()) != 1 {
			t.Errorf("over https: %s", a.Status)
		}
	}
}

// TestAProxyThatChangesHost : the refusal names what has to be set, on the page, in the API and in the log.
func TestAProxyThatChangesHost(t *testing.T) {
	for _, base := range []string{"", "http://other.lan"} {
		r := newRig(t, func(c *web.Config) {
			if base != "" {
				c.BaseURL, _ = url.Parse(base)
			}
		})
		secret := r.link("alice")
		host := strings.TrimPrefix(r.http.URL, "http://")
		page := r.call(browser(t), "POST", "/sign-in", url.Values{"secret": {secret}}, "Origin", "http://inbox.lan")
		api := r.api("POST", "/conversations/1/messages", `{"text":"x"}`, "Origin", "http://inbox.lan")
		for _, a := range []response{page, api} {
			for _, w := range []string{"another site", "from a page at http://inbox.lan", "to an inbox at " + host,
				"WEB_BASE_URL=http://inbox.lan", cmp.Or(base, "not set"), "pass Host on"} {
				if a.StatusCode != 403 || !strings.Contains(a.body, w) {
					t.Errorf("%s: %q is not in %s", a.Status, w, a.body)
				}
			}
		}
		if log := r.log.String(); strings.Count(log, "set WEB_BASE_URL") != 1 || !strings.Contains(log, "http://inbox.lan") {
			t.Errorf("the log: %s", log)
		}
		long := r.call(browser(t), "POST", "/sign-in", url.Values{}, "Origin", "http://"+strings.Repeat("<b>", 5000))
		if long.StatusCode != 403 || len(long.body) > 10_000 || strings.Contains(long.body, "<b>") {
			t.Errorf("a long one: %s, %d bytes", long.Status, len(long.body))
		}
		if a := r.call(browser(t), "POST", "/sign-in", url.Values{"secret": {secret}}); a.StatusCode != 303 {
			t.Errorf("the link: %s", a.Status)
		}
	}
}

// A session that nobody used for a week is over, and one that is used is kept alive.
func TestAnIdleSessionEnds(t *testing.T) {
	r := newRig(t)
	op, err := r.store.IssueSignIn(t.Context(), "alice", hashOf("x"), time.Now().Add(time.Hour))
	r.ok(err)
	for idle, want := range map[time.Duration]int{6 * 24 * time.Hour: 200, 8 * 24 * time.Hour: 401} {
		token := "session of " + idle.String()
		deadline := time.Now().Add(20 * 24 * time.Hour)
		data, err := scs.GobCodec{}.Encode(deadline, map[string]any{"operator": op.ID, "seen": time.Now().Add(-idle).Unix()})
		r.ok(err)
		key := base64.RawURLEncoding.EncodeToString(hashOf(url.QueryEscape(token)))
		r.ok(r.store.CommitSession(t.Context(), key, data, deadline))
		for i := range 2 {
			a := r.call(browser(t), "GET", "/fragments/banner", nil, "Cookie", "tandem="+url.QueryEscape(token))
			if a.StatusCode != want {
				t.Errorf("idle for %s: %s, want %d", idle, a.Status, want)
			}
			if written := len(a.Response.Cookies()) == 1; written != (want == 200 && i == 0) {
				t.Errorf("idle for %s, request %d: its use was written down: %v", idle, i, written)
			}
		}
	}
}

type panicStore struct{ inbox.OperatorStore }

func (panicStore) Conversations(context.Context, inbox.ConversationFilter) ([]inbox.Conversation, int64, error) {
	panic("what a customer wrote")
}

func TestAPanicIsAnAnswerWithoutItsText(t *testing.T) {
	r := newRig(t, func(c *web.Config) { c.Store = panicStore{c.Store} })
	a := r.api("GET", "/conversations", nil)
	mustBeProblem(t, a, 500, "our side")
	p := r.call(r.signIn("alice"), "GET", "/", nil)
	if p.StatusCode != 500 || !strings.Contains(p.body, "our side") {
		t.Errorf("the page: %s %s", p.Status, p.body)
	}
	if log := r.log.String(); strings.Contains(a.body+p.body+log, "a customer wrote") ||
		!strings.Contains(log, "panicStore") {
		t.Errorf("the log: %s", log)
	}
}
