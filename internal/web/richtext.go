package web

import (
	"cmp"
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"tandem/internal/inbox"
)

// The formats of a text, each with its tags. They stand in this order, from the outside to the inside.
var formats = []struct {
	name, open, close string
	types             []string
}{
	{"spoiler", `<span class="spoiler" tabindex="0">`, `</span>`, []string{"spoiler"}},
	{"bold", `<b>`, `</b>`, []string{"bold"}},
	{"italic", `<i>`, `</i>`, []string{"italic"}},
	{"underline", `<u>`, `</u>`, []string{"underline"}},
	{"strikethrough", `<s>`, `</s>`, []string{"strikethrough"}},
	{"marked", `<mark>`, `</mark>`, []string{"marked"}},
	{"subscript", `<sub>`, `</sub>`, []string{"subscript"}},
	{"superscript", `<sup>`, `</sup>`, []string{"superscript"}},
	{"code", `<code>`, `</code>`, []string{"code", "pre"}},
}

var formatOf = map[string]int{}

func init() {
	for i, f := range formats {
		for _, name := range f.types {
			formatOf[name] = i
		}
	}
}

// span is a part of a text, in bytes, that no other one of its sort overlaps.
type span struct {
	from, to    int
	open, close string
}

// richText is a text as HTML, with its entities and with links where addresses stand. All that comes from outside is
// escaped. It goes through the text once, however many entities there are and whatever they cover.
func richText(text string, entities []inbox.Entity) template.HTML {
	return formatText(text, entities, true)
}

// richLine is richText for a place that is a link itself, and one line: it has neither links nor blocks.
func richLine(text string, entities []inbox.Entity) template.HTML {
	return formatText(text, entities, false)
}

func formatText(text string, entities []inbox.Entity, whole bool) template.HTML {
	entities = slices.Clone(entities)
	slices.SortStableFunc(entities, func(a, b inbox.Entity) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(b.Length, a.Length)) // the longer one is outside
	})
	at := placesOf(text, entities)
	var links, blocks, verbatim []span
	changes := map[int][]int{} // by place: the format that begins, or ^format where it ends
	cuts := []int{0, len(text)}
	for _, e := range entities {
		begin, ok := at[e.Offset]
		end, inText := at[e.Offset+e.Length]
		if !ok || !inText || e.Length <= 0 {
			continue
		}
		from, to := begin.before, end.behind // a character is whole or not at all
		switch {
		case e.Type == "blockquote" || e.Type == "expandable_blockquote":
			if whole && fits(blocks, from) {
				if to < len(text) && text[to] == '\n' {
					to++ // the block ends the line by itself
				}
				blocks = append(blocks, span{from: from, to: to, open: "<blockquote>", close: "</blockquote>"})
			}
		case e.Type == "pre" && whole && fits(blocks, from):
			if to < len(text) && text[to] == '\n' {
				to++
			}
			blocks = append(blocks, span{from: from, to: to, open: "<pre>", close: "</pre>"})
			verbatim = append(verbatim, span{from: from, to: to})
		case isLink(e.Type):
			if whole && fits(links, from) && e.Length <= maxLinkWords {
				links = append(links, linkSpan(e, from, to, text[from:to]))
			}
		default:
			i, ok := formatOf[e.Type]
			if !ok {
				continue
			}
			if formats[i].name == "code" && fits(verbatim, from) {
				verbatim = append(verbatim, span{from: from, to: to})
			}
			changes[from], changes[to] = append(changes[from], i), append(changes[to], ^i)
			cuts = append(cuts, from, to)
		}
	}
	if whole {
		links = addPlainLinks(text, links, verbatim)
	}
	if len(cuts) == 2 && len(links)+len(blocks) == 0 {
		return template.HTML(template.HTMLEscapeString(text)) // no copy of a long text that has nothing to escape
	}
	for _, list := range [][]span{links, blocks} {
		for _, s := range list {
			cuts = append(cuts, s.from, s.to)
		}
	}
	slices.Sort(cuts)
	return (&textWriter{text: text, changes: changes, links: links, blocks: blocks}).write(slices.Compact(cuts))
}

// place is where in a text a UTF-16 unit is, in bytes: before its character and behind the one before it. They differ
// where the unit is the second half of a character.
type place struct{ before, behind int }

