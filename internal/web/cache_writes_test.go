package web_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/inbox"
)

// write is one change of the database.
type write struct {
	method string // of the store
	what   string
	shows  bool // in the response of a cached route
	do     func() error
}

// readers are the methods of the two store interfaces that change nothing. Every other one is a write.
var readers = []string{
	"Ready", "Subscribe", "Conversations", "Conversation", "Messages", "Message", "Edits", "LastEvent", "Events", "Bots",
	"Queue",
	"Unread", "UnreadMessages", "Search", "WordsProgress",
	"SignInOperator", "Operator", "Operators", "TokenByHash", "Tokens", "FindSession", "Sessions", "Revocations", "Grants",
	"LookUp", "PollLock", "File", "FileChunk", "FileStats", "FreeRoom",
	"Counts", "KnownTags", "UnreadBy", "Notes", "Beside", "Canned",
}

// TestACachedResponseShowsEveryWrite makes one write of every kind, and asks each cached route before and after it,
// with and without the cache: there is no difference. A new method of a store, or a new cached route, has to be told of
// here.
func TestACachedResponseShowsEveryWrite(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		r := newRigOn(t, openStore(t, database))
		ctx := t.Context()
		r.customer(7, "Ann Hello", "hello")
		r.customer(8, "Ben", "hello, too")
		id := r.conversation(7).ID
		addresses := r.cachedAddresses(id)

		writes := r.everyWrite(ctx, id)
		done := map[string]bool{}
		for _, w := range writes {
			done[w.method] = true
			before := map[string]string{}
			for _, address := range addresses {
				before[address] = r.read(address)
				if again := r.read(address); again != before[address] {
					t.Fatalf("%s changes by itself:\n%s\n%s", address, before[address], again)
				}
			}
			if err := w.do(); err != nil {
				t.Fatalf("%s: %v", w.what, err)
			}
			changed := false
			after := map[string]string{}
			for _, address := range addresses {
				after[address] = r.read(address)
			}
			for _, address := range addresses {
				r.web.ClearCache()
				anew := r.read(address)
				changed = changed || anew != before[address]
				if after[address] != anew {
					t.Errorf("%s: %s is from memory\n%s\nand is\n%s", w.what, address, after[address], anew)
				}
			}
			if changed != w.shows {
				t.Errorf("%s: a response has changed: %v, want %v", w.what, changed, w.shows)
			}
		}
		for _, store := range []reflect.Type{reflect.TypeFor[inbox.OperatorStore](), reflect.TypeFor[inbox.BotStore]()} {
			for i := range store.NumMethod() {
				if name := store.Method(i).Name; !done[name] && !slices.Contains(readers, name) {
					t.Errorf("%s.%s is neither written here nor one that only reads", store.Name(), name)
				}
			}
		}
	})
}

// What waits until a moment does not wait any more after it, and no write says so.
func TestACachedResponseShowsThatAPauseIsOver(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		r := newRigOn(t, openStore(t, database))
		r.customer(7, "Ann", "hello")
		id := r.conversation(7).ID
		r.answer(id, "an answer")
		until := time.Now().Add(time.Second)
		r.pause(until)
		addresses := r.cachedAddresses(id)
		waited := 0
		for _, address := range addresses {
			waited += strings.Count(r.read(address), `"reason":"paused"`)
		}
		if waited == 0 && time.Now().Before(until) {
			t.Error("nothing waits")
		}
		<-time.After(time.Until(until)) // the moment itself
		for _, address := range addresses {
			if have := r.read(address); strings.Contains(have, `"reason":"paused"`) {
				t.Errorf("%s still waits: %s", address, have)
			}
		}
	})
}

// A route is cached if its column says so, and no other one.
func TestTheColumnSaysWhatIsCached(t *testing.T) {
	r := newRig(t)
	r.customer(7, "Ann", "hello")
	id := r.conversation(7).ID
	for _, address := range r.cachedAddresses(id) {
		r.web.ClearCache()
		r.read(address)
		if n := r.web.ClearCache(); n != 1 {
			t.Errorf("%s: %d responses are cached, want 1", address, n)
		}
	}
	_, fresh := r.web.Cached()
	alice := r.signIn("alice")
	for _, name := range fresh {
		method, path, _ := strings.Cut(name, " ")
		if method == "GET" && path != "/api/v1/events" {
			path = strings.NewReplacer("{id:[0-9]+}", fmt.Sprint(id), "{secret}", "none", "{file}", "app.css").Replace(path)
			r.call(alice, method, path, nil)
		}
		if n := r.web.ClearCache(); n != 0 {
			t.Errorf("%s: %d responses are cached", name, n)
		}
	}
}

