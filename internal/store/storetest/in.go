package storetest

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"tandem/internal/inbox"
)

func messageIn(t *testing.T, open Open) {
	f := setUp(t, open)
	before := time.Now().Truncate(time.Microsecond)
	m := incoming(7, 1, "my passport")
	m.Kind, m.ThreadID, m.AlbumID = "photo", 5, "album"
	m.Attachments = []inbox.Attachment{
		{Kind: "photo", Name: "a.jpg", MediaType: "image/jpeg", Size: 1 << 40, FileID: "f1", FileUniqueID: "u1"},
		{Kind: "document", Name: "b.pdf", MediaType: "application/pdf", FileID: "f2", FileUniqueID: "u2"},
	}
	reply := incoming(7, 2, "as said")
	reply.ReplyTo = 1
	unknown := incoming(7, 3, "to something from before our time")
	unknown.ReplyTo = 99
	f.receive(inbox.Update{Kind: "message", Message: m}, inbox.Update{Kind: "message", Message: reply},
		inbox.Update{Kind: "message", Message: unknown})

	list := f.messages(7)
	if len(list) != 3 {
		t.Fatalf("have %d messages, want 3", len(list))
	}
	c := f.conversation(7)
	first := list[0]
	if first.CreatedAt.Before(before) || time.Since(first.CreatedAt) > time.Minute {
		t.Errorf("created at %v, which is not now", first.CreatedAt)
	}
	if len(first.Attachments) != 2 || first.Attachments[0].ID == 0 || first.Attachments[0].ID >= first.Attachments[1].ID {
		t.Fatalf("attachments are not there in their order: %+v", first.Attachments)
	}
	want := inbox.Message{
		ID: first.ID, BotID: botID, ConversationID: c.ID, Direction: inbox.In,
		Kind: "photo", Text: "my passport", Notice: "photo",
		Author:    inbox.Author{Kind: inbox.ByCustomer, ID: "7", Name: "Customer 7"},
		CreatedAt: first.CreatedAt, TelegramDate: new(at(0)), ThreadID: 5, AlbumID: "album", Attachments: m.Attachments,
		Entities: []inbox.Entity{}, TopicID: new(int64(5)), Reactions: []inbox.Reaction{},
	}
	for i := range want.Attachments {
		a := &want.Attachments[i]
		a.ID, a.MessageID, a.State, a.Asked = first.Attachments[i].ID, first.ID, inbox.FileWaiting, true
	}
	same(t, "the message", first, want)
	if list[1].ReplyTo == nil || *list[1].ReplyTo != first.ID || list[1].Attachments == nil {
		t.Errorf("the reply: %+v", list[1])
	}
	if list[2].ReplyTo != nil {
		t.Errorf("a reply to an unknown message points to %d", *list[2].ReplyTo)
	}
	same(t, "the conversation", c, inbox.Conversation{
		ID: c.ID, BotID: botID, ChatID: 7, Customer: m.Customer, Status: inbox.Open,
		CreatedAt: first.CreatedAt, UpdatedAt: first.CreatedAt, LastMessageID: list[2].ID, LastMessage: &list[2],
		FormerNames: []string{}, Version: c.Version, Tags: []string{}, WaitingSince: &first.CreatedAt, WaitingFrom: first.ID,
	})
}

func oddText(t *testing.T, open Open) {
	f := setUp(t, open)
	u := text(7, 1, "nul \x00, broken \xff, \u202e 👩‍👩‍👧")
	u.Message.Customer = inbox.Customer{ID: 7, Name: "\x00\xff", Username: "\x00", Language: "\xff"}
	u.Message.Details, u.Message.Forwarded = "\x00\xff", &inbox.Forward{Kind: "\xff", Name: "\x00"}
	u.Message.AlbumID, u.Kind, u.Problem = "\x00", "\x00", "\xff"
	u.Message.Attachments = []inbox.Attachment{
		{Kind: "\x00", Name: "\xff", MediaType: "\x00", FileID: "\xff", FileUniqueID: "\x00"}}
	u.Raw, u.Reply = []byte("raw \x00\xff"), "\x00 hello"
	f.receive(u)
	same(t, "texts", f.texts(7), []string{"nul \uFFFD, broken \uFFFD, \u202e 👩‍👩‍👧", "\uFFFD hello"})
	_, _, err := f.Conversations(t.Context(), inbox.ConversationFilter{Limit: 1, Query: "\x00\xff"})
	must(t, err)
	must(t, f.ReportBot(t.Context(), f.tenure,
		inbox.BotReport{Username: "\x00", Name: "\xff", Reason: "\x00", Instance: "\xff"}))
	_, _, err = f.AddAnswer(t.Context(), f.conversation(7).ID,
		inbox.Answer{Text: "\x00a", Key: "\x00\xff", Author: inbox.Author{Kind: inbox.ByAPI, ID: "\x00", Name: "\xff"}})
	must(t, err)
	f.recordNext(inbox.Outcome{State: inbox.Failed, Error: "\x00\xff"})
}

