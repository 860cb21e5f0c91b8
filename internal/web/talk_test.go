package web_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tandem/internal/inbox"
)

// open signs in and shows a conversation in a browser.
func (s screen) open(r *rig, conversation int64) {
	s.t.Helper()
	s.do(chromedp.EmulateViewport(1280, 800))
	s.do(chromedp.Navigate(r.http.URL+"/sign-in/"+r.link("alice")), chromedp.Click(chromedp.CSS("button.primary")),
		chromedp.WaitReady(chromedp.CSS("#list .item")))
	s.show(r, conversation)
}

func (s screen) show(r *rig, conversation int64) {
	s.t.Helper()
	s.do(chromedp.Navigate(fmt.Sprintf("%s/conversations/%d?view=all", r.http.URL, conversation)))
	s.eventually("the stream is open", "#live", "Live")
}

func (s screen) js(script string) bool {
	s.t.Helper()
	return run(s.t, s.tab, chromedp.Evaluate[bool](script))
}

// edits changes the words of a customer's message, which has that number at Telegram.
func (r *rig) edits(customer, message int64, text string, change ...func(*inbox.IncomingMessage)) {
	r.t.Helper()
	r.update++
	at := time.Now()
	m := &inbox.IncomingMessage{ChatID: customer, MessageID: message, Kind: "text", Text: text, Date: time.Now(),
		EditedAt: &at, Customer: inbox.Customer{ID: customer, Name: "Ana"}}
	for _, c := range change {
		c(m)
	}
	r.receive(inbox.Update{Kind: "edited_message", Edit: m})
}

// TestEditsInABrowser : an edit in a closed conversation makes itself seen on an open page, and what stood before is
// shown there on demand, and without the script on a page of its own.
func TestEditsInABrowser(t *testing.T) {
	tab := newTab(t)
	complaints := watch(t, tab)
	r := newRig(t)
	var number int64
	r.customer(7, "Ana", "Send it to Elm Street 5", func(m *inbox.IncomingMessage) { number = m.MessageID })
	c := r.conversation(7)
	r.answer(c.ID, "We will.")
	r.deliver(inbox.Sent, "")
	_, err := r.store.SetConversationStatus(t.Context(), c.ID, inbox.Closed)
	r.ok(err)
	r.customer(8, "Ben", "hello")
	s := screen{t, tab}
	s.open(r, c.ID)
	s.eventually("it is closed", "#head", "Reopen")

	r.edits(7, number, "Send it to Oak Street 9")
	s.eventually("the new words", "#messages", "Send it to Oak Street 9")
	s.eventually("it is open", "#head", "Close")
	s.eventually("it is the first of the list", "#list li:first-child", "Edited", "Oak Street 9")
	r.edits(7, number, "Send it to Oak Street 10")
	s.eventually("how often", "#messages a.edited", "edited 2 times")
	screenshots(t, tab, "edited")
	s.click("#messages a.edited")
	s.eventually("what stood before", ".wordings", "Elm Street 5", "Oak Street 9", "Until")
	screenshots(t, tab, "edited-open")
	s.click("#messages a.edited")
	eventually(t, "it goes again", func() bool { return s.count(".wordings") == 0 })

	page := r.page(r.signIn("bob"), fmt.Sprintf("/messages/%d/edits", r.messages(c.ID)[1].ID)).text()
	for _, words := range []string{"Elm Street 5", "Oak Street 9", "Until", "The message as it is now"} {
		if !strings.Contains(page, words) {
			t.Errorf("without the script there is no %q on the page: %s", words, page)
		}
	}
	var edits pageOf[struct {
		Text  string
		Until time.Time
	}]
	r.api("GET", fmt.Sprintf("/messages/%d/edits?limit=1", r.messages(c.ID)[1].ID), nil).into(t, &edits)
	if len(edits.Items) != 1 || edits.Items[0].Text != "Send it to Elm Street 5" || edits.Next == nil {
		t.Errorf("of the API: %+v", edits)
	}
	r.api("GET", fmt.Sprintf("/messages/%d/edits?cursor=%s", r.messages(c.ID)[1].ID, *edits.Next), nil).into(t, &edits)
	if len(edits.Items) != 1 || edits.Items[0].Text != "Send it to Oak Street 9" || edits.Next != nil {
		t.Errorf("then: %+v", edits)
	}

	r.edits(7, 9999, "of old", func(m *inbox.IncomingMessage) { m.Date = time.Date(2024, 5, 3, 10, 0, 0, 0, time.UTC) })
	s.eventually("an edit of what is older", "#messages > .service", "Edited a message from before this inbox", "of old",
		"2024")
	if found := complaints(); len(found) > 0 {
		t.Errorf("the browser complains: %v", found)
	}
}

