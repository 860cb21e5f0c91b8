package web_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/web"
)

// event is one event of a stream as a client sees it.
type event struct {
	id   int64
	name string
	data string
}

// reader is a client of one stream.
type reader struct {
	response *http.Response
	lines    *bufio.Scanner
	cancel   context.CancelFunc
}

func (r *rig) stream(after string, header ...string) *reader {
	r.t.Helper()
	s, err := r.tryStream(after, header...)
	r.ok(err)
	if s.response.StatusCode != 200 {
		r.t.Fatalf("a stream after %s: %s", after, s.response.Status)
	}
	return s
}

func (r *rig) tryStream(after string, header ...string) (*reader, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*soon)
	request, err := http.NewRequestWithContext(ctx, "GET", r.http.URL+"/api/v1/events?"+after, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+r.bearer)
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		cancel()
		return nil, err
	}
	return &reader{response, bufio.NewScanner(response.Body), cancel}, nil
}

func (s *reader) close() {
	s.cancel()
	s.response.Body.Close()
}

// next is the next event; ok is false at the stream's end.
func (s *reader) next() (e event, ok bool) {
	for s.lines.Scan() {
		name, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch name {
		case "id":
			e.id, _ = strconv.ParseInt(value, 10, 64)
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if e.name != "" {
				return e, true
			}
		}
	}
	return e, false
}

// mustEnd reads to the end, which must be the server's own.
func (s *reader) mustEnd(t *testing.T) {
	t.Helper()
	for ok := true; ok; {
		_, ok = s.next()
	}
	if err := s.lines.Err(); err != nil {
		t.Errorf("the stream ended with %v, want its proper end", err)
	}
}

// 8 writers at once, and a reader whose stream is cut every 50 ms.
func TestEachEventOnceInOneOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		r := newRigOn(t, openStore(t, database))
		other := openStore(t, database) // writes come from another process, too
		r.customer(7, "Ana", "hello")
		c := r.conversation(7)
		r.token()
		start, err := r.store.LastEvent(t.Context())
		r.ok(err)

		const writers, each = 8, 12
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				db := r.store
				if w%2 == 1 {
					db = other
				}
				for i := range each {
					_, _, err := db.AddAnswer(context.Background(), c.ID, inbox.Answer{
						Text: fmt.Sprintf("%d %d", w, i), Author: inbox.Author{Kind: inbox.ByAPI, ID: strconv.Itoa(w)},
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		written := make(chan int64, 1)
		go func() {
			wg.Wait()
			last, err := r.store.LastEvent(context.Background())
			if err != nil {
				t.Error(err)
			}
			written <- last
		}()

		// A second one is never cut and must see the same.
		steady := r.stream("after=" + strconv.FormatInt(start, 10))
		defer steady.close()
		var got []int64
		last, goal, cuts := start, int64(-1), 0
		for goal < 0 || last < goal {
			s := r.stream("after=0", "Last-Event-ID", strconv.FormatInt(last, 10))
			cut := time.AfterFunc(50*time.Millisecond, s.close)
			for {
				e, ok := s.next()
				if !ok {
					break
				}
				if e.name == "reset" {
					t.Fatal("a reset")
				}
				got = append(got, e.id)
				last = e.id
			}
			cut.Stop()
			s.close()
			cuts++
			select {
			case goal = <-written:
			default:
			}
		}
		var want []int64
		for after := start; ; {
			batch, err := r.store.Events(t.Context(), after, 500)
			if r.ok(err); len(batch) == 0 {
				break
			}
			for _, e := range batch {
				want = append(want, e.Seq)
				after = e.Seq
			}
		}
		if !slices.Equal(got, want) || len(want) < writers*each {
			t.Errorf("with %d cuts the reader has %d events, want %d in order\n%v\n%v", cuts, len(got), len(want), got, want)
		}
		var uncut []int64
		for range want {
			e, ok := steady.next()
			if !ok {
				break
			}
			uncut = append(uncut, e.id)
		}
		if !slices.Equal(uncut, want) {
			t.Errorf("a reader that was never cut has %d events, want %d", len(uncut), len(want))
		}
		t.Logf("%d events, %d cuts", len(want), cuts)
	})
}

