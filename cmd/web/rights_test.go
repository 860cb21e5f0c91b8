package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"golang.org/x/net/html"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/proctest"
	"tandem/internal/store"
)

// atOnce is how soon a stream must end with its reader's right. The promise is a second; a busy machine gets more, and
// the look that is made without a hint comes after half a minute.
const atOnce = 5 * time.Second

// office is two webs on one database, each with streams of several people and programs.
type office struct {
	t      *testing.T
	env    []string // of commands
	webs   []process
	store  *store.Store
	tenure inbox.Tenure
	update int64
	live   map[string]*live
	slow   time.Duration // the latest end of a stream
}

// live is a stream.
type live struct {
	ended  chan struct{}
	events atomic.Int64
	close  func()
}

func newOffice(t *testing.T, database string) *office {
	t.Helper()
	env := []string{"DATABASE_URL=" + database}
	o := &office{t: t, env: env, live: map[string]*live{}, store: store.Open(database, slog.New(slog.DiscardHandler))}
	t.Cleanup(o.store.Close)
	if err := o.store.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p := start(t, env...)
		o.webs = append(o.webs, p)
		proctest.Eventually(t, soon, "the database is there", func() bool {
			code, _ := get(t, "http://"+p.addr+"/readyz")
			return code == 200
		})
	}
	var err error
	if o.tenure, err = o.store.TakeOver(t.Context(), 1, "test:1"); err != nil {
		t.Fatal(err)
	}
	return o
}

// run is a command, in a process of its own.
func (o *office) run(args ...string) (out, errs string) {
	o.t.Helper()
	code, out, errs := runWeb(o.t, o.env, args...)
	if code != 0 {
		o.t.Fatalf("web %q: %d %s", args, code, errs)
	}
	return out, errs
}

// signIn opens a link, fills in the page's form as a browser would, and gives the header with the session.
func (o *office) signIn(web int, name string, untick bool) [2]string {
	o.t.Helper()
	link, _ := o.run("operator", "add", name)
	u, err := url.Parse(link)
	if err != nil {
		o.t.Fatal(err)
	}
	session, status := o.press(web, u.Path, untick)
	if status != http.StatusSeeOther {
		o.t.Fatalf("signing in: %d", status)
	}
	return session
}

