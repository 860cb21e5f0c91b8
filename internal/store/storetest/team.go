package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"tandem/internal/inbox"
)

// operator adds one, and says who he is as an author.
func (f *fixture) operator(name string) (int64, inbox.Author) {
	f.t.Helper()
	op, err := f.IssueSignIn(f.t.Context(), name, []byte("link of "+name), time.Now().Add(time.Hour))
	must(f.t, err)
	return op.ID, inbox.Author{Kind: inbox.ByOperator, ID: fmt.Sprint(op.ID), Name: name}
}

func (f *fixture) change(chat int64, change func(*inbox.ConversationChange)) inbox.Conversation {
	f.t.Helper()
	var ch inbox.ConversationChange
	change(&ch)
	c, err := f.ChangeConversation(f.t.Context(), f.conversation(chat).ID, ch)
	must(f.t, err)
	return c
}

// chats are those of a view, in its order.
func (f *fixture) chats(filter inbox.ConversationFilter) []int64 {
	f.t.Helper()
	chats := []int64{}
	for filter.Limit = 2; ; {
		list, next, err := f.Conversations(f.t.Context(), filter)
		must(f.t, err)
		for _, c := range list {
			chats = append(chats, c.ChatID)
		}
		if filter.Before = next; next == 0 {
			return chats
		}
	}
}

func (f *fixture) counts(operator int64) map[inbox.View]int64 {
	f.t.Helper()
	counts, err := f.Counts(f.t.Context(), operator)
	must(f.t, err)
	return counts
}

func open(c *inbox.ConversationChange)   { s := inbox.Open; c.Status = &s }
func closed(c *inbox.ConversationChange) { s := inbox.Closed; c.Status = &s }

func assigned(to int64) func(*inbox.ConversationChange) {
	return func(c *inbox.ConversationChange) { c.Assignee = &to }
}

func until(t time.Time) func(*inbox.ConversationChange) {
	return func(c *inbox.ConversationChange) { c.SnoozedUntil = &t }
}

func ban(is bool) func(*inbox.ConversationChange) {
	return func(c *inbox.ConversationChange) { c.Banned = &is }
}

func tag(name string) func(*inbox.ConversationChange) {
	return func(c *inbox.ConversationChange) { c.AddTag = name }
}

func views(t *testing.T, open Open) {
	f := setUp(t, open)
	amy, _ := f.operator("Amy")
	for chat := range int64(8) {
		f.receive(text(chat+1, 1, "hi"))
	}
	f.receive(text(1, 2, "and again"))
	f.change(2, closed)
	f.change(3, until(time.Now().Add(time.Hour)))
	f.change(4, assigned(amy))
	_, _, err := f.AddAnswer(t.Context(), f.conversation(5).ID,
		inbox.Answer{Text: "there you are", Author: inbox.Author{Kind: inbox.ByAPI}})
	must(t, err)
	f.change(6, ban(true))
	f.change(7, assigned(amy))
	f.change(7, closed)
	for view, want := range map[inbox.View][]int64{
		inbox.ViewOpen: {5, 1, 8, 4}, inbox.ViewMine: {4}, inbox.ViewUnassigned: {5, 1, 8}, inbox.ViewWaiting: {1, 4, 8},
		inbox.ViewSnoozed: {3}, inbox.ViewClosed: {7, 2}, inbox.ViewAll: {5, 1, 8, 7, 6, 4, 3, 2},
	} {
		same(t, string(view), f.chats(inbox.ConversationFilter{View: view, Operator: amy}), want)
		if n := f.counts(amy)[view]; n != int64(len(want)) {
			t.Errorf("%s counts %d, want %d", view, n, len(want))
		}
	}
	f.indexed()
	same(t, "a search in a view", f.chats(inbox.ConversationFilter{View: inbox.ViewWaiting, Query: "hi"}),
		[]int64{1, 8, 4})
	if n := f.counts(0)[inbox.ViewMine]; n != 0 {
		t.Errorf("a program has %d of its own", n)
	}
}

