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

func TestAnswersOfAnOlderEventAreForgotten(t *testing.T) {
	var a answers
	a.put(0, "/a", body{json: []byte("empty")})
	if body, ok := a.get(0, "/a", time.Now()); !ok || string(body) != "empty" {
		t.Errorf("before the first event: %q, %v", body, ok)
	}
	if _, ok := a.get(1, "/a", time.Now()); ok {
		t.Error("an answer outlived the event that changed it")
	}
	a.put(1, "/b", body{json: []byte("new")})
	if _, ok := a.get(0, "/a", time.Now()); ok {
		t.Error("an answer as of an older event came back")
	}
	if _, ok := a.get(1, "/a", time.Now()); ok {
		t.Error("an older answer counts as of the new event")
	}
}

func TestAnswersStayWithinTheirBound(t *testing.T) {
	var a answers
	for i := range 100 {
		a.put(1, strconv.Itoa(i), body{json: make([]byte, maxAnswers/10)})
		if a.size > maxAnswers {
			t.Fatalf("%d bytes are kept", a.size)
		}
	}
	a.put(1, "large", body{json: make([]byte, maxAnswers+1)})
	if _, ok := a.get(1, "large", time.Now()); ok {
		t.Error("a body above the bound was kept")
	}
}

// What an answer is found by counts as well, and so does the number of answers.
func TestKeysOfAnswersCount(t *testing.T) {
	var a answers
	for i := range 6000 {
		a.put(1, strconv.Itoa(i)+strings.Repeat("x", 60<<10), body{json: []byte("{}")})
		held := 0
		for key, body := range a.bodies {
			held += len(key) + len(body.json)
		}
		if held > maxAnswers || len(a.bodies) > maxAnswersKept {
			t.Fatalf("%d bytes are kept, of %d answers", held, len(a.bodies))
		}
	}
	for i := range 6000 {
		if a.put(2, strconv.Itoa(i), body{}); len(a.bodies) > maxAnswersKept {
			t.Fatalf("%d answers are kept", len(a.bodies))
		}
	}
}

// Who asks what somebody else has asked a moment ago waits for that answer, and asks himself if there is none.
func TestTheSameQuestionIsReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{}
		read, give, results := 0, make(chan error), make(chan string, 10)
		q := question{"key", func(context.Context) (any, error) {
			read++
			return "answer", <-give
		}}
		ask := func(event int64) {
			body, _, err := s.answerAsOf(context.Background(), event, q)
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
		if a, b := <-results, <-results; a != "of the first alone" || b != `"answer"<nil>` || read != 3 || len(s.answers.asked) != 0 {
			t.Errorf("%s, %s, read %d times, %d are left", a, b, read, len(s.answers.asked))
		}
	})
}

// An answer that says until when something waits is over then, whether or not somebody makes an event.
func TestAnAnswerEndsWhenItChangesByItself(t *testing.T) {
	var a answers
	until := time.Now().Add(time.Hour)
	a.put(1, "/a", body{[]byte("waits"), until})
	for i, c := range []struct {
		now  time.Time
		kept bool
	}{{until.Add(-1), true}, {until, false}, {until.Add(time.Hour), false}} {
		if _, ok := a.get(1, "/a", c.now); ok != c.kept {
			t.Errorf("%d: kept %v, want %v", i, ok, c.kept)
		}
	}
	size := a.size
	a.put(1, "/a", body{[]byte("goes!"), time.Time{}})
	if have, ok := a.get(1, "/a", until); !ok || string(have) != "goes!" || a.size != size {
		t.Errorf("after that: %q, %v; %d bytes are counted, want %d", have, ok, a.size, size)
	}
	early, late := until, until.Add(time.Minute)
	waits := func(at *time.Time) *inbox.Message { return &inbox.Message{Waits: &inbox.Waits{Until: at}} }
	for i, c := range []struct {
		answer any
		until  time.Time
		keep   bool
	}{
		{inbox.Conversation{}, time.Time{}, true},
		{inbox.Conversation{LastMessage: waits(&late)}, late, true},
		{list[inbox.Conversation]{Items: []inbox.Conversation{{LastMessage: waits(&late)}, {}, {LastMessage: waits(&early)}}}, early, true},
		{list[inbox.Message]{Items: []inbox.Message{{}, *waits(nil), *waits(&early), *waits(&late)}}, early, true},
		{list[inbox.BotStatus]{}, time.Time{}, false},
	} {
		if until, keep := changesBy(c.answer); !until.Equal(c.until) || keep != c.keep {
			t.Errorf("%d: until %v, keep %v; want %v, %v", i, until, keep, c.until, c.keep)
		}
	}
}
