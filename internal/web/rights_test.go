package web_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"tandem/internal/inbox"
	"tandem/internal/web"
)

// A body whose end comes after the right of its sender has ended does nothing.
func TestASlowBodyOfOneWhoseRightHasEnded(t *testing.T) {
	r := newRig(t, func(c *web.Config) { c.MaxRightAge = 1 })
	r.customer(7, "Ana", "hello")
	id := r.conversation(7).ID
	c := r.signIn("alice")
	cookie := c.Jar.Cookies(mustURL(t, r.http.URL))[0]
	session := "Cookie: " + cookie.Name + "=" + cookie.Value
	token, err := r.store.TokenByHash(t.Context(), hashOf(r.token()))
	r.ok(err)
	bearer := "Authorization: Bearer " + r.token()
	type body struct{ request, header, start, end string }
	send := func(b body) (finish func() string) {
		conn, err := net.Dial("tcp", r.http.Listener.Addr().String())
		r.ok(err)
		method, path, _ := strings.Cut(b.request, " ")
		kind := "application/json"
		if b.start[0] != '{' {
			kind = "application/x-www-form-urlencoded"
		}
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Type: %s\r\nContent-Length: %d\r\n"+
			"Expect: 100-continue\r\n\r\n", method, path, b.header, kind, len(b.start)+len(b.end))
		answers := bufio.NewReader(conn)
		if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
			t.Fatalf("%s: %q %v", b.request, line, err) // it was admitted, and the handler reads
		}
		_, _ = answers.ReadString('\n')
		fmt.Fprint(conn, b.start)
		return func() string {
			defer conn.Close()
			fmt.Fprint(conn, b.end)
			a, err := http.ReadResponse(answers, nil)
			r.ok(err)
			defer a.Body.Close()
			text, _ := io.ReadAll(a.Body)
			return strconv.Itoa(a.StatusCode) + " " + string(text)
		}
	}
	bodies := []body{
		{fmt.Sprintf("POST /api/v1/conversations/%d/messages", id), bearer, `{"text":`, `"x"}`},
		{fmt.Sprintf("PATCH /api/v1/conversations/%d", id), bearer, `{"status":`, `"closed"}`},
		{fmt.Sprintf("POST /api/v1/conversations/%d/messages", id), session, `{"text":`, `"x"}`},
		{fmt.Sprintf("POST /conversations/%d/answers", id), session, `text=`, `x`},
		{fmt.Sprintf("POST /conversations/%d/status", id), session, `status=`, `closed`},
	}
	for _, b := range bodies { // first of those whose right goes on
		if a := send(b)(); !strings.HasPrefix(a, "20") && !strings.HasPrefix(a, "303") {
			t.Errorf("%s with a right that goes on: %s", b.request, a)
		}
	}
	_, err = r.store.SetConversationStatus(t.Context(), id, inbox.Open)
	r.ok(err)
	before, _, err := r.store.Messages(t.Context(), id, 100, 0)
	r.ok(err)
	var finishes []func() string
	for _, b := range bodies {
		finishes = append(finishes, send(b))
	}
	r.ok(r.store.RevokeToken(t.Context(), token.Name))
	r.ok(r.store.SignOutOperator(t.Context(), "alice"))
	for i, finish := range finishes {
		if a := finish(); !strings.HasPrefix(a, "401") {
			t.Errorf("%s after its right has ended: %s", bodies[i].request, a)
		}
	}
	after, _, err := r.store.Messages(t.Context(), id, 100, 0)
	r.ok(err)
	if len(after) != len(before) || r.conversation(7).Status != inbox.Open {
		t.Errorf("%d messages became %d, and the conversation is %s", len(before), len(after), r.conversation(7).Status)
	}
}

// counted counts the looks at rights of all streams at once.
type counted struct {
	inbox.OperatorStore
	looks     atomic.Int64
	read      atomic.Int64 // the count of revocations that the hub has read
	lookedFor atomic.Int64 // the one before its last look
}

func (c *counted) Revocations(ctx context.Context) (int64, error) {
	n, err := c.OperatorStore.Revocations(ctx)
	c.read.Store(n)
	return n, err
}

func (c *counted) Grants(ctx context.Context, grants []inbox.Grant) ([]time.Time, error) {
	if len(grants) > 1 {
		c.looks.Add(1)
		defer c.lookedFor.Store(c.read.Load())
	}
	return c.OperatorStore.Grants(ctx, grants)
}

