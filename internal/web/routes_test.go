package web_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/mux"
)

// The rules by which somebody without a sign-in and without a token is treated.
const (
	open      = "answers anybody"
	help      = "says how to sign in"
	toHelp    = "sends a browser to the help"
	refused   = "refuses, on a page"
	noPiece   = "refuses, for the page's script"
	challenge = "refuses with a problem and WWW-Authenticate"
)

const (
	kB      = 1 << 10
	mB      = 1 << 20
	noLimit = -1 // of a stream
)

// expectation is who may use a route and what a request may cost there: bytes of its body, time, bytes of its response.
type expectation struct {
	rule        string
	maxBody     int64
	maxTime     time.Duration
	maxResponse int64
}

// expectations has every route. One that is not here, or without all of its budgets, fails the test.
var expectations = map[string]expectation{
	"GET /healthz":                   {open, 1 * kB, 10 * time.Second, 64 * kB},
	"GET /readyz":                    {open, 1 * kB, 10 * time.Second, 64 * kB},
	"GET /static/{file}":             {open, 1 * kB, 30 * time.Second, 64 * kB},
	"GET /sign-in/{secret}":          {open, 1 * kB, 10 * time.Second, 64 * kB},
	"POST /sign-in":                  {open, 1 * kB, 10 * time.Second, 64 * kB},
	"POST /sign-out":                 {refused, 1 * kB, 10 * time.Second, 64 * kB},
	"GET /":                          {help, 1 * kB, 30 * time.Second, 8 * mB},
	"GET /conversations/{id:[0-9]+}": {toHelp, 1 * kB, 30 * time.Second, 8 * mB},
	"POST /conversations/{id:[0-9]+}/answers":         {refused, 1 * mB, 30 * time.Second, 8 * mB},
	"POST /conversations/{id:[0-9]+}/status":          {refused, 1 * kB, 30 * time.Second, 64 * kB},
	"POST /conversations/{id:[0-9]+}/change":          {refused, 1 * kB, 30 * time.Second, 8 * mB},
	"POST /conversations/{id:[0-9]+}/unread":          {refused, 1 * kB, 30 * time.Second, 64 * kB},
	"POST /conversations/{id:[0-9]+}/notes":           {refused, 128 * kB, 30 * time.Second, 8 * mB},
	"GET /fragments/views":                            {noPiece, 1 * kB, 30 * time.Second, 64 * kB},
	"GET /fragments/conversations/{id:[0-9]+}/beside": {noPiece, 1 * kB, 30 * time.Second, 8 * mB},
	"GET /fragments/conversations/{id:[0-9]+}/desk":   {noPiece, 1 * kB, 30 * time.Second, 1 * mB},
	"GET /canned":                                       {toHelp, 1 * kB, 30 * time.Second, 16 * mB},
	"POST /canned":                                      {refused, 1 * mB, 30 * time.Second, 16 * mB},
	"POST /canned/{id:[0-9]+}/remove":                   {refused, 1 * kB, 30 * time.Second, 64 * kB},
	"POST /messages/{id:[0-9]+}/take-back":              {refused, 1 * kB, 30 * time.Second, 64 * kB},
	"GET /api/v1/search":                                {challenge, 1 * kB, 30 * time.Second, 8 * mB},
	"DELETE /api/v1/messages/{id:[0-9]+}":               {challenge, 1 * kB, 30 * time.Second, 1 * mB},
	"POST /messages/{id:[0-9]+}/retry":                  {refused, 1 * kB, 30 * time.Second, 64 * kB},
	"GET /messages/{id:[0-9]+}/change":                  {toHelp, 1 * kB, 30 * time.Second, 1 * mB},
	"POST /messages/{id:[0-9]+}/change":                 {refused, 1 * mB, 30 * time.Second, 1 * mB},
	"PATCH /api/v1/messages/{id:[0-9]+}":                {challenge, 512 * kB, 30 * time.Second, 1 * mB},
	"GET /messages/{id:[0-9]+}/edits":                   {toHelp, 1 * kB, 30 * time.Second, 8 * mB},
	"GET /fragments/messages/{id:[0-9]+}/edits":         {noPiece, 1 * kB, 30 * time.Second, 8 * mB},
	"GET /api/v1/messages/{id:[0-9]+}/edits":            {challenge, 1 * kB, 30 * time.Second, 8 * mB},
	"GET /files/{id:[0-9]+}/{name}":                     {toHelp, 1 * kB, noLimit, noLimit},
	"GET /files/{id:[0-9]+}/thumbnail/{name}":           {toHelp, 1 * kB, noLimit, noLimit},
	"POST /files/{id:[0-9]+}/retry":                     {refused, 1 * kB, 30 * time.Second, 64 * kB},
	"GET /api/v1/files/{id:[0-9]+}":                     {challenge, 1 * kB, noLimit, noLimit},
	"GET /api/v1/files/{id:[0-9]+}/thumbnail":           {challenge, 1 * kB, noLimit, noLimit},
	"POST /api/v1/files/{id:[0-9]+}/retry":              {challenge, 1 * kB, 30 * time.Second, 64 * kB},
	"GET /fragments/banner":                             {noPiece, 1 * kB, 30 * time.Second, 64 * kB},
	"GET /fragments/list":                               {noPiece, 1 * kB, 30 * time.Second, 8 * mB},
	"GET /fragments/conversations/{id:[0-9]+}":          {noPiece, 1 * kB, 30 * time.Second, 1 * mB},
	"GET /fragments/conversations/{id:[0-9]+}/messages": {noPiece, 1 * kB, 30 * time.Second, 8 * mB},
	"GET /api/v1/conversations":                         {challenge, 1 * kB, 30 * time.Second, 8 * mB},
	"GET /api/v1/conversations/{id:[0-9]+}":             {challenge, 1 * kB, 30 * time.Second, 1 * mB},
	"PATCH /api/v1/conversations/{id:[0-9]+}":           {challenge, 16 * kB, 30 * time.Second, 1 * mB},
	"GET /api/v1/conversations/counts":                  {challenge, 1 * kB, 30 * time.Second, 64 * kB},
	"POST /api/v1/conversations/{id:[0-9]+}/read":       {challenge, 1 * kB, 30 * time.Second, 64 * kB},
	"GET /api/v1/conversations/{id:[0-9]+}/notes":       {challenge, 1 * kB, 30 * time.Second, 8 * mB},
	"POST /api/v1/conversations/{id:[0-9]+}/notes":      {challenge, 128 * kB, 30 * time.Second, 1 * mB},
	"GET /api/v1/canned":                                {challenge, 1 * kB, 30 * time.Second, 16 * mB},
	"POST /api/v1/canned":                               {challenge, 512 * kB, 30 * time.Second, 1 * mB},
	"PATCH /api/v1/canned/{id:[0-9]+}":                  {challenge, 512 * kB, 30 * time.Second, 1 * mB},
	"DELETE /api/v1/canned/{id:[0-9]+}":                 {challenge, 1 * kB, 30 * time.Second, 64 * kB},
	"GET /api/v1/operators":                             {challenge, 1 * kB, 30 * time.Second, 1 * mB},
	"GET /api/v1/conversations/{id:[0-9]+}/messages":    {challenge, 1 * kB, 30 * time.Second, 8 * mB},
	"POST /api/v1/conversations/{id:[0-9]+}/messages":   {challenge, 512 * kB, 30 * time.Second, 1 * mB},
	"POST /api/v1/messages/{id:[0-9]+}/retry":           {challenge, 1 * kB, 30 * time.Second, 1 * mB},
	"GET /api/v1/events":                                {challenge, 1 * kB, noLimit, noLimit},
}

