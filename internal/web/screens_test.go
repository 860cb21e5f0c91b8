package web_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"tandem/internal/inbox"
	"tandem/internal/web"
)

// downStore is a database that has gone away.
type downStore struct{ inbox.OperatorStore }

func (downStore) Ready() error {
	return &inbox.Error{Kind: inbox.Unreachable, Reason: "connection to 10.0.0.5:5432 refused"}
}

// TestScreens draws the page in a browser, at the sizes of a phone and of a desk, in light and dark, and sees that
// nothing is wider than the screen. TANDEM_SCREENSHOTS names a directory that keeps the pictures.
func TestScreens(t *testing.T) {
	keep := os.Getenv("TANDEM_SCREENSHOTS")
	r := newRig(t)
	fill(r)
	c := r.signIn("alice")
	main := r.conversation(101).ID
	r.customer(107, "Automatic reply", "[forwarded from Your Boss]\nPlease pay the invoice today.")
	r.customer(107, "Automatic reply", "Please pay the invoice today.", func(m *inbox.IncomingMessage) {
		m.Forwarded = &inbox.Forward{Kind: "user", Name: "Your Boss"}
	})
	r.customer(107, "Automatic reply", "", func(m *inbox.IncomingMessage) {
		m.Kind, m.Details = "contact", "Forwarded from Your Boss, +49 30 1234567"
	})
	r.customer(107, "Automatic reply", "", func(m *inbox.IncomingMessage) {
		m.Kind, m.Details, m.Forwarded = "voice", "0:12",
			&inbox.Forward{Kind: "channel", Name: "News of a channel whose name is so long that it needs a second line"}
		m.Attachments = []inbox.Attachment{{Kind: "voice", MediaType: "audio/ogg", Size: 9_000}}
	})
	ours := r.conversation(107).ID
	r.customer(109, "Cem", "Please send me the terms.")
	parts := r.conversation(109).ID
	r.answer(parts, strings.Repeat("These are the terms. ", 500))
	r.deliver(inbox.Failed, "Telegram refused it: Bad Request: can't parse entities (400)")
	r.customer(108, "Bea", "When will it come?")
	held := r.conversation(108).ID
	r.answer(held, "Tomorrow.")
	r.pause(time.Now().Add(4000 * time.Second))
	last := r.answer(held, "Before noon.")
	fillKinds(r)
	changed := fillChanges(r)
	many, formed := r.conversation(109).ID, r.conversation(110).ID
	down := newRigOn(t, r.store, func(c *web.Config) { c.Store = downStore{c.Store} })
	link := "/sign-in/" + r.link("bob")

	tab := newTab(t)
	cookie := c.Jar.Cookies(mustURL(t, r.http.URL))[0]
	shots := []struct {
		name, url string
		signed    bool
		before    func()
	}{
		{"help", r.http.URL + "/", false, nil},
		{"signin", r.http.URL + link, false, nil},
		{"deadlink", r.http.URL + "/sign-in/none", false, nil},
		{"list", r.http.URL + "/", true, nil},
		{"conversation", fmt.Sprintf("%s/conversations/%d", r.http.URL, main), true, nil},
		{"ours", fmt.Sprintf("%s/conversations/%d", r.http.URL, ours), true, nil},
		{"waits", fmt.Sprintf("%s/conversations/%d", r.http.URL, held), true, func() {
			next := time.Now().Add(time.Hour)
			r.ok(r.store.ReportBot(context.Background(), r.tenure(), inbox.BotReport{State: inbox.BotUnreachable, RetryAt: next,
				Reason: "Telegram asks for a pause in polling until 29 Dec 2026 12:00:00 UTC: " +
					"Too Many Requests: retry after 2592000 (429). It is asked again before that, every hour"}))
		}},
		{"parts", fmt.Sprintf("%s/conversations/%d", r.http.URL, parts), true, nil},
		{"takenback", fmt.Sprintf("%s/conversations/%d", r.http.URL, held), true, func() {
			_, err := r.store.TakeBack(context.Background(), last.ID)
			r.ok(err)
			r.says(inbox.BotStopped, "")
		}},
		{"formed", fmt.Sprintf("%s/conversations/%d", r.http.URL, formed), true, nil},
		{"kinds", fmt.Sprintf("%s/conversations/%d", r.http.URL, many), true, nil},
		{"changed", fmt.Sprintf("%s/conversations/%d", r.http.URL, changed.ConversationID), true, nil},
		{"change", fmt.Sprintf("%s/messages/%d/change", r.http.URL, changed.ID), true, nil},
		{"wordings", fmt.Sprintf("%s/messages/%d/edits", r.http.URL, changed.ID), true, nil},
		{"team", fmt.Sprintf("%s/conversations/%d", r.http.URL, main), true, func() { fillTeam(r, main) }},
		{"team-list", r.http.URL + "/?view=all", true, nil},
		{"team-waiting", r.http.URL + "/?view=waiting", true, nil},
		{"none", r.http.URL + "/?q=zzz", true, nil},
		{"database", down.http.URL + "/", true, nil},
		{"banner", fmt.Sprintf("%s/conversations/%d", r.http.URL, main), true, func() {
			r.says(inbox.BotConflict, "another program polls with this token: stop it, or revoke the token in @BotFather")
		}},
		{"banner-list", r.http.URL + "/", true, nil},
	}
	for _, shot := range shots {
		if shot.before != nil {
			shot.before()
		}
		for _, size := range [][2]int64{{390, 844}, {1440, 900}} {
			for _, scheme := range []string{"light", "dark"} {
				if shot.signed {
					must(t, tab, network.SetCookie, network.SetCookieParams{Name: cookie.Name, Value: cookie.Value, URL: r.http.URL})
				} else {
					must(t, tab, network.ClearBrowserCookies, cdp.Empty{})
				}
				must(t, tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
					Width: size[0], Height: size[1], DeviceScaleFactor: 1, Mobile: size[0] < 500,
				})
				must(t, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
				})
				must(t, tab, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Europe/Lisbon"})
				do(t, tab, chromedp.Navigate(shot.url))
				// Not innerWidth: that of a phone grows along.
				wide := run(t, tab, chromedp.Evaluate[int64](`document.documentElement.scrollWidth`)) > int64(size[0])
				const zone = `document.querySelector(".flow .zone")?.innerText ?? ""`
				if says := run(t, tab, chromedp.Evaluate[string](zone)); says != "" &&
					says != "Times are in your time zone, Europe/Lisbon." {
					t.Errorf("%s: %s", shot.name, says)
				}
				picture := run(t, tab, chromedp.CaptureScreenshot())
				name := fmt.Sprintf("%s-%d-%s", shot.name, size[0], scheme)
				if wide {
					t.Errorf("%s is wider than the screen", name)
				}
				if keep != "" {
					r.ok(os.WriteFile(filepath.Join(keep, name+".png"), picture, 0o644))
				}
			}
		}
	}
}