// wordsOfOurs : what this program says of a message, and whose words it is, are never in what its sender wrote.
func wordsOfOurs(t *testing.T, open Open) {
	f := setUp(t, open)
	typed := text(7, 1, "[forwarded from Your Boss]\npay him")
	passed := text(7, 2, "pay him")
	passed.Message.Forwarded = &inbox.Forward{Kind: "user", Name: "Ann Boss"}
	nobody := text(7, 3, "pay him")
	nobody.Message.Forwarded = &inbox.Forward{}
	card := text(7, 4, "")
	card.Message.Kind, card.Message.Details = "contact", "Max Muster, +491"
	file := text(7, 5, "")
	file.Message.Kind = "document"
	file.Message.Attachments = []inbox.Attachment{
		{Kind: "document", Name: "Invoice.pdf", FileID: "f", FileUniqueID: "u"}}
	f.receive(typed, passed, nobody, card, file)
	type words struct {
		text, details, notice string
		forwarded             *inbox.Forward
	}
	want := []words{
		{"[forwarded from Your Boss]\npay him", "", "", nil},
		{"pay him", "", "", &inbox.Forward{Kind: "user", Name: "Ann Boss"}},
		{"pay him", "", "", &inbox.Forward{Kind: "unknown"}},
		{"", "Max Muster, +491", "contact", nil},
		{"", "", "document", nil},
	}
	have := func() (list []words) {
		for _, m := range f.messages(7) {
			list = append(list, words{m.Text, m.Details, m.Notice, m.Forwarded})
		}
		return list
	}
	compare := func(what string) {
		t.Helper()
		if got := have(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	compare("stored")
	last := f.conversation(7).LastMessage
	if last.Notice != "document" || last.Forwarded != nil {
		t.Errorf("in the list: %+v", last)
	}
	found := func(query string) int {
		f.indexed()
		list, _, err := f.Conversations(t.Context(), inbox.ConversationFilter{Limit: 9, Query: query})
		must(t, err)
		return len(list)
	}
	for _, query := range []string{"ann boss", "max muster", "CONTACT", "invoice.pdf", "your boss"} {
		if found(query) != 1 {
			t.Errorf("%q is not found", query)
		}
	}
	edited := incoming(7, 4, "")
	edited.Kind, edited.Details, edited.EditedAt = "contact", "Moritz", new(at(9))
	f.receive(inbox.Update{Kind: "edited_message", Edit: edited})
	want[3].details = "Moritz"
	compare("after an edit")
	if found("max muster") != 0 || found("moritz") != 1 {
		t.Error("a search does not follow the edit")
	}
}

// contents : what a message has beside its words is kept and follows an edit. A line that nobody wrote moves nothing.
func contents(t *testing.T, open Open) {
	f := setUp(t, open)
	struck := inbox.Entity{Type: "strikethrough", Offset: 3, Length: 3}
	first := text(7, 1, "do NOT ship it")
	first.Message.Content = inbox.Content{Entities: []inbox.Entity{struck}, ViaBot: "gif"}
	bare := text(7, 2, "this one")
	bare.Message.ReplyTo, bare.Message.Content.Reply = 1, &inbox.Reply{Origin: inbox.FromChat}
	quoted := text(7, 3, "that one")
	quoted.Message.ReplyTo = 99
	quoted.Message.Content.Reply = &inbox.Reply{Origin: inbox.FromChat, Text: "green", Quoted: true, From: "Shop"}
	f.receive(first, bare, quoted)
	list := f.messages(7)
	same(t, "entities", list[0].Entities, []inbox.Entity{struck})
	same(t, "the words of a reply to what is stored", list[1].Reply, &inbox.Reply{
		MessageID: &list[0].ID, Text: "do NOT ship it", From: "Customer 7", Origin: inbox.FromChat})
	same(t, "the words of a reply to what is not", list[2].Reply,
		&inbox.Reply{Text: "green", Quoted: true, From: "Shop", Origin: inbox.FromChat})

	last := f.lastEvent()
	again := edit(7, 2, "this one", at(10))
	again.Edit.ReplyTo, again.Edit.Content.Reply = 1, &inbox.Reply{Origin: inbox.FromChat}
	f.receive(again)
	same(t, "events of an edit that changes nothing", f.events(last), nil)
	f.receive(edit(7, 1, "do NOT ship it", at(10)))
	if m := f.message(list[0].ID); len(m.Entities) != 0 || m.EditedAt == nil {
		t.Errorf("an edit that takes the line through away: %+v", m)
	}
	same(t, "events of an edit of the form", f.events(last),
		[]string{said(inbox.MessageUpdated, list[0].ConversationID, list[0].ID)})

	_, err := f.SetConversationStatus(t.Context(), list[0].ConversationID, inbox.Closed)
	must(t, err)
	pin := text(7, 4, "")
	pin.Message.Kind = "pinned_message"
	f.receive(pin)
	c := f.conversation(7)
	list = f.messages(7)
	if c.Status != inbox.Closed || c.LastMessageID != list[2].ID || len(list) != 4 || !list[3].Service {
		t.Errorf("after a service message: %+v with %d messages", c, len(list))
	}
	alone := text(8, 1, "")
	alone.Message.Kind = "pinned_message"
	f.receive(alone)
	if c := f.conversation(8); c.LastMessage == nil || !c.LastMessage.Service {
		t.Errorf("a conversation with nothing but a service message: %+v", c)
	}
}

// reactions : all that a customer puts to a message replaces what was there, also before it is known under which number
// Telegram has it. It moves nothing.
func reactions(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "hello"))
	answer := f.answer(7, "an answer")
	c := f.conversation(7)
	_, err := f.SetConversationStatus(t.Context(), c.ID, inbox.Closed)
	must(t, err)
	react := func(message int64, when int, emoji ...string) {
		t.Helper()
		change := &inbox.ReactionChange{ChatID: 7, Customer: c.Customer, MessageID: message, Date: at(when)}
		for _, e := range emoji {
			change.Reactions = append(change.Reactions, inbox.Reaction{Emoji: e, By: "Ann\x00"})
		}
		f.receive(inbox.Update{Kind: "message_reaction", Reacted: change})
	}
	shown := func(id int64) string {
		t.Helper()
		words := ""
		for _, r := range f.message(id).Reactions {
			words += r.Emoji
		}
		return words
	}
	react(900, 1, "👍", "🔥")
	d := f.claim(1)[0]
	f.record(inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, State: inbox.Sent, TelegramMessageID: 900})
	if got := shown(answer.ID); got != "👍🔥" {
		t.Errorf("one that came before the outcome: %q", got)
	}
	last := f.lastEvent()
	react(900, 3, "💔")
	react(900, 2, "👎") // it is late
	same(t, "events", f.events(last), []string{said(inbox.MessageUpdated, c.ID, answer.ID)})
	list := f.messages(7)
	if got := shown(answer.ID); got != "💔" || len(list[1].Reactions) != 1 || list[1].Reactions[0].By != "Ann\uFFFD" {
		t.Errorf("replaced: %q, in the list %+v", got, list[1].Reactions)
	}
	react(1, 4, "👍")
	react(900, 5)
	if got := shown(answer.ID) + shown(list[0].ID); got != "👍" {
		t.Errorf("taken back here, put there: %q", got)
	}
	if now := f.conversation(7); now.Status != inbox.Closed || now.LastMessageID != answer.ID {
		t.Errorf("it moved the conversation: %+v", now)
	}
}