func changes(t *testing.T, open Open) {
	f := setUp(t, open)
	amy, byAmy := f.operator("Amy")
	f.receive(text(1, 1, "hi"))
	first := f.conversation(1)
	if first.Assignee != nil || first.Version == 0 || first.Tags == nil {
		t.Errorf("as it comes: %+v", first)
	}
	if again := f.conversation(1); again.Version != first.Version {
		t.Errorf("nothing has changed, and the version is %d and %d", first.Version, again.Version)
	}
	after := f.lastEvent()
	second := f.change(1, assigned(amy))
	same(t, "assigned", second.Assignee, &inbox.Colleague{ID: amy, Name: "Amy"})
	same(t, "events", f.events(after), []string{said(inbox.ConversationUpdated, first.ID, 0)})
	if second.Version == first.Version {
		t.Error("a change has the version of before")
	}
	after = f.lastEvent()
	if same := f.change(1, assigned(amy)); same.Version != second.Version || f.lastEvent() != after {
		t.Error("what changes nothing is a change")
	}

	stale, err := f.ChangeConversation(t.Context(), first.ID,
		inbox.ConversationChange{Version: first.Version, Assignee: new(int64)})
	if !errors.Is(err, inbox.ErrStale) || stale.Version != second.Version || stale.Assignee == nil {
		t.Errorf("a late change: %v, with %+v", err, stale)
	}
	_, err = f.ChangeConversation(t.Context(), first.ID,
		inbox.ConversationChange{Version: second.Version, By: byAmy, Assignee: new(int64)})
	must(t, err)
	if f.receive(text(1, 2, "more")); f.conversation(1).Version == second.Version {
		t.Error("a message makes no other version")
	}
	nobody := int64(99)
	for id, want := range map[int64]error{first.ID: inbox.ErrNoOperator, 999: inbox.ErrNotFound} {
		_, err := f.ChangeConversation(t.Context(), id, inbox.ConversationChange{Assignee: &nobody})
		if !errors.Is(err, want) {
			t.Errorf("conversation %d assigned to nobody known: %v", id, err)
		}
	}

	// Who answers what is nobody's has it. A program has nothing.
	answer := func(by inbox.Author) {
		_, _, err := f.AddAnswer(t.Context(), first.ID, inbox.Answer{Text: "yes", Author: by})
		must(t, err)
	}
	if answer(inbox.Author{Kind: inbox.ByAPI, ID: byAmy.ID}); f.conversation(1).Assignee != nil {
		t.Error("a program that answers has it")
	}
	answer(byAmy)
	if c := f.conversation(1); c.Assignee == nil || c.Assignee.ID != amy {
		t.Errorf("answered by Amy, assigned to %v", c.Assignee)
	}
	_, byBen := f.operator("Ben")
	if answer(byBen); f.conversation(1).Assignee.ID != amy {
		t.Error("a second answer takes it away")
	}
	_, did, err := f.Beside(t.Context(), first.ID, 0, 100)
	must(t, err)
	var list []string
	for _, a := range did {
		list = append(list, string(a.Kind)+" "+a.Detail+" by "+a.Author.Name)
	}
	same(t, "what was done", list, []string{"assigned Amy by ", "unassigned  by Amy", "assigned Amy by Amy"})
}

func waiting(t *testing.T, openStore Open) {
	f := setUp(t, openStore)
	want := func(what string, message *inbox.Message) {
		t.Helper()
		c := f.conversation(1)
		switch {
		case message == nil:
			if c.WaitingSince != nil || c.WaitingFrom != 0 {
				t.Errorf("%s: waits since %v", what, c.WaitingSince)
			}
		case c.WaitingSince == nil || !c.WaitingSince.Equal(message.CreatedAt) || c.WaitingFrom != message.ID:
			t.Errorf("%s: waits since %v, want since %v", what, c.WaitingSince, message.CreatedAt)
		}
	}
	last := func() *inbox.Message { list := f.messages(1); return &list[len(list)-1] }
	pressed := text(1, 0, "")
	pressed.Message.Kind = inbox.KindPressed
	f.receive(pressed)
	want("a press", nil)
	f.receive(text(1, 1, "/start  shop "))
	first := last()
	want("the first words", first)
	if from := f.conversation(1).CameFrom; from != "shop" {
		t.Errorf("came from %q", from)
	}
	f.receive(text(1, 2, "/start other"))
	want("more words", first)
	greeting := text(1, 3, "hm")
	greeting.Reply = "Welcome"
	f.receive(greeting)
	want("an automatic reply", first)
	answer := f.answer(1, "yes")
	want("an answer", nil)
	_, err := f.TakeBack(t.Context(), answer.ID)
	must(t, err)
	want("the answer taken back", first)
	f.change(1, closed)
	want("closed", nil)
	f.change(1, open)
	want("opened again", first)
	f.change(1, closed)
	f.receive(text(1, 4, "thanks"))
	want("a word after it was closed", last())
	if from := f.conversation(1).CameFrom; from != "shop" {
		t.Errorf("came from %q in the end", from)
	}
}

