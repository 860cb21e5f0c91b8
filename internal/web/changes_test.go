package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"tandem/internal/inbox"
)

// TestAnswersAreEditedAndDeleted : by programs, and on the page without its script. The result is said in words.
func TestAnswersAreEditedAndDeleted(t *testing.T) {
	r := newRig(t)
	r.customer(7, "Ana", "hello")
	c := r.conversation(7)
	customers := r.messages(c.ID)[0].ID
	address := func(m int64) string { return fmt.Sprintf("/messages/%d", m) }
	want := func(what string, a response, status int, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(a.body, w) {
				t.Errorf("%s: there is no %q in %s", what, w, a.body)
			}
		}
		if a.StatusCode != status {
			t.Errorf("%s: %d, want %d: %s", what, a.StatusCode, status, a.body)
		}
	}
	m := r.answer(c.ID, "Good mroning")
	want("an edit of what was not sent", r.api("PATCH", address(m.ID), `{"text":"Good evening"}`), 202,
		`"text":"Good evening"`, `"change":null`)
	r.deliver(inbox.Sending, "")
	want("of what is being sent", r.api("PATCH", address(m.ID), `{"text":"x"}`), 409, "being sent just now")
	want("a deletion of that", r.api("DELETE", address(m.ID), nil), 409, "being sent just now")
	r.ok(r.store.RecordOutcome(t.Context(), r.tenure(), inbox.Outcome{DeliveryID: 1, Attempt: 1, State: inbox.Sent,
		TelegramMessageID: 55}))
	want("of what was sent", r.api("PATCH", address(m.ID), `{"text":"Good morning"}`), 202, `"text":"Good evening"`,
		`"change":{"operation":"edit","state":"queued","error":""}`)
	want("what does not fit", r.api("PATCH", address(m.ID), map[string]string{"text": strings.Repeat("word ", 1000)}), 422,
		"was sent in 1 parts, and these words need 2")
	want("nothing to see", r.api("PATCH", address(m.ID), `{"text":" "}`), 422, "delete the answer instead")
	want("no text", r.api("PATCH", address(m.ID), `{}`), 422, "text: it is missing")
	want("the customer's", r.api("PATCH", address(customers), `{"text":"x"}`), 409, "only an answer can be changed")
	want("a deletion of the customer's", r.api("DELETE", address(customers), nil), 409, "only an answer can be changed")
	want("what is not there", r.api("DELETE", address(9999), nil), 404)

	browser := r.signIn("alice")
	page := r.page(browser, fmt.Sprintf("/conversations/%d", c.ID)).words()
	if !strings.Contains(page, "New words for it wait to be sent.") || !strings.Contains(page, "Edit or delete") {
		t.Errorf("the page says %s", page)
	}
	if n := r.deliver(inbox.Failed, "Telegram refused it"); n != 1 {
		t.Fatalf("%d are due", n)
	}
	page = r.page(browser, fmt.Sprintf("/conversations/%d", c.ID)).words()
	if !strings.Contains(page, "It was not changed: Telegram refused it.") || !strings.Contains(page, "Good evening") {
		t.Errorf("the page says %s", page)
	}
	form := r.page(browser, address(m.ID)+"/change")
	if text := form.id("change-text").text(); strings.TrimSpace(text) != "Good morning" {
		t.Errorf("the form has %q, want what was wanted", text)
	}
	post := func(fields url.Values) response {
		t.Helper()
		return r.call(browser, "POST", address(m.ID)+"/change", fields)
	}
	want("too long, on the page", post(url.Values{"do": {"edit"}, "text": {strings.Repeat("word ", 1000)}}), 422,
		"these words need 2", "word word")
	done := func(what string, a response, words string) {
		t.Helper()
		at := fmt.Sprintf("/conversations/%d?at=%d#m%[2]d", c.ID, m.ID)
		page := r.page(browser, fmt.Sprintf("/conversations/%d", c.ID)).words()
		if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != at || !strings.Contains(page, words) {
			t.Errorf("%s: %s to %s, and the page says %s", what, a.Status, a.Header.Get("Location"), page)
		}
	}
	done("an edit on the page", post(url.Values{"do": {"edit"}, "text": {"Good day"}}),
		"New words for it wait to be sent.")
	r.deliver(inbox.Sent, "")
	if have, err := r.store.Message(t.Context(), m.ID); err != nil || have.Text != "Good day" || have.Edits != 1 {
		t.Errorf("%+v, %v", have, err)
	}
	done("a deletion on the page", post(url.Values{"do": {"delete"}}), "It waits to be deleted.")
	r.deliver(inbox.Sent, "")
	page = r.page(browser, fmt.Sprintf("/conversations/%d", c.ID)).words()
	if !strings.Contains(page, "deleted") || strings.Contains(page, "Edit or delete") ||
		!strings.Contains(page, "Good day") {
		t.Errorf("after the deletion the page says %s", page)
	}
	want("again", r.api("DELETE", address(m.ID), nil), 200, `"deleted_at":"`)
	want("an edit of what is deleted", post(url.Values{"do": {"edit"}, "text": {"x"}}), 409, "It was deleted")

	unsent := r.answer(c.ID, "not yet")
	want("what was not sent", r.api("DELETE", address(unsent.ID), nil), 200, `"deleted_at":"`)
	unknown := r.answer(c.ID, "who knows")
	r.deliver(inbox.Unknown, "the line broke")
	for _, method := range []string{"PATCH", "DELETE"} {
		want(method+" of one whose fate is unknown", r.api(method, address(unknown.ID), `{"text":"x"}`), 409, "not known")
	}
	silent := r.api("POST", fmt.Sprintf("/conversations/%d/messages", c.ID), `{"text":"at night","silent":true}`)
	want("a silent one", silent, 202)
	claimed, _, err := r.store.ClaimDeliveries(t.Context(), r.tenure(), 10, nil)
	if err != nil || len(claimed) != 1 || !claimed[0].Silent {
		t.Errorf("claimed %+v, %v", claimed, err)
	}
}
