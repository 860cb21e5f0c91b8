package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/web"
)

// slowToSearch fills the conversation so that slowSearch takes seconds on either database.
func (r *rig) slowToSearch(conversation int64) {
	r.t.Helper()
	long := strings.Repeat("a", inbox.MaxAnswer)
	for range 150 {
		r.answer(conversation, long)
	}
}

var slowSearch = url.QueryEscape(strings.Repeat("a", 150) + "b")

// Eight slow searches of one program and one of an operator: everybody else reads, signs in and answers, and nobody
// hears that the database is away.
func TestSlowSearchesOfOneHoldUpNobodyElse(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		r := newRigOn(t, openStore(t, database))
		r.customer(7, "Ana", "hello")
		r.customer(8, "Bo", "hello")
		id := r.conversation(7).ID
		r.slowToSearch(id)
		other, err := web.IssueToken(t.Context(), r.store, "other")
		r.ok(err)
		client := r.signIn("alice")
		defer client.CloseIdleConnections()
		r.token()

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var wg sync.WaitGroup
		var asked, refused atomic.Int32
		ask := func(c *http.Client, path string, header ...string) {
			wg.Go(func() {
				for ctx.Err() == nil {
					asked.Add(1)
					a, err := r.try(c, "GET", path, nil, header...)
					if err != nil || a.StatusCode == 200 {
						continue
					}
					refused.Add(1)
					if a.StatusCode != 503 && a.StatusCode != 429 || a.Header.Get("Retry-After") == "" ||
						strings.Contains(a.body, "not available") {
						t.Errorf("a slow search: %s %.500s", a.Status, a.body)
					}
				}
			})
		}
		for range 8 {
			ask(http.DefaultClient, "/api/v1/conversations?q="+slowSearch, "Authorization", "Bearer "+r.bearer)
		}
		ask(client, "/fragments/list?q="+slowSearch)
		ask(client, "/?q="+slowSearch)
		eventually(t, "the searches are under way", func() bool { return asked.Load() >= 10 })
		for end, n := time.Now().Add(4*time.Second), 0; time.Now().Before(end); n++ {
			if a := r.call(http.DefaultClient, "GET", "/readyz", nil); a.StatusCode != 200 {
				t.Fatalf("/readyz: %s %s", a.Status, a.body)
			}
			began := time.Now()
			for _, path := range []string{"/conversations?limit=5", fmt.Sprintf("/conversations/%d/messages?limit=1", id)} {
				a := r.call(http.DefaultClient, "GET", "/api/v1"+path, nil, "Authorization", "Bearer "+other)
				if a.StatusCode != 200 {
					t.Fatalf("another program's %s: %s %s", path, a.Status, a.body)
				}
			}
			if a := r.call(client, "GET", "/conversations/"+fmt.Sprint(r.conversation(8).ID), nil); a.StatusCode != 200 ||
				strings.Contains(a.body, "not available") {
				t.Fatalf("a page: %s %s", a.Status, a.body)
			}
			a := r.call(http.DefaultClient, "POST", fmt.Sprintf("/api/v1/conversations/%d/messages", id), `{"text":"hi"}`,
				"Authorization", "Bearer "+other)
			if a.StatusCode != 202 {
				t.Fatalf("an answer: %s %s", a.Status, a.body)
			}
			r.signIn("bob").CloseIdleConnections()
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("round %d took %s", n, took)
			}
		}
		cancel()
		wg.Wait()
		if err := r.store.Ready(); err != nil {
			t.Errorf("the store is in trouble: %v", err)
		}
		if strings.Contains(r.log.String(), "not available") {
			t.Errorf("the log has a word of an outage:\n%s", r.log)
		}
		t.Logf("%d searches, %d of them refused or given up", asked.Load(), refused.Load())
	})
}

// slowSearches is a real store in which a search takes too long.
type slowSearches struct{ inbox.OperatorStore }

func (s slowSearches) Search(context.Context, inbox.SearchQuery) (inbox.SearchPage, error) {
	return inbox.SearchPage{}, fmt.Errorf("search: %w",
		&inbox.Error{Kind: inbox.TooLong, Reason: "this search takes too long; it was given up after 5s"})
}

func (s slowSearches) Conversations(
	ctx context.Context, f inbox.ConversationFilter,
) ([]inbox.Conversation, int64, error) {
	if f.Query != "" {
		return nil, 0, fmt.Errorf("list conversations: %w",
			&inbox.Error{Kind: inbox.TooLong, Reason: "it was given up after 10s"})
	}
	return s.OperatorStore.Conversations(ctx, f)
}

// A search that was given up is called that, in each form of an answer, and a conversation beside it is shown.
func TestASearchThatTakesTooLongIsCalledThat(t *testing.T) {
	db := openStore(t, "sqlite:"+filepath.Join(t.TempDir(), "tandem.db"))
	r := newRigOn(t, db, func(c *web.Config) { c.Store = slowSearches{db} })
	r.customer(7, "Ana", "hello there")
	client := r.signIn("alice")
	defer client.CloseIdleConnections()
	a := r.call(client, "GET", fmt.Sprintf("/conversations/%d?q=x", r.conversation(7).ID), nil)
	if page := parse(t, a.body); a.StatusCode != 200 || !strings.Contains(page.id("messages").words(), "hello there") ||
		!strings.Contains(page.id("list").words(), "This took too long") {
		t.Errorf("a conversation beside it: %s %s", a.Status, page.words())
	}
	mustBeProblem(t, r.api("GET", "/conversations?q=x", nil), 503, "took too long")
	mustBeProblem(t, r.api("GET", "/search?q=x", nil), 503, "this search takes too long")
	rec := httptest.NewRecorder()
	r.web.OpsHandler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(rec.Body.String(), `tandem_web_given_up_total{kind="too_long"} 2`) {
		t.Errorf("no metric counts it: %s", rec.Body)
	}
	for _, path := range []string{"/?q=x", "/fragments/list?q=x"} {
		a := r.call(client, "GET", path, nil)
		if words := parse(t, a.body).words(); a.StatusCode != 503 || a.Header.Get("Retry-After") == "" ||
			!strings.Contains(words, "This took too long") || strings.Contains(words, "not available") {
			t.Errorf("%s: %s %s", path, a.Status, words)
		}
	}
}
