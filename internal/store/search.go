package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"tandem/internal/inbox"
	"tandem/internal/store/driver"
	"tandem/internal/words"
)

const (
	// maxTerms bounds the words of a question.
	maxTerms = 32
	// maxNames is how many customers are found by a name before the newest of them are chosen.
	maxNames = 400
	// maxFound is how many hits are gathered to find their conversations. Where there are more, the newest conversations
	// are looked at one by one. idsAtOnce are named in one statement.
	maxFound  = 1000
	idsAtOnce = 100
	// maxMarks is how many places are marked in a snippet, snippetBefore and snippetRunes how many characters it has
	// before the first of them and in all.
	maxMarks      = 50
	snippetBefore = 40
	snippetRunes  = 160
)

// Search finds messages and customers by their words; see inbox.OperatorStore.
func (s *Store) Search(ctx context.Context, q inbox.SearchQuery) (inbox.SearchPage, error) {
	var page inbox.SearchPage
	err := s.readBy(ctx, driver.Search, "search", func(t tx) (err error) {
		page, err = search(t, s.db, q)
		return err
	})
	return page, err
}

// search is one question on its way.
func search(t tx, db driver.Words, q inbox.SearchQuery) (page inbox.SearchPage, err error) {
	limit := pageSize(q.Limit)
	terms := termsOf(q.Words)
	page.Hits = []inbox.SearchHit{}
	if err := reaches(t, &page); err != nil || len(terms) == 0 {
		return page, err
	}
	below := q.Before
	if below <= 0 {
		if err := t.one(to(&below), `SELECT last_message + 1 FROM counters WHERE id = 1`); err != nil {
			return page, err
		}
		if q.Conversation == 0 {
			// Names leave room for messages: all of them are in the list of conversations.
			if page.Hits, err = foundNames(t, db, terms, (limit+1)/2); err != nil {
				return page, err
			}
		}
	}
	ask := make(driver.Question, 0, len(terms)+1)
	for _, term := range terms {
		ask = append(ask, []words.Term{term})
	}
	if q.Conversation != 0 {
		ask = append(ask, []words.Term{driver.Within(q.Conversation)})
	}
	room := limit - len(page.Hits)
	ids, err := db.FindWords(t.ctx, t.c, driver.MessageWords, ask, 1, below, room+1)
	if err != nil {
		return page, err
	}
	if more := len(ids) > room; more {
		ids = ids[:room]
		page.Next = below
		if room > 0 {
			page.Next = ids[room-1]
		}
	}
	bytes := 0
	for some := range slices.Chunk(ids, readTogether) {
		hits, err := foundMessages(t, some, terms, q.Conversation)
		if err != nil {
			return page, err
		}
		page.Hits = append(page.Hits, hits...)
		for _, h := range hits {
			bytes += 2000 + len(h.Message.Text) + len(h.Snippet)
		}
		if last := some[len(some)-1]; bytes > pageBytes && last != ids[len(ids)-1] {
			page.Next = last
			break
		}
	}
	return page, nil
}

func termsOf(question string) []words.Term {
	if r := []rune(question); len(r) > maxQuery {
		question = string(r[:maxQuery])
	}
	terms := words.Terms(inbox.CleanText(question))
	return terms[:min(len(terms), maxTerms)]
}

// reaches says how far back a search finds messages.
func reaches(t tx, page *inbox.SearchPage) error {
	var messages, names int64
	if err := t.one(to(&messages, &names), `SELECT messages_from, names_from FROM words_state WHERE id = 1`); err != nil {
		return err
	}
	if page.Complete = messages <= 1 && names <= 1; page.Complete {
		return nil
	}
	var at int64
	found, err := t.row(to(&at), `SELECT created_at FROM messages WHERE id >= $1 ORDER BY id LIMIT 1`, messages)
	if found {
		page.ReachesBackTo = fromMicrosPtr(&at)
	}
	return err
}

// foundNames finds customers, those first who wrote last.
func foundNames(t tx, db driver.Words, terms []words.Term, limit int) ([]inbox.SearchHit, error) {
	ids, err := nameIDs(t, db, terms, maxNames)
	if err != nil {
		return nil, err
	}
	var found []place
	for some := range slices.Chunk(ids, indexAtOnce) {
		where, args := idsIn(some, indexAtOnce)
		list, err := all(t, scanPlace, `SELECT c.id, `+listPlace+`, 0 FROM conversations c WHERE c.id IN `+where, args...)
		if err != nil {
			return nil, err
		}
		found = append(found, list...)
	}
	slices.SortFunc(found, func(a, b place) int { return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(b.id, a.id)) })
	hits := []inbox.SearchHit{}
	for some := range slices.Chunk(found[:min(len(found), limit)], readTogether) {
		list, err := conversationsOf(t, briefColumns, some)
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			if h, ok := nameHit(c, terms); ok {
				hits = append(hits, h)
			}
		}
	}
	return hits, nil
}

