package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"tandem/internal/inbox"
)

// inTopic puts a customer's message into a topic.
func inTopic(thread int64, name string) func(*inbox.IncomingMessage) {
	return func(m *inbox.IncomingMessage) { m.ThreadID, m.Content.Topic = thread, name }
}

// TestAnAnswerGoesToTheTopicOfWhatItAnswers: from the API and from the page, with and without a word of where.
func TestAnAnswerGoesToTheTopicOfWhatItAnswers(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		r := newRigOn(t, openStore(t, database))
		r.customer(7, "Ann", "Topic A: invoice?", inTopic(11, "Invoices"))
		r.customer(7, "Ann", "Topic B: password", inTopic(22, "Passwords"))
		r.customer(8, "Ben", "hello")
		id, other := r.conversation(7).ID, r.conversation(8).LastMessageID
		var list struct{ Items []inbox.Message }
		r.api("GET", fmt.Sprintf("/conversations/%d/messages", id), nil).into(t, &list)
		first := list.Items[1].ID
		post := func(body string) inbox.Message {
			t.Helper()
			a := r.api("POST", fmt.Sprintf("/conversations/%d/messages", id), body)
			if a.StatusCode != http.StatusAccepted {
				t.Fatalf("%s: %s %s", body, a.Status, a.body)
			}
			var m inbox.Message
			a.into(t, &m)
			return m
		}
		m := post(fmt.Sprintf(`{"text":"paid","reply_to":%d}`, first))
		if m.TopicID == nil || *m.TopicID != 11 || m.Topic != "Invoices" || m.ReplyTo == nil || *m.ReplyTo != first ||
			m.Reply == nil || m.Reply.Text != "Topic A: invoice?" || m.Reply.From != "Ann" {
			t.Errorf("an answer to the first: %+v, %+v", m, m.Reply)
		}
		for body, want := range map[string]int64{
			`{"text":"a"}`: 22, `{"text":"b","topic_id":11}`: 11, `{"text":"c","topic_id":0}`: 0,
		} {
			if m := post(body); m.ThreadID != want {
				t.Errorf("%s goes to %d, want %d", body, m.ThreadID, want)
			}
		}
		for _, body := range []string{fmt.Sprintf(`{"text":"x","reply_to":%d}`, other), `{"text":"x","reply_to":99999}`,
			`{"text":"x","reply_to":-1}`, `{"text":"x","topic_id":-1}`, `{"text":"x","topic_id":99999999999}`} {
			if a := r.api("POST", fmt.Sprintf("/conversations/%d/messages", id), body); a.StatusCode != 422 {
				t.Errorf("%s: %s %s", body, a.Status, a.body)
			}
		}
		claimed, _, err := r.store.ClaimDeliveries(t.Context(), r.tenure(), 10, nil)
		r.ok(err)
		if d := claimed[0]; d.ThreadID != 11 || d.ReplyTo == 0 {
			t.Errorf("what Telegram is told: %+v", d)
		}
	})
}

// TestThePageSaysWhereAnAnswerGoes: without the script too.
func TestThePageSaysWhereAnAnswerGoes(t *testing.T) {
	r := newRig(t)
	r.customer(7, "Ann", "<b>Topic A</b>: invoice?", inTopic(11, "Invoices <b>"))
	r.customer(7, "Ann", "Topic B: password", inTopic(22, ""))
	here := fmt.Sprintf("/conversations/%d", r.conversation(7).ID)
	c := r.signIn("alice")
	page := r.page(c, here)
	messages := page.id("messages").tag("li")
	if got := messages[0].class("topic")[0].words() + ", " + messages[1].class("topic")[0].words(); got !=
		"Topic Invoices <b>, Topic 22" {
		t.Errorf("topics: %s", got)
	}
	value := func(n *node, name string) string {
		for _, input := range n.id("compose").tag("input") {
			if input.attr("name") == name {
				return input.attr("value")
			}
		}
		return "none"
	}
	if value(page, "topic_id") != "22" || !strings.Contains(page.id("compose-topic").words(), "22") {
		t.Errorf("the form goes to %q: %s", value(page, "topic_id"), page.id("compose-topic").words())
	}
	link := messages[0].class("answer-to")[0].attr("href")
	page = r.page(c, strings.TrimSuffix(link, "#compose-text"))
	if got := page.id("compose-to").words(); !strings.Contains(got, "Ann <b>Topic A</b>: invoice?") {
		t.Errorf("above the form: %q", got)
	}
	form := url.Values{"text": {"paid"}, "key": {"k"}, "reply_to": {value(page, "reply_to")}, "topic_id": {"22"}}
	if a := r.call(c, "POST", here+"/answers", form); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("%s %s", a.Status, a.body)
	}
	if m := r.conversation(7).LastMessage; m.ThreadID != 11 || m.ReplyTo == nil {
		t.Errorf("the answer: %+v", m)
	}
	// What was typed for one topic stays there, though the customer has written in another one since.
	form = url.Values{"text": {" "}, "key": {"l"}, "topic_id": {"11"}}
	if a := r.call(c, "POST", here+"/answers", form); value(parse(t, a.body), "topic_id") != "11" {
		t.Errorf("a refused form goes to %q", value(parse(t, a.body), "topic_id"))
	}
	r.deliver(inbox.Failed, "the topic is gone in which this was to be written")
	last := r.page(c, here).id("messages").tag("li")[2]
	forms := last.tag("form")
	if len(forms) != 2 || !strings.Contains(forms[1].words(), "main chat") {
		t.Fatalf("what can be done: %s", last.words())
	}
	if a := r.call(c, "POST", forms[1].attr("action"), url.Values{}); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("%s %s", a.Status, a.body)
	}
	if m := r.conversation(7).LastMessage; m.ThreadID != 0 || m.Delivery != inbox.Queued {
		t.Errorf("sent to the main chat: %+v", m)
	}
	again := fmt.Sprintf("/messages/%d/retry?topic_id=", r.conversation(7).LastMessageID)
	if a := r.api("POST", again+"0", nil); a.StatusCode != 409 {
		t.Errorf("one that waits: %s", a.Status)
	}
	if a := r.api("POST", again+"5", nil); a.StatusCode != 400 {
		t.Errorf("to another topic: %s", a.Status)
	}
}