func sameUpdateAgain(t *testing.T, open Open) {
	f := setUp(t, open)
	u := text(7, 1, "hello")
	u.Reply = "welcome"
	f.receive(u)
	u.ID, u.Raw = f.update, []byte(`{"update_id":1}`)
	last := f.lastEvent()
	_, err := f.SetConversationStatus(t.Context(), f.conversation(7).ID, inbox.Closed)
	must(t, err)
	for range 3 {
		must(t, f.StoreUpdates(t.Context(), f.tenure, []inbox.Update{u, u}, 2))
	}
	same(t, "texts", f.texts(7), []string{"hello", "welcome"})
	if n := len(f.events(last)); n != 1 {
		t.Errorf("have %d events after the closing, want 1", n)
	}
	if s := f.conversation(7).Status; s != inbox.Closed {
		t.Errorf("an update of before made it %s", s)
	}
}

func updateIDUsedAgain(t *testing.T, open Open) {
	f := setUp(t, open)
	first := text(7, 1, "in spring")
	first.ID, first.Raw = 5, []byte(`{"update_id":5,"message":"in spring"}`)
	again := text(7, 2, "in autumn")
	again.ID, again.Raw = 5, []byte(`{"update_id":5,"message":"in autumn"}`)
	third := text(7, 3, "in winter")
	third.ID, third.Raw = 5, []byte(`{"update_id":5,"message":"in winter"}`)
	for _, u := range []inbox.Update{first, first, again, again, third} {
		must(t, f.StoreUpdates(t.Context(), f.tenure, []inbox.Update{u}, 6))
	}
	same(t, "texts", f.texts(7), []string{"in spring", "in autumn", "in winter"})
	// The message is what counts: the same one in another update is no other.
	other := first
	other.ID, other.Raw, other.Reply = 6, []byte(`{"update_id":6}`), "welcome"
	must(t, f.StoreUpdates(t.Context(), f.tenure, []inbox.Update{other}, 7))
	same(t, "texts", f.texts(7), []string{"in spring", "in autumn", "in winter"})
}