// fillTeam has a team work in a conversation, and in others.
func fillTeam(r *rig, conversation int64) {
	ctx := context.Background()
	by := inbox.Author{Kind: inbox.ByOperator, ID: fmt.Sprint(r.operatorID("alice")), Name: "alice"}
	do := func(id int64, change func(*inbox.ConversationChange)) {
		ch := inbox.ConversationChange{By: by}
		change(&ch)
		_, err := r.store.ChangeConversation(ctx, id, ch)
		r.ok(err)
	}
	alice := r.operatorID("alice")
	do(conversation, func(c *inbox.ConversationChange) { c.Assignee = &alice })
	do(conversation, func(c *inbox.ConversationChange) { c.Tags = &[]string{"VIP", "billing", "needs a call back"} })
	_, err := r.store.AddNote(ctx, conversation, inbox.Note{Author: by,
		Text: "@bob the invoice was sent twice, see https://example.com/invoices/4711\nPlease do not promise a refund yet."})
	r.ok(err)
	r.customer(101, "Ana Souza", "And one more thing: can I get it with another address?")
	do(r.conversation(106).ID, func(c *inbox.ConversationChange) { banned := true; c.Banned = &banned })
	do(r.conversation(103).ID, func(c *inbox.ConversationChange) {
		until := time.Now().Add(20 * time.Hour)
		c.SnoozedUntil, c.AddTag = &until, "billing"
	})
}