// TestAReplyOpensThePageOfWhatItRepliesTo: however far back that is.
func TestAReplyOpensThePageOfWhatItRepliesTo(t *testing.T) {
	r := newRig(t)
	r.customer(7, "Ann", "the first one")
	first := r.conversation(7).LastMessageID
	telegram := r.update
	for i := range 60 {
		r.customer(7, "Ann", fmt.Sprint("message ", i))
	}
	r.customer(7, "Ann", "as I said", func(m *inbox.IncomingMessage) {
		m.ReplyTo, m.Content.Reply = telegram, &inbox.Reply{Origin: inbox.FromChat}
	})
	c := r.signIn("alice")
	here := fmt.Sprintf("/conversations/%d", r.conversation(7).ID)
	messages := r.page(c, here+"?view=all").id("messages").tag("li")
	reply := messages[len(messages)-1].class("reply")[0]
	if !strings.Contains(reply.words(), "the first one") {
		t.Errorf("the line above it: %q", reply.words())
	}
	link, fragment, _ := strings.Cut(reply.attr("href"), "#")
	if fragment != fmt.Sprintf("m%d", first) || !strings.Contains(link, "view=all") {
		t.Errorf("the link: %q", reply.attr("href"))
	}
	if page := r.page(c, link); len(page.id(fragment).class("text")) == 0 {
		t.Errorf("%s has no %s", link, fragment)
	}
	newest := r.page(c, fmt.Sprintf("%s?at=%d", here, r.conversation(7).LastMessageID)).id("messages")
	if !strings.Contains(newest.words(), "as I said") || !strings.Contains(newest.words(), "message 20") {
		t.Error("one of the newest page is not shown on that")
	}
}

// TestFormerNames: an empty name wipes none, and one of before is shown and found.
func TestFormerNames(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		r := newRigOn(t, openStore(t, database))
		named := func(name, username string, nameless bool) {
			r.customer(7, name, "hello", func(m *inbox.IncomingMessage) {
				m.Customer.Username, m.Customer.Nameless = username, nameless
			})
		}
		named("Masha K", "masha_k", false)
		named("@masha_k", "masha_k", true)
		if c := r.conversation(7); c.Customer.Name != "Masha K" || len(c.FormerNames) != 0 {
			t.Errorf("an empty first name: %+v", c)
		}
		named("Maria <b>", "", false)
		c := r.conversation(7)
		if c.Customer.Name != "Maria <b>" || fmt.Sprint(c.FormerNames) != "[Masha K @masha_k]" {
			t.Errorf("another name: %+v", c)
		}
		r.indexed()
		for _, q := range []string{"masha k", "@masha_k", "maria"} {
			list, _, err := r.store.Conversations(t.Context(), inbox.ConversationFilter{Limit: 9, Query: q})
			r.ok(err)
			if len(list) != 1 {
				t.Errorf("%q is not found", q)
			}
		}
		named("Masha K", "", false)
		if c := r.conversation(7); fmt.Sprint(c.FormerNames) != "[Maria <b> @masha_k]" {
			t.Errorf("back again: %q", c.FormerNames)
		}
		page := r.page(r.signIn("alice"), fmt.Sprintf("/conversations/%d", c.ID))
		if got := page.id("head").class("former"); len(got) != 1 || got[0].words() != "formerly Maria <b>, @masha_k" {
			t.Errorf("on the page: %s", page.id("head").words())
		}
		r.customer(8, "@ghost", "hello", func(m *inbox.IncomingMessage) {
			m.Customer.Username, m.Customer.Nameless = "ghost", true
		})
		r.customer(8, "@spirit", "hello", func(m *inbox.IncomingMessage) {
			m.Customer.Username, m.Customer.Nameless = "spirit", true
		})
		if c := r.conversation(8); c.Customer.Name != "@spirit" {
			t.Errorf("a username stands for a name: %+v", c)
		}
	})
}