func TestEveryRouteHasAnAccessRuleAndABudget(t *testing.T) {
	r := newRig(t)
	r.customer(7, "Zacharias", "a secret text")
	c := r.conversation(7)
	r.answer(c.ID, "a secret answer")
	missing := map[string]bool{}
	for route := range expectations {
		missing[route] = true
	}
	err := r.web.Router().Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := route.GetPathTemplate()
		if err != nil {
			return err
		}
		methods, err := route.GetMethods()
		if err != nil {
			return err
		}
		if slices.Contains(methods, "GET") != slices.Contains(methods, "HEAD") {
			t.Errorf("%s: GET and HEAD belong together, have %v", path, methods)
		}
		for _, method := range methods {
			name := method + " " + path
			if method == "HEAD" {
				name = "GET " + path
			}
			want, ok := expectations[name]
			if !ok {
				t.Errorf("%s has no access rule and no budget in this test", name)
				continue
			}
			body, time, response := r.web.Budget(name)
			if body != want.maxBody || time != want.maxTime || response != want.maxResponse || body == 0 || time == 0 ||
				response == 0 {
				t.Errorf("%s may have a body of %d bytes, %v of time, and a response of %d bytes; want %d, %v and %d",
					name, body, time, response, want.maxBody, want.maxTime, want.maxResponse)
			}
			delete(missing, name)
			r.tryAsStranger(method, path, want.rule)
			r.tryLargeBody(method, path, want.maxBody)
		}
		return nil
	})
	r.ok(err)
	for route := range missing {
		t.Errorf("%s is expected but not there", route)
	}
	if got := r.conversation(7).Status; got != "open" {
		t.Errorf("a stranger has made the conversation %s", got)
	}
	if items, _, _ := r.store.Messages(t.Context(), c.ID, 10, 0); len(items) != 2 {
		t.Errorf("%d messages after strangers tried to write, want 2", len(items))
	}
}