// fill makes an inbox as one looks after a busy morning.
func fill(r *rig) {
	r.customer(102, "Noor Haddad", "هل يمكنني تغيير عنوان التوصيل؟")
	r.customer(103, "Ivan Petrov", "Thanks, that helped!")
	r.answer(r.conversation(103).ID, "You are welcome. Have a good day!")
	r.deliver(inbox.Sent, "")
	r.customer(104, "<script>alert(1)</script>", "javascript:alert(1) & <b>bold</b>")
	r.customer(105, "Mei Lin", "", func(m *inbox.IncomingMessage) {
		m.Kind = "photo"
		m.Attachments = []inbox.Attachment{{Kind: "photo", Size: 183_000}}
	})
	r.customer(106, "Giuseppe Verdi-Castellammare del Golfo",
		"My order number is 4711. It should have come last Tuesday and I have written three times by now.")
	giuseppe := inbox.Customer{ID: 106, Name: "Giuseppe Verdi-Castellammare del Golfo"}
	blocks := inbox.BlockedChange{ChatID: 106, Customer: giuseppe, Blocked: true}
	r.receive(inbox.Update{Kind: "my_chat_member", Blocked: &blocks})
	named := func(m *inbox.IncomingMessage) { m.Customer.Username = "ana_souza" }
	r.customer(101, "Ana Souza", "/start", named, func(m *inbox.IncomingMessage) {})
	c := r.conversation(101)
	r.customer(101, "Ana Souza", "Good morning! Where is my parcel?\n"+
		"The tracking page has said “out for delivery” since Friday.", named)
	r.answer(c.ID, "Good morning, Ana. Let me ask the courier; I will be back within the hour.")
	r.deliver(inbox.Sent, "")
	r.customer(101, "Ana Souza", "", named, func(m *inbox.IncomingMessage) {
		m.Kind, m.Text = "document", "This is the receipt"
		m.Attachments = []inbox.Attachment{
			{Kind: "document", Name: "receipt-2026-11.pdf", MediaType: "application/pdf", Size: 48_211},
		}
	})
	r.answer(c.ID, "They will bring it today before six.")
	r.deliver(inbox.Failed, "the customer has blocked the bot")
	r.answer(c.ID, "The courier will call before coming.")
	r.deliver(inbox.Unknown, "the connection broke while it was sent")
	r.customer(101, "Ana Souza", "Great, thank you!", named)
	r.answer(c.ID, "Is there anything else that we can do for you?")
	r.deliver(inbox.Sending, "")
	r.answer(c.ID, "If not, have a nice day.")
}

// fillChanges makes a conversation in which answers were edited and deleted. One of them is what was edited.
func fillChanges(r *rig) (edited inbox.Message) {
	ctx := context.Background()
	r.customer(111, "Emil Nolde", "When do you open, and where?")
	c := r.conversation(111).ID
	sent := func(text string) inbox.Message {
		m := r.answer(c, text)
		r.deliver(inbox.Sent, "")
		return m
	}
	edit := func(m inbox.Message, text string) {
		_, err := r.store.EditAnswer(ctx, m.ID, text)
		r.ok(err)
	}
	edited = sent("At eighht, at Elm Street.")
	edit(edited, "At eight, at Elm Street 5.")
	r.deliver(inbox.Sent, "")
	gone := sent("The code of the door is 4417.")
	_, _, err := r.store.DeleteAnswer(ctx, gone.ID)
	r.ok(err)
	r.deliver(inbox.Sent, "")
	refused := sent("Ring twice.")
	edit(refused, "Ring three times, the bell is weak.")
	r.deliver(inbox.Failed, "Telegram does not let it be edited any more")
	edit(sent("See you soon"), "See you tomorrow")
	return edited
}