// pageOf is a page of the API.
type pageOf[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next_cursor"`
}

// messages of a conversation, newest first.
func (r *rig) messages(conversation int64) []inbox.Message {
	r.t.Helper()
	list, _, err := r.store.Messages(r.t.Context(), conversation, 200, 0)
	r.ok(err)
	return list
}

// TestRepliesAndTopicsInABrowser : Reply and its end, where an answer goes, and the link to what is replied to, here
// and on another page.
func TestRepliesAndTopicsInABrowser(t *testing.T) {
	tab := newTab(t)
	complaints := watch(t, tab)
	r := newRig(t)
	topic := func(thread int64, name string) func(*inbox.IncomingMessage) {
		return func(m *inbox.IncomingMessage) { m.ThreadID, m.Content.Topic = thread, name }
	}
	var old int64
	r.customer(7, "Ana", "the very first", func(m *inbox.IncomingMessage) { old = m.MessageID })
	for i := range 60 {
		r.customer(7, "Ana", fmt.Sprint("filling ", i))
	}
	r.customer(7, "Ana", "Topic A: invoice?", topic(11, "Invoices"))
	r.customer(7, "Ana", "Topic B: password", topic(22, "Access"))
	r.customer(7, "Ana", "as I said", topic(22, "Access"), func(m *inbox.IncomingMessage) {
		m.ReplyTo, m.Content.Reply = old, &inbox.Reply{Origin: inbox.FromChat}
	})
	c := r.conversation(7)
	s := screen{t, tab}
	s.open(r, c.ID)
	s.eventually("the topic of the last message", "#compose-topic", "To the topic", "Access")
	s.eventually("the words of what it replies to", "#messages > li:last-child .reply", "the very first")

	invoice := r.messages(c.ID)[2].ID
	s.click(fmt.Sprintf("#m%d .answer-to", invoice))
	s.eventually("what the answer replies to", "#compose-to", "Topic A: invoice?")
	if s.js(`document.querySelector("#compose-topic").checkVisibility()`) {
		t.Error("beside a reply another topic is shown")
	}
	s.click("#compose-to .cancel")
	if s.js(`document.querySelector("#compose-to").checkVisibility()`) {
		t.Error("the reply does not end")
	}
	s.click(fmt.Sprintf("#m%d .answer-to", invoice))
	screenshots(t, tab, "reply")
	s.do(chromedp.SendKeys(chromedp.CSS("#compose-text"), "Tomorrow."))
	s.click("#compose button.primary")
	s.eventually("the answer", "#messages > li:last-child", "Tomorrow.", "Topic A: invoice?", "Invoices")
	s.do(chromedp.SendKeys(chromedp.CSS("#compose-text"), "A new one is on its way."))
	s.click("#compose button.primary")
	s.eventually("the next one", "#messages > li:last-child", "A new one is on its way.", "Access")
	list := r.messages(c.ID)
	if list[1].ThreadID != 11 || list[1].ReplyTo == nil || *list[1].ReplyTo != invoice || list[0].ThreadID != 22 ||
		list[0].ReplyTo != nil {
		t.Errorf("they went to %+v and %+v", list[1], list[0])
	}
	// A topic in which the customer writes while somebody types is not the one that he answers.
	s.do(chromedp.SendKeys(chromedp.CSS("#compose-text"), "Half "))
	r.customer(7, "Ana", "and the invoice", topic(11, "Invoices"))
	s.eventually("it comes", "#messages > li:last-child", "and the invoice")
	s.do(chromedp.SendKeys(chromedp.CSS("#compose-text"), "written."))
	s.click("#compose button.primary")
	s.eventually("it is sent", "#messages > li:last-child", "Half written.", "Access")

	s.click(`#messages a.reply[href*="at="]`)
	s.eventually("the page with the first message", "#messages > li:first-child", "the very first")
	if !s.js(`location.hash !== "" && document.querySelector(location.hash).innerText.includes("the very first")`) {
		t.Error("the link does not lead to the message")
	}
	if found := complaints(); len(found) > 0 {
		t.Errorf("the browser complains: %v", found)
	}
}