func (o *office) press(web int, link string, untick bool) (session [2]string, status int) {
	o.t.Helper()
	address := "http://" + o.webs[web].addr
	status, body := get(o.t, address+link)
	if status != http.StatusOK {
		return session, status
	}
	page, err := html.Parse(strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	form, ticked := url.Values{}, 0
	for n := range page.Descendants() {
		attr := map[string]string{}
		for _, a := range n.Attr {
			attr[a.Key] = a.Val
		}
		if n.Data != "input" || attr["name"] == "" {
			continue
		}
		if attr["type"] == "checkbox" {
			if _, on := attr["checked"]; on {
				ticked++
			}
			if untick {
				continue
			}
		}
		form.Add(attr["name"], attr["value"])
	}
	if ticked != 1 {
		o.t.Fatalf("the sign-in page has %d ticked boxes, want one:\n%s", ticked, body)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.PostForm(address+"/sign-in", form)
	if err != nil {
		o.t.Fatal(err)
	}
	defer response.Body.Close()
	for _, c := range response.Cookies() {
		session = [2]string{"Cookie", c.Name + "=" + c.Value}
	}
	return session, response.StatusCode
}

// streams opens one at each web.
func (o *office) streams(name string, header [2]string) {
	o.t.Helper()
	for i, p := range o.webs {
		ctx, cancel := context.WithCancel(context.Background())
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+p.addr+"/api/v1/events", nil)
		r.Header.Set(header[0], header[1])
		transport := &http.Transport{}
		response, err := (&http.Client{Transport: transport}).Do(r)
		if err != nil {
			o.t.Fatal(err)
		}
		if response.StatusCode != http.StatusOK {
			o.t.Fatalf("a stream of %s: %s", name, response.Status)
		}
		l := &live{ended: make(chan struct{}), close: cancel}
		o.live[fmt.Sprintf("%s at %d", name, i)] = l
		go func() {
			defer close(l.ended)
			lines := bufio.NewScanner(response.Body)
			for lines.Scan() {
				if strings.HasPrefix(lines.Text(), "id: ") {
					l.events.Add(1)
				}
			}
		}()
		o.t.Cleanup(func() {
			cancel()
			<-l.ended
			response.Body.Close()
			transport.CloseIdleConnections()
		})
	}
}

// ends sees the streams of these end, at each web, and no others. What was done is over when it is called.
func (o *office) ends(what string, names ...string) {
	o.t.Helper()
	begun := time.Now()
	for _, name := range names {
		for i := range o.webs {
			key := fmt.Sprintf("%s at %d", name, i)
			select {
			case <-o.live[key].ended:
			case <-time.After(atOnce):
				o.t.Errorf("%s: the stream of %s goes on after %s", what, key, atOnce)
				o.live[key].close()
			}
			delete(o.live, key)
		}
	}
	o.slow = max(o.slow, time.Since(begun))
	o.goOn(what)
}

// goOn sees that all streams that are left still get what happens.
func (o *office) goOn(what string) {
	o.t.Helper()
	before := map[string]int64{}
	for key, l := range o.live {
		before[key] = l.events.Load()
	}
	o.update++
	update := inbox.Update{ID: o.update, Kind: "message", Raw: []byte("{}"), Message: &inbox.IncomingMessage{
		ChatID: 7, MessageID: o.update, Customer: inbox.Customer{ID: 7, Name: "Ana"}, Kind: "text", Text: "x",
		Date: time.Now(),
	}}
	err := o.store.StoreUpdates(context.Background(), o.tenure, []inbox.Update{update}, o.update+1)
	if err != nil {
		o.t.Fatal(err)
	}
	for key, l := range o.live {
		proctest.Eventually(o.t, soon, what+": "+key+" goes on", func() bool { return l.events.Load() > before[key] })
	}
}

// status is what a request is answered with, at each web; all must say the same.
func (o *office) status(header [2]string) int {
	o.t.Helper()
	first := 0
	for i, p := range o.webs {
		code, body := get(o.t, "http://"+p.addr+"/api/v1/conversations", header[0], header[1])
		if i > 0 && code != first {
			o.t.Errorf("web %d says %d, the first one %d: %s", i, code, first, body)
		}
		first = code
	}
	return first
}

func databases() map[string]func(t *testing.T) string {
	return map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "tandem.db") },
		"postgres": func(t *testing.T) string { return pgtest.URL(t) },
		"pooler":   func(t *testing.T) string { return pgtest.Bouncer(t, pgtest.URL(t)) },
	}
}