// cachedAddresses are addresses of all cached routes, with each kind of query.
func (r *rig) cachedAddresses(conversation int64) []string {
	r.t.Helper()
	queries := map[string][]string{
		"GET /api/v1/conversations": {"", "?status=open", "?status=closed", "?limit=1", "?view=open", "?view=unassigned",
			"?view=waiting", "?view=snoozed", "?tag=vip"},
		"GET /api/v1/conversations/{id:[0-9]+}":          {""},
		"GET /api/v1/conversations/{id:[0-9]+}/messages": {"", "?limit=1"},
		"GET /api/v1/messages/{id:[0-9]+}/edits":         {"", "?limit=1"},
	}
	var addresses []string
	cached, _ := r.web.Cached()
	for _, name := range cached {
		method, path, _ := strings.Cut(name, " ")
		if method != http.MethodGet {
			r.t.Errorf("%s changes something, so it must not be cached", name)
		}
		if queries[name] == nil {
			r.t.Errorf("%s is cached: tell here what it can be asked", name)
		}
		for _, q := range queries[name] {
			addresses = append(addresses, strings.ReplaceAll(path, "{id:[0-9]+}", fmt.Sprint(conversation))+q)
		}
	}
	if addresses == nil {
		r.t.Fatal("no route is cached")
	}
	return addresses
}

// read is what the API answers.
func (r *rig) read(address string) string {
	r.t.Helper()
	a := r.call(http.DefaultClient, "GET", address, nil, "Authorization", "Bearer "+r.token())
	if a.StatusCode != http.StatusOK {
		r.t.Fatalf("GET %s: %s %s", address, a.Status, a.body)
	}
	return a.body
}