func (r *rig) tryAsStranger(method, path, rule string) {
	r.t.Helper()
	for _, credentials := range [][]string{nil, {"Cookie", "tandem=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
		{"Authorization", "Bearer tandem_NONE"}, {"Authorization", "Basic YTpi"}} {
		concrete := strings.NewReplacer("{id:[0-9]+}", "1", "{secret}", "NONE", "{file}", "app.css").Replace(path)
		a := r.call(browser(r.t), method, concrete, nil,
			append([]string{"Content-Type", "application/json"}, credentials...)...)
		ok := false
		switch rule {
		case open:
			ok = a.StatusCode < 500 && a.StatusCode != 401 && a.StatusCode != 403
		case help:
			ok = a.StatusCode == 200 && (method == "HEAD" || strings.Contains(a.body, "web operator add NAME"))
		case toHelp:
			ok = a.StatusCode == 303 && a.Header.Get("Location") == "/"
		case refused, noPiece:
			ok = a.StatusCode == 401
		case challenge:
			ok = a.StatusCode == 401 && strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") &&
				a.Header.Get("Content-Type") == "application/problem+json"
		}
		if !ok {
			r.t.Errorf("%s %s with %v: %s %s; want that it %s", method, concrete, credentials, a.Status, a.body, rule)
		}
		if strings.Contains(a.body, "secret") && !strings.Contains(path, "sign-in") || strings.Contains(a.body, "Zacharias") {
			r.t.Errorf("%s %s shows a stranger what is in the inbox", method, concrete)
		}
	}
}

// tryLargeBody sends a stranger's body that is larger than the route takes: as one that says so, which is refused at
// once, and as one that does not say, of which nobody may take more than that much.
func (r *rig) tryLargeBody(method, path string, most int64) {
	r.t.Helper()
	concrete := strings.NewReplacer("{id:[0-9]+}", "1", "{secret}", "NONE", "{file}", "app.css").Replace(path)
	head := method + " " + concrete + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	const refusedAtOnce = "HTTP/1.1 413 "
	if line := r.raw(fmt.Sprintf("%sContent-Length: %d\r\n\r\n", head, most+1)); !strings.HasPrefix(line, refusedAtOnce) {
		r.t.Errorf("%s %s with a Content-Length of %d: %q, want %s", method, concrete, most+1, line, refusedAtOnce)
	}
	// The chunk is never whole: an answer comes all the same, or the route waits for the rest of it.
	sent := int(most) + 1
	if method != "POST" || path != "/sign-in" {
		sent = 1 // nothing is read for a stranger, or nothing at all
	}
	line := r.raw(fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s", head, 64*mB, strings.Repeat("x", sent)))
	if !strings.HasPrefix(line, "HTTP/1.1 ") || path == "/sign-in" && method == "POST" &&
		!strings.HasPrefix(line, refusedAtOnce) {
		r.t.Errorf("%s %s with a chunk of which %d bytes came: %q", method, concrete, sent, line)
	}
}

// raw writes what it is given and reads the first line of the answer, which must come before any budget of time is used
// up.
func (r *rig) raw(request string) string {
	r.t.Helper()
	c, err := net.Dial("tcp", r.http.Listener.Addr().String())
	r.ok(err)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(8 * time.Second))
	_, err = io.WriteString(c, request)
	r.ok(err)
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return "no answer: " + err.Error()
	}
	return line
}

