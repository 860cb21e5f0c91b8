package web

import (
	"strconv"
	"strings"
	"testing"
)

func TestAnswersOfAnOlderEventAreForgotten(t *testing.T) {
	var a answers
	a.put(0, "/a", []byte("empty"))
	if body, ok := a.get(0, "/a"); !ok || string(body) != "empty" {
		t.Errorf("before the first event: %q, %v", body, ok)
	}
	if _, ok := a.get(1, "/a"); ok {
		t.Error("an answer outlived the event that changed it")
	}
	a.put(1, "/b", []byte("new"))
	if _, ok := a.get(0, "/a"); ok {
		t.Error("an answer as of an older event came back")
	}
	if _, ok := a.get(1, "/a"); ok {
		t.Error("an older answer counts as of the new event")
	}
}

func TestAnswersStayWithinTheirBound(t *testing.T) {
	var a answers
	for i := range 100 {
		a.put(1, strconv.Itoa(i), make([]byte, maxAnswers/10))
		if a.size > maxAnswers {
			t.Fatalf("%d bytes are kept", a.size)
		}
	}
	a.put(1, "large", make([]byte, maxAnswers+1))
	if _, ok := a.get(1, "large"); ok {
		t.Error("a body above the bound was kept")
	}
}

// What an answer is found by counts as well, and so does the number of answers.
func TestKeysOfAnswersCount(t *testing.T) {
	var a answers
	for i := range 6000 {
		a.put(1, strconv.Itoa(i)+strings.Repeat("x", 60<<10), []byte("{}"))
		held := 0
		for key, body := range a.bodies {
			held += len(key) + len(body)
		}
		if held > maxAnswers || len(a.bodies) > maxAnswersKept {
			t.Fatalf("%d bytes are kept, of %d answers", held, len(a.bodies))
		}
	}
	for i := range 6000 {
		if a.put(2, strconv.Itoa(i), nil); len(a.bodies) > maxAnswersKept {
			t.Fatalf("%d answers are kept", len(a.bodies))
		}
	}
}