func reopens(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "one"))
	c := f.conversation(7).ID
	got, err := f.SetConversationStatus(t.Context(), c, inbox.Closed)
	must(t, err)
	if got.Status != inbox.Closed || got.LastMessage == nil {
		t.Errorf("closed: %+v", got)
	}
	last := f.lastEvent()
	_, err = f.SetConversationStatus(t.Context(), c, inbox.Closed)
	must(t, err)
	same(t, "events of closing twice", f.events(last), nil)
	f.receive(text(7, 2, "two"))
	if s := f.conversation(7).Status; s != inbox.Open {
		t.Errorf("a customer's message left it %s", s)
	}
	same(t, "events", f.events(last), []string{said(inbox.ConversationUpdated, c, 0),
		said(inbox.MessageCreated, c, f.messages(7)[1].ID)})
	f.answer(7, "three")
	_, err = f.SetConversationStatus(t.Context(), c, "gone")
	if err == nil {
		t.Error("a status that there is not was taken")
	}
}

func blocked(t *testing.T, open Open) {
	f := setUp(t, open)
	change := func(b bool) inbox.Update {
		return inbox.Update{Kind: "my_chat_member",
			Blocked: &inbox.BlockedChange{ChatID: 7, Customer: incoming(7, 0, "").Customer, Blocked: b}}
	}
	f.receive(change(true)) // of somebody who never wrote
	list, _, err := f.Conversations(t.Context(), inbox.ConversationFilter{Limit: 10})
	must(t, err)
	if len(list) != 0 {
		t.Errorf("a conversation without messages is listed: %+v", list)
	}
	f.receive(change(false), text(7, 1, "one"))
	last := f.lastEvent()
	f.receive(change(true))
	if c := f.conversation(7); !c.Blocked || c.Unreachable != inbox.BlockedBot {
		t.Errorf("blocked: %v, why: %q", c.Blocked, c.Unreachable)
	}
	f.receive(change(true))
	f.receive(text(7, 2, "I am back"))
	if c := f.conversation(7); c.Blocked || c.Unreachable != inbox.Reachable {
		t.Errorf("after a message: %v, why: %q", c.Blocked, c.Unreachable)
	}
	c := f.conversation(7)
	same(t, "events", f.events(last), []string{
		said(inbox.ConversationUpdated, c.ID, 0), said(inbox.ConversationUpdated, c.ID, 0),
		said(inbox.MessageCreated, c.ID, c.LastMessageID)})
}

