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

// Search on the page: a hit is marked, and leads to the page that has its message, however old that is.
func TestSearchOnThePage(t *testing.T) {
	r := newRig(t)
	r.customer(7, "Masha", "where is my <b>заказ</b>? счёт")
	for i := range 60 {
		r.customer(7, "Masha", fmt.Sprintf("line %d", i))
	}
	r.customer(9, "Заказчик", "hello")
	r.indexed()
	c := r.signIn("alice")
	defer c.CloseIdleConnections()
	items := r.page(c, "/?q="+url.QueryEscape("ЗАКАЗ")).class("item")
	if len(items) != 2 {
		t.Fatalf("%d hits, want a name and a message", len(items))
	}
	for i, want := range []struct{ words, marked string }{{"Заказчик", "Заказ"}, {"<b>заказ</b>? счёт", "заказ"}} {
		marks := items[i].tag("mark")
		if len(marks) != 1 || marks[0].text() != want.marked || !strings.Contains(items[i].words(), want.words) {
			t.Errorf("hit %d is %q", i, items[i].words())
		}
	}
	page := r.page(c, strings.TrimSuffix(items[1].attr("href"), "#m1"))
	if page.id("m1") == nil || !strings.Contains(page.id("m1").words(), "where is my") {
		t.Errorf("%s does not lead to the message", items[1].attr("href"))
	}
	if words := r.page(c, "/?q=nothing+like+it").id("list").words(); !strings.Contains(words, "Nothing found") {
		t.Errorf("nothing found: %s", words)
	}
}
