// Package words makes words comparable and cuts them into the pieces by which an index finds them. It is the one place
// that says what a search finds: each database keeps these pieces, and knows nothing of letters itself.
//
// A term of three characters or more is found anywhere within a word, where a word is what stands between white space.
// A shorter one is found where a run begins: at the beginning of letters and digits, where a script without spaces
// begins, and at each sign. So of such a script two characters are found at the beginning of a run, and three anywhere.
package words

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Long is from how many characters on a term is found anywhere within a word.
const Long = 3

// Text is a text as it is compared, with where each of its bytes comes from.
type Text struct {
	Folded   string
	from, to []int32 // of each byte of Folded, the part of the text that it stands for
}

// Fold is s as it is compared: in NFKC, in lower case, with е for ё, with each white space as one space, and without
// what shows nothing. Marks stay otherwise: й is not и.
func Fold(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	walk(s, func(r rune, _, _ int) { b.WriteRune(r) })
	return b.String()
}

// Of is Fold that knows where each part comes from.
func Of(s string) Text {
	var b []byte
	var t Text
	walk(s, func(r rune, from, to int) {
		b = utf8.AppendRune(b, r)
		for len(t.from) < len(b) {
			t.from, t.to = append(t.from, int32(from)), append(t.to, int32(to))
		}
	})
	t.Folded = string(b)
	return t
}

// Source is the part of the text that a part of Folded, which is not empty, stands for.
func (t Text) Source(from, to int) (int, int) { return int(t.from[from]), int(t.to[to-1]) }

// walk tells each character of the folded text, and which part of s it comes from.
func walk(s string, tell func(r rune, from, to int)) {
	began, space, spaceAt := false, false, 0
	for at := 0; at < len(s); {
		n := 1
		if s[at] >= utf8.RuneSelf || at+1 < len(s) && s[at+1] >= utf8.RuneSelf {
			n = norm.NFKC.NextBoundaryInString(s[at:], true)
		}
		for _, r := range lower(s[at : at+n]) {
			switch {
			case unicode.IsSpace(r) || unicode.IsControl(r):
				if !space {
					space, spaceAt = true, at
				}
				continue
			case unicode.Is(unicode.Cf, r), unicode.Is(unicode.Variation_Selector, r):
				continue
			case r == 'ё':
				r = 'е'
			}
			if space && began {
				tell(' ', spaceAt, at)
			}
			began, space = true, false
			tell(r, at, at+n)
		}
		at += n
	}
}

// lower folds a piece that no composition crosses. Upper case comes first, for letters with two lower cases, such as
// the Greek sigma.
func lower(s string) string {
	if len(s) == 1 && s[0] < utf8.RuneSelf {
		if 'A' <= s[0] && s[0] <= 'Z' {
			return ascii[s[0]-'A' : s[0]-'A'+1]
		}
		return s
	}
	return norm.NFKC.String(strings.ToLower(strings.ToUpper(norm.NFKC.String(s))))
}

const ascii = "abcdefghijklmnopqrstuvwxyz"

// class is what a character is for the runs of a text.
type class int

const (
	none      class = iota // white space, and what is before the beginning
	letter                 // a letter or digit
	spaceless              // of a script that puts no spaces between words
	sign                   // anything else: each is a run of its own
)

var spacelessScripts = []*unicode.RangeTable{
	unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar,
}

// next is the class of a character after one of another class, and whether a run begins with it.
func next(before class, r rune) (c class, begins bool) {
	switch {
	case r == ' ':
		return none, false
	case r < utf8.RuneSelf:
		c = sign
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' {
			c = letter
		}
	case unicode.IsMark(r) && before != none && before != sign:
		return before, false
	case unicode.In(r, spacelessScripts...) || r == 'ー':
		c = spaceless
	case unicode.IsLetter(r), unicode.IsNumber(r), unicode.IsMark(r):
		c = letter
	default:
		c = sign
	}
	return c, c != before || c == sign
}

// Pieces are what an index keeps of a folded text, in an order in which those of a long term follow one another where
// the term is, and nowhere else. For each word these are the first one and two characters of its runs, and then all
// three characters that follow one another.
func Pieces(folded string) []string {
	var pieces []string
	for word := range strings.FieldsFuncSeq(folded, func(r rune) bool { return r == ' ' }) {
		before := none
		for i, r := range word {
			c, begins := next(before, r)
			if before = c; !begins {
				continue
			}
			end := i + utf8.RuneLen(r)
			pieces = append(pieces, word[i:end])
			if _, n := utf8.DecodeRuneInString(word[end:]); n > 0 {
				pieces = append(pieces, word[i:end+n])
			}
		}
		pieces = append(pieces, threes(word)...)
	}
	return pieces
}

// threes are all three characters of a word that follow one another.
func threes(word string) []string {
	var list []string
	var starts [Long]int // of the last characters
	n := 0
	for i, r := range word {
		starts[n%Long] = i
		if n++; n >= Long {
			list = append(list, word[starts[n%Long]:i+utf8.RuneLen(r)])
		}
	}
	return list
}

// Term is one of the words of a question, folded. All of them have to be there.
type Term struct {
	Text   string
	Pieces []string // that an index has to have one after the other
}

// Terms are the words of a question, each once.
func Terms(question string) []Term {
	var terms []Term
	for word := range strings.FieldsSeq(Fold(question)) {
		if !slices.ContainsFunc(terms, func(t Term) bool { return t.Text == word }) {
			terms = append(terms, NewTerm(word))
		}
	}
	return terms
}

// NewTerm is a term of a folded word.
func NewTerm(word string) Term {
	if utf8.RuneCountInString(word) < Long {
		return Term{word, []string{word}}
	}
	return Term{word, threes(word)}
}

// Find tells where the term is in a folded text, up to most places.
func (t Term) Find(folded string, most int) (places [][2]int) {
	if t.Text == "" {
		return nil
	}
	if utf8.RuneCountInString(t.Text) >= Long {
		for at := 0; len(places) < most; {
			i := strings.Index(folded[at:], t.Text)
			if i < 0 {
				break
			}
			at += i + len(t.Text)
			places = append(places, [2]int{at - len(t.Text), at})
		}
		return places
	}
	before := none
	for i, r := range folded {
		c, begins := next(before, r)
		if before = c; begins && strings.HasPrefix(folded[i:], t.Text) && len(places) < most {
			places = append(places, [2]int{i, i + len(t.Text)})
		}
	}
	return places
}
