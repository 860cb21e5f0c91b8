package inbox

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// MaxFormerNames is how many former names of a customer are kept.
const MaxFormerNames = 20

// PlainName is what a customer is called of whom Telegram gives no name.
func PlainName(id int64, username string) string {
	if username != "" {
		return "@" + username
	}
	return fmt.Sprintf("User %d", id)
}

// Known is the customer as he is to be stored who was known as was, and his former names. Telegram gives an empty name
// for an account that was deleted, and for a moment after a change: that wipes no name. One that a username stood for
// is none.
func (c Customer) Known(was Customer, former []string) (Customer, []string) {
	if c.Nameless && was.Name != PlainName(was.ID, was.Username) {
		c.Name = was.Name
	}
	c.Nameless = false
	remember := func(name, now string) {
		if name == "" || name == now || Blank(name) {
			return
		}
		former = append([]string{name}, slices.DeleteFunc(slices.Clone(former), func(n string) bool { return n == name })...)
	}
	remember(atName(was.Username), atName(c.Username))
	if was.Name != PlainName(was.ID, was.Username) {
		remember(was.Name, c.Name)
	}
	former = slices.DeleteFunc(slices.Clone(former), func(n string) bool { return n == c.Name || n == atName(c.Username) })
	return c, former[:min(len(former), MaxFormerNames)]
}

func atName(username string) string {
	if username == "" {
		return ""
	}
	return "@" + username
}

// SearchText is all in which a search finds the customer.
func (c Customer) SearchText(former []string) string {
	return strings.Join(append([]string{c.Name, c.Username}, former...), "\n")
}

// EncodeNames is a list of names as it is stored, DecodeNames what was stored.
func EncodeNames(names []string) string {
	if len(names) == 0 {
		return ""
	}
	b, err := json.Marshal(names)
	if err != nil { // no list of strings makes one
		return ""
	}
	return string(b)
}

// DecodeNames is never nil.
func DecodeNames(stored string) []string {
	var names []string
	if stored == "" || json.Unmarshal([]byte(stored), &names) != nil || names == nil {
		return []string{}
	}
	return names
}