func TestAStream(t *testing.T) {
	r := newRig(t, func(c *web.Config) { c.HeartbeatEvery = 20 * time.Millisecond })
	r.token()
	r.customer(7, "Ana", "a secret text")
	c := r.conversation(7)
	last, err := r.store.LastEvent(t.Context())
	r.ok(err)
	s := r.stream("after=" + strconv.FormatInt(last, 10))
	defer s.close()
	h := s.response.Header
	if h.Get("Content-Type") != "text/event-stream" || h.Get("X-Accel-Buffering") != "no" ||
		!strings.Contains(h.Get("Cache-Control"), "no-store") {
		t.Errorf("headers: %v", h)
	}
	for s.lines.Scan() && s.lines.Text() != ": still here" { // a silent stream has comments
	}
	m := r.answer(c.ID, "another secret")
	e, _ := s.next()
	want := fmt.Sprintf(`{"conversation_id":%d,"message_id":%d,"bot_id":4242}`, c.ID, m.ID)
	if e.name != "message.created" || e.data != want || e.id <= last {
		t.Errorf("%+v, want message.created with %s", e, want)
	}
	r.deliver(inbox.Sending, "")
	if e, _ = s.next(); e.name != "message.updated" || strings.Contains(e.data, "secret") {
		t.Errorf("%+v, want message.updated", e)
	}
	_, err = r.store.SetConversationStatus(t.Context(), c.ID, inbox.Closed)
	r.ok(err)
	if e, _ = s.next(); e.name != "conversation.updated" ||
		e.data != fmt.Sprintf(`{"conversation_id":%d,"bot_id":4242}`, c.ID) {
		t.Errorf("%+v, want conversation.updated", e)
	}
	r.says(inbox.BotUnreachable, "no route")
	if e, _ = s.next(); e.name != "bot.updated" || e.data != `{"bot_id":4242}` {
		t.Errorf("%+v, want bot.updated", e)
	}

	// Without a number a stream begins now.
	now := r.stream("")
	defer now.close()
	r.answer(c.ID, "x")
	first, _ := s.next()
	if e, _ := now.next(); e != first {
		t.Errorf("a stream without a number begins with %+v, want %+v", e, first)
	}
}

// An unknown number is answered with a reset, and the stream goes on from the newest.
func TestReset(t *testing.T) {
	r := newRig(t)
	r.token()
	r.customer(7, "Ana", "hello")
	last, err := r.store.LastEvent(t.Context())
	r.ok(err)
	for _, header := range [][]string{nil, {"Last-Event-ID", "999999"}, {"Last-Event-ID", "nonsense"},
		{"Last-Event-ID", "-1"}} {
		after := "after=999999"
		if header != nil {
			after = "after=0" // the header wins
		}
		s := r.stream(after, header...)
		if e, _ := s.next(); e.name != "reset" || e.id != last {
			t.Errorf("%s %v: %+v, want a reset with %d", after, header, e, last)
		}
		r.answer(1, "more")
		if e, _ := s.next(); e.name != "message.created" || e.id <= last {
			t.Errorf("after a reset: %+v", e)
		}
		last, err = r.store.LastEvent(t.Context())
		r.ok(err)
		s.close()
	}
	s := r.stream("after=0", "Last-Event-ID", strconv.FormatInt(last-1, 10))
	defer s.close()
	if e, _ := s.next(); e.id != last {
		t.Errorf("Last-Event-ID must win over after: %+v, want %d", e, last)
	}
}

