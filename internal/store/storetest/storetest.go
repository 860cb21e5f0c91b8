// Package storetest is what every store of the inbox must pass: the promises of inbox.BotStore and inbox.OperatorStore,
// told as tests. It knows nothing of databases. What happens to one of them (a full disk, a server that goes away) is
// tested beside the store.
package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/inbox"
)

// Store is the whole of what the two sides ask for.
type Store interface {
	inbox.BotStore
	inbox.OperatorStore
}

// Open makes a new empty database and returns a function that opens a handle on it, as one process would. The handles
// are ready, and are closed when the test ends.
type Open func(t *testing.T) (handle func() Store)

// Run runs the whole suite, in parallel.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, open Open)
	}{
		{"in/message", messageIn},
		{"in/odd text", oddText},
		{"in/words of ours", wordsOfOurs},
		{"in/contents", contents},
		{"in/reactions", reactions},
		{"in/same update again", sameUpdateAgain},
		{"in/update id used again", updateIDUsedAgain},
		{"in/edit", edits},
		{"in/edit first", editFirst},
		{"in/edit that is seen", editSeen},
		{"in/edit without words", editWithoutWords},
		{"in/edit of what another version stored", editRead},
		{"in/edit of what is older", editOlder},
		{"in/edits without end", editsWithoutEnd},
		{"in/reopens", reopens},
		{"in/blocked", blocked},
		{"in/renamed", renamed},
		{"in/reply to ours", replyToOurs},
		{"in/raw only", rawOnly},
		{"in/automatic reply", automaticReply},
		{"in/greeting", greetings},
		{"files/in", filesIn},
		{"files/once", filesOnce},
		{"files/fenced", filesFenced},
		{"files/in turns", filesInTurns},
		{"files/of a day", filesOfADay},
		{"files/paused", filesPaused},
		{"tenure", tenures},
		{"tenure/fenced", fenced},
		{"tenure/report", report},
		{"out/order", claimOrder},
		{"out/turns", turns},
		{"out/held back", heldBack},
		{"out/probes", probes},
		{"out/what waits", whatWaits},
		{"out/waits for the bot", waitsForTheBot},
		{"out/waits in line", waitsInLine},
		{"out/taken back", takenBack},
		{"out/edited", editsOfAnswers},
		{"out/edited in parts", editsOfParts},
		{"out/deleted", deletesOfAnswers},
		{"out/failed does not hold up", failedDoesNotHoldUp},
		{"out/parts", parts},
		{"out/outcome", outcomes},
		{"out/outcome said late", outcomeSaidLate},
		{"out/broken off", brokenOff},
		{"out/retry", retry},
		{"out/idempotency key", idempotencyKey},
		{"out/50 at once", fiftyAtOnce},
		{"out/thread", thread},
		{"out/queue", queue},
		{"out/claimed by two", claimedByTwo},
		{"list/pages", pages},
		{"list/large pages", largePages},
		{"list/status", status},
		{"list/search", search},
		{"search/words", searchWords},
		{"search/names", searchNames},
		{"search/follows", searchFollows},
		{"search/pages", searchPages},
		{"list/not found", notFound},
		{"team/views", views},
		{"team/changes", changes},
		{"team/waiting", waiting},
		{"team/snoozed", snoozed},
		{"team/banned", banned},
		{"team/unread", unread},
		{"team/tags", tags},
		{"team/notes", notes},
		{"team/operator leaves", operatorLeaves},
		{"team/counts", countsStayRight},
		{"out/scheduled", scheduled},
		{"events/follow", eventsFollow},
		{"events/hints", hints},
		{"events/storm", storm},
		{"access/sign-in", signIn},
		{"access/tokens", tokens},
		{"access/sessions", sessions},
		{"access/touch", touch},
		{"access/rights end", rightsEnd},
		{"access/sign-in meets sign-out", signInMeetsSignOut},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, open)
		})
	}
}

const botID = 4242

// fixture is a store with a tenure and what most tests do with it.
type fixture struct {
	t *testing.T
	Store
	tenure inbox.Tenure
	update int64 // the last update id used
}

func setUp(t *testing.T, open Open) *fixture {
	t.Helper()
	f := &fixture{t: t, Store: open(t)()}
	f.takeOver()
	return f
}

func (f *fixture) takeOver() {
	f.t.Helper()
	tenure, err := f.TakeOver(f.t.Context(), botID, "test:1")
	must(f.t, err)
	f.tenure = tenure
}