func snoozed(t *testing.T, open Open) {
	f := setUp(t, open)
	for chat := range int64(3) {
		f.receive(text(chat+1, 1, "hi"))
	}
	later := time.Now().Add(time.Hour).Truncate(time.Microsecond).UTC()
	if c := f.change(1, until(later)); c.SnoozedUntil == nil || !c.SnoozedUntil.Equal(later) {
		t.Errorf("snoozed until %v, want %v", c.SnoozedUntil, later)
	}
	f.answer(1, "an answer does not wake it")
	if f.conversation(1).SnoozedUntil == nil {
		t.Error("an answer of ours ends a snooze")
	}
	f.receive(text(1, 2, "hello?"))
	if c := f.conversation(1); c.SnoozedUntil != nil || c.WokenAt == nil {
		t.Errorf("a message leaves it snoozed until %v, woken at %v", c.SnoozedUntil, c.WokenAt)
	}
	if f.answer(1, "yes"); f.conversation(1).WokenAt != nil {
		t.Error("an answer leaves the mark of what woke")
	}
	f.change(2, until(later))
	f.change(3, until(time.Now().Add(time.Millisecond)))
	after := f.lastEvent()
	deadline := time.Now().Add(20 * time.Second)
	for f.conversation(3).SnoozedUntil != nil && time.Now().Before(deadline) {
		next, err := f.WakeConversations(t.Context())
		must(t, err)
		if f.conversation(3).SnoozedUntil == nil && !next.Equal(later) {
			t.Errorf("the next one ends at %v, want %v", next, later)
		}
	}
	same(t, "events", f.events(after), []string{said(inbox.ConversationUpdated, f.conversation(3).ID, 0)})
	if c := f.conversation(3); c.WokenAt == nil || f.conversation(2).SnoozedUntil == nil {
		t.Errorf("woken at %v, the other is snoozed until %v", c.WokenAt, f.conversation(2).SnoozedUntil)
	}
	f.change(2, until(time.Time{}))
	if f.change(2, closed); f.conversation(2).SnoozedUntil != nil {
		t.Error("closed and snoozed")
	}
	_, err := f.ChangeConversation(t.Context(), f.conversation(2).ID, inbox.ConversationChange{SnoozedUntil: &later})
	if !errors.Is(err, inbox.ErrConflict) {
		t.Errorf("a closed one was snoozed: %v", err)
	}
}

func banned(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(1, 1, "buy this"))
	f.change(1, ban(true))
	again := text(1, 2, "/start")
	again.Reply = "Welcome"
	f.receive(again)
	if list := f.messages(1); len(list) != 2 {
		t.Errorf("of a banned customer %d messages are there, want 2: both of his, and no reply", len(list))
	}
	if c := f.change(1, ban(false)); c.Banned {
		t.Error("still banned")
	}
}

func unread(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(1, 1, "answered long ago"))
	f.answer(1, "yes")
	f.receive(text(2, 1, "waits"), text(2, 2, "waits still"))
	amy, byAmy := f.operator("Amy")
	ben, _ := f.operator("Ben")
	one, two := f.conversation(1).ID, f.conversation(2).ID
	want := func(what string, operator int64, ones, twos int64) {
		t.Helper()
		have, err := f.UnreadBy(t.Context(), operator, []int64{one, two})
		must(t, err)
		same(t, what, have, map[int64]int64{one: ones, two: twos})
	}
	want("who is new", amy, 0, 2)
	f.receive(text(1, 2, "more"), text(1, 3, "and more"))
	pressed := text(1, 0, "")
	pressed.Message.Kind = inbox.KindPressed
	f.receive(pressed)
	want("since then", amy, 2, 2)
	middle := f.messages(1)[2].ID
	must(t, f.MarkRead(t.Context(), amy, one, middle, true))
	want("read up to the first", amy, 1, 2)
	want("somebody else", ben, 2, 2)
	must(t, f.MarkRead(t.Context(), amy, one, f.conversation(1).LastMessageID, true))
	must(t, f.MarkRead(t.Context(), amy, one, middle, true))
	want("only forward", amy, 0, 2)
	must(t, f.MarkRead(t.Context(), amy, one, middle, false))
	want("and back", amy, 1, 2)
	_, _, err := f.AddAnswer(t.Context(), one, inbox.Answer{Text: "yes", Author: byAmy})
	must(t, err)
	want("answered by another", ben, 2, 2)
	if err := f.MarkRead(t.Context(), amy, one, f.messages(2)[0].ID, false); !errors.Is(err, inbox.ErrNotFound) {
		t.Errorf("read up to a message of another conversation: %v", err)
	}
}