func TestARevokedReaderIsCutOff(t *testing.T) {
	r := newRig(t, func(c *web.Config) { c.RecheckEvery = 20 * time.Millisecond })
	r.token()
	c := r.signIn("alice")
	cookie := c.Jar.Cookies(mustURL(t, r.http.URL))[0]
	s := r.stream("after=0")
	defer s.close()
	byCookie := r.stream("after=0", "Authorization", "", "Cookie", cookie.Name+"="+cookie.Value)
	defer byCookie.close()
	token, err := r.store.TokenByHash(t.Context(), hashOf(r.bearer))
	r.ok(err)
	r.ok(r.store.RevokeToken(t.Context(), token.Name))
	s.mustEnd(t)
	if a := r.call(c, "POST", "/sign-out", nil); a.StatusCode != 303 {
		t.Fatal(a.Status)
	}
	byCookie.mustEnd(t)
}

func TestThereIsALimitOfStreams(t *testing.T) {
	r := newRig(t, func(c *web.Config) { c.MaxStreamsEach = 2 })
	r.token()
	a, b := r.stream("after=0"), r.stream("after=0")
	defer b.close()
	s, err := r.tryStream("after=0")
	r.ok(err)
	s.close()
	if s.response.StatusCode != 429 || s.response.Header.Get("Retry-After") == "" {
		t.Errorf("a third stream: %s, want 429 and when to try again", s.response.Status)
	}
	a.close()
	eventually(t, "a place is free again", func() bool {
		s, err := r.tryStream("after=0")
		r.ok(err)
		defer s.close()
		return s.response.StatusCode == 200
	})
}

func TestStreamsEndWhenTheServerStops(t *testing.T) {
	r := newRig(t)
	r.token()
	var readers []*reader
	for range 5 {
		readers = append(readers, r.stream("after=0"))
	}
	r.web.StopStreams()
	for _, s := range readers {
		s.mustEnd(t)
		s.close()
	}
	s, err := r.tryStream("after=0")
	r.ok(err)
	s.close()
	if s.response.StatusCode != 503 {
		t.Errorf("a new stream while stopping: %s, want 503", s.response.Status)
	}
}

// burst is a store that has, at once, more events than a slow reader can take.
type burst struct {
	inbox.OperatorStore
	hints chan struct{}
	last  atomic.Int64
}

func (b *burst) Subscribe() (<-chan struct{}, func())     { return b.hints, func() {} }
func (b *burst) LastEvent(context.Context) (int64, error) { return b.last.Load(), nil }
func (b *burst) Events(_ context.Context, after int64, limit int) ([]inbox.Event, error) {
	var batch []inbox.Event
	for seq := after + 1; seq <= b.last.Load() && len(batch) < limit; seq++ {
		batch = append(batch, inbox.Event{Seq: seq, Type: inbox.MessageCreated, BotID: 1, ConversationID: 1, MessageID: seq})
	}
	return batch, nil
}

// A reader who does not read is cut off and holds up nobody; when he comes back he misses nothing.
func TestASlowReader(t *testing.T) {
	var b *burst
	r := newRig(t, func(c *web.Config) {
		b = &burst{OperatorStore: c.Store, hints: make(chan struct{}, 1)}
		c.Store = b
	})
	r.token()
	slow, quick := r.stream("after=0"), r.stream("after=0")
	defer quick.close()
	const all = 120_000 // some 10 MB: more than the buffers of a connection and the batches that wait
	for sent := 0; sent < all; {
		sent += 400
		b.last.Store(int64(sent))
		b.hints <- struct{}{}
		for want := int64(sent); ; {
			e, ok := quick.next()
			if !ok {
				t.Fatalf("the quick reader was cut off before %d", sent)
			}
			if e.id == want {
				break
			}
		}
	}
	last := int64(0)
	for {
		e, ok := slow.next()
		if !ok {
			break
		}
		if e.id != last+1 {
			t.Fatalf("the slow reader has %d after %d", e.id, last)
		}
		last = e.id
	}
	slow.close()
	if last == 0 || last >= all {
		t.Errorf("the slow reader was not cut off: it has %d of %d", last, all)
	}
	again := r.stream("after=" + strconv.FormatInt(last, 10))
	defer again.close()
	for last < all {
		e, ok := again.next()
		if !ok || e.id != last+1 {
			t.Fatalf("back again: %+v after %d", e, last)
		}
		last = e.id
	}
}