// placesOf is where the entities, in the order of their offsets, begin and end. What is outside the text has none.
func placesOf(text string, entities []inbox.Entity) map[int]place {
	if len(entities) == 0 {
		return nil
	}
	var wanted []int
	for _, e := range entities {
		wanted = append(wanted, e.Offset, e.Offset+e.Length)
	}
	slices.Sort(wanted)
	at := make(map[int]place, len(wanted))
	pass := func(unit int, p place) {
		for len(wanted) > 0 && wanted[0] <= unit {
			if wanted[0] == unit {
				at[unit] = p
			}
			wanted = wanted[1:]
		}
	}
	unit := 0
	for i, r := range text {
		if len(wanted) == 0 {
			break
		}
		pass(unit, place{i, i})
		if unit++; utf16.RuneLen(r) == 2 {
			pass(unit, place{i, i + utf8.RuneLen(r)})
			unit++
		}
	}
	pass(unit, place{len(text), len(text)})
	return at
}

// fits says whether a span that begins there overlaps none of the list, which is in order.
func fits(list []span, from int) bool { return len(list) == 0 || list[len(list)-1].to <= from }

type textWriter struct {
	out           strings.Builder
	text          string
	changes       map[int][]int
	on            [16]int // how often each format is on
	links, blocks []span
	link, block   *span // that is open
}

func (w *textWriter) write(cuts []int) template.HTML {
	for i, at := range cuts {
		if w.link != nil && w.link.to <= at {
			w.closeLink()
		}
		if w.block != nil && w.block.to <= at {
			w.closeLink()
			w.out.WriteString(w.block.close)
			w.block = nil
		}
		for _, c := range w.changes[at] {
			if c < 0 {
				w.on[^c]--
			} else {
				w.on[c]++
			}
		}
		for len(w.blocks) > 0 && w.blocks[0].from <= at && w.block == nil {
			w.closeLink()
			w.block, w.blocks = &w.blocks[0], w.blocks[1:]
			w.out.WriteString(w.block.open)
		}
		for len(w.links) > 0 && w.links[0].from <= at && w.link == nil {
			w.link, w.links = &w.links[0], w.links[1:]
			w.out.WriteString(w.link.open)
		}
		if i+1 < len(cuts) && cuts[i+1] > at {
			w.words(at, cuts[i+1])
		}
	}
	return template.HTML(w.out.String())
}

func (w *textWriter) closeLink() {
	if w.link != nil {
		w.out.WriteString(w.link.close)
		w.link = nil
	}
}

// words writes a part of the text in the formats that are on.
func (w *textWriter) words(from, to int) {
	for i, f := range formats {
		if w.on[i] > 0 {
			w.out.WriteString(f.open)
		}
	}
	w.out.WriteString(template.HTMLEscapeString(w.text[from:to]))
	for i := len(formats) - 1; i >= 0; i-- {
		if w.on[i] > 0 {
			w.out.WriteString(formats[i].close)
		}
	}
}

const (
	maxLinkWords = 4_096
	maxLinks     = 500 // addresses that are found in one text
)

func isLink(kind string) bool {
	switch kind {
	case "url", "text_link", "email", "phone_number", "text_mention":
		return true
	}
	return false
}

// linkSpan makes a link, or a mark with what stands behind the words where nothing may be opened.
func linkSpan(e inbox.Entity, from, to int, words string) span {
	s := span{from: from, to: to}
	address, behind := "", ""
	switch e.Type {
	case "url":
		address = webAddress(words)
	case "email":
		address = mailAddress(words)
	case "phone_number":
		address = phoneAddress(words)
	case "text_link":
		address = webAddress(e.URL)
		if strings.TrimSuffix(words, "/") != strings.TrimSuffix(e.URL, "/") {
			if behind = shownAddress(address, e.URL); behind == words {
				behind = ""
			}
		}
	case "text_mention":
		if u := e.User; u != nil {
			behind = strings.Join(strings.Fields(u.FirstName+" "+u.LastName), " ")
			if u.Username != "" {
				behind = strings.TrimSpace(behind + " @" + u.Username)
			}
			if behind == "" || behind == words {
				behind = fmt.Sprint(u.ID)
			}
		}
	}
	behindAttr := ""
	if behind != "" {
		behindAttr = ` data-behind="` + template.HTMLEscapeString(behind) + `"`
	}
	if address == "" {
		if behind != "" || e.Type == "text_mention" {
			s.open, s.close = `<span class="mention"`+behindAttr+`>`, `</span>`
		}
		return s
	}
	s.open, s.close = anchor(address, behindAttr), `</a>`
	return s
}