func renamed(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "one"))
	u := text(7, 2, "two")
	u.Message.Customer = inbox.Customer{ID: 7, Name: "Žofie", Username: "", Language: "cs"}
	f.receive(u)
	same(t, "customer", f.conversation(7).Customer, u.Message.Customer)
	list := f.messages(7)
	if list[0].Author.Name != "Customer 7" || list[1].Author.Name != "Žofie" {
		t.Errorf("an author is not who he was: %q, %q", list[0].Author.Name, list[1].Author.Name)
	}
}

func replyToOurs(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "one"))
	answer := f.answer(7, "two")
	f.recordNext(inbox.Outcome{State: inbox.Sent, TelegramMessageID: 900})
	u := text(7, 3, "three")
	u.Message.ReplyTo = 900
	f.receive(u)
	list := f.messages(7)
	if r := list[2].ReplyTo; r == nil || *r != answer.ID {
		t.Errorf("reply_to is %v, want %d", r, answer.ID)
	}
}

func rawOnly(t *testing.T, open Open) {
	f := setUp(t, open)
	last := f.lastEvent()
	f.receive(inbox.Update{Kind: "callback_query", Raw: []byte("{}")},
		inbox.Update{Problem: "not an object", Raw: []byte("[]")}, inbox.Update{Raw: []byte{}, Reply: "to nobody"})
	same(t, "events", f.events(last), nil)
	if f.takeOver(); f.tenure.NextOffset != 4 {
		t.Errorf("next offset is %d, want 4", f.tenure.NextOffset)
	}
}

func automaticReply(t *testing.T, open Open) {
	f := setUp(t, open)
	must(t, f.ReportBot(t.Context(), f.tenure,
		inbox.BotReport{Name: "Shop", Username: "shop_bot", State: inbox.BotPolling, Instance: "test:1"}))
	u := text(7, 1, "/start")
	u.Message.ThreadID, u.Reply = 3, "Welcome!"
	f.receive(u)
	list := f.messages(7)
	if len(list) != 2 {
		t.Fatalf("have %d messages, want 2", len(list))
	}
	m := list[1]
	if m.Direction != inbox.Out || m.Delivery != inbox.Queued ||
		m.Author != (inbox.Author{Kind: inbox.ByBot, ID: "4242", Name: "Shop"}) || m.ThreadID != 3 {
		t.Errorf("the reply: %+v", m)
	}
	d := f.claim(10)
	if len(d) != 1 || d[0].ChatID != 7 || d[0].Text != "Welcome!" || d[0].ThreadID != 3 {
		t.Errorf("its delivery: %+v", d)
	}
}

// greetings : the first one always, whatever was written before; another only after a silence. Other replies are given
// each time. (That a greeting comes again after a silence is tested beside the store, which has the clock.)
func greetings(t *testing.T, open Open) {
	f := setUp(t, open)
	id := int64(0)
	write := func(s, reply string, greeting bool) {
		id++
		u := text(7, id, s)
		u.Reply, u.Greeting = reply, greeting
		f.receive(u)
	}
	write("hello", "", false)
	write("/help", "help", false)
	write("/start", "Welcome", true)
	write("/start", "Welcome", true)
	write("/help", "help", false)
	write("/start", "Welcome", true)
	same(t, "texts", f.texts(7),
		[]string{"hello", "/help", "help", "/start", "Welcome", "/start", "/help", "help", "/start"})
	two := []inbox.Update{text(8, 1, "/start"), text(8, 2, "/start")} // in one transaction
	for i := range two {
		two[i].Reply, two[i].Greeting = "Welcome", true
	}
	f.receive(two...)
	same(t, "two at once", f.texts(8), []string{"/start", "Welcome", "/start"})
}