// TestAnAlbumThatGrows : pictures that come one by one stand in one group, with the words of the first.
func TestAnAlbumThatGrows(t *testing.T) {
	tab := newTab(t)
	r := newRig(t)
	var number int64
	album := func(m *inbox.IncomingMessage) { m.AlbumID = "a1" }
	r.customer(7, "Ana", "hello")
	c := r.conversation(7)
	s := screen{t, tab}
	s.open(r, c.ID)
	photo := inbox.Attachment{Kind: "photo", Width: 400, Height: 300}
	r.sends(7, photo, testPicture(400, 300), album, func(m *inbox.IncomingMessage) {
		m.Text, number = "the broken lamp", m.MessageID
	})
	s.eventually("the first", ".group", "the broken lamp")
	for range 2 {
		r.sends(7, photo, testPicture(400, 300), album)
	}
	r.customer(7, "Ana", "you see?")
	s.eventually("what comes after", "#messages > li:last-child", "you see?")
	eventually(t, "the others", func() bool { return s.count(".group .picture img") == 3 })
	for _, how := range []string{"as they came", "loaded anew"} {
		if n := s.count("#messages > li"); n != 3 {
			t.Errorf("%s: %d entries, want hello, the album and the last", how, n)
		}
		if !s.js(`(() => { const p = [...document.querySelectorAll(".group .picture")].map((e) => e.getBoundingClientRect()),
				w = document.querySelector(".group .text").getBoundingClientRect();
			return p.length === 3 && p.every((e) => Math.abs(e.top - p[0].top) < 2 && e.bottom <= w.top + 1); })()`) {
			t.Errorf("%s: the pictures do not stand beside one another above their words", how)
		}
		s.show(r, c.ID)
	}
	screenshots(t, tab, "album")
	r.edits(7, number, "the lamp", album, func(m *inbox.IncomingMessage) {
		m.Kind, m.Attachments = "photo", r.messages(c.ID)[3].Attachments
	})
	s.eventually("an edit of the words", ".group", "the lamp", "edited")
	if n := s.count(".group .message"); n != 3 {
		t.Errorf("after an edit the group has %d", n)
	}
	do(t, tab, chromedp.Navigate("about:blank"))
}