// receive stores updates under new ids.
func (f *fixture) receive(updates ...inbox.Update) {
	f.t.Helper()
	for i := range updates {
		f.update++
		updates[i].ID = f.update
		if updates[i].Raw == nil {
			updates[i].Raw = fmt.Appendf(nil, `{"update_id":%d}`, f.update)
		}
	}
	must(f.t, f.StoreUpdates(f.t.Context(), f.tenure, updates, f.update+1))
}

// text is an update with a message of the customer whose chat it is.
func text(chat, message int64, s string) inbox.Update {
	return inbox.Update{Kind: "message", Message: incoming(chat, message, s)}
}

func incoming(chat, message int64, s string) *inbox.IncomingMessage {
	return &inbox.IncomingMessage{
		ChatID: chat, MessageID: message, Kind: "text", Text: s, Date: at(0),
		Customer: inbox.Customer{ID: chat, Name: fmt.Sprintf("Customer %d", chat), Username: fmt.Sprintf("user%d", chat),
			Language: "en"},
	}
}

func edit(chat, message int64, s string, when time.Time) inbox.Update {
	m := incoming(chat, message, s)
	m.EditedAt = &when
	return inbox.Update{Kind: "edited_message", Edit: m}
}

// at is a time of Telegram's clock, which has whole seconds.
func at(seconds int) time.Time { return time.Unix(1_800_000_000+int64(seconds), 0).UTC() }

// conversation is the one of a chat.
func (f *fixture) conversation(chat int64) inbox.Conversation {
	f.t.Helper()
	list, _, err := f.Conversations(f.t.Context(), inbox.ConversationFilter{Limit: 200, Brief: true})
	must(f.t, err)
	for _, c := range list {
		if c.ChatID == chat {
			return c
		}
	}
	f.t.Fatalf("no conversation of chat %d", chat)
	return inbox.Conversation{}
}

// messages of a chat, oldest first.
func (f *fixture) messages(chat int64) []inbox.Message {
	f.t.Helper()
	list, _, err := f.Messages(f.t.Context(), f.conversation(chat).ID, 200, 0)
	must(f.t, err)
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list
}

func (f *fixture) texts(chat int64) []string {
	f.t.Helper()
	var list []string
	for _, m := range f.messages(chat) {
		list = append(list, m.Text)
	}
	return list
}

var ann = inbox.Author{Kind: inbox.ByOperator, ID: "1", Name: "Ann"}

func (f *fixture) answer(chat int64, s string) inbox.Message {
	f.t.Helper()
	m, created, err := f.AddAnswer(f.t.Context(), f.conversation(chat).ID, inbox.Answer{Text: s, Author: ann})
	must(f.t, err)
	if !created {
		f.t.Fatalf("answer %q was not created", s)
	}
	return m
}

func (f *fixture) claim(limit int) []inbox.Delivery {
	f.t.Helper()
	list, _, err := f.ClaimDeliveries(f.t.Context(), f.tenure, limit, nil)
	must(f.t, err)
	return list
}

func (f *fixture) claimTexts(limit int) []string {
	f.t.Helper()
	return deliveryTexts(f.claim(limit))
}

func deliveryTexts(list []inbox.Delivery) []string {
	var texts []string
	for _, d := range list {
		texts = append(texts, d.Text)
	}
	return texts
}

func (f *fixture) record(o inbox.Outcome) {
	f.t.Helper()
	must(f.t, f.RecordOutcome(f.t.Context(), f.tenure, o))
}

// recordNext claims one delivery and records how it went.
func (f *fixture) recordNext(o inbox.Outcome) {
	f.t.Helper()
	d := f.claim(1)[0]
	o.DeliveryID, o.Attempt = d.ID, d.Attempt
	f.record(o)
}

// events are those after the number, as "type conversation message".
func (f *fixture) events(after int64) []string {
	f.t.Helper()
	list, err := f.Events(f.t.Context(), after, 10_000)
	must(f.t, err)
	var said []string
	for _, e := range list {
		said = append(said, fmt.Sprintf("%s %d %d", e.Type, e.ConversationID, e.MessageID))
	}
	return said
}

func (f *fixture) lastEvent() int64 {
	f.t.Helper()
	seq, err := f.LastEvent(f.t.Context())
	must(f.t, err)
	return seq
}

func (f *fixture) message(id int64) inbox.Message {
	f.t.Helper()
	m, err := f.Message(f.t.Context(), id)
	must(f.t, err)
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same[T any](t *testing.T, what string, have, want T) {
	t.Helper()
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("%s (-want +have):\n%s", what, diff)
	}
}
