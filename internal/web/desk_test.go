package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"tandem/internal/inbox"
)

// formOf is the form with that id, or the one that has a field or a button with that name and value.
func formOf(page *node, name, value string) (action string, fields url.Values) {
	for _, f := range page.tag("form") {
		fields := url.Values{}
		found := false
		for _, e := range f.all(func(e *node) bool { return e.attr("name") != "" }) {
			if e.attr("type") == "hidden" {
				fields.Set(e.attr("name"), e.attr("value"))
			}
			found = found || e.attr("name") == name && (e.Data != "button" || e.attr("value") == value)
		}
		if found {
			return f.attr("action"), fields
		}
	}
	return "", nil
}

// What a team does with a conversation, without the page's script: each form is there, does what it says, and what was
// done stands in the thread.
func TestATeamWithoutTheScript(t *testing.T) {
	r := newRig(t)
	alice, bob := r.signIn("alice"), r.signIn("bob")
	r.customer(7, "Ana", "/start shop")
	r.customer(8, "Ben", "me too")
	here := fmt.Sprintf("/conversations/%d", r.conversation(7).ID)
	press := func(c *http.Client, name, value string, status int) response {
		t.Helper()
		action, fields := formOf(r.page(c, here), name, value)
		if action == "" {
			t.Fatalf("no form has %s=%s", name, value)
		}
		fields.Set(name, value)
		a := r.call(c, "POST", action, fields)
		if a.StatusCode != status {
			t.Fatalf("%s=%s: %s\n%s", name, value, a.Status, a.body)
		}
		return a
	}
	tabs := func(c *http.Client) string { return r.page(c, "/").id("views").words() }
	if have := tabs(alice); have != "Open 2 Mine 0 Unassigned 2 Waiting 2 Snoozed 0 Closed 0 All 2" {
		t.Errorf("the views: %s", have)
	}

	// Unread until the conversation was shown, for each operator by himself.
	badges := func(c *http.Client) int { return len(r.page(c, "/").class("badge")) }
	if n := badges(alice); n != 2 {
		t.Errorf("%d are unread, want 2", n)
	}
	r.page(alice, here)
	if a, b := badges(alice), badges(bob); a != 1 || b != 2 {
		t.Errorf("after alice has read one: %d and %d", a, b)
	}
	if a := r.call(alice, "POST", here+"/unread", url.Values{}); a.StatusCode != 303 {
		t.Errorf("marking unread: %s", a.Status)
	}
	if n := badges(alice); n != 2 {
		t.Errorf("marked as unread: %d, want 2", n)
	}

	id := fmt.Sprint(r.operatorID("alice"))
	action, stale := formOf(r.page(bob, here), "assignee_id", "")
	press(alice, "assignee_id", id, 303)
	stale.Set("assignee_id", "0")
	if a := r.call(bob, "POST", action, stale); a.StatusCode != 412 ||
		!strings.Contains(a.body, "somebody else has changed") {
		t.Errorf("a late change: %s", a.Status)
	}
	press(alice, "add_tag", "VIP", 303)
	press(alice, "add_tag", "billing", 303)
	press(alice, "remove_tag", "VIP", 303)
	press(bob, "snooze", "4h", 303)
	if have := tabs(alice); have != "Open 1 Mine 0 Unassigned 1 Waiting 1 Snoozed 1 Closed 0 All 2" {
		t.Errorf("the views with one snoozed: %s", have)
	}
	press(bob, "snooze", "0s", 303)
	press(alice, "banned", "true", 303)
	press(alice, "banned", "false", 303)
	if n := len(r.page(alice, "/?view=mine").class("item")); n != 1 {
		t.Errorf("%d are alice's, want 1", n)
	}
	if n := len(r.page(alice, "/?tag=Billing").class("item")); n != 1 {
		t.Errorf("%d have the tag, want 1", n)
	}
	a := r.call(bob, "POST", here+"/notes", url.Values{"text": {"<b>ask</b> @alice"}})
	if a.StatusCode != 303 || !strings.Contains(a.Header.Get("Location"), "#n") {
		t.Errorf("a note: %s to %s", a.Status, a.Header.Get("Location"))
	}
	if a := r.call(bob, "POST", here+"/notes", url.Values{"text": {strings.Repeat("long ", 2000)}}); a.StatusCode != 422 ||
		!strings.Contains(a.body, "long long") || !strings.Contains(a.body, "The note was not stored") {
		t.Errorf("a note that is too long: %s", a.Status)
	}
	r.customer(7, "Ana", "anybody?")

	page := r.page(bob, here)
	var deeds []string
	for _, d := range page.class("deed") {
		words, _, _ := strings.Cut(d.words(), " · ")
		deeds = append(deeds, strings.Fields(words + " UTC")[0]+" "+strings.Join(strings.Fields(words)[1:3], " "))
	}
	want := "[alice took this alice added the alice added the alice took away bob snoozed this bob ended the " +
		"alice banned this alice lifted the]"
	if fmt.Sprint(deeds) != want {
		t.Errorf("what was done: %s", deeds)
	}
	notes := page.class("memo")
	if len(notes) != 1 || !strings.Contains(notes[0].words(), "only the team sees this") ||
		!strings.Contains(notes[0].words(), "<b>ask</b> @alice") {
		t.Errorf("%d notes", len(notes))
	}
	if w := page.id("messages").words(); strings.Index(w, "ask") > strings.Index(w, "anybody?") {
		t.Error("a message that came after the note stands before it")
	}
	if w := page.id("head").words(); !strings.Contains(w, "alice") || !strings.Contains(w, "came from shop") ||
		!strings.Contains(w, "billing") || !strings.Contains(w, "waits since") {
		t.Errorf("above the conversation: %s", w)
	}
	if list, _, _ := r.store.Messages(t.Context(), r.conversation(7).ID, 10, 0); len(list) != 2 {
		t.Errorf("%d messages, want the customer's two", len(list))
	}
}