// TestNothingThatACustomerWritesRuns : in each field that a customer fills, words that would run if they were taken for
// a part of the page, in a browser.
func TestNothingThatACustomerWritesRuns(t *testing.T) {
	tab := newTab(t)
	complaints := watch(t, tab)
	r := newRig(t)
	n := 0
	bad := func(field string) string {
		n++
		return fmt.Sprintf(`%s%d"'><img src=x onerror="window.ran=1"><script>window.ran=1</script>`+
			`<svg/onload=window.ran=1></bdi></li></ol><a href="javascript:window.ran=1">%[1]s</a>{{.}}`, field, n)
	}
	name, done, votes := bad("name"), true, int64(2)
	user := &inbox.EntityUser{ID: 9, FirstName: bad("mentioned"), Username: bad("mention")}
	say := func(text string, change func(m *inbox.IncomingMessage)) {
		t.Helper()
		r.customer(7, name, text, func(m *inbox.IncomingMessage) { m.Customer.Username = bad("username"); change(m) })
	}
	var number int64
	say(bad("text"), func(m *inbox.IncomingMessage) { number = m.MessageID })
	say(bad("formed"), func(m *inbox.IncomingMessage) {
		m.Content.Entities = []inbox.Entity{{Type: "bold", Offset: 1, Length: 20}, {Type: "spoiler", Offset: 5, Length: 30},
			{Type: "pre", Offset: 40, Length: 9, Language: bad("language")},
			{Type: "text_link", Offset: 52, Length: 4, URL: "javascript:window.ran=1"},
			{Type: "text_link", Offset: 60, Length: 4, URL: `https://e.example/"onmouseover="window.ran=1`},
			{Type: "text_mention", Offset: 70, Length: 4, User: user},
			{Type: "custom_emoji", Offset: 76, Length: 2, CustomEmojiID: bad("emoji")},
			{Type: bad("type"), Offset: 80, Length: 3}}
	})
	say(bad("caption"), func(m *inbox.IncomingMessage) {
		m.Kind, m.Details = "document", bad("details")
		m.Attachments = []inbox.Attachment{{Kind: "document", Name: bad("file"), MediaType: bad("media"), Size: 5}}
	})
	say("", func(m *inbox.IncomingMessage) {
		m.Kind = bad("kind")
		m.Attachments = []inbox.Attachment{{Kind: bad("filekind"), Name: bad("file")}}
	})
	say("quoted", func(m *inbox.IncomingMessage) {
		m.Content.Reply = &inbox.Reply{Text: bad("quote"), Quoted: true, From: bad("from"), Origin: "elsewhere",
			Notice: bad("notice")}
		m.Content.ViaBot = bad("via")
		m.Forwarded = &inbox.Forward{Kind: bad("origin"), Name: bad("forwarded")}
		m.ThreadID, m.Content.Topic = 3, bad("topic")
	})
	say("", func(m *inbox.IncomingMessage) {
		m.Kind, m.Details, m.Content.Title = "poll", bad("poll"), bad("question")
		m.Content.Items = []inbox.Item{{Text: bad("option"), Votes: &votes}, {Text: bad("option")}}
	})
	say("", func(m *inbox.IncomingMessage) {
		m.Kind, m.Details, m.Content.Title = "checklist", bad("list"), bad("title")
		m.Content.Items = []inbox.Item{{Text: bad("task"), Done: &done}}
	})
	say("", func(m *inbox.IncomingMessage) {
		data := bad("data")
		m.MessageID, m.Kind, m.Content.Pressed, m.Content.Button = 0, inbox.KindPressed, &data, bad("button")
	})
	album := func(m *inbox.IncomingMessage) { m.AlbumID = bad("album") }
	r.sends(7, inbox.Attachment{Kind: "photo", Name: bad("photo"), Width: 40, Height: 30}, testPicture(40, 30), album)
	c := r.conversation(7)
	r.answer(c.ID, bad("answer"))
	r.deliver(inbox.Sent, "")
	r.receive(inbox.Update{Kind: "message_reaction", Reacted: &inbox.ReactionChange{ChatID: 7, MessageID: 1_000_000 +
		r.lastDelivery, Customer: inbox.Customer{ID: 7, Name: name}, Date: time.Now(),
		Reactions: []inbox.Reaction{{Emoji: bad("reaction"), Name: bad("reactionname"), By: bad("by")}}}})
	first := r.messages(c.ID)
	edited := first[len(first)-1]
	r.edits(7, number, bad("edited"), func(m *inbox.IncomingMessage) { m.Customer.Name = bad("renamed") })
	r.edits(7, number, bad("again"), func(m *inbox.IncomingMessage) { m.Customer.Name = bad("renamed") })
	r.edits(7, 9999, bad("old"), func(m *inbox.IncomingMessage) { m.Date = time.Unix(1, 0) })

	s := screen{t, tab}
	s.open(r, c.ID)
	see := func(where string, fields ...string) {
		t.Helper()
		if s.js(`"ran" in window || !!document.querySelector("[onerror], [onload], [onmouseover], img[src=x]") ||
			[...document.scripts].some((s) => !s.src) || [...document.links].some((a) => /^javascript/i.test(a.href))`) {
			t.Errorf("%s: something that a customer wrote became a part of the page", where)
		}
		body := run(t, tab, chromedp.Evaluate[string](`document.body.innerText +
			[...document.querySelectorAll("[title], [data-behind]")].map((e) => e.title + e.dataset.behind).join("")`))
		for _, f := range fields {
			if !strings.Contains(body, f) {
				t.Errorf("%s: there is no %q to be seen", where, f)
			}
		}
	}
	fields := []string{"renamed", "formed", "caption", "file", "quote", "from", "via", "forwarded", "topic", "question",
		"option", "title", "task", "data", "button", "answer", "reaction", "by", "again", "old", "mentioned"}
	see("loaded", fields...)
	screenshots(t, tab, "hostile")
	r.customer(7, bad("live"), bad("livetext"), func(m *inbox.IncomingMessage) {
		m.ThreadID, m.Content.Topic = 4, bad("livetopic")
	})
	s.eventually("what comes while it is open", "#messages > li:last-child", "livetext")
	see("live", append(slices.Clone(fields), "livetopic")...)
	s.click("#messages a.edited")
	s.eventually("what stood before", ".wordings", "text", "edited")
	see("what stood before")
	s.click("#messages > li:last-child .answer-to")
	s.eventually("what it replies to", "#compose-to", "livetext")
	see("in the form")
	s.do(chromedp.KeyEvent(kb.Escape))
	s.do(chromedp.Navigate(fmt.Sprintf("%s/messages/%d/edits", r.http.URL, edited.ID)))
	see("on a page of its own", "text", "edited")
	s.do(chromedp.Navigate(r.http.URL + "/?view=all&q=" + "livetext"))
	see("in the list", "livetext")
	if found := complaints(); len(found) > 0 {
		t.Errorf("the browser complains: %v", found)
	}
}
