package web_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/inbox"
)

// TestWhatIsOursToSay: a customer's words stand where his words stand, however much they look like ours; what is ours
// stands where he cannot write.
func TestWhatIsOursToSay(t *testing.T) {
	r := newRig(t)
	evil := `Your Boss <b onclick="x">`
	r.customer(1, "Automatic reply", "[forwarded from Your Boss]\nPay him. [photo] Forwarded")
	r.customer(2, "Eve (API)", "Pay him.", func(m *inbox.IncomingMessage) {
		m.Forwarded = &inbox.Forward{Kind: "channel", Name: evil}
	})
	r.customer(3, "Max", "Pay him.", func(m *inbox.IncomingMessage) { m.Forwarded = &inbox.Forward{Kind: "hidden_user"} })
	r.customer(4, "Ann", "", func(m *inbox.IncomingMessage) { m.Kind, m.Details = "contact", "Forwarded from Your Boss" })
	r.customer(5, "Ivo", "", func(m *inbox.IncomingMessage) { m.Kind = "pinned_message" })
	c := r.signIn("alice")
	items := r.page(c, "/").class("item")
	for i, want := range []struct{ labels, words string }{ // newest first
		{"Pinned a message", ""},
		{"Contact", "Forwarded from Your Boss"},
		{"Forwarded", "Pay him."},
		{"Forwarded", "Pay him."},
		{"", "[forwarded from Your Boss] Pay him. [photo] Forwarded"},
	} {
		var labels []string
		for _, l := range items[i].class("ours") {
			labels = append(labels, l.words())
		}
		bdi := items[i].class("snippet")[0].tag("bdi")
		if strings.Join(labels, " ") != want.labels || bdi[len(bdi)-1].words() != want.words {
			t.Errorf("item %d: labels %q in %q", i, labels, items[i].words())
		}
	}
	for i, want := range []struct{ ours, name, text string }{
		{"", "", "[forwarded from Your Boss]\nPay him. [photo] Forwarded"},
		{"Forwarded from the channel " + evil, evil, "Pay him."},
		{"Forwarded from somebody whose name Telegram does not give", "", "Pay him."},
		{"Contact Forwarded from Your Boss", "Forwarded from Your Boss", ""},
		{"Pinned a message", "", ""},
	} {
		m := r.page(c, fmt.Sprintf("/conversations/%d", r.conversation(int64(i+1)).ID)).id("messages").tag("li")[0]
		var ours, text, name string
		for _, n := range m.class("said-of") {
			ours += n.words()
			for _, b := range n.tag("bdi") {
				name += b.words()
			}
		}
		for _, n := range m.class("text") {
			text += n.text()
		}
		if ours != want.ours || text != want.text || name != want.name {
			t.Errorf("message %d: ours %q with the name %q, theirs %q", i, ours, name, text)
		}
	}
	conversation := r.conversation(1).ID
	r.api("POST", fmt.Sprintf("/conversations/%d/messages", conversation), map[string]string{"text": "by a program"})
	m := r.page(c, fmt.Sprintf("/conversations/%d", conversation)).id("messages").tag("li")[1]
	if label := m.class("author")[0].class("ours"); len(label) != 1 || label[0].words() != "API" {
		t.Errorf("the author of a program's answer: %q", m.words())
	}
}

// TestAnAnswerThatWaitsSaysWhy: at the answer itself and at those behind it, with the moment.
func TestAnAnswerThatWaitsSaysWhy(t *testing.T) {
	r := newRig(t)
	r.customer(1, "Ann", "hello")
	c := r.conversation(1).ID
	first := r.answer(c, "first")
	r.pause(time.Now().Add(4000 * time.Second))
	r.answer(c, "second")
	messages := r.page(r.signIn("alice"), fmt.Sprintf("/conversations/%d", c)).id("messages").tag("li")
	for i, want := range []string{"Telegram asks for a pause before the next message to this customer",
		"An earlier answer has to go first"} {
		waits := messages[i+1].class("waits")
		if len(waits) != 1 || !strings.Contains(waits[0].words(), want) || !strings.Contains(waits[0].words(), "Until ") ||
			len(waits[0].tag("time")) != 1 {
			t.Errorf("answer %d: %q", i, messages[i+1].words())
		}
	}
	a := r.api("GET", fmt.Sprintf("/conversations/%d/messages", c), nil)
	if !strings.Contains(a.body, `"waits":{"reason":"behind"`) ||
		!strings.Contains(a.body, `"waits":{"reason":"paused"`) || !strings.Contains(a.body, `"waits":null`) {
		t.Errorf("the API: %s", a.body)
	}
	if first.Waits != nil {
		t.Errorf("before the pause: %+v", first.Waits)
	}
}