// 500 streams of different people are looked at together: once when somebody's right has ended, and not for messages.
func TestRightsAreLookedAtOnceForAllStreams(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		var c *counted
		r := newRigOn(t, openStore(t, database), func(config *web.Config) {
			c = &counted{OperatorStore: config.Store}
			config.Store, config.RecheckEvery = c, time.Hour
		})
		r.token()
		const people = 50
		var streams []*reader
		for i := range people {
			name := fmt.Sprint("operator ", i)
			client := r.signIn(name)
			cookie := client.Jar.Cookies(mustURL(t, r.http.URL))[0]
			for range 10 {
				s := r.stream("", "Authorization", "", "Cookie", cookie.Name+"="+cookie.Value)
				defer s.close()
				streams = append(streams, s)
			}
		}
		if c.looks.Load() > people+1 { // each sign-in ends what there was before
			t.Errorf("%d looks at %d sign-ins", c.looks.Load(), people)
		}
		ended, err := r.store.Revocations(t.Context())
		r.ok(err)
		eventually(t, "the hub has seen to the sign-ins", func() bool { return c.lookedFor.Load() == ended })
		before := c.looks.Load()
		for i := range 200 {
			r.customer(7, "Ana", fmt.Sprint("message ", i))
		}
		for range 200 {
			streams[0].next()
		}
		if n := c.looks.Load() - before; n != 0 {
			t.Errorf("%d looks at rights for messages", n)
		}
		begun := time.Now()
		r.ok(r.store.SignOutOperator(t.Context(), "operator 7"))
		for _, s := range streams[70:80] {
			for {
				if _, ok := s.next(); !ok {
					break
				}
			}
		}
		took := time.Since(begun)
		if n := c.looks.Load() - before; n != 1 {
			t.Errorf("%d looks at rights for one sign-out", n)
		}
		if took > 5*time.Second {
			t.Errorf("ten streams of 500 ended after %s", took)
		}
		r.customer(7, "Ana", "the end")
		for i, s := range streams {
			if i/10 != 7 {
				if e, ok := s.next(); !ok {
					t.Fatalf("stream %d has ended too: %+v", i, e)
				}
			}
		}
		t.Logf("ten of 500 streams ended within %s", took)
	})
}

// countingConn is an end of a net.Pipe, on which a write ends when all of it was read.
type countingConn struct {
	net.Conn
	begun, ended atomic.Int64 // writes
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.begun.Add(1)
	defer c.ended.Add(1)
	return c.Conn.Write(p)
}

type oneConnListener struct {
	net.Listener // for its address
	conns        chan net.Conn
	closed       chan struct{}
}

func (l oneConnListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l oneConnListener) Close() error {
	close(l.closed)
	return nil
}

// A stream whose reader takes nothing ends with his right all the same.
func TestADeafStreamEndsWithItsRight(t *testing.T) {
	var b *burst
	r := newRig(t, func(c *web.Config) {
		b = &burst{OperatorStore: c.Store, hints: make(chan struct{}, 1)}
		b.last.Store(1 << 20) // to catch up with: far more than the buffers of a connection
		c.Store = b
	})
	r.token()
	token, err := r.store.TokenByHash(t.Context(), hashOf(r.bearer))
	r.ok(err)
	client, server := net.Pipe()
	defer client.Close()
	conn := &countingConn{Conn: server}
	l := oneConnListener{Listener: r.http.Listener, conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conns <- conn
	var serving sync.WaitGroup
	http := &http.Server{Handler: r.web}
	serving.Go(func() { _ = http.Serve(l) })
	defer serving.Wait()
	defer http.Close()
	fmt.Fprintf(client, "GET /api/v1/events?after=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", r.bearer)
	_, err = io.ReadFull(client, make([]byte, 64<<10))
	r.ok(err)
	eventually(t, "it is held up in a write", func() bool { return conn.begun.Load() > conn.ended.Load() })
	begun := time.Now()
	r.ok(r.store.RevokeToken(t.Context(), token.Name))
	b.hints <- struct{}{}
	eventually(t, "the stream ends", func() bool { return streams(r) == 0 })
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %s", took) // a write alone may take ten
	}
}

// streams is how many are open.
func streams(r *rig) int {
	rec := httptest.NewRecorder()
	r.web.OpsHandler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(rec.Body.String()) {
		if n, ok := strings.CutPrefix(line, "tandem_web_streams "); ok {
			open, _ := strconv.Atoi(strings.TrimSpace(n))
			return open
		}
	}
	return -1
}

