package web_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"tandem/internal/inbox"
)

type searchPage struct {
	Items []struct {
		Message      *inbox.Message     `json:"message"`
		Conversation inbox.Conversation `json:"conversation"`
		In           string             `json:"in"`
		Snippet      string             `json:"snippet"`
		Marks        [][2]int           `json:"marks"`
	} `json:"items"`
	NextCursor    *string `json:"next_cursor"`
	Complete      bool    `json:"complete"`
	ReachesBackTo *string `json:"reaches_back_to"`
}

// Search by the API: names first, then messages, page by page.
func TestSearchByTheAPI(t *testing.T) {
	r := newRig(t)
	r.customer(7, "Apple Smith", "hello")
	for i := range 5 {
		r.customer(8, "Ben", fmt.Sprintf("ÄPFEL and apples, %d 👍", i))
	}
	r.indexed()
	var have []string
	for cursor := ""; ; {
		var page searchPage
		a := r.api("GET", "/search?q=apple&limit=4&cursor="+url.QueryEscape(cursor), nil)
		a.into(t, &page)
		if !page.Complete || page.ReachesBackTo != nil || !strings.Contains(a.body, `"items":[`) {
			t.Errorf("a page says %s", a.body)
		}
		for _, h := range page.Items {
			words := "no message"
			if h.Message != nil {
				words = h.Message.Text
			}
			have = append(have, fmt.Sprint(h.In, " ", h.Snippet, " ", h.Marks, " ", h.Conversation.Customer.Name, " ", words))
		}
		if page.NextCursor == nil {
			break
		}
		cursor = *page.NextCursor
	}
	want := []string{"name Apple Smith [[0 5]] Apple Smith no message"}
	for i := 4; i >= 0; i-- {
		text := fmt.Sprintf("ÄPFEL and apples, %d 👍", i)
		want = append(want, "text "+text+" [[10 15]] Ben "+text)
	}
	if !slices.Equal(have, want) {
		t.Errorf("found %q, want %q", have, want)
	}
	for _, path := range []string{"/search", "/search?q=+", "/search?q=x&limit=0", "/search?q=x&cursor=x",
		"/search?q=" + strings.Repeat("x", 201)} {
		mustBeProblem(t, r.api("GET", path, nil), 400, "want")
	}
	if a := r.api("GET", "/search?q=nothing+like+it", nil); !strings.Contains(a.body, `"items":[],"next_cursor":null`) {
		t.Errorf("nothing found: %s", a.body)
	}
}
