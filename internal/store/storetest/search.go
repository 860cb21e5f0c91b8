package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"tandem/internal/inbox"
	"tandem/internal/proctest"
)

// indexed waits until all that was stored can be found.
func (f *fixture) indexed() {
	f.t.Helper()
	proctest.Eventually(f.t, 30*time.Second, "the index is up to date", func() bool {
		p, err := f.WordsProgress(f.t.Context())
		must(f.t, err)
		return p == inbox.WordsProgress{}
	})
}

func (f *fixture) search(q inbox.SearchQuery) inbox.SearchPage {
	f.t.Helper()
	page, err := f.Search(f.t.Context(), q)
	must(f.t, err)
	for _, h := range page.Hits {
		if h.Conversation.ID == 0 || h.Message != nil && h.Message.ConversationID != h.Conversation.ID {
			f.t.Errorf("%q: a hit has no conversation: %+v", q.Words, h)
		}
	}
	return page
}

// found are the hits for some words, as "where: snippet" with the words in brackets.
func (f *fixture) found(words string) []string {
	f.t.Helper()
	list := []string{}
	for _, h := range f.search(inbox.SearchQuery{Words: words, Limit: 200}).Hits {
		list = append(list, marked(h))
	}
	return list
}

func marked(h inbox.SearchHit) string {
	u := utf16.Encode([]rune(h.Snippet))
	var b strings.Builder
	at := 0
	for _, m := range h.Marks {
		b.WriteString(string(utf16.Decode(u[at:m[0]])) + "[" + string(utf16.Decode(u[m[0]:m[1]])) + "]")
		at = m[1]
	}
	return string(h.In) + ": " + b.String() + string(utf16.Decode(u[at:]))
}

// searchWords : what is found of messages, whatever its case, form and script.
func searchWords(t *testing.T, open Open) {
	f := setUp(t, open)
	caption := text(1, 20, "the lamp, as promised")
	caption.Message.Kind = "document"
	caption.Message.Attachments = []inbox.Attachment{{Kind: "document", Name: "Invoice_2026.PDF", FileID: "x"}}
	reply := text(1, 21, "this one please")
	reply.Message.Content.Reply = &inbox.Reply{Text: "green", Quoted: true, Origin: inbox.FromChat}
	poll := text(1, 22, "")
	poll.Message.Kind = "poll"
	poll.Message.Content.Title, poll.Message.Content.Items = "Colour?", []inbox.Item{{Text: "turquoise"}, {Text: "beige"}}
	for i, words := range []string{
		"Где мой ЗАКАЗ? Счёт №7", "чаи\u0306 с лимоном", "два  пробела\n\tтут", "東京都に行く", "100% wool, c:\\dir",
		"ΣΊΣΥΦΟΣ rolls", "well 👍🏽 done", "ﬁne ２０２６", "Elm Street 5, second floor", "the second street",
	} {
		f.receive(text(1, int64(i+1), words))
	}
	f.receive(caption, reply, poll)
	f.answer(1, "We have it in grün")
	f.indexed()
	for words, want := range map[string][]string{
		"мой заказ":   {"text: Где [мой] [ЗАКАЗ]? Счёт №7"},
		"счет":        {"text: Где мой ЗАКАЗ? [Счёт] №7"},
		"СЧЁТ №7":     {"text: Где мой ЗАКАЗ? [Счёт] [№7]"},
		"аказ":        {"text: Где мой З[АКАЗ]? Счёт №7"},
		"чай":         {"text: [чаи\u0306] с лимоном"},
		"чаи":         {},
		"ли":          {"text: чаи\u0306 с [ли]моном"},
		"мо":          {"text: Где [мо]й ЗАКАЗ? Счёт №7"},
		"два пробела": {"text: [два] [пробела] тут"},
		"東京":          {"text: [東京]都に行く"},
		"京都":          {},
		"京都に":         {"text: 東[京都に]行く"},
		"100%":        {"text: [100%] wool, c:\\dir"},
		`C:\DIR`:      {`text: 100% wool, [c:\dir]`},
		"100_":        {},
		"d\\i":        {},
		"Σίσυφοσ":     {"text: [ΣΊΣΥΦΟΣ] rolls"},
		"👍":           {"text: well [👍]🏽 done"},
		"fine 2026":   {"text: [ﬁne] [２０２６]"},
		"second street": {"text: the [second] [street]",
			"text: Elm [Street] 5, [second] floor"},
		"second elm":             {"text: [Elm] Street 5, [second] floor"},
		"promised":               {"caption: the lamp, as [promised]"},
		"invoice_2026.pdf":       {"file: [Invoice_2026.PDF]"},
		"lamp invoice":           {"caption: the [lamp], as promised"},
		"green":                  {"quote: [green]"},
		"turquoise":              {"text: [turquoise]"},
		"colour":                 {"text: [Colour]?"},
		"GRÜN":                   {"text: We have it in [grün]"},
		"grun":                   {},
		"nobody":                 {},
		"'; DROP TABLE x; --":    {},
		`"" AND OR ( NEAR * ^ -`: {},
		" \u200b ":               {},
	} {
		same(t, words, f.found(words), want)
	}
}