// Whatever ends a right ends it in every replica, for requests and for what streams: a command, another tab, another
// link, time.
func TestARightThatEndsIsOverEverywhere(t *testing.T) {
	t.Parallel()
	for name, database := range databases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, database(t))
			bearer := func(name string) [2]string {
				token, _ := o.run("token", "create", name)
				return [2]string{"Authorization", "Bearer " + token}
			}
			one, two := bearer("one"), bearer("two")
			alice := o.signIn(0, "alice", true)
			telephone := o.signIn(1, "alice", true)
			bob := o.signIn(1, "bob", false)
			for name, header := range map[string][2]string{
				"token one": one, "token two": two, "alice": alice, "alice's telephone": telephone, "bob": bob,
			} {
				if code := o.status(header); code != 200 {
					t.Fatalf("%s: %d", name, code)
				}
				o.streams(name, header)
			}
			if out, _ := o.run("operator", "list"); !strings.Contains(out, "in 2 browsers") ||
				!strings.Contains(out, "in 1 browser") {
				t.Errorf("operator list:\n%s", out)
			}
			o.goOn("at first")
			over := func(what, name string, header [2]string) {
				t.Helper()
				if code := o.status(header); code != 401 {
					t.Errorf("%s: a request gets %d", what, code)
				}
				o.ends(what, name)
			}

			o.run("token", "revoke", "one")
			over("a token is revoked", "token one", one)

			if code, _ := dump(t, "POST", "http://"+o.webs[1].addr+"/sign-out", "", telephone); code != 303 {
				t.Fatalf("signing out: %d", code)
			}
			over("signed out in another tab", "alice's telephone", telephone)

			// A link that was only made ends nothing; used with the box unticked neither; used as it comes it ends the others.
			second := o.signIn(0, "alice", true)
			o.streams("alice's second", second)
			o.goOn("a new link is used, unticked")
			if a, b := o.status(alice), o.status(second); a != 200 || b != 200 {
				t.Errorf("unticked: the old session gets %d, the new one %d", a, b)
			}
			third := o.signIn(1, "alice", false)
			o.ends("a new link is used", "alice", "alice's second")
			if a, b, c := o.status(alice), o.status(second), o.status(third); a != 401 || b != 401 || c != 200 {
				t.Errorf("a new link is used: the old sessions get %d and %d, its own %d", a, b, c)
			}
			o.streams("alice's third", third)

			link, _ := o.run("operator", "add", "alice")
			unused, _ := url.Parse(link)
			if _, errs := o.run("operator", "sign-out", "alice"); !strings.Contains(errs, "alice is signed out") {
				t.Errorf("sign-out says %q", errs)
			}
			over("an operator is signed out", "alice's third", third)
			if _, status := o.press(0, unused.Path, true); status != http.StatusGone {
				t.Errorf("the unused link of who was signed out: %d", status)
			}
			if out, _ := o.run("operator", "list"); !strings.Contains(out, "not signed in") ||
				!strings.Contains(out, "in 1 browser") {
				t.Errorf("operator list after it:\n%s", out)
			}
			back := o.signIn(0, "alice", false)
			if code := o.status(back); code != 200 {
				t.Errorf("signed in again: %d", code)
			}
			if code := o.status(third); code != 401 {
				t.Errorf("the old session when she is back: %d", code)
			}

			// What bob wrote keeps his name; added again he is another.
			answers := "http://" + o.webs[0].addr + "/conversations/1/answers"
			if code, body := dump(t, "POST", answers, "text=hello", bob); code != 303 {
				t.Fatalf("bob's answer: %d %s", code, body)
			}
			if _, errs := o.run("operator", "remove", "bob"); !strings.Contains(errs, "bob is removed") {
				t.Errorf("remove says %q", errs)
			}
			over("an operator is removed", "bob", bob)
			if out, _ := o.run("operator", "list"); strings.Contains(out, "bob") {
				t.Errorf("operator list after it:\n%s", out)
			}
			again := o.signIn(0, "bob", true)
			if code := o.status(again); code != 200 {
				t.Errorf("the new bob: %d", code)
			}
			if code := o.status(bob); code != 401 {
				t.Errorf("the old bob's session: %d", code)
			}
			messages := "http://" + o.webs[0].addr + "/api/v1/conversations/1/messages"
			if _, body := get(t, messages, two[0], two[1]); !strings.Contains(body, `"name":"bob"`) {
				t.Errorf("what he wrote: %s", body)
			}

			// Time ends a session in its moment, too.
			cookie, ends := "a session of the test", time.Now().Add(3*time.Second)
			data, err := scs.GobCodec{}.Encode(ends, map[string]any{
				"operator": int64(1), "generation": generationOf(t, o.store, "alice"), "seen": time.Now().Unix(),
			})
			if err != nil {
				t.Fatal(err)
			}
			key := sha256.Sum256([]byte(url.QueryEscape(cookie)))
			if err := o.store.CommitSession(t.Context(), base64.RawURLEncoding.EncodeToString(key[:]), data, ends); err != nil {
				t.Fatal(err)
			}
			short := [2]string{"Cookie", "tandem=" + url.QueryEscape(cookie)}
			o.streams("short", short)
			o.goOn("before it expires")
			<-time.After(time.Until(ends))
			over("it expired", "short", short)

			for _, args := range [][]string{{"operator", "remove", "carol"}, {"operator", "sign-out", "carol"},
				{"operator", "remove", "Alice"}} {
				if code, out, errs := runWeb(t, o.env, args...); code != 1 || out != "" ||
					!strings.Contains(errs, "no operator named") {
					t.Errorf("%q: %d %q %q", args, code, out, errs)
				}
			}
			t.Logf("the slowest end of a stream took %s", o.slow)
			for _, p := range o.webs {
				p.mustEnd(t, syscall.SIGTERM, soon)
			}
		})
	}
}

func generationOf(t *testing.T, s *store.Store, name string) int64 {
	t.Helper()
	list, err := s.Operators(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		if o.Name == name {
			return o.Generation
		}
	}
	t.Fatalf("no %s", name)
	return 0
}