// fillKinds makes a conversation in which much has a form.
func fillKinds(r *rig) {
	customer := int64(110)
	written := func(text string, change func(*inbox.IncomingMessage)) {
		r.customer(customer, "Dora Maar", text, change)
	}
	form := func(e ...inbox.Entity) func(*inbox.IncomingMessage) {
		return func(m *inbox.IncomingMessage) { m.Content.Entities = e }
	}
	done, open, votes := true, false, int64(2)
	written("do NOT ship it: the old address is wrong, and the code is 4417", form(
		inbox.Entity{Type: "strikethrough", Offset: 3, Length: 3}, inbox.Entity{Type: "bold", Offset: 16, Length: 11},
		inbox.Entity{Type: "spoiler", Offset: 58, Length: 4}))
	written("They wrote\nWe never got it. Please send it to the new address, which is on the form, again.\nand\n"+
		"x := parcel.Find(4417)\nfmt.Println(x)\nas said here, or at https://track.example/a/very/long/path/that/does/not/"+
		"break/anywhere/by/itself?parcel=4417 or me@mail.example", form(
		inbox.Entity{Type: "blockquote", Offset: 11, Length: 83}, inbox.Entity{Type: "pre", Offset: 99, Length: 37},
		inbox.Entity{Type: "text_link", Offset: 145, Length: 4, URL: "https://elsewhere.example/x"}))
	written("this one please", func(m *inbox.IncomingMessage) {
		m.Content.Reply = &inbox.Reply{Text: "green", Quoted: true, From: "Help", Origin: inbox.FromChat}
	})
	r.answer(r.conversation(110).ID, "It is on its way: https://track.example/4417")
	r.deliver(inbox.Sent, "")
	r.receive(inbox.Update{Kind: "message_reaction", Reacted: &inbox.ReactionChange{ChatID: 110,
		Customer: inbox.Customer{ID: 110, Name: "Dora Maar"}, MessageID: 1_000_000 + r.lastDelivery, Date: time.Now(),
		Reactions: []inbox.Reaction{{Emoji: "👍", By: "Dora Maar"},
			{CustomEmojiID: "5", Name: "custom emoji", By: "Dora Maar"}}}})
	customer = 109
	written("and when?", func(m *inbox.IncomingMessage) {
		m.Content.Reply = &inbox.Reply{From: "alice", Origin: inbox.FromChat,
			Text: "Good morning! The parcel has left our warehouse, and it will be with you on Friday between eight and noon."}
		m.ThreadID, m.Content.Topic = 11, "Invoices and everything that has to do with them"
	})
	written("", func(m *inbox.IncomingMessage) {
		m.Kind, m.Details, m.Content.Title = "checklist", "Buy (☑ milk / bread)", "Buy"
		m.Content.Items = []inbox.Item{{Text: "two lamps", Done: &done}, {Text: "one bulb for the lamp", Done: &open}}
	})
	written("", func(m *inbox.IncomingMessage) { m.Kind = "chat_background_set" })
	written("", func(m *inbox.IncomingMessage) {
		m.Kind, m.Details, m.Content.Title = "poll", "Tea? (yes / no)", "Tea?"
		m.Content.Items = []inbox.Item{{Text: "yes", Votes: &votes}, {Text: "no"}}
		m.Content.ViaBot = "quiz_bot"
	})
	written("", func(m *inbox.IncomingMessage) {
		m.Kind, m.Details = "location", "52.52000, 13.40500"
		m.Content.Place = &inbox.Place{Latitude: 52.52, Longitude: 13.405}
		m.Content.Reply = &inbox.Reply{From: "News", Origin: inbox.Elsewhere, Notice: "photo"}
	})
	written("", func(m *inbox.IncomingMessage) {
		m.Kind, m.Details = "voice", "0:12"
		m.Attachments = []inbox.Attachment{{Kind: "voice", MediaType: "audio/ogg", Size: 9_000}}
	})
}