func TestTheListAndAConversation(t *testing.T) {
	r := newRig(t)
	fill(r)
	c := r.signIn("alice")
	page := r.page(c, "/")
	items := page.class("item")
	if len(items) != 6 {
		t.Fatalf("%d conversations on the page, want 6", len(items))
	}
	for i, want := range []string{"Ana Souza", "Giuseppe Verdi-Castellammare del Golfo", "Mei Lin",
		"<script>alert(1)</script>", "Ivan Petrov", "Noor Haddad"} {
		if name := items[i].tag("bdi")[0].text(); name != want {
			t.Errorf("conversation %d is that of %q, want %q", i, name, want)
		}
	}
	if w := items[0].words(); !strings.Contains(w, "waiting to be sent") ||
		!strings.Contains(w, "alice: If not, have a nice day.") {
		t.Errorf("the first one says %q", w)
	}
	if w := items[1].words(); !strings.Contains(w, "blocked the bot") {
		t.Errorf("the blocked one says %q", w)
	}
	if w := items[2].words(); !strings.Contains(w, "Photo") {
		t.Errorf("the one with a photo says %q", w)
	}

	page = r.page(c, items[0].attr("href"))
	messages := page.id("messages").tag("li")
	if len(messages) != 9 {
		t.Fatalf("%d messages, want 9", len(messages))
	}
	for i, want := range []struct{ text, state string }{
		{"/start", ""}, {"Good morning! Where is my parcel?\nThe tracking page", ""}, {"back within the hour", "sent"},
		{"This is the receipt", ""},
		{"today before six", "not delivered"}, {"call before coming", "may have been delivered"}, {"Great", ""},
		{"anything else", "being sent"}, {"nice day", "waiting to be sent"},
	} {
		m := messages[i]
		if text := m.class("text"); len(text) != 1 || !strings.Contains(text[0].text(), want.text) ||
			text[0].attr("dir") != "auto" {
			t.Errorf("message %d: %s, want %q", i, m.words(), want.text)
		}
		if state := m.class("state"); (len(state) == 1) != (want.state != "") ||
			len(state) == 1 && state[0].words() != want.state {
			t.Errorf("message %d: %s, want the state %q", i, m.words(), want.state)
		}
		retry := len(m.tag("button")) == 1
		if retry != (want.state == "not delivered" || want.state == "may have been delivered") {
			t.Errorf("message %d (%s): retry is %v", i, want.state, retry)
		}
	}
	if w := messages[4].words(); !strings.Contains(w, "The customer has blocked the bot.") {
		t.Errorf("a failed answer does not say why: %s", w)
	}
	if w := messages[5].words(); !strings.Contains(w, "may get it twice") {
		t.Errorf("an unknown answer is not explained: %s", w)
	}
	if card := messages[3].class("card"); len(card) != 1 || !strings.Contains(card[0].words(), "receipt-2026-11.pdf") ||
		!strings.Contains(card[0].words(), "application/pdf") || !strings.Contains(card[0].words(), "48 kB") {
		t.Errorf("the attachment: %s", messages[3].words())
	}
	if got := page.tag("body")[0].attr("data-event"); !regexp.MustCompile(`^[1-9][0-9]*$`).MatchString(got) {
		t.Errorf("data-event is %q", got)
	}
	blocked := r.page(c, fmt.Sprintf("/conversations/%d", r.conversation(106).ID))
	if w := blocked.id("head").words(); !strings.Contains(w, "has blocked the bot") {
		t.Errorf("the conversation with one who blocked the bot does not say so: %s", w)
	}
	if a := r.call(c, "GET", "/conversations/999", nil); a.StatusCode != 404 ||
		!strings.Contains(a.body, "no such conversation") {
		t.Errorf("a conversation that is not there: %s", a.Status)
	}
}

