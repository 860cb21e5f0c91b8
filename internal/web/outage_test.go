package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"tandem/internal/inbox"
	"tandem/internal/web"
)

func TestEveryKindOfTroubleHasWords(t *testing.T) {
	for _, kind := range inbox.Unavailables {
		if web.Outages[kind] == "" {
			t.Errorf("%s has none", kind)
		}
	}
}

// fullStore reads, and cannot write any more.
type fullStore struct{ inbox.OperatorStore }

func (fullStore) AddAnswer(context.Context, int64, inbox.Answer) (inbox.Message, bool, error) {
	return inbox.Message{}, false, fmt.Errorf("add an answer: %w",
		&inbox.Error{Kind: inbox.Full, Reason: "the disk of /data/covert.db is full"})
}

// Who can be recognised as an operator gets all of the reason; a program does not, as it hands its errors on.
func TestOperatorsSeeTheReasonOfAnOutage(t *testing.T) {
	r := newRig(t, func(c *web.Config) { c.Store = fullStore{c.Store} })
	r.customer(7, "Ana", "hello")
	c := r.signIn("alice")
	const path = "/conversations/1/messages"
	for _, a := range []response{
		r.call(c, "POST", "/api/v1"+path, `{"text":"x"}`, "Content-Type", "application/json"),
		r.call(c, "POST", "/conversations/1/answers", url.Values{"text": {"x"}}),
	} {
		if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "covert.db is full") {
			t.Errorf("%s as an operator: %s %s", a.Request.URL, a.Status, a.body)
		}
	}
	a := r.api("POST", path, `{"text":"x"}`)
	if mustBeProblem(t, a, 503, "no room left", "operations port"); strings.Contains(a.body, "covert") {
		t.Errorf("with a token: %s", a.body)
	}
}