// searchNames : customers by all that they are and were called.
func searchNames(t *testing.T, open Open) {
	f := setUp(t, open)
	write := func(chat int64, name, username string) {
		f.update++
		u := text(chat, f.update, "hello")
		u.Message.Customer = inbox.Customer{ID: chat, Name: name, Username: username}
		f.receive(u)
	}
	write(70101, "Мария Иванова", "masha_k")
	write(70202, "Bob", "bob_2000")
	write(70101, "Маша Петрова", "masha_k")
	write(33, "70202 is not my number", "")
	f.indexed()
	for words, want := range map[string][]string{
		"петрова":                {"name: Маша [Петрова]"},
		"иванова":                {"name: Мария [Иванова]"},
		"маша иванова":           {"name: [Маша] Петрова"},
		"ма":                     {"name: [Ма]ша Петрова"},
		"@masha_k":               {"name: [@masha_k]"},
		"masha_k":                {"name: @[masha_k]"},
		"t.me/masha_k":           {"name: [@masha_k]"},
		"https://t.me/Masha_K":   {"name: [@masha_k]"},
		"70101":                  {"name: [70101]"},
		"7010":                   {},
		"70202":                  {"name: [70202] is not my number", "name: [70202]"},
		"BOB_2":                  {"name: @[bob_2]000"},
		"bob nobody":             {},
		"t.me/nobody_is_there_1": {},
	} {
		same(t, words, f.found(words), want)
	}
}

// searchFollows : an edit is found by its new words, and no more by its old ones.
func searchFollows(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(text(1, 1, "send it to Elm Street"))
	f.indexed()
	same(t, "before", f.found("elm"), []string{"text: send it to [Elm] Street"})
	f.receive(edit(1, 1, "send it to Oak Street", at(60)))
	f.indexed()
	same(t, "old words", f.found("elm"), []string{})
	same(t, "new words", f.found("oak"), []string{"text: send it to [Oak] Street"})
	u := text(1, 2, "x")
	u.Message.Customer.Name = "Zacharias"
	f.receive(u)
	began := time.Now()
	proctest.Eventually(t, 10*time.Second, "a name is found", func() bool { return len(f.found("zacharias")) == 1 })
	t.Logf("found after %v", time.Since(began))
}

// searchPages : names come first, then messages, the newest first, and what is new disturbs no cursor.
func searchPages(t *testing.T, open Open) {
	f := setUp(t, open)
	for i := range int64(7) {
		f.receive(text(1, i+1, fmt.Sprintf("apple %d", i+1)))
	}
	named := text(2, 1, "hi")
	named.Message.Customer.Name = "Apple Smith"
	f.receive(named)
	f.indexed()
	var have []string
	q := inbox.SearchQuery{Words: "apple", Limit: 3}
	for pages := 0; pages == 0 || q.Before != 0; pages++ {
		page := f.search(q)
		if len(page.Hits) > 3 || !page.Complete || page.ReachesBackTo != nil {
			t.Errorf("a page of %d hits, complete %v", len(page.Hits), page.Complete)
		}
		for _, h := range page.Hits {
			have = append(have, marked(h))
		}
		q.Before = page.Next
		f.receive(text(3, int64(pages)+1, "apple new"))
		f.indexed()
	}
	same(t, "hits", have, []string{"name: [Apple] Smith", "text: [apple] 7", "text: [apple] 6", "text: [apple] 5",
		"text: [apple] 4", "text: [apple] 3", "text: [apple] 2", "text: [apple] 1"})

	within := f.search(inbox.SearchQuery{Words: "apple", Conversation: f.conversation(3).ID, Limit: 200})
	for _, h := range within.Hits {
		if h.Message == nil || h.Conversation.ChatID != 3 {
			t.Errorf("within a conversation: %+v", h)
		}
	}
	if len(within.Hits) < 3 {
		t.Errorf("within a conversation are %d hits", len(within.Hits))
	}

	// A page ends early where it has many bytes, and leaves nothing out.
	long := "pear " + strings.Repeat("long ", 6000)
	var want, ids []int64
	for range 30 {
		want = append([]int64{f.answer(1, long).ID}, want...)
	}
	f.indexed()
	q, pages := inbox.SearchQuery{Words: "pear", Limit: 200}, 0
	for ; pages == 0 || q.Before != 0; pages++ {
		page := f.search(q)
		for _, h := range page.Hits {
			ids = append(ids, h.Message.ID)
		}
		q.Before = page.Next
	}
	if !slices.Equal(ids, want) || pages < 2 {
		t.Errorf("%d pages with %v, want %v", pages, ids, want)
	}
	if h := f.search(inbox.SearchQuery{Words: "pear", Limit: 1}).Hits[0]; len(h.Snippet) > 1000 {
		t.Errorf("a snippet has %d bytes", len(h.Snippet))
	}
}
