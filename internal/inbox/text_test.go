package inbox

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCleanText(t *testing.T) {
	for in, want := range map[string]string{
		"":                "",
		"plain":           "plain",
		"a\x00b":          "a\uFFFDb",
		"bad \xff\xfe":    "bad \uFFFD",
		"a\r\nb\rc\n":     "a\nb\rc\n",
		"\ufeff<b>\u202e": "\ufeff<b>\u202e",
	} {
		if got := CleanText(in); got != want {
			t.Errorf("CleanText(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestBlank(t *testing.T) {
	for in, want := range map[string]bool{
		"": true, " \t\r\n": true, "\u00a0\u2003": true, "\u200b\u200d\ufeff": true, "\u202e\u202c": true,
		"\u2800\u3164\u115f\u1160\uffa0": true, "\x00\a": true, "\u2028": true,
		".": false, " a ": false, "😀": false, "\u200b.\u200b": false, "\uFFFD": false,
	} {
		if got := Blank(in); got != want {
			t.Errorf("Blank(%q) = %v", in, got)
		}
	}
}

func TestSplitText(t *testing.T) {
	a := func(n int) string { return strings.Repeat("a", n) }
	family := "👨‍👩‍👧‍👦" // one character of 11 UTF-16 units
	for name, c := range map[string]struct {
		in   string
		want []int // length of the parts in UTF-16 units
	}{
		"nothing":                   {"", nil},
		"blank":                     {" \n\u200b ", nil},
		"short":                     {"hello", []int{5}},
		"just fits":                 {a(MaxPart), []int{MaxPart}},
		"one too many":              {a(MaxPart + 1), []int{MaxPart, 1}},
		"at the last line":          {a(3000) + "\n" + a(500) + " " + a(2000), []int{3000, 2501}},
		"at a space":                {a(3000) + " " + a(3000), []int{3000, 3000}},
		"a line too early":          {a(10) + "\n" + a(5000), []int{MaxPart, 5011 - MaxPart}},
		"astral":                    {strings.Repeat("😀", MaxPart), []int{MaxPart, MaxPart}},
		"astral and odd":            {"a" + strings.Repeat("😀", MaxPart/2), []int{MaxPart - 1, 2}},
		"families":                  {strings.Repeat(family, 400), []int{372 * 11, 28 * 11}},
		"one character over it all": {"e" + strings.Repeat("\u0301", 5000), []int{MaxPart, 5001 - MaxPart}},
		"a blank part in between":   {a(MaxPart) + strings.Repeat(" ", 2*MaxPart) + "b", []int{MaxPart, 1}},
		"line ends at the cut":      {a(MaxPart-1) + "\n\n" + a(5), []int{MaxPart - 1, 5}},
	} {
		got := SplitText(c.in)
		if len(got) != len(c.want) {
			t.Errorf("%s: %d parts, want %d", name, len(got), len(c.want))
			continue
		}
		for i, p := range got {
			if n := UTF16Len(p); n != c.want[i] {
				t.Errorf("%s: part %d has %d units, want %d", name, i, n, c.want[i])
			}
		}
	}
}

// FuzzSplitText looks for a text of which a part is too long, blank or not text, or of which anything to be
// seen is lost.
func FuzzSplitText(f *testing.F) {
	f.Add("hello", 1)
	f.Add("a b\nc ", 2000)
	f.Add("😀", 3000)
	f.Add("👨‍👩‍👧‍👦\u200b", 900)
	f.Add("e\u0301\u0301 \u00a0", 1500)
	f.Add("\u2800 \r\n", 4097)
	f.Fuzz(func(t *testing.T, unit string, times int) {
		if len(unit) > 200 || times < 0 || times > 5000 || len(unit)*times > 60_000 {
			t.Skip()
		}
		text := CleanText(strings.Repeat(unit, times))
		parts := SplitText(text)
		for i, p := range parts {
			if n := UTF16Len(p); n > MaxPart || Blank(p) || !utf8.ValidString(p) {
				t.Errorf("part %d of %d has %d units, blank %v", i, len(parts), n, Blank(p))
			}
		}
		// What stands at a cut and shows nothing may be left out, and nothing else.
		seen := func(s string) string {
			return strings.Map(func(r rune) rune {
				if Blank(string(r)) {
					return -1
				}
				return r
			}, s)
		}
		if seen(strings.Join(parts, "")) != seen(text) {
			t.Error("something of the text is lost")
		}
	})
}