// nameIDs finds conversations by the names of their customers.
func nameIDs(t tx, db driver.Words, terms []words.Term, limit int) ([]int64, error) {
	var ask driver.Question
	for _, term := range terms {
		ask = append(ask, inNames(term))
	}
	return db.FindWords(t.ctx, t.c, driver.NameWords, ask, 1, math.MaxInt64, limit)
}

var (
	number = regexp.MustCompile(`^[0-9]{1,19}$`)
	// link is the address of a person at Telegram.
	link = regexp.MustCompile(`^(?:https?://)?(?:www\.)?(?:t|telegram)\.me/([a-z0-9_]+)/?$`)
)

// inNames are the forms in which a term may stand in what is known of a customer: as it is, as the name in a link, and
// as the number that Telegram gives him, which is found as a whole only.
func inNames(term words.Term) []words.Term {
	either := []words.Term{term}
	if m := link.FindStringSubmatch(term.Text); m != nil {
		either = append(either, words.NewTerm("@"+m[1]))
	}
	if number.MatchString(term.Text) {
		either = append(either, driver.Exactly(term.Text))
	}
	return either
}

// nameHit shows the name with most of the words. False if they are not in the names, as the index is of a moment ago.
func nameHit(c inbox.Conversation, terms []words.Term) (inbox.SearchHit, bool) {
	fields := c.SearchFields()
	id := fmt.Sprint(c.Customer.ID)
	var shown []words.Term // what is marked
	for _, term := range terms {
		there := term.Text == id
		for _, form := range inNames(term) {
			if form.Text != "" && slices.ContainsFunc(fields, func(f inbox.SearchField) bool {
				return len(form.Find(words.Fold(f.Text), 1)) > 0
			}) {
				there, shown = true, append(shown, form)
			}
		}
		if !there {
			return inbox.SearchHit{}, false
		}
	}
	h := hitIn(fields, shown)
	if len(h.Marks) == 0 && slices.ContainsFunc(terms, func(t words.Term) bool { return t.Text == id }) {
		h.Snippet, h.Marks = id, [][2]int{{0, len(id)}}
	}
	h.Conversation = c
	return h, true
}

// foundMessages reads what was found, in that order.
func foundMessages(t tx, ids []int64, terms []words.Term, conversation int64) ([]inbox.SearchHit, error) {
	where, args := idsIn(ids, readTogether)
	list, err := messages(t, `WHERE m.id IN `+where, args...)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b inbox.Message) int { return cmp.Compare(b.ID, a.ID) })
	var of []place
	for _, m := range list {
		if !slices.ContainsFunc(of, func(p place) bool { return p.id == m.ConversationID }) {
			of = append(of, place{id: m.ConversationID})
		}
	}
	conversations, err := conversationsOf(t, briefColumns, of)
	if err != nil {
		return nil, err
	}
	var hits []inbox.SearchHit
	for i := range list {
		m := &list[i]
		if conversation != 0 && m.ConversationID != conversation {
			continue
		}
		h, ok := messageHit(*m, terms)
		if !ok {
			continue
		}
		for _, c := range conversations {
			if c.ID == m.ConversationID {
				h.Conversation = c
			}
		}
		h.Message = m
		hits = append(hits, h)
	}
	return hits, nil
}

// conversationsWith finds the newest conversations with these words: in the names of the customer, or in one message.
// find, with its args, selects places of conversations. There may be one more than limit.
func conversationsWith(
	t tx, db driver.Words, terms []words.Term, find string, args []any, limit int,
) (found []place, err error) {
	if len(terms) == 0 {
		return nil, nil
	}
	ask := make(driver.Question, 0, len(terms)+1)
	for _, term := range terms {
		ask = append(ask, []words.Term{term})
	}
	named, err := nameIDs(t, db, terms, maxFound+1)
	if err != nil {
		return nil, err
	}
	ids, err := db.FindWords(t.ctx, t.c, driver.MessageWords, ask, 1, math.MaxInt64, maxFound+1)
	if err != nil {
		return nil, err
	}
	if len(named) <= maxFound && len(ids) <= maxFound {
		return placesOf(t, named, ids, find, args)
	}
	// The words are frequent: the newest conversations are looked at one after the other.
	isNamed := map[int64]bool{}
	for _, id := range named {
		isNamed[id] = true
	}
	for at := int64(math.MaxInt64); len(found) <= limit; {
		n := len(args)
		list, err := all(t, scanPlace, find+fmt.Sprintf(` AND `+listPlace+` < $%d
			ORDER BY `+listPlace+` DESC LIMIT $%d`, n+1, n+2), append(slices.Clone(args), at, limit+1)...)
		if err != nil || len(list) == 0 {
			return found, err
		}
		for _, p := range list {
			at = p.at
			has := isNamed[p.id]
			if !has {
				within := append(slices.Clone(ask), []words.Term{driver.Within(p.id)})
				ids, err := db.FindWords(t.ctx, t.c, driver.MessageWords, within, 1, p.at+1, 1)
				if err != nil {
					return nil, err
				}
				has = len(ids) > 0
			}
			if has {
				found = append(found, p)
			}
			if len(found) > limit {
				break
			}
		}
	}
	return found, nil
}