func tenures(t *testing.T, open Open) {
	f := setUp(t, open)
	if f.tenure.Epoch < 1 || !f.tenure.Clean || f.tenure.NextOffset != 0 {
		t.Errorf("the first tenure: %+v", f.tenure)
	}
	first := f.tenure
	f.receive(text(7, 1, "one"))
	f.takeOver()
	if f.tenure.Epoch != first.Epoch+1 || f.tenure.Clean || f.tenure.NextOffset != 2 {
		t.Errorf("after one that did not sign off: %+v", f.tenure)
	}
	if err := f.SignOff(t.Context(), first, inbox.BotStopped, ""); !errors.Is(err, inbox.ErrFenced) {
		t.Errorf("signing off a tenure that is over: %v", err)
	}
	must(t, f.SignOff(t.Context(), f.tenure, inbox.BotConflict, "another program polls"))
	bots, err := f.Bots(t.Context())
	must(t, err)
	if len(bots) != 1 || bots[0].State != inbox.BotConflict || bots[0].Reason != "another program polls" ||
		bots[0].Alive(time.Now()) {
		t.Errorf("after signing off: %+v", bots)
	}
	if err := f.SignOff(t.Context(), f.tenure, inbox.BotStopped, ""); !errors.Is(err, inbox.ErrFenced) {
		t.Errorf("signing off twice: %v", err)
	}
	if f.takeOver(); !f.tenure.Clean {
		t.Errorf("after one that signed off: %+v", f.tenure)
	}
	other, err := f.TakeOver(t.Context(), botID+1, "test:2")
	must(t, err)
	if other.Epoch != 1 || !other.Clean || other.NextOffset != 0 {
		t.Errorf("another bot inherited: %+v", other)
	}
}

func fenced(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(7, 1, "one"))
	f.answer(7, "two")
	d := f.claim(1)[0]
	old := f.tenure
	f.takeOver()
	last, queue := f.lastEvent(), f.texts(7)
	u := text(7, 2, "late")
	u.ID, u.Raw = 50, []byte("late")
	for name, err := range map[string]error{
		"StoreUpdates": f.StoreUpdates(t.Context(), old, []inbox.Update{u}, 51),
		"RecordOutcome": f.RecordOutcome(t.Context(), old,
			inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, State: inbox.Sent, TelegramMessageID: 9}),
		"ReportBot": f.ReportBot(t.Context(), old, inbox.BotReport{State: inbox.BotPolling, Instance: "old"}),
	} {
		if !errors.Is(err, inbox.ErrFenced) {
			t.Errorf("%s of an old tenure: %v, want ErrFenced", name, err)
		}
	}
	if list, _, err := f.ClaimDeliveries(t.Context(), old, 10, nil); !errors.Is(err, inbox.ErrFenced) || len(list) != 0 {
		t.Errorf("ClaimDeliveries of an old tenure: %v, %v", list, err)
	}
	same(t, "events", f.events(last), nil)
	same(t, "messages", f.texts(7), queue)
	if f.takeOver(); f.tenure.NextOffset != 2 {
		t.Errorf("the late write moved the offset to %d", f.tenure.NextOffset)
	}
	if err := f.RecordOutcome(t.Context(), f.tenure,
		inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, State: inbox.Sent}); !errors.Is(err, inbox.ErrFenced) {
		t.Errorf("an outcome of what an older tenure claimed: %v", err)
	}
	if err := f.StoreUpdates(t.Context(), inbox.Tenure{BotID: 99, Epoch: 1}, nil, 1); !errors.Is(err, inbox.ErrFenced) {
		t.Errorf("a bot that never took over: %v", err)
	}
}

func report(t *testing.T, open Open) {
	f := setUp(t, open)
	r := inbox.BotReport{Username: "shop_bot", Name: "Shop", State: inbox.BotPolling, Instance: "test:1"}
	must(t, f.ReportBot(t.Context(), f.tenure, r))
	before := f.bot()
	last := f.lastEvent()
	must(t, f.ReportBot(t.Context(), f.tenure, r))
	after := f.bot()
	if !after.HeartbeatAt.After(before.HeartbeatAt) || !after.Since.Equal(before.Since) || !after.Alive(time.Now()) {
		t.Errorf("a heartbeat made %+v of %+v", after, before)
	}
	same(t, "events of a heartbeat", f.events(last), nil)
	r.State, r.Reason = inbox.BotUnreachable, "no route"
	must(t, f.ReportBot(t.Context(), f.tenure, r))
	same(t, "events of a change", f.events(last), []string{said(inbox.BotUpdated, 0, 0)})
	if b := f.bot(); b.Reason != "no route" || !b.Since.After(before.Since) || b.Name != "Shop" ||
		b.Username != "shop_bot" {
		t.Errorf("after a change: %+v", b)
	}
}

func (f *fixture) bot() inbox.BotStatus {
	f.t.Helper()
	list, err := f.Bots(f.t.Context())
	must(f.t, err)
	if len(list) == 0 {
		f.t.Fatal("no bot")
	}
	return list[0]
}
