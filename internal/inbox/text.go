package inbox

import (
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

const (
	// MaxAnswer is the longest answer that is taken, in characters (code points).
	MaxAnswer = 32_000
	// MaxPart is the longest text of one Telegram message, in UTF-16 code units. Some say that Telegram counts
	// characters, others that it counts UTF-16 units. This is within both (Bot API: sendMessage).
	MaxPart = 4096
)

// CleanText makes text storable: valid UTF-8 without U+0000, which PostgreSQL refuses, and line ends as \n.
func CleanText(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	return strings.ReplaceAll(s, "\r\n", "\n")
}

// Blank says whether Telegram would refuse the text as empty: it shows nothing.
func Blank(s string) bool {
	for _, r := range s {
		switch {
		case unicode.IsSpace(r), unicode.Is(unicode.Cf, r), unicode.IsControl(r):
		case strings.ContainsRune("\u2800\u3164\u115F\u1160\uFFA0", r): // blanks that count as letters or symbols
		default:
			return false
		}
	}
	return true
}

// SplitText cuts text into parts of at most MaxPart UTF-16 units, none of them blank: at the end of a line if
// there is one in the last half of a part, else at a space, else between two characters as a reader sees them.
// All parts joined, with the white space at the cuts, give the text again.
func SplitText(s string) []string {
	var parts []string
	for UTF16Len(s) > MaxPart {
		n := cut(s)
		if part := strings.TrimSpace(s[:n]); !Blank(part) {
			parts = append(parts, part)
		}
		s = s[n:]
	}
	if part := strings.TrimSpace(s); !Blank(part) {
		parts = append(parts, part)
	}
	return parts
}

// cut returns where the first part of s ends, in bytes. s is longer than a part.
func cut(s string) int {
	var units, end, line, space int
	state, rest := -1, s
	for rest != "" {
		var cluster string
		cluster, rest, _, state = uniseg.FirstGraphemeClusterInString(rest, state)
		n := UTF16Len(cluster)
		if units+n > MaxPart {
			break
		}
		units += n
		end += len(cluster)
		if units > MaxPart/2 {
			switch {
			case strings.HasSuffix(cluster, "\n"):
				line = end
			case strings.TrimSpace(cluster) == "":
				space = end
			}
		}
	}
	switch {
	case line > 0:
		return line
	case space > 0:
		return space
	case end > 0:
		return end
	}
	return cutCluster(s) // one character that alone is longer than a message
}

func cutCluster(s string) int {
	units := 0
	for i, r := range s {
		n := utf16.RuneLen(r)
		if n < 0 {
			n = 1
		}
		if units+n > MaxPart {
			return i
		}
		units += n
	}
	return len(s)
}

// UTF16Len is how long a text is in UTF-16 units, in which Telegram counts and our API too.
func UTF16Len(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r > 0xFFFF && r <= utf8.MaxRune {
			n++
		}
	}
	return n
}