func tags(t *testing.T, open Open) {
	f := setUp(t, open)
	for chat := range int64(3) {
		f.receive(text(chat+1, 1, "hi"))
	}
	f.change(1, tag("Straße"))
	c := f.change(2, func(c *inbox.ConversationChange) { c.Tags = &[]string{"STRASSE", "vip", "VIP"} })
	same(t, "as given", c.Tags, []string{"STRASSE", "vip"})
	f.change(3, tag("VIP"))
	same(t, "in the spelling of the first", f.conversation(3).Tags, []string{"vip"})
	same(t, "a list", f.chats(inbox.ConversationFilter{Tag: "Vip"}), []int64{3, 2})
	f.change(2, func(c *inbox.ConversationChange) { c.RemoveTag = "ViP" })
	same(t, "without it", f.chats(inbox.ConversationFilter{Tag: "vip", View: inbox.ViewOpen}), []int64{3})
	f.change(2, func(c *inbox.ConversationChange) { c.Tags = &[]string{} })
	same(t, "none", f.conversation(2).Tags, []string{})
	known, err := f.KnownTags(t.Context(), 10)
	must(t, err)
	if len(known) != 3 {
		t.Errorf("known are %q", known)
	}
	for i := range inbox.MaxTags {
		f.change(2, tag(fmt.Sprint("tag ", i)))
	}
	_, err = f.ChangeConversation(t.Context(), f.conversation(2).ID, inbox.ConversationChange{AddTag: "one more"})
	if !errors.Is(err, inbox.ErrConflict) {
		t.Errorf("one tag too many: %v", err)
	}
}

func notes(t *testing.T, open Open) {
	f := setUp(t, open)
	amy, byAmy := f.operator("Amy")
	_, _ = f.operator("Amy Lee")
	f.receive(text(1, 1, "hi"))
	id, before := f.conversation(1).ID, f.conversation(1)
	after := f.lastEvent()
	n, err := f.AddNote(t.Context(), id, inbox.Note{Text: "ask @amy, and @Amyx not", Author: byAmy})
	must(t, err)
	same(t, "mentions", n.Mentions, []inbox.Colleague{{ID: amy, Name: "Amy"}})
	if list := f.events(after); len(list) != 1 || list[0] != said(inbox.NoteCreated, id, 0) {
		t.Errorf("events: %q", list)
	}
	list, err := f.Events(t.Context(), after, 10)
	must(t, err)
	if list[0].NoteID != n.ID {
		t.Errorf("the event tells of note %d, want %d", list[0].NoteID, n.ID)
	}
	f.receive(text(1, 2, "more"))
	second, err := f.AddNote(t.Context(), id, inbox.Note{Text: "@AMY LEE knows", Author: byAmy})
	must(t, err)
	if len(second.Mentions) != 1 || second.Mentions[0].Name != "Amy Lee" {
		t.Errorf("mentioned: %v", second.Mentions)
	}
	page, next, err := f.Notes(t.Context(), id, 1, 0)
	must(t, err)
	same(t, "the newest", page, []inbox.Note{second})
	page, next, err = f.Notes(t.Context(), id, 1, next)
	must(t, err)
	same(t, "the first", page, []inbox.Note{n})
	if next != 0 {
		t.Errorf("it goes on from %d", next)
	}
	beside, _, err := f.Beside(t.Context(), id, f.messages(1)[1].ID, 10)
	must(t, err)
	same(t, "beside the second message", beside, []inbox.Note{second})
	if _, _, err := f.Notes(t.Context(), 99, 1, 0); !errors.Is(err, inbox.ErrNotFound) {
		t.Errorf("notes of no conversation: %v", err)
	}
	// Nothing of it is a message, or on its way.
	if list := f.messages(1); len(list) != 2 || len(f.claim(10)) != 0 || before.LastMessageID == 0 {
		t.Errorf("%d messages, want 2, and nothing to be sent", len(list))
	}
	if q, err := f.Queue(t.Context()); err != nil || q != (inbox.QueueStats{}) {
		t.Errorf("in the queue: %+v, %v", q, err)
	}
}

func operatorLeaves(t *testing.T, open Open) {
	f := setUp(t, open)
	amy, _ := f.operator("Amy")
	f.receive(text(1, 1, "hi"))
	was := f.change(1, assigned(amy))
	after := f.lastEvent()
	must(t, f.RemoveOperator(t.Context(), "Amy"))
	if c := f.conversation(1); c.Assignee != nil || c.Version == was.Version {
		t.Errorf("assigned to %v", c.Assignee)
	}
	same(t, "events", f.events(after), []string{said(inbox.ConversationUpdated, was.ID, 0)})
	if n := f.counts(0)[inbox.ViewUnassigned]; n != 1 {
		t.Errorf("%d are nobody's", n)
	}
}