func TestEveryAnswerHasTheHeaders(t *testing.T) {
	r := newRig(t)
	c := r.signIn("alice")
	for _, path := range []string{"/", "/none", "/api/v1/conversations", "/api/v1/none", "/static/app.js", "/healthz",
		"/conversations/99", "/sign-in/none"} {
		a := r.call(c, "GET", path, nil)
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "same-origin", "X-Frame-Options": "DENY", "Cache-Control": "no-",
		} {
			if !strings.Contains(a.Header.Get(name), want) {
				t.Errorf("%s: %s is %q, want %q", path, name, a.Header.Get(name), want)
			}
		}
		for _, directive := range []string{"script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'",
			"form-action 'self'"} {
			if policy := a.Header.Get("Content-Security-Policy"); !strings.Contains(policy, directive) ||
				strings.Contains(policy, "unsafe") {
				t.Errorf("%s: the policy %q lacks %q", path, policy, directive)
			}
		}
	}
	a := r.call(c, "GET", r.page(c, "/").tag("link")[1].attr("href"), nil)
	if a.StatusCode != 200 || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") ||
		!strings.HasPrefix(a.Header.Get("Content-Type"), "text/css") {
		t.Errorf("the style sheet: %s, %v", a.Status, a.Header)
	}
}

func TestWrongAddressesAndMethods(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/api/v1/none", 404, ""},
		{"GET", "/api/v1/conversations/abc", 404, ""},
		{"GET", "/api/v1/conversations/99999999999999999999", 404, ""},
		{"DELETE", "/api/v1/conversations/1", 405, "GET, HEAD, PATCH"},
		{"PUT", "/api/v1/conversations/1/messages", 405, "GET, HEAD, POST"},
		{"GET", "/api/v1/messages/1/retry", 405, "POST"},
		{"POST", "/healthz", 405, "GET, HEAD"},
	} {
		a := r.call(http.DefaultClient, c.method, c.path, nil, "Authorization", "Bearer "+r.token())
		if a.StatusCode != c.status || a.Header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %s, Allow %q; want %d, %q", c.method, c.path, a.Status, a.Header.Get("Allow"), c.status, c.allow)
		}
		if strings.HasPrefix(c.path, "/api/") {
			mustBeProblem(t, a, c.status)
		}
	}
}

func mustBeProblem(t *testing.T, a response, status int, words ...string) {
	t.Helper()
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	if a.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %s: %s as %s, want a problem document: %s", a.Request.Method, a.Request.URL.Path, a.Status,
			a.Header.Get("Content-Type"), a.body)
		return
	}
	a.into(t, &p)
	if a.StatusCode != status || p.Status != status || p.Title != http.StatusText(status) || p.Type != "about:blank" ||
		p.Detail == "" {
		t.Errorf("%s %s: %s with %+v, want %d and all fields", a.Request.Method, a.Request.URL.Path, a.Status, p, status)
	}
	for _, w := range words {
		if !strings.Contains(p.Detail, w) {
			t.Errorf("%s %s: detail %q does not say %q", a.Request.Method, a.Request.URL.Path, p.Detail, w)
		}
	}
}
