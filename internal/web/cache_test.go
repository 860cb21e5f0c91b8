package web

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/inbox"
)

func TestResponsesOfAnOlderEventAreForgotten(t *testing.T) {
	var c responseCache
	c.put(0, "/a", cacheEntry{json: []byte("empty")})
	if body, ok := c.get(0, "/a", time.Now()); !ok || string(body) != "empty" {
		t.Errorf("before the first event: %q, %v", body, ok)
	}
	if _, ok := c.get(1, "/a", time.Now()); ok {
		t.Error("a response outlived the event that changed it")
	}
	c.put(1, "/b", cacheEntry{json: []byte("new")})
	if _, ok := c.get(0, "/a", time.Now()); ok {
		t.Error("a response as of an older event came back")
	}
	if _, ok := c.get(1, "/a", time.Now()); ok {
		t.Error("an older response counts as of the new event")
	}
}

func TestTheCacheStaysWithinItsBound(t *testing.T) {
	var c responseCache
	for i := range 100 {
		c.put(1, strconv.Itoa(i), cacheEntry{json: make([]byte, maxCacheBytes/10)})
		if c.bytes > maxCacheBytes {
			t.Fatalf("%d bytes are cached", c.bytes)
		}
	}
	c.put(1, "large", cacheEntry{json: make([]byte, maxCacheBytes+1)})
	if _, ok := c.get(1, "large", time.Now()); ok {
		t.Error("a body above the bound was cached")
	}
}

// The keys count as well, and so does the number of entries.
func TestKeysOfTheCacheCount(t *testing.T) {
	var c responseCache
	for i := range 6000 {
		c.put(1, strconv.Itoa(i)+strings.Repeat("x", 60<<10), cacheEntry{json: []byte("{}")})
		held := 0
		for key, body := range c.entries {
			held += len(key) + len(body.json)
		}
		if held > maxCacheBytes || len(c.entries) > maxCacheEntries {
			t.Fatalf("%d bytes are cached, of %d responses", held, len(c.entries))
		}
	}
	for i := range 6000 {
		if c.put(2, strconv.Itoa(i), cacheEntry{}); len(c.entries) > maxCacheEntries {
			t.Fatalf("%d responses are cached", len(c.entries))
		}
	}
}

// Who asks for what somebody else is reading waits for that response, and reads it himself if there is none.
func TestTheSameRequestIsReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{}
		read, give, results := 0, make(chan error), make(chan string, 10)
		q := readRequest{key: "key", read: func(context.Context) (any, error) {
			read++
			return "answer", <-give
		}}
		ask := func(event int64) {
			body, _, err := s.readAsOf(context.Background(), event, q)
			results <- fmt.Sprint(string(body), err)
		}
		for range 5 {
			go ask(1)
		}
		synctest.Wait()
		if read != 1 {
			t.Errorf("read %d times", read)
		}
		give <- nil
		for range 5 {
			if got := <-results; got != `"answer"<nil>` {
				t.Error(got)
			}
		}
		go ask(2)
		synctest.Wait()
		go ask(2)
		synctest.Wait()
		give <- errors.New("of the first alone")
		synctest.Wait()
		give <- nil
		if a, b := <-results, <-results; a != "of the first alone" || b != `"answer"<nil>` || read != 3 ||
			len(s.cache.pending) != 0 {
			t.Errorf("%s, %s, read %d times, %d are left", a, b, read, len(s.cache.pending))
		}
	})
}

// A response that says until when something waits ends then, whether or not somebody makes an event.
func TestAResponseEndsWhenItChangesByItself(t *testing.T) {
	var c responseCache
	until := time.Now().Add(time.Hour)
	c.put(1, "/a", cacheEntry{[]byte("waits"), until})
	for i, x := range []struct {
		now time.Time
		ok  bool
	}{{until.Add(-1), true}, {until, false}, {until.Add(time.Hour), false}} {
		if _, ok := c.get(1, "/a", x.now); ok != x.ok {
			t.Errorf("%d: cached %v, want %v", i, ok, x.ok)
		}
	}
	size := c.bytes
	c.put(1, "/a", cacheEntry{[]byte("goes!"), time.Time{}})
	if have, ok := c.get(1, "/a", until); !ok || string(have) != "goes!" || c.bytes != size {
		t.Errorf("after that: %q, %v; %d bytes are counted, want %d", have, ok, c.bytes, size)
	}
	now := time.Now()
	early, late, far, usual := now.Add(waitsAge/3), now.Add(waitsAge/2), now.Add(time.Hour), now.Add(waitsAge)
	waits := func(at *time.Time) *inbox.Message {
		return &inbox.Message{Delivery: inbox.Queued, Waits: &inbox.Waits{Until: at}}
	}
	for i, x := range []struct {
		response any
		until    time.Time
		known    bool
	}{
		{inbox.Conversation{}, time.Time{}, true},
		{inbox.Conversation{LastMessage: waits(&late)}, late, true},
		{list[inbox.Conversation]{Items: []inbox.Conversation{
			{LastMessage: waits(&late)}, {}, {LastMessage: waits(&early)},
		}}, early, true},
		{list[inbox.Message]{Items: []inbox.Message{{}, *waits(nil), *waits(&early), *waits(&late)}}, early, true},
		{inbox.Conversation{LastMessage: waits(&far)}, usual, true},
		{inbox.Conversation{LastMessage: waits(nil)}, usual, true},
		{inbox.Conversation{LastMessage: &inbox.Message{Delivery: inbox.Queued}}, usual, true},
		{inbox.Conversation{LastMessage: &inbox.Message{Delivery: inbox.Sent}}, time.Time{}, true},
		{list[inbox.BotStatus]{}, time.Time{}, false},
	} {
		if until, known := changesBy(x.response, now); !until.Equal(x.until) || known != x.known {
			t.Errorf("%d: until %v, known %v; want %v, %v", i, until, known, x.until, x.known)
		}
	}
}
