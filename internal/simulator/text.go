package simulator

import (
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	maxTextBytes = 32 << 10 // refused before anything else is looked at
	maxText      = 4096     // code points, as the live server counts them
	maxCaption   = 1024
)

// normalise does to a text what Telegram does (TDLib's clean_input_string and trimming): control characters
// become spaces, carriage returns, U+2028 to U+202E and three combining lines go, the ends are trimmed.
func normalise(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\r', r >= 0x2028 && r <= 0x202e, r == 0x0333, r == 0x033f, r == 0x030a:
			return -1
		case r < ' ':
			return ' '
		}
		return r
	}, text)
	return strings.Trim(text, " \n")
}

// blank says that nothing of the text can be seen. The list of such characters is ours and may differ from
// Telegram's at its edges.
func blank(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool {
		switch {
		case r <= ' ', r == 0x00a0, r == 0x00ad, r == 0x1680, r == 0x180e, r >= 0x2000 && r <= 0x200f,
			r >= 0x2028 && r <= 0x202f, r >= 0x205f && r <= 0x206f, r == 0x2800, r == 0x3000, r == 0xfeff, r == 0xfffc:
			return false
		}
		return true
	}) < 0
}

var commandInText = regexp.MustCompile(`(?:^|\s)(/[A-Za-z0-9_]{1,64}(?:@[A-Za-z0-9_]{3,32})?)`)

// entitiesOf finds what Telegram marks by itself; of that the simulator knows commands.
func entitiesOf(text string) []Entity {
	var out []Entity
	for _, at := range commandInText.FindAllStringSubmatchIndex(text, -1) {
		out = append(out, Entity{Type: "bot_command", Offset: units(text[:at[2]]), Length: units(text[at[2]:at[3]])})
	}
	return out
}

// units counts UTF-16 units, which is how entities are measured.
func units(s string) int { return len(utf16.Encode([]rune(s))) }

func length(s string) int { return utf8.RuneCountInString(s) }
