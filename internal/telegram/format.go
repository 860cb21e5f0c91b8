package telegram

import (
	"encoding/json"
	"math"
	"strings"
	"unicode/utf16"

	"tandem/internal/inbox"
)

// How much is kept of the entities of one message: more than Telegram lets anybody send. The rest is in the raw update.
const (
	maxEntities  = 500
	maxURL       = 4_096     // bytes of one address
	maxURLsBytes = 24 * 1024 // of all addresses
)

// formatted is a text and the entities of it, which count UTF-16 units (Bot API: MessageEntity). Each lies within the
// text that is given back.
func formatted(f fields, textField, entitiesField string) (string, []inbox.Entity) {
	raw, ok := get[string](f, textField)
	if !ok {
		return "", nil
	}
	text := short(raw, maxText)
	list, _ := get[[]json.RawMessage](f, entitiesField)
	if len(list) == 0 || text == "" {
		return text, nil
	}
	at := keptUnits(raw)
	units := inbox.UTF16Len(text)
	var entities []inbox.Entity
	addresses := 0
	for _, raw := range list {
		if len(entities) == maxEntities {
			break
		}
		e, ok := entityOf(object(raw))
		if !ok {
			continue
		}
		from, to := at(e.Offset), units
		if e.Length <= math.MaxInt-e.Offset {
			to = min(at(e.Offset+e.Length), units)
		}
		if e.Offset, e.Length = from, to-from; e.Length <= 0 {
			continue
		}
		if addresses += len(e.URL); addresses > maxURLsBytes {
			break
		}
		entities = append(entities, e)
	}
	return text, entities
}

// keptUnits says where a place of the text is once CleanText has made line ends of one character.
func keptUnits(text string) func(unit int) int {
	if !strings.Contains(text, "\r\n") {
		return func(unit int) int { return unit }
	}
	var moved []int // where each unit goes
	n := 0
	for i, r := range text {
		for range max(utf16.RuneLen(r), 1) {
			moved = append(moved, n)
			if !strings.HasPrefix(text[i:], "\r\n") {
				n++
			}
		}
	}
	return func(unit int) int {
		if unit < len(moved) {
			return moved[unit]
		}
		return n
	}
}

func entityOf(f fields) (e inbox.Entity, ok bool) {
	e.Type, _ = get[string](f, "type")
	e.Offset, ok = get[int](f, "offset")
	if e.Length, _ = get[int](f, "length"); !ok || !fieldName.MatchString(e.Type) || e.Offset < 0 || e.Length <= 0 {
		return e, false
	}
	e.URL = addressOf(f, "url")
	if u, ok := get[fields](f, "user"); ok {
		e.User = entityUser(u)
	}
	language, _ := get[string](f, "language")
	e.Language = oneLine(short(language, 64))
	emoji, _ := get[string](f, "custom_emoji_id")
	e.CustomEmojiID = oneLine(short(emoji, 64))
	return e, true
}

// addressOf is an address that is not too long to be one: cut, it would be another.
func addressOf(f fields, name string) string {
	url, _ := get[string](f, name)
	if len(url) > maxURL {
		return ""
	}
	return inbox.CleanText(url)
}

func entityUser(f fields) *inbox.EntityUser {
	u := user(f)
	return &inbox.EntityUser{ID: u.ID, IsBot: u.IsBot, FirstName: oneLine(short(u.FirstName, maxName)),
		LastName: oneLine(short(u.LastName, maxName)), Username: oneLine(short(u.Username, maxName))}
}