// countsStayRight : whatever happens in whatever order, each view counts what it lists.
func countsStayRight(t *testing.T, openStore Open) {
	f := setUp(t, openStore)
	amy, byAmy := f.operator("Amy")
	random := rand.New(rand.NewPCG(1, 2))
	const customers = 6
	for chat := range int64(customers) {
		f.receive(text(chat+1, 1, "hi"))
	}
	message := int64(1)
	for range 150 {
		chat := random.Int64N(customers) + 1
		steps := []func(){
			func() { message++; f.receive(text(chat, message, "more")) },
			func() {
				_, _, err := f.AddAnswer(t.Context(), f.conversation(chat).ID, inbox.Answer{Text: "yes", Author: byAmy})
				must(t, err)
			},
			func() { f.change(chat, closed) }, func() { f.change(chat, open) },
			func() { f.change(chat, ban(random.IntN(2) == 0)) },
			func() { f.change(chat, assigned([]int64{0, amy}[random.IntN(2)])) },
			func() {
				if f.conversation(chat).Status == inbox.Open {
					f.change(chat, until(time.Now().Add(time.Duration(random.IntN(2)+1)*time.Hour)))
				}
			},
			func() { f.change(chat, until(time.Time{})) },
		}
		steps[random.IntN(len(steps))]()
	}
	counts := f.counts(amy)
	for _, view := range inbox.Views {
		if list := f.chats(inbox.ConversationFilter{View: view, Operator: amy}); int64(len(list)) != counts[view] {
			t.Errorf("%s counts %d and lists %v", view, counts[view], list)
		}
	}
}

// scheduled : an answer for later is not in the queue before its time, whoever claims. What is written meanwhile goes
// first, and what was taken back never goes.
func scheduled(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(1, 1, "hi"))
	must(t, f.ReportBot(t.Context(), f.tenure, inbox.BotReport{State: inbox.BotPolling}))
	id := f.conversation(1).ID
	later := func(words, key string, at time.Time) inbox.Message {
		t.Helper()
		m, _, err := f.AddAnswer(t.Context(), id, inbox.Answer{Text: words, Key: key, SendAt: at,
			Author: inbox.Author{Kind: inbox.ByAPI, ID: "1"}})
		must(t, err)
		return m
	}
	inAnHour := time.Now().Add(time.Hour).Truncate(time.Microsecond).UTC()
	m := later("in an hour", "k", inAnHour)
	if edited, err := f.EditAnswer(t.Context(), m.ID, "in one hour"); err != nil || edited.Text != "in one hour" {
		t.Errorf("edited before its time: %q %v", edited.Text, err)
	}
	want := &inbox.Waits{Reason: inbox.WaitsScheduled, Text: "It is to be sent later", Until: &inAnHour}
	same(t, "what it waits for", m.Waits, want)
	same(t, "asked for again", f.message(m.ID).Waits, want)
	if m.Delivery != inbox.Queued {
		t.Errorf("it is %s", m.Delivery)
	}
	if again := later("in an hour", "k", inAnHour); again.ID != m.ID {
		t.Error("the same request makes another answer")
	}
	back := later("taken back", "", time.Now().Add(30*time.Millisecond))
	_, err := f.TakeBack(t.Context(), back.ID)
	must(t, err)
	soon := later("in a moment", "", time.Now().Add(50*time.Millisecond))
	f.answer(1, "now")
	after := f.lastEvent()
	deadline := time.Now().Add(20 * time.Second)
	for f.message(soon.ID).Waits != nil && f.message(soon.ID).Waits.Reason == inbox.WaitsScheduled &&
		time.Now().Before(deadline) {
		must(t, f.QueueDue(t.Context()))
	}
	same(t, "events", f.events(after), []string{said(inbox.MessageUpdated, id, soon.ID)})
	var sent []string
	for {
		list := f.claim(10)
		if len(list) == 0 {
			break
		}
		sent = append(sent, deliveryTexts(list)...)
		f.record(inbox.Outcome{DeliveryID: list[0].ID, Attempt: list[0].Attempt, State: inbox.Sent,
			TelegramMessageID: list[0].ID})
	}
	same(t, "sent", sent, []string{"now", "in a moment"})
	same(t, "still waits", f.message(m.ID).Waits, want)
	if _, err := f.RetryAnswer(t.Context(), m.ID); !errors.Is(err, inbox.ErrConflict) {
		t.Errorf("what waits for its time was sent again: %v", err)
	}
}
