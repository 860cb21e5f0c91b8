package telegram

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// Token is a bot's token. However it is printed, its secret half is not shown. The secret is behind a pointer, because
// fmt also prints the unexported fields of a struct, and calls no String for them.
type Token struct {
	id     int64
	secret *string
}

// tokenForm is stricter than the rule of Telegram's server: an id of at most 17 digits without a leading zero, a colon
// and anything without a slash, in at most 80 characters (tdlib/telegram-bot-api, ClientManager::send). What BotFather
// gives has 35 characters after the colon, but nobody promises that.
var tokenForm = regexp.MustCompile(`^([1-9][0-9]{0,16}):([A-Za-z0-9_-]{20,})$`)

const wantToken = "want a token like 123456789:AAE... as @BotFather gives it: "

// ParseToken reads a token as BotFather gives it. The error says what is wrong without showing any of it.
func ParseToken(s string) (Token, error) {
	m := tokenForm.FindStringSubmatch(s)
	switch {
	case m != nil && len(s) <= 80:
	case !strings.Contains(s, ":"):
		return Token{}, errors.New(wantToken + "a number, a colon and a secret; there is no colon in it")
	default:
		return Token{}, errors.New(wantToken + "a number, a colon and at least 20 letters, digits, _ or -")
	}
	id, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return Token{}, errors.New("the number before the colon of the token is too large")
	}
	return Token{id: id, secret: &m[2]}, nil
}

// BotID is the number before the colon: the user id of the bot, which a new token for it keeps.
func (t Token) BotID() int64 { return t.id }

// Secrets are the strings that must not be in any line of a log.
func (t Token) Secrets() []string { return []string{t.wire(), *t.secret} }

// wire is the token as it stands in the path of a request.
func (t Token) wire() string { return strconv.FormatInt(t.id, 10) + ":" + *t.secret }

func (t Token) String() string   { return strconv.FormatInt(t.id, 10) + ":[secret]" }
func (t Token) GoString() string { return t.String() }

// MarshalText keeps the secret out of JSON and of slog's attributes.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