// Two operators in two browsers: what one does the other sees, and keys do it.
func TestATeamInABrowser(t *testing.T) {
	tab := newTab(t)
	complaints := watch(t, tab)
	r := newRig(t)
	r.customer(7, "Ana", "first")
	r.customer(8, "Ben", "second")
	c := r.conversation(7)
	s := screen{t, tab}
	s.do(chromedp.Navigate(r.http.URL+"/sign-in/"+r.link("alice")), chromedp.Click(chromedp.CSS("button.primary")),
		chromedp.WaitReady(chromedp.CSS("#list .item")))
	s.eventually("the views count", "#views", "Open 2", "Waiting 2")
	s.do(chromedp.KeyEvent("j"), chromedp.KeyEvent("j"), chromedp.KeyEvent("a"))
	s.eventually("the second one is assigned by key", "#list li:nth-child(2)", "→ alice")
	s.eventually("and counted", "#views", "Mine 1", "Unassigned 1")
	s.do(chromedp.Navigate(fmt.Sprintf("%s/conversations/%d", r.http.URL, c.ID)))
	s.eventually("the stream is open", "#live", "Live")
	_, err := r.store.AddNote(t.Context(), c.ID, inbox.Note{Text: "a live note", Author: inbox.Author{Name: "bob"}})
	r.ok(err)
	s.eventually("a note appears", "#messages .memo", "a live note", "bob")
	r.customer(7, "Ana", "third")
	s.eventually("a message stands behind it", "#messages li:last-child", "third")
	r.customer(8, "Ben", "fourth")
	s.eventually("what is not looked at is unread", "#list li:first-child .badge", "2")
	eventually(t, "only what is not open is unread", func() bool { return s.count("#list .badge") == 1 })
	alice := r.operatorID("alice")
	eventually(t, "what was shown is read", func() bool {
		unread, err := r.store.UnreadBy(t.Context(), alice, []int64{c.ID})
		return err == nil && unread[c.ID] == 0
	})
	s.do(chromedp.KeyEvent("n"), chromedp.KeyEvent("j e a"))
	const written = `document.querySelector("#memo-text").value`
	if have := run(t, tab, chromedp.Evaluate[string](written)); !strings.HasSuffix(have, "j e a") {
		t.Errorf("keys do something while one writes: the note has %q", have)
	}
	run(t, tab, chromedp.Evaluate[bool](`document.activeElement.blur() || true`))
	s.do(chromedp.KeyEvent("e"))
	s.eventually("it is closed by key", "#head", "Reopen")
	s.eventually("which stands in the thread", "#messages", "closed this")
	s.do(chromedp.KeyEvent("?"))
	s.eventually("the keys are shown", "#keys", "next, previous conversation")
	for _, c := range complaints() {
		t.Errorf("the browser complains: %s", c)
	}
}

// The forms about a conversation follow what a colleague does. Who fills one in is not disturbed, and is told.
func TestTheFormsFollow(t *testing.T) {
	tab := newTab(t)
	r := newRig(t)
	bob := r.signIn("bob")
	r.customer(7, "Ana", "hello")
	here := fmt.Sprintf("/conversations/%d", r.conversation(7).ID)
	colleague := func(name, value string) {
		t.Helper()
		action, fields := formOf(r.page(bob, here), name, value)
		fields.Set(name, value)
		if a := r.call(bob, "POST", action, fields); a.StatusCode != 303 {
			t.Fatalf("%s=%s: %s", name, value, a.Status)
		}
	}
	s := screen{t, tab}
	s.do(chromedp.EmulateViewport(1280, 800))
	s.do(chromedp.Navigate(r.http.URL+"/sign-in/"+r.link("alice")), chromedp.Click(chromedp.CSS("button.primary")),
		chromedp.WaitReady(chromedp.CSS("#list .item")))
	s.do(chromedp.Navigate(r.http.URL + here))
	s.eventually("the stream is open", "#live", "Live")
	s.click("#desk summary")
	chosen := func() string {
		return run(t, tab, chromedp.Evaluate[string](`document.querySelector("#assignee").selectedOptions[0].textContent`))
	}
	colleague("assignee_id", fmt.Sprint(r.operatorID("bob")))
	eventually(t, "the form knows whose it is", func() bool { return chosen() == "bob" })

	run(t, tab, chromedp.Evaluate[bool](`(() => { const s = document.querySelector("#assignee"); s.value = "0";
		return s.dispatchEvent(new Event("input", { bubbles: true })); })()`))
	colleague("add_tag", "vip")
	s.eventually("the tag is shown", "#head", "vip")
	if chosen() != "Nobody" {
		t.Errorf("it was changed under her hands: %s", chosen())
	}
	s.click("#desk-forms form button")
	s.eventually("she is told", "#compose-error", "changed")
	if chosen() != "bob" {
		t.Errorf("what stands now: %s", chosen())
	}
	do(t, tab, chromedp.Navigate("about:blank"))
}
