package words

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFold(t *testing.T) {
	for s, want := range map[string]string{
		"Hello, WORLD":                   "hello, world",
		"  two \t\n spaces\u00a0here ":   "two spaces here",
		"Счёт ЁЖ":                        "счет еж",
		"чаи\u0306 ЧАЙ":                  "чай чай",
		"чаи":                            "чаи",
		"ﬁne ２０２６ ①":                     "fine 2026 1",
		"ΣΊΣΥΦΟΣ Σίσυφος":                "σίσυφοσ σίσυφοσ",
		"soft\u00adhyphen\u200b \ufeffx": "softhyphen x",
		"❤\ufe0f❤":                       "❤❤",
		"e\u0301 É":                      "é é",
		"":                               "",
		"\xff\xfe":                       "\ufffd\ufffd",
		"한글 \u1112\u1161\u11ab\u1100\u1173\u11af": "한글 한글",
	} {
		if have := Fold(s); have != want {
			t.Errorf("%q is folded to %q, want %q", s, have, want)
		}
		if have := Of(s).Folded; have != want {
			t.Errorf("%q is folded to %q by Of, want %q", s, have, want)
		}
	}
}

// TestFind : what is found, by the term itself and by the pieces of an index.
func TestFind(t *testing.T) {
	for _, c := range []struct {
		text, term string
		found      bool
	}{
		{"Where is my ORDER?", "rde", true},
		{"Where is my ORDER?", "der?", true},
		{"Where is my ORDER?", "or", true},
		{"Where is my ORDER?", "my", true},
		{"Where is my ORDER?", "y", false},
		{"Where is my ORDER?", "rd", false},
		{"Where is my ORDER?", "myo", false},
		{"Where is my ORDER?", "?", true},
		{"c:\\dir", "C:\\DIR", true},
		{"c:\\dir", "di", true},
		{"really!?", "?", true},
		{"so :-)", "-)", true},
		{"c:\\dir", "d\\i", false},
		{"100% wool", "100%", true},
		{"100% wool", "00%", true},
		{"100% wool", "10", true},
		{"100% wool", "0%", false},
		{"(ok)", "ok", true},
		{"東京都に行く", "東京", true},
		{"東京都に行く", "京都", false},
		{"東京都に行く", "京都に", true},
		{"abc東京", "東京", true},
		{"abc東京", "東", true},
		{"สวัสดีครับ", "สว", true},
		{"well 👍🏽 done", "👍", true},
		{"bob_2000", "bob_2", true},
		{"bob_2000", "20", true},
		{"abc bcd", "abcd", false},
		{"xabc bcde", "abcd", false},
		{"счёт", "СЧЕТ", true},
		{"двоё чай", "чаи", false},
	} {
		text, terms := Of(c.text), Terms(c.term)
		if len(terms) != 1 {
			t.Fatalf("%q has %d terms", c.term, len(terms))
		}
		places := terms[0].Find(text.Folded, 10)
		if found := len(places) > 0; found != c.found {
			t.Errorf("%q in %q: found %v", c.term, c.text, found)
		}
		for _, p := range places {
			from, to := text.Source(p[0], p[1])
			if Fold(c.text[from:to]) != terms[0].Text {
				t.Errorf("%q in %q is at %q", c.term, c.text, c.text[from:to])
			}
		}
		if byPieces := follow(Pieces(text.Folded), terms[0].Pieces); byPieces != c.found {
			t.Errorf("%q in %q: found by pieces %v", c.term, c.text, byPieces)
		}
	}
}

// follow says whether some pieces are there, one after the other.
func follow(all, some []string) bool {
	for i := range all {
		if i+len(some) <= len(all) && slices.Equal(all[i:i+len(some)], some) {
			return true
		}
	}
	return false
}

func TestTerms(t *testing.T) {
	var have []string
	for _, term := range Terms(" Two  words two ё ") {
		have = append(have, term.Text)
	}
	if want := []string{"two", "words", "е"}; !slices.Equal(have, want) {
		t.Errorf("the terms are %q, want %q", have, want)
	}
	if len(Terms(" \t\u200b")) != 0 {
		t.Error("white space is a term")
	}
}

// FuzzFold : the pieces find just what the term finds, and a folded text stays as it is.
func FuzzFold(f *testing.F) {
	f.Add("Where is my ORDER?", "rder")
	f.Add("東京都 é̂x", "都 é")
	f.Fuzz(func(t *testing.T, text, question string) {
		if !utf8.ValidString(text) || !utf8.ValidString(question) {
			return
		}
		folded := Of(text)
		if folded.Folded != Fold(text) {
			t.Fatal("Of and Fold differ")
		}
		if strings.Contains(folded.Folded, "  ") || strings.TrimSpace(folded.Folded) != folded.Folded {
			t.Errorf("white space is left in %q", folded.Folded)
		}
		pieces := Pieces(folded.Folded)
		for _, term := range Terms(question) {
			places := term.Find(folded.Folded, 1)
			if found, byPieces := len(places) > 0, follow(pieces, term.Pieces); found != byPieces {
				t.Errorf("%q in %q: found %v, by pieces %v", term.Text, folded.Folded, found, byPieces)
			}
			for _, p := range places {
				folded.Source(p[0], p[1])
			}
		}
	})
}