// Nothing that a customer can write becomes markup, a link or an attribute.
func TestCustomersCannotWriteMarkup(t *testing.T) {
	r := newRig(t)
	hostile := []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'-alert(1)-'`,
		`</textarea></title><svg onload=alert(1)>`, `javascript:alert(1)`,
		"\u202eevil\u2066 \u200f", `{{.Operator}}`, "<!--", `<a href="data:text/html,x">`, "\u0000\ufffd", "a & b &lt; c",
	}
	for i, text := range hostile {
		id := int64(100 + i)
		r.customer(id, text, text, func(m *inbox.IncomingMessage) {
			m.Customer.Username = text
			m.Kind = text
			m.Attachments = []inbox.Attachment{{Kind: text, Name: text, MediaType: text, Size: 1}}
		})
		r.answer(r.conversation(id).ID, text)
		r.deliver(inbox.Unknown, text)
	}
	c := r.signIn(`<b>"alice"`)
	allowed := map[string]bool{
		"html": true, "head": true, "meta": true, "title": true, "link": true, "script": true, "body": true, "a": true,
		"header": true, "svg": true, "path": true, "circle": true,
		"span": true, "form": true, "bdi": true, "button": true, "div": true, "main": true, "nav": true, "label": true,
		"input": true, "ul": true, "ol": true, "li": true, "section": true,
		"mark": true, "p": true, "h1": true, "small": true, "time": true, "textarea": true, "strong": true,
		"details": true, "summary": true, "select": true, "option": true, "datalist": true, "dialog": true, "b": true,
		"h2": true, "dl": true, "dt": true, "dd": true,
	}
	for i, text := range hostile {
		q := url.QueryEscape(text)
		for _, path := range []string{
			fmt.Sprintf("/conversations/%d?q=%s&view=all", r.conversation(int64(100+i)).ID, q), "/?view=all&q=" + q,
		} {
			page := r.page(c, path)
			for _, e := range page.all(func(*node) bool { return true }) {
				if !allowed[e.Data] {
					t.Fatalf("%q makes an element %s", text, e.Data)
				}
				if e.Data == "script" && e.FirstChild != nil {
					t.Errorf("%q: there is an inline script", text)
				}
				for _, a := range e.Attr {
					if strings.HasPrefix(a.Key, "on") || a.Key == "style" ||
						a.Key != "value" && strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.Val)), "javascript:") {
						t.Errorf("%q makes the attribute %s=%q of %s", text, a.Key, a.Val, e.Data)
					}
					if (a.Key == "href" || a.Key == "src" || a.Key == "action") && !strings.HasPrefix(a.Val, "/") &&
						!strings.HasPrefix(a.Val, "#") {
						t.Errorf("%q leads to %q", text, a.Val)
					}
				}
			}
			ours := 1
			if strings.Contains(path, "/conversations/") {
				ours = 2 // with the viewer of pictures
			}
			if n := len(page.tag("script")); n != ours {
				t.Errorf("%q: %d scripts, want our own %d", text, n, ours)
			}
			if want := inbox.CleanText(text); strings.Contains(path, "/conversations/") && page.class("text")[0].text() != want {
				t.Errorf("the text %q is shown as %q", want, page.class("text")[0].text())
			}
		}
	}
	// A name that turns the direction of writing turns only itself.
	for _, e := range r.page(c, "/").class("name") {
		if len(e.tag("bdi")) != 1 {
			t.Errorf("a name without bdi: %s", e.words())
		}
	}
}

// Without the script: answering, a double click, refusals in words, closing, retrying.
func TestFormsWithoutTheScript(t *testing.T) {
	r := newRig(t)
	r.customer(7, "Ana", "hello")
	c := r.signIn("alice")
	here := fmt.Sprintf("/conversations/%d", r.conversation(7).ID)
	form := func(page *node) (string, url.Values) {
		f := page.id("compose")
		return f.attr("action"), url.Values{"key": {f.tag("input")[0].attr("value")}}
	}
	action, fields := form(r.page(c, here+"?view=all&q=hel"))
	fields.Set("text", "Hello Ana")
	for range 2 { // a double click
		a := r.call(c, "POST", action, fields)
		if a.StatusCode != 303 || !strings.HasPrefix(a.Header.Get("Location"), here+"?q=hel&view=all#m") {
			t.Fatalf("answering: %s to %s", a.Status, a.Header.Get("Location"))
		}
	}
	items, _, _ := r.store.Messages(t.Context(), 1, 10, 0)
	if len(items) != 2 || items[0].Text != "Hello Ana" || items[0].Author.Name != "alice" ||
		items[0].Author.Kind != inbox.ByOperator {
		t.Fatalf("stored: %+v", items)
	}
	for _, x := range []struct{ text, words string }{
		{" \n ", "The answer is empty"}, {"\u200b\u2800", "The answer is empty"},
		{strings.Repeat("y", inbox.MaxAnswer+5), "32005 characters"}, {"<b>another</b>", "already sent from this page"},
	} {
		fields.Set("text", x.text)
		a := r.call(c, "POST", action, fields)
		page := parse(t, a.body)
		if a.StatusCode != 422 || !strings.Contains(page.id("compose-error").words(), x.words) {
			t.Errorf("%.20q: %s %q, want %q", x.text, a.Status, page.id("compose-error").words(), x.words)
		}
		if got := page.id("compose-text").text(); got != x.text {
			t.Errorf("what was typed is lost: %.40q", got)
		}
		if _, again := form(page); again.Get("key") == fields.Get("key") {
			t.Error("a refused answer keeps its key")
		}
	}
	media := []string{"Content-Type", "application/x-www-form-urlencoded"}
	if a := r.call(c, "POST", action, strings.Repeat("x", 2<<20), media...); a.StatusCode != 413 {
		t.Errorf("a form of 2 MiB: %s", a.Status)
	}

	for status, button := range map[string]string{"closed": "Reopen", "open": "Close"} {
		if status == "open" {
			continue
		}
		if a := r.call(c, "POST", here+"/status", url.Values{"status": {status}}); a.StatusCode != 303 {
			t.Errorf("%s: %s", status, a.Status)
		}
		if w := r.page(c, here).id("head").words(); !strings.Contains(w, button) {
			t.Errorf("a conversation that is %s: %s", status, w)
		}
	}
	if w := r.page(c, "/").id("list").words(); !strings.Contains(w, "No open conversations") {
		t.Errorf("the open ones when all are closed: %s", w)
	}
	if n := len(r.page(c, "/?view=closed").class("item")); n != 1 {
		t.Errorf("%d closed conversations, want 1", n)
	}

	r.deliver(inbox.Failed, "chat not found")
	retry := r.page(c, here).class("trouble")[0].tag("form")[0].attr("action")
	if a := r.call(c, "POST", retry, nil); a.StatusCode != 303 {
		t.Errorf("retry: %s", a.Status)
	}
	if a := r.call(c, "POST", retry, nil); a.StatusCode != 409 || !strings.Contains(a.body, "on its way") {
		t.Errorf("retry again: %s %s", a.Status, a.body)
	}
	if a := r.call(browser(t), "POST", here+"/answers", fields); a.StatusCode != 401 ||
		!strings.Contains(a.body, "Nothing was changed") {
		t.Errorf("answering without a session: %s", a.Status)
	}
}

func TestPagingOfThePage(t *testing.T) {
	r := newRig(t)
	updates := make([]inbox.Update, 0, 120)
	tenure := r.tenure()
	for i := range 120 {
		r.update++
		customer := int64(1000 + i)
		if i >= 60 {
			customer = 7
		}
		m := inbox.IncomingMessage{
			ChatID: customer, MessageID: int64(i + 1), Kind: "text", Text: fmt.Sprintf("text %d", i),
			Customer: inbox.Customer{ID: customer, Name: fmt.Sprintf("C %d", customer)},
		}
		updates = append(updates, inbox.Update{ID: r.update, Kind: "message", Raw: []byte("{}"), Message: &m})
	}
	r.ok(r.store.StoreUpdates(t.Context(), tenure, updates, r.update+1))
	c := r.signIn("alice")
	page := r.page(c, "/")
	if n := len(page.class("item")); n != 50 {
		t.Fatalf("%d on the first page, want 50", n)
	}
	next := page.id("list").class("more")[0].tag("a")[0].attr("href")
	page = r.page(c, next)
	if n := len(page.class("item")); n != 11 || !strings.Contains(page.words(), "Newest conversations") {
		t.Errorf("%d on the second page, want 11 and a way back", n)
	}
	here := fmt.Sprintf("/conversations/%d", r.conversation(7).ID)
	page = r.page(c, here)
	first := page.id("messages").tag("li")
	if len(first) != 50 || !strings.Contains(first[49].words(), "text 119") {
		t.Fatalf("the newest 50 messages end with %s", first[len(first)-1].words())
	}
	page = r.page(c, page.class("flow")[0].class("more")[0].tag("a")[0].attr("href"))
	older := page.id("messages").tag("li")
	if len(older) != 10 || !strings.Contains(older[0].words(), "text 60") ||
		!strings.Contains(older[9].words(), "text 69") || !strings.Contains(page.words(), "Newest messages") {
		t.Errorf("older messages: %d", len(older))
	}
}

// What the script fetches is the same as what the page has.
func TestFragments(t *testing.T) {
	r := newRig(t)
	fill(r)
	c := r.signIn("alice")
	page := r.page(c, fmt.Sprintf("/conversations/%d", r.conversation(101).ID))
	for _, id := range []string{"list", "head", "banner"} {
		e := page.id(id)
		a := r.call(c, "GET", e.attr("data-source"), nil)
		if got := parse(t, a.body).words(); a.StatusCode != 200 || got != e.words() {
			t.Errorf("%s: %s %q, on the page %q", id, a.Status, got, e.words())
		}
	}
	messages := page.id("messages")
	source := messages.attr("data-source") + "?"
	for _, m := range messages.tag("li") {
		source += "&id=" + m.attr("data-id")
	}
	other := r.conversation(103).LastMessageID
	a := r.call(c, "GET", fmt.Sprintf("%s&id=%d&id=999", source, other), nil)
	if got := parse(t, a.body); got.words() != messages.words() || len(got.tag("li")) != 9 {
		t.Errorf("the messages: %s", got.words())
	}
}

// TestWhyACustomerCannotBeReached : the true reason is in the list and above the conversation, and goes when he is
// there again.
func TestWhyACustomerCannotBeReached(t *testing.T) {
	r := newRig(t)
	r.customer(7, "Ana", "hello")
	c := r.signIn("alice")
	here := fmt.Sprintf("/conversations/%d", r.conversation(7).ID)
	for _, x := range []struct {
		why         inbox.Reach
		short, long string
	}{
		{inbox.BlockedBot, "blocked the bot", "has blocked the bot: nothing can be delivered until they unblock it"},
		{inbox.AccountGone, "account is gone", "account is gone: nothing can be delivered any more"},
		{inbox.NeverStarted, "has not started the bot", "has not started the bot, or has deleted the chat"},
		{"of a later version", "cannot be reached", "has blocked the bot, or their Telegram account is gone"},
	} {
		r.answer(r.conversation(7).ID, "are you there?")
		claimed, _, err := r.store.ClaimDeliveries(t.Context(), r.tenure(), 1, nil)
		r.ok(err)
		r.ok(r.store.RecordOutcome(t.Context(), r.tenure(), inbox.Outcome{DeliveryID: claimed[0].ID,
			Attempt: claimed[0].Attempt, State: inbox.Failed, Error: "no", Unreachable: x.why}))
		page := r.page(c, here)
		if w := page.id("head").words(); !strings.Contains(w, x.long) {
			t.Errorf("%s: above the conversation: %s", x.why, w)
		}
		if w := page.class("item")[0].words(); !strings.Contains(w, x.short) {
			t.Errorf("%s: in the list: %s", x.why, w)
		}
		var one struct {
			Blocked     bool
			Unreachable inbox.Reach
		}
		r.ok(json.Unmarshal([]byte(r.api("GET", here, nil).body), &one))
		if !one.Blocked || one.Unreachable != x.why {
			t.Errorf("%s: the API says %+v", x.why, one)
		}
	}
	r.answer(r.conversation(7).ID, "hello?")
	r.deliver(inbox.Sent, "")
	if w := r.page(c, here).words(); strings.Contains(w, "nothing can be delivered") {
		t.Errorf("after an answer was taken: %s", w)
	}
}

// TestAnAnswerInParts : while not all of it is delivered each part says how it is, and one press sends the rest.
func TestAnAnswerInParts(t *testing.T) {
	r := newRig(t)
	r.customer(7, "Ana", "hello")
	c := r.signIn("alice")
	here := fmt.Sprintf("/conversations/%d", r.conversation(7).ID)
	m := r.answer(r.conversation(7).ID, strings.Repeat("word and word ", 800))
	r.deliver(inbox.Failed, "Telegram refused it")
	var parts []string
	for _, li := range r.page(c, here).class("parts")[0].tag("li") {
		parts = append(parts, li.words())
	}
	if want := []string{"Part 1 of 3: not delivered. Telegram refused it.",
		"Part 2 of 3: not delivered. Held: part 1 was not delivered.",
		"Part 3 of 3: not delivered. Held: part 1 was not delivered."}; !slices.Equal(parts, want) {
		t.Errorf("the page says %q", parts)
	}
	if w := r.page(c, here).words(); !strings.Contains(w, "Try again sends what was not sent, in order.") {
		t.Errorf("the page does not say what the button does: %s", w)
	}
	var one struct {
		Items []struct{ Parts []inbox.Part }
	}
	r.ok(json.Unmarshal([]byte(r.api("GET", here+"/messages", nil).body), &one))
	if p := one.Items[0].Parts; len(p) != 3 || p[0].Part != 1 || p[0].Delivery != inbox.Failed ||
		p[2].Error != "held: part 1 was not delivered" {
		t.Errorf("the API says %+v", p)
	}
	if a := r.call(c, "POST", fmt.Sprintf("/messages/%d/retry", m.ID), nil); a.StatusCode != 303 {
		t.Errorf("try again: %s", a.Status)
	}
	for range 3 {
		r.deliver(inbox.Sent, "")
	}
	if page := r.page(c, here); len(page.class("parts")) != 0 {
		t.Errorf("when all are delivered: %s", page.words())
	}
}

// TestAnAnswerIsTakenBack : while it waits, on the page and by the API.
func TestAnAnswerIsTakenBack(t *testing.T) {
	r := newRig(t)
	r.customer(7, "Ana", "hello")
	c := r.signIn("alice")
	here := fmt.Sprintf("/conversations/%d", r.conversation(7).ID)
	first := r.answer(r.conversation(7).ID, "first")
	second := r.answer(r.conversation(7).ID, "second")
	r.ok(r.store.SignOff(t.Context(), r.tenure(), inbox.BotStopped, ""))
	page := r.page(c, here)
	if w := page.id(fmt.Sprintf("m%d", first.ID)).words(); !strings.Contains(w, "The bot is not running") {
		t.Errorf("it does not say why it waits: %s", w)
	}
	action := fmt.Sprintf("/messages/%d/take-back", first.ID)
	if a := r.call(c, "POST", action, nil); a.StatusCode != 303 {
		t.Errorf("take back: %s", a.Status)
	}
	a := r.api("DELETE", fmt.Sprintf("/messages/%d", second.ID), nil)
	var m struct {
		Text      string
		DeletedAt *time.Time `json:"deleted_at"`
	}
	if r.ok(json.Unmarshal([]byte(a.body), &m)); a.StatusCode != 200 || m.DeletedAt == nil || m.Text != "second" {
		t.Errorf("by the API: %s %s", a.Status, a.body)
	}
	page = r.page(c, here)
	for _, id := range []int64{first.ID, second.ID} {
		li := page.id(fmt.Sprintf("m%d", id))
		if w := li.words(); !strings.Contains(w, "taken back") || len(li.tag("form")) != 0 {
			t.Errorf("afterwards: %s", w)
		}
	}
	if w := page.class("item")[0].words(); !strings.Contains(w, "Taken back") {
		t.Errorf("in the list: %s", w)
	}
	mustBeProblem(t, r.api("DELETE", "/messages/1", nil), 409, "only an answer")
	mustBeProblem(t, r.api("DELETE", "/messages/999", nil), 404)
	if a := r.call(c, "POST", "/messages/1/take-back", nil); a.StatusCode != 409 {
		t.Errorf("a customer's: %s", a.Status)
	}
}
