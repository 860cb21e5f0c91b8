package web_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/html"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/proctest"
	"tandem/internal/store"
	"tandem/internal/web"
)

func TestMain(m *testing.M) {
	proctest.Main(m, nil, func() error {
		http.DefaultClient.CloseIdleConnections()
		return goleak.Find()
	})
}

const soon = 20 * time.Second

// rig is a web server on a real database, with a bot's hand on the same store.
type rig struct {
	t      *testing.T
	store  *store.Store
	web    *web.Server
	http   *httptest.Server
	log    *proctest.Log
	bot    inbox.Tenure
	update int64 // number of the last update
	bearer string

	lastDelivery int64 // that was sent
}

func openStore(t *testing.T, url string) *store.Store {
	t.Helper()
	db := store.Open(url, discard)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = db.Run(ctx) })
	wg.Go(func() { db.KeepIndex(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		db.Close()
	})
	wait, stop := context.WithTimeout(ctx, soon)
	defer stop()
	if err := db.WaitReady(wait); err != nil {
		t.Fatal(err)
	}
	return db
}

// indexed waits until all that was stored can be found.
func (r *rig) indexed() {
	r.t.Helper()
	eventually(r.t, "the index is up to date", func() bool {
		p, err := r.store.WordsProgress(r.t.Context())
		return err == nil && p == inbox.WordsProgress{}
	})
}

func newRig(t *testing.T, change ...func(*web.Config)) *rig {
	t.Helper()
	return newRigOn(t, openStore(t, "sqlite:"+filepath.Join(t.TempDir(), "tandem.db")), change...)
}

func newRigOn(t *testing.T, db *store.Store, change ...func(*web.Config)) *rig {
	t.Helper()
	r := &rig{t: t, store: db, log: &proctest.Log{}, update: time.Now().UnixNano() % 1e9}
	r.serve(change...)
	return r
}

func (r *rig) serve(change ...func(*web.Config)) {
	log := slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})
	c := web.Config{Store: r.store, Log: slog.New(log)}
	for _, f := range change {
		f(&c)
	}
	r.web = web.New(c)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { r.web.Run(ctx) })
	r.http = httptest.NewServer(r.web)
	r.t.Cleanup(func() {
		r.web.StopStreams()
		r.http.Close()
		cancel()
		wg.Wait()
	})
}

func (r *rig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// tenure begins polling for a bot, once.
func (r *rig) tenure() inbox.Tenure {
	r.t.Helper()
	if r.bot.BotID == 0 {
		var err error
		r.bot, err = r.store.TakeOver(context.Background(), 4242, "test:1")
		r.ok(err)
		r.says(inbox.BotPolling, "")
	}
	return r.bot
}

func (r *rig) says(state inbox.BotState, reason string) {
	r.t.Helper()
	r.ok(r.store.ReportBot(context.Background(), r.tenure(),
		inbox.BotReport{Username: "help_bot", Name: "Help", State: state, Reason: reason, Instance: "test:1"}))
}

// customer has a customer write to the bot.
func (r *rig) customer(id int64, name, text string, change ...func(*inbox.IncomingMessage)) {
	r.t.Helper()
	m := inbox.IncomingMessage{ChatID: id, MessageID: r.update + 1, Customer: inbox.Customer{ID: id, Name: name},
		Kind: "text", Text: text, Date: time.Now()}
	for _, f := range change {
		f(&m)
	}
	r.receive(inbox.Update{Kind: "message", Message: &m})
}

func (r *rig) receive(u inbox.Update) {
	r.t.Helper()
	tenure := r.tenure()
	r.update++
	u.ID, u.Raw = r.update, []byte("{}")
	r.ok(r.store.StoreUpdates(context.Background(), tenure, []inbox.Update{u}, u.ID+1))
}

// conversation is that of the customer.
func (r *rig) conversation(customer int64) inbox.Conversation {
	r.t.Helper()
	list, _, err := r.store.Conversations(context.Background(), inbox.ConversationFilter{Limit: 200, Brief: true})
	r.ok(err)
	for _, c := range list {
		if c.Customer.ID == customer {
			return c
		}
	}
	r.t.Fatalf("no conversation with customer %d", customer)
	return inbox.Conversation{}
}

// deliver claims what is queued and gives all of it the same outcome.
func (r *rig) deliver(state inbox.DeliveryState, reason string) int {
	r.t.Helper()
	claimed, _, err := r.store.ClaimDeliveries(context.Background(), r.tenure(), 100, nil)
	r.ok(err)
	if state == inbox.Sending {
		return len(claimed)
	}
	for _, d := range claimed {
		o := inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, State: state, Error: reason}
		if state == inbox.Sent {
			o.TelegramMessageID = 1_000_000 + d.ID
			r.lastDelivery = d.ID
		}
		r.ok(r.store.RecordOutcome(context.Background(), r.tenure(), o))
	}
	return len(claimed)
}

// pause has Telegram ask for one before what is next.
func (r *rig) pause(until time.Time) {
	r.t.Helper()
	claimed, _, err := r.store.ClaimDeliveries(context.Background(), r.tenure(), 100, nil)
	r.ok(err)
	for _, d := range claimed {
		r.ok(r.store.RecordOutcome(context.Background(), r.tenure(), inbox.Outcome{
			DeliveryID: d.ID, Attempt: d.Attempt, State: inbox.Queued,
			Error:   "Telegram asks for a pause before the next message to this customer",
			RetryAt: time.Now().Add(time.Hour), PausedUntil: until,
		}))
	}
}