// everyWrite are writes of every kind, in an order in which they can be made.
func (r *rig) everyWrite(ctx context.Context, id int64) []write {
	var first int64 // Telegram's number of the customer's message that is edited
	incoming := func(what string, customer int64, text string, change func(m *inbox.IncomingMessage)) write {
		return write{"StoreUpdates", what, true, func() error {
			r.customer(customer, "Ann", text, func(m *inbox.IncomingMessage) {
				if first == 0 {
					first = m.MessageID
				}
				if change != nil {
					change(m)
				}
			})
			return nil
		}}
	}
	update := func(what string, shows bool, u func() inbox.Update) write {
		return write{"StoreUpdates", what, shows, func() error { r.receive(u()); return nil }}
	}
	edit := func(name string, message func() int64) func() inbox.Update {
		return func() inbox.Update {
			now := time.Now()
			return inbox.Update{Kind: "edited_message", Edit: &inbox.IncomingMessage{ChatID: 7, MessageID: message(),
				Customer: inbox.Customer{ID: 7, Name: name}, Kind: "text", Text: "hello, in other words", Date: now,
				EditedAt: &now}}
		}
	}
	blocked := func(is bool) func() inbox.Update {
		return func() inbox.Update {
			return inbox.Update{Kind: "my_chat_member", Blocked: &inbox.BlockedChange{
				ChatID: 7, Customer: inbox.Customer{ID: 7, Name: "Ann"}, Blocked: is,
			}}
		}
	}
	var answer inbox.Message
	var inHand []inbox.Delivery
	answered := write{"AddAnswer", "an answer", true, func() error { answer = r.answer(id, "an answer"); return nil }}
	claim := write{"ClaimDeliveries", "a delivery is begun", true, func() (err error) {
		inHand, _, err = r.store.ClaimDeliveries(ctx, r.tenure(), 10, nil)
		if len(inHand) != 1 {
			err = fmt.Errorf("%d deliveries, want 1: %w", len(inHand), err)
		}
		return err
	}}
	probe := write{"ClaimProbe", "a delivery is begun as a try", true, func() (err error) {
		inHand, _, err = r.store.ClaimProbe(ctx, r.tenure())
		if len(inHand) != 1 {
			err = fmt.Errorf("%d deliveries, want 1: %w", len(inHand), err)
		}
		return err
	}}
	outcome := func(what string, o inbox.Outcome) write {
		return write{"RecordOutcome", what, true, func() error {
			o.DeliveryID, o.Attempt = inHand[0].ID, inHand[0].Attempt
			return r.store.RecordOutcome(ctx, r.tenure(), o)
		}}
	}
	var last int64
	retry := write{"RetryAnswer", "an answer is sent again", true, func() error {
		_, err := r.store.RetryAnswer(ctx, answer.ID)
		return err
	}}
	status := func(s inbox.ConversationStatus) write {
		return write{"SetConversationStatus", "it is " + string(s), true, func() error {
			_, err := r.store.SetConversationStatus(ctx, id, s)
			return err
		}}
	}
	report := func(what string, shows bool, change func(b *inbox.BotReport)) write {
		return write{"ReportBot", what, shows, func() error {
			b := inbox.BotReport{Username: "help_bot", Name: "Help", State: inbox.BotPolling, Instance: "test:1"}
			change(&b)
			return r.store.ReportBot(ctx, r.tenure(), b)
		}}
	}
	inAnHour := time.Now().Add(time.Hour)
	var file inbox.FileFetch
	var blob int64
	fetch := func(method, what string, shows bool, do func() error) write {
		return write{method, what, shows, func() error {
			files, _, err := r.store.NextFiles(ctx, r.tenure(), nil, 1)
			if len(files) == 1 {
				file = files[0]
			}
			return errors.Join(err, do())
		}}
	}
	hidden := func(method, what string, do func() error) write { return write{method, what, false, do} }
	op, err := r.store.IssueSignIn(ctx, "zoe", []byte("a hash of hers"), time.Now().Add(time.Hour))
	r.ok(err)
	operator := op.ID
	change := func(what string, f func(*inbox.ConversationChange)) write {
		return write{"ChangeConversation", what, true, func() error {
			var c inbox.ConversationChange
			f(&c)
			_, err := r.store.ChangeConversation(ctx, id, c)
			return err
		}}
	}
	return []write{
		incoming("a message", 7, "hello again", nil),
		incoming("a message of a new customer", 9, "hello", nil),
		incoming("a forwarded message", 7, "words of others", func(m *inbox.IncomingMessage) {
			m.Forwarded = &inbox.Forward{Kind: "user", Name: "Zoe"}
		}),
		incoming("a photo with details in reply", 7, "", func(m *inbox.IncomingMessage) {
			m.Kind, m.ReplyTo, m.AlbumID, m.ThreadID, m.Details = "photo", first, "a", 3, "details"
			m.Attachments = []inbox.Attachment{{Kind: "photo", FileID: "f", FileUniqueID: "u", Size: 5}}
		}),
		update("an edit", true, edit("Ann", func() int64 { return first })),
		update("an edit that tells of a new name and nothing else", true, edit("Annie", func() int64 { return first })),
		update("an edit of what was never seen", true, edit("Annie", func() int64 { return r.update + 1000 })),
		incoming("a message under a new name", 7, "hello", func(m *inbox.IncomingMessage) {
			m.Customer.Name, m.Customer.Username = "Anna", "anna"
		}),
		update("an update of another kind", false, func() inbox.Update { return inbox.Update{Kind: "poll"} }),
		update("an update that nobody understands", false, func() inbox.Update { return inbox.Update{Problem: "no"} }),
		update("a greeting", true, func() inbox.Update {
			return inbox.Update{Kind: "message", Reply: "Welcome", Message: &inbox.IncomingMessage{
				ChatID: 7, MessageID: r.update + 1, Customer: inbox.Customer{ID: 7, Name: "Ann"},
				Kind: "text", Text: "/start", Date: time.Now(),
			}}
		}),
		claim, outcome("it is sent", inbox.Outcome{State: inbox.Sent, TelegramMessageID: 77}),
		{"EditAnswer", "it is to be edited", true, func() error {
			_, err := r.store.EditAnswer(ctx, r.messages(id)[0].ID, "Welcome, in other words")
			return err
		}},
		claim, outcome("it is edited", inbox.Outcome{State: inbox.Sent, TelegramMessageID: 77}),
		{"DeleteAnswer", "it is to be deleted", true, func() error {
			_, _, err := r.store.DeleteAnswer(ctx, r.messages(id)[0].ID)
			return err
		}},
		claim, outcome("it is deleted", inbox.Outcome{State: inbox.Sent, TelegramMessageID: 77}),
		update("the customer blocks the bot", true, blocked(true)), update("and takes it back", true, blocked(false)),
		change("it is assigned", func(c *inbox.ConversationChange) { c.Assignee = &operator }),
		change("it has a tag", func(c *inbox.ConversationChange) { c.AddTag = "VIP" }),
		change("its customer is banned", func(c *inbox.ConversationChange) { yes := true; c.Banned = &yes }),
		change("and not any more", func(c *inbox.ConversationChange) { no := false; c.Banned = &no }),
		change("it is snoozed", func(c *inbox.ConversationChange) { c.SnoozedUntil = &inAnHour }),
		incoming("a message wakes it", 7, "hello?", nil),
		{"WakeConversations", "it is snoozed for a moment, which the server may end as well", true, func() error {
			soon := time.Now().Add(time.Millisecond)
			_, err := r.store.ChangeConversation(ctx, id, inbox.ConversationChange{SnoozedUntil: &soon})
			r.ok(err)
			for c := r.conversation(7); c.SnoozedUntil != nil; c = r.conversation(7) {
				if _, err := r.store.WakeConversations(ctx); err != nil {
					return err
				}
			}
			return nil
		}},
		{"AddNote", "a note", false, func() error {
			_, err := r.store.AddNote(ctx, id, inbox.Note{Text: "among us"})
			return err
		}},
		{"AddAnswer", "an answer for later", true, func() error {
			_, _, err := r.store.AddAnswer(ctx, id, inbox.Answer{Text: "later", SendAt: inAnHour,
				Author: inbox.Author{Kind: inbox.ByAPI, ID: "1"}})
			return err
		}},
		{"QueueDue", "nothing is due", false, func() error { return r.store.QueueDue(ctx) }},
		{"AddCanned", "a canned answer", false, func() error {
			_, err := r.store.AddCanned(ctx, inbox.Canned{Name: "x", Text: "x", Shared: true})
			return err
		}},
		{"ChangeCanned", "which changes", false, func() error {
			_, err := r.store.ChangeCanned(ctx, 0, 1, inbox.CannedChange{})
			return err
		}},
		{"DeleteCanned", "and goes", false, func() error { return r.store.DeleteCanned(ctx, 0, 1) }},
		{"MarkRead", "an operator reads", false, func() error { return r.store.MarkRead(ctx, operator, id, 0, false) }},
		status(inbox.Closed), incoming("a message opens it", 7, "hello?", nil), status(inbox.Closed), status(inbox.Open),

		answered, claim, outcome("it fails", inbox.Outcome{State: inbox.Failed, Error: "refused"}),
		{"ToMainChat", "it is taken out of a topic in which it is not", false, func() error {
			return r.store.ToMainChat(ctx, answer.ID)
		}}, retry,
		claim, outcome("nobody knows", inbox.Outcome{State: inbox.Unknown, Error: "the line broke"}), retry,
		claim, outcome("Telegram asks for a pause", inbox.Outcome{State: inbox.Queued, Error: "a pause", RetryAt: inAnHour,
			PausedUntil: inAnHour}),
		{"AddAnswer", "an answer behind it", true, func() error { r.answer(id, "and another one"); return nil }},
		report("the bot is to pause in all that it sends", true, func(b *inbox.BotReport) {
			b.SendsAt = inAnHour.Add(time.Minute)
		}),
		report("and not any more", true, func(*inbox.BotReport) {}),
		report("a heartbeat", false, func(*inbox.BotReport) {}),
		report("the bot cannot reach Telegram", true, func(b *inbox.BotReport) {
			b.State, b.Reason = inbox.BotUnreachable, "no line"
		}),
		report("the bot is there again, with another name", true, func(b *inbox.BotReport) { b.Username = "other_bot" }),
		{"AddAnswer", "an answer to another customer", true, func() error {
			r.answer(r.conversation(8).ID, "to you, too")
			return nil
		}},
		{"ReadAnew", "a message is read anew", true, func() error {
			list, _, err := r.store.Messages(ctx, id, 200, 0)
			r.ok(err)
			m := list[slices.IndexFunc(list, func(m inbox.Message) bool {
				return m.Direction == inbox.In && m.EditedAt == nil
			})]
			return r.store.ReadAnew(ctx, r.tenure(), []inbox.UnreadMessage{{ID: m.ID, Message: &inbox.IncomingMessage{
				Kind: "text", Text: "as it is read now", Customer: inbox.Customer{ID: 7, Name: "Ann"}}}})
		}},
		probe, outcome("the customer is gone",
			inbox.Outcome{State: inbox.Failed, Error: "gone", Unreachable: inbox.AccountGone}),
		{"AddAnswer", "an answer to a third one", true, func() error {
			r.answer(r.conversation(9).ID, "and to you")
			return nil
		}},
		claim, {"TakeOver", "another bot takes over, with a delivery under way", true, func() (err error) {
			r.bot, err = r.store.TakeOver(ctx, 4242, "test:2")
			return err
		}},

		fetch("NextFiles", "the bot looks for files", false, func() error { return nil }),
		fetch("WantFiles", "somebody asks for what is asked for already", false, func() error {
			return r.store.WantFiles(ctx, []int64{file.MessageID})
		}),
		fetch("PauseFiles", "files pause", true, func() error { return r.store.PauseFiles(ctx, r.tenure(), "no room") }),
		fetch("PauseFiles", "files go on", true, func() error { return r.store.PauseFiles(ctx, r.tenure(), "") }),
		fetch("BeginFile", "a file is begun", false, func() (err error) {
			blob, err = r.store.BeginFile(ctx, r.tenure(), file)
			return err
		}),
		fetch("AddChunk", "a piece comes", false, func() error {
			return r.store.AddChunk(ctx, r.tenure(), blob, 0, []byte("bytes"))
		}),
		fetch("FileFetched", "the file is there", true, func() error {
			return r.store.FileFetched(ctx, r.tenure(), file, blob,
				inbox.FoundFile{Hash: []byte("hash"), Size: 5, MediaType: "image/png"})
		}),
		fetch("PruneFiles", "it is old", true, func() error { return r.store.PruneFiles(ctx, inAnHour) }),
		fetch("RetryFile", "it is asked for again", true, func() error {
			list, _, err := r.store.Messages(ctx, id, 200, 0)
			for _, m := range list {
				for _, a := range m.Attachments {
					_, again := r.store.RetryFile(ctx, a.ID)
					err = errors.Join(err, again)
				}
			}
			return err
		}),
		fetch("FileNotFetched", "it is too big now", true, func() error {
			return r.store.FileNotFetched(ctx, r.tenure(), file, inbox.FileOutcome{State: inbox.FileTooBig, Error: "too big"})
		}),

		hidden("IssueSignIn", "a link", func() error {
			_, err := r.store.IssueSignIn(ctx, "bob", hashOf("link"), inAnHour)
			return err
		}),
		hidden("RedeemSignIn", "it is used", func() error {
			_, err := r.store.RedeemSignIn(ctx, hashOf("link"), false)
			return err
		}),
		hidden("CommitSession", "a session", func() error {
			return r.store.CommitSession(ctx, "key", []byte("data"), inAnHour)
		}),
		hidden("TouchSession", "it is used", func() error { return r.store.TouchSession(ctx, "key", []byte("more")) }),
		hidden("DeleteSession", "it ends", func() error { return r.store.DeleteSession(ctx, "key") }),
		hidden("SignOutOperator", "an operator is signed out", func() error { return r.store.SignOutOperator(ctx, "bob") }),
		hidden("RemoveOperator", "an operator is removed", func() error { return r.store.RemoveOperator(ctx, "bob") }),
		hidden("CreateToken", "a token", func() error {
			_, err := r.store.CreateToken(ctx, "another", hashOf("token"))
			return err
		}),
		hidden("RevokeToken", "it is revoked", func() error { return r.store.RevokeToken(ctx, "another") }),
		hidden("Prune", "what is old is removed", func() error { return r.store.Prune(ctx) }),
		{"AddAnswer", "an answer that nobody will send", true, func() error {
			last = r.answer(r.conversation(9).ID, "and this").ID
			return nil
		}},
		{"SignOff", "the bot ends", true, func() error {
			return r.store.SignOff(ctx, r.tenure(), inbox.BotStopped, "stopped")
		}},
		{"TakeBack", "an answer is taken back", true, func() error {
			_, err := r.store.TakeBack(ctx, last)
			return err
		}},
		{"Restored", "the database was put back", true, func() error { _, err := r.store.Restored(ctx); return err }},
	}
}