// placesOf are those of the conversations given and of those that have the messages given, the newest first.
func placesOf(t tx, conversations, messages []int64, find string, args []any) ([]place, error) {
	seen := map[int64]bool{}
	for _, id := range conversations {
		seen[id] = true
	}
	for some := range slices.Chunk(messages, idsAtOnce) {
		where, in := idsIn(some, idsAtOnce)
		_, err := all(t, func(scan func(...any) error) (id int64, err error) {
			err = scan(&id)
			seen[id] = true
			return id, err
		}, `SELECT DISTINCT conversation_id FROM messages WHERE id IN `+where, in...)
		if err != nil {
			return nil, err
		}
	}
	var found []place
	for some := range slices.Chunk(slices.Sorted(maps.Keys(seen)), idsAtOnce) {
		_, in := idsIn(some, idsAtOnce)
		list, err := all(t, scanPlace, find+` AND c.id IN (`+places(len(args), idsAtOnce)+`)`,
			append(slices.Clone(args), in...)...)
		if err != nil {
			return nil, err
		}
		found = append(found, list...)
	}
	slices.SortFunc(found, func(a, b place) int { return cmp.Compare(b.at, a.at) })
	return found, nil
}

// messageHit shows the part of a message with most of the words. False if they are not there, as the index is of a
// moment ago.
func messageHit(m inbox.Message, terms []words.Term) (inbox.SearchHit, bool) {
	fields := m.SearchFields()
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f.Text + "\n")
	}
	whole := words.Fold(b.String())
	for _, term := range terms {
		if len(term.Find(whole, 1)) == 0 {
			return inbox.SearchHit{}, false
		}
	}
	return hitIn(fields, terms), true
}

// hitIn shows the field in which most of the terms are, the first of several.
func hitIn(fields []inbox.SearchField, terms []words.Term) inbox.SearchHit {
	best, most := 0, -1
	for i, f := range fields {
		folded, n := words.Fold(f.Text), 0
		for _, term := range terms {
			if len(term.Find(folded, 1)) > 0 {
				n++
			}
		}
		if n > most {
			best, most = i, n
		}
	}
	h := inbox.SearchHit{In: fields[best].In}
	h.Snippet, h.Marks = snippet(fields[best].Text, terms)
	return h
}

// snippet is the part of a text around the first of the terms, in one line, and where they are in it.
func snippet(text string, terms []words.Term) (line string, marks [][2]int) {
	line = strings.Join(strings.Fields(text), " ")
	t := words.Of(line)
	var places [][2]int // in line
	for _, term := range terms {
		for _, p := range term.Find(t.Folded, maxMarks) {
			from, to := t.Source(p[0], p[1])
			places = append(places, [2]int{from, to})
		}
	}
	slices.SortFunc(places, func(a, b [2]int) int { return cmp.Or(a[0]-b[0], a[1]-b[1]) })
	from := 0
	if len(places) > 0 {
		from = back(line, places[0][0], snippetBefore)
	}
	to := from + ahead(line[from:], snippetRunes)
	prefix := ""
	if from > 0 {
		prefix = "…"
	}
	marks = [][2]int{}
	for _, p := range places {
		if p[1] > to || len(marks) == maxMarks {
			continue
		}
		m := [2]int{inbox.UTF16Len(prefix + line[from:p[0]]), inbox.UTF16Len(prefix + line[from:p[1]])}
		if n := len(marks); n > 0 && m[0] <= marks[n-1][1] { // two that touch are one
			marks[n-1][1] = max(marks[n-1][1], m[1])
			continue
		}
		marks = append(marks, m)
	}
	if to < len(line) {
		return prefix + line[from:to] + "…", marks
	}
	return prefix + line[from:], marks
}

// back goes some characters back from at, to the beginning of a word if one is there.
func back(line string, at, runes int) int {
	from := at
	for range runes {
		if from == 0 {
			return 0
		}
		_, n := utf8.DecodeLastRuneInString(line[:from])
		from -= n
	}
	if space := strings.IndexByte(line[from:at], ' '); space >= 0 {
		return from + space + 1
	}
	return from
}

// ahead is where so many characters end.
func ahead(line string, runes int) int {
	for i := range line {
		if runes--; runes < 0 {
			return i
		}
	}
	return len(line)
}