// answer is stored as an operator's, not through the web.
func (r *rig) answer(conversation int64, text string) inbox.Message {
	r.t.Helper()
	m, _, err := r.store.AddAnswer(context.Background(), conversation,
		inbox.Answer{Text: text, Author: inbox.Author{Kind: inbox.ByOperator, ID: "1", Name: "alice"}})
	r.ok(err)
	return m
}

// --- the API

type response struct {
	*http.Response
	body string
}

func (r *rig) token() string {
	r.t.Helper()
	if r.bearer == "" {
		var err error
		r.bearer, err = web.IssueToken(context.Background(), r.store, fmt.Sprintf("test %d", names.Add(1)))
		r.ok(err)
	}
	return r.bearer
}

var names atomic.Int64

// api calls the API with a token; body is text or anything that becomes JSON.
func (r *rig) api(method, path string, body any, header ...string) response {
	r.t.Helper()
	header = append([]string{"Authorization", "Bearer " + r.token()}, header...)
	return r.call(http.DefaultClient, method, "/api/v1"+path, body, header...)
}

func (r *rig) call(c *http.Client, method, path string, body any, header ...string) response {
	r.t.Helper()
	a, err := r.try(c, method, path, body, header...)
	r.ok(err)
	return a
}

func (r *rig) try(c *http.Client, method, path string, body any, header ...string) (response, error) {
	var content io.Reader
	request, err := http.NewRequest(method, r.http.URL+path, nil)
	if err != nil {
		return response{}, err
	}
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	case url.Values:
		content = strings.NewReader(b.Encode())
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			return response{}, err
		}
		content = bytes.NewReader(encoded)
	}
	if content != nil {
		request.Body = io.NopCloser(content)
		if request.Header.Get("Content-Type") == "" {
			request.Header.Set("Content-Type", "application/json")
		}
	}
	for i := 0; i+1 < len(header); i += 2 {
		if request.Header.Del(header[i]); header[i+1] != "" {
			request.Header.Set(header[i], header[i+1])
		}
	}
	raw, err := c.Do(request)
	if err != nil {
		return response{}, err
	}
	defer raw.Body.Close()
	b, err := io.ReadAll(raw.Body)
	return response{raw, string(b)}, err
}

func (a response) into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		t.Fatalf("%s: %v in %q", a.Request.URL.Path, err, a.body)
	}
}

// --- the page

// browser is a client with cookies that does not follow redirects by itself.
func browser(t testing.TB) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// signIn is a browser in which an operator has signed in.
func (r *rig) signIn(name string) *http.Client {
	r.t.Helper()
	c := browser(r.t)
	a := r.call(c, "POST", "/sign-in", url.Values{"secret": {r.link(name)}})
	if a.StatusCode != http.StatusSeeOther {
		r.t.Fatalf("signing in: %s %s", a.Status, a.body)
	}
	return c
}

// link is the secret of a new sign-in link.
func (r *rig) link(name string) string {
	r.t.Helper()
	base, _ := url.Parse(r.http.URL)
	link, _, err := web.IssueSignIn(context.Background(), r.store, name, base)
	r.ok(err)
	return link[strings.LastIndex(link, "/")+1:]
}

// page is a page as a tree.
func (r *rig) page(c *http.Client, path string) *node {
	r.t.Helper()
	a := r.call(c, "GET", path, nil)
	if a.StatusCode != http.StatusOK {
		r.t.Fatalf("GET %s: %s\n%s", path, a.Status, a.body)
	}
	return parse(r.t, a.body)
}

type node struct{ *html.Node }

func parse(t testing.TB, body string) *node {
	t.Helper()
	n, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return &node{n}
}

// all are the elements below n that ok likes.
func (n *node) all(ok func(*node) bool) []*node {
	var found []*node
	for d := range n.Descendants() {
		if e := (&node{d}); d.Type == html.ElementNode && ok(e) {
			found = append(found, e)
		}
	}
	return found
}

func (n *node) tag(name string) []*node { return n.all(func(e *node) bool { return e.Data == name }) }

func (n *node) class(name string) []*node {
	return n.all(func(e *node) bool {
		for _, c := range strings.Fields(e.attr("class")) {
			if c == name {
				return true
			}
		}
		return false
	})
}

// id is the element with that id, an empty one when there is none.
func (n *node) id(id string) *node {
	if found := n.all(func(e *node) bool { return e.attr("id") == id }); len(found) > 0 {
		return found[0]
	}
	return &node{&html.Node{Type: html.ElementNode}}
}

func (n *node) attr(name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// text is what a person reads, with white space as in the source.
func (n *node) text() string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent.Data != "script" && d.Parent.Data != "style" {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

// words is text with each run of white space as one space.
func (n *node) words() string { return strings.Join(strings.Fields(n.text()), " ") }

// onBoth runs the test on both databases; open gives it a handle on the same new one each time.
func onBoth(t *testing.T, test func(t *testing.T, database string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite:"+filepath.Join(t.TempDir(), "tandem.db")) })
	t.Run("postgres", func(t *testing.T) { test(t, pgtest.URL(t)) })
}

func hashOf(secret string) []byte {
	h := sha256.Sum256([]byte(secret))
	return h[:]
}

// unconnected is a store that nobody runs.
func unconnected(url string) *store.Store { return store.Open(url, discard) }

var discard = slog.New(slog.DiscardHandler)