func anchor(address, more string) string {
	return `<a href="` + template.HTMLEscapeString(address) + `" target="_blank" rel="noopener noreferrer"` + more + `>`
}

// shownAddress is what stands behind words that hide an address: the host, or all of what is no link.
func shownAddress(address, raw string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Host
	}
	raw = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, raw)
	if runes := []rune(raw); len(runes) > 200 {
		return string(runes[:200]) + "…"
	}
	return raw
}

// webAddress is an address that may be opened, "" for any other. One without a scheme is one of the web, as in
// Telegram's apps.
func webAddress(s string) string {
	s = strings.TrimSpace(s)
	lower := strings.ToLower(s)
	switch {
	case s == "" || strings.ContainsFunc(s, notInAddress):
		return ""
	case strings.HasPrefix(lower, "mailto:"):
		if u, err := url.Parse(s); err == nil && strings.Contains(u.Opaque, "@") {
			return s
		}
		return ""
	case strings.HasPrefix(lower, "tel:"):
		return phoneAddress(s[len("tel:"):])
	case !strings.HasPrefix(lower, "http://") && !strings.HasPrefix(lower, "https://"):
		if strings.Contains(s, "://") {
			return ""
		}
		s = "http://" + s
	}
	if u, err := url.Parse(s); err != nil || u.Hostname() == "" || strings.Contains(u.Host, "\\") {
		return ""
	}
	return s
}

// notInAddress are characters that are in no address, or that make one look like another.
func notInAddress(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || strings.ContainsRune(`<>"\`, r)
}

func mailAddress(s string) string {
	if at := strings.IndexByte(s, '@'); at < 1 || at == len(s)-1 ||
		strings.ContainsFunc(s, func(r rune) bool { return notInAddress(r) || strings.ContainsRune("?&#%/:,;", r) }) {
		return ""
	}
	return "mailto:" + s
}

func phoneAddress(s string) string {
	digits := 0
	number := strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9':
			digits++
			return r
		case r == '+' || r == '*' || r == '#':
			return r
		case strings.ContainsRune(" -().\u00a0", r):
			return -1
		}
		digits = -1000
		return -1
	}, s)
	if digits < 3 || len(number) > 40 {
		return ""
	}
	return "tel:" + strings.ReplaceAll(number, "#", "%23")
}

// schemes are those of addresses that are links wherever they stand.
var schemes = []string{"https://", "http://", "mailto:", "tel:"}

// addPlainLinks adds the addresses that stand in the text, where there is no link yet and nothing verbatim.
func addPlainLinks(text string, links, verbatim []span) []span {
	var found []span
	taken := func(from, to int) bool {
		for _, list := range []*[]span{&links, &verbatim} {
			for len(*list) > 0 && (*list)[0].to <= from {
				*list = (*list)[1:]
			}
			if len(*list) > 0 && (*list)[0].from < to {
				return true
			}
		}
		return false
	}
	all := links
	word := false // whether the character before belongs to one
	for i := 0; i < len(text) && len(found) < maxLinks; {
		n := 0
		if !word {
			n = addressAt(text[i:])
		}
		if n > 0 {
			if address := webAddress(text[i : i+n]); address != "" && !taken(i, i+n) {
				found = append(found, span{from: i, to: i + n, open: anchor(address, ""), close: "</a>"})
			}
			i, word = i+n, true
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		word = unicode.IsLetter(r) || unicode.IsDigit(r)
		i += size
	}
	if len(found) == 0 {
		return all
	}
	all = append(slices.Clone(all), found...)
	slices.SortFunc(all, func(a, b span) int { return a.from - b.from })
	return all
}

// addressAt is how long the address is with which s begins, 0 if it begins with none.
func addressAt(s string) int {
	for _, scheme := range schemes {
		if len(s) <= len(scheme) || !strings.EqualFold(s[:len(scheme)], scheme) {
			continue
		}
		end := strings.IndexFunc(s, notInAddress)
		if end < 0 {
			end = len(s)
		}
		end = min(end, maxLinkWords)
		address := strings.ToValidUTF8(s[:end], "")
		for len(address) > len(scheme) {
			last := address[len(address)-1]
			closing := map[byte]string{')': "(", ']': "[", '}': "{"}[last]
			if strings.IndexByte(`.,;:!?'*_`, last) < 0 &&
				(closing == "" || strings.Count(address, closing) >= strings.Count(address, string(last))) {
				break
			}
			address = address[:len(address)-1]
		}
		if len(address) == len(scheme) {
			return 0
		}
		return len(address)
	}
	return 0
}