// A session of the version before has no generation. It counts until its operator is signed out.
func TestASessionWithoutAGeneration(t *testing.T) {
	r := newRig(t)
	op, err := r.store.IssueSignIn(t.Context(), "alice", hashOf("x"), time.Now().Add(time.Hour))
	r.ok(err)
	deadline := time.Now().Add(time.Hour)
	data, err := scs.GobCodec{}.Encode(deadline, map[string]any{"operator": op.ID, "seen": time.Now().Unix()})
	r.ok(err)
	r.ok(r.store.CommitSession(t.Context(), base64.RawURLEncoding.EncodeToString(hashOf("old")), data, deadline))
	status := func() int {
		return r.call(browser(t), "GET", "/fragments/banner", nil, "Cookie", "tandem=old").StatusCode
	}
	if code := status(); code != 200 {
		t.Errorf("before: %d", code)
	}
	r.ok(r.store.SignOutOperator(t.Context(), "alice"))
	if code := status(); code != 401 {
		t.Errorf("after the sign-out: %d", code)
	}
}

// What the form of another version sends, or a program that knows only the link, ends the sessions elsewhere.
func TestWhatTheSignInFormSays(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]struct {
		form url.Values
		ends bool
	}{
		"nothing": {nil, true}, "ticked": {url.Values{"others": {"keep", "end"}}, true},
		"only end": {url.Values{"others": {"end"}}, true},
		"unticked": {url.Values{"others": {"keep"}}, false}, "nonsense": {url.Values{"others": {"x"}}, true},
	} {
		first := r.signIn("alice")
		form := url.Values{"secret": {r.link("alice")}}
		for k, v := range c.form {
			form[k] = v
		}
		second := browser(t)
		if a := r.call(second, "POST", "/sign-in", form); a.StatusCode != 303 {
			t.Fatalf("%s: %s", name, a.Status)
		}
		want := map[bool]int{true: 401, false: 200}[c.ends]
		if a := r.call(first, "GET", "/fragments/banner", nil); a.StatusCode != want {
			t.Errorf("%s: the session elsewhere gets %s, want %d", name, a.Status, want)
		}
		if a := r.call(second, "GET", "/fragments/banner", nil); a.StatusCode != 200 {
			t.Errorf("%s: the new session gets %s", name, a.Status)
		}
	}
}

// vanishing is a store from which a session goes while a request that uses it is under way.
type vanishing struct {
	inbox.OperatorStore
	gone atomic.Bool
}

func (v *vanishing) LookUp(ctx context.Context, c inbox.Credentials) (inbox.Known, error) {
	if v.gone.Load() && len(c.Operators) > 0 { // the session was found just before
		list, err := v.Sessions(ctx, "", 10)
		if err != nil {
			return inbox.Known{}, err
		}
		for _, s := range list {
			if err := v.DeleteSession(ctx, s.Key); err != nil {
				return inbox.Known{}, err
			}
		}
	}
	return v.OperatorStore.LookUp(ctx, c)
}

// A request that notes the use of its session does not bring it back when it was signed out meanwhile.
func TestASessionThatWasSignedOutStaysSo(t *testing.T) {
	var v *vanishing
	r := newRig(t, func(c *web.Config) {
		v = &vanishing{OperatorStore: c.Store}
		c.Store = v
	})
	op, err := r.store.IssueSignIn(t.Context(), "alice", hashOf("x"), time.Now().Add(time.Hour))
	r.ok(err)
	deadline := time.Now().Add(time.Hour)
	seen := time.Now().Add(-time.Hour).Unix()
	data, err := scs.GobCodec{}.Encode(deadline, map[string]any{"operator": op.ID, "seen": seen})
	r.ok(err)
	r.ok(r.store.CommitSession(t.Context(), base64.RawURLEncoding.EncodeToString(hashOf("old")), data, deadline))
	v.gone.Store(true)
	r.call(browser(t), "GET", "/fragments/banner", nil, "Cookie", "tandem=old")
	v.gone.Store(false)
	if a := r.call(browser(t), "GET", "/fragments/banner", nil, "Cookie", "tandem=old"); a.StatusCode != 401 {
		t.Errorf("the session that was signed out: %s", a.Status)
	}
}
