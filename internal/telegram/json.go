package telegram

import (
	"bytes"
	"encoding/json"
)

// fields are those of a JSON object, each decoded for itself: telebot's types fail as a whole where Telegram
// sends one field in a form that they do not know, and panic at an empty list of photo sizes.
type fields map[string]json.RawMessage

// get decodes the field name; ok is false where it is missing, null, or of another form.
func get[T any](f fields, name string) (value T, ok bool) {
	raw, ok := f[name]
	if !ok || string(raw) == "null" {
		return value, false
	}
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	err := json.Unmarshal(raw, &value)
	return value, err == nil
}

func (f fields) has(name string) bool {
	raw, ok := f[name]
	return ok && string(raw) != "null"
}

// object reads the fields of a JSON object; nil where it is none.
func object(raw json.RawMessage) fields {
	var f fields
	if json.Unmarshal(raw, &f) == nil {
		return f
	}
	names, values, ok := shallow(raw, '{')
	if !ok {
		return nil
	}
	f = make(fields, len(names))
	for i, name := range names {
		var s string
		if json.Unmarshal(name, &s) != nil {
			return nil
		}
		f[s] = values[i]
	}
	return f
}

// list reads the values of a JSON list.
func list(raw json.RawMessage) (values []json.RawMessage, ok bool) {
	if json.Unmarshal(raw, &values) == nil {
		return values, values != nil
	}
	_, values, ok = shallow(raw, '[')
	return values, ok
}

// tooDeep is the nesting that encoding/json refuses as a whole. One value that is nested like that must not cost the
// others.
const tooDeep = 10_000

// shallow cuts an object or a list that is nested too deep for encoding/json into its members, without looking into
// them: what each of them is worth shows when it is read. ok is false for JSON of less depth, which encoding/json has
// refused for something else.
func shallow(raw []byte, opening byte) (names, values []json.RawMessage, ok bool) {
	raw = bytes.TrimSpace(raw)
	if len(raw) < 2 || raw[0] != opening {
		return nil, nil, false
	}
	depth, deepest, begin, colon, quoted := 0, 0, 1, -1, false
	member := func(end int) bool {
		if len(values) == 0 && colon < 0 && depth == 0 && len(bytes.TrimSpace(raw[begin:end])) == 0 {
			return true // {} and []
		}
		if (opening == '{') != (colon >= 0) {
			return false
		}
		if opening == '{' {
			names, begin = append(names, bytes.TrimSpace(raw[begin:colon])), colon+1
		}
		values = append(values, bytes.TrimSpace(raw[begin:end]))
		begin, colon = end+1, -1
		return true
	}
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
			if depth > 0 {
				continue
			}
			return names, values, member(i) && i == len(raw)-1 && deepest >= tooDeep
		case c == ',' && depth == 1:
			if !member(i) {
				return nil, nil, false
			}
		case c == ':' && depth == 1 && colon < 0 && opening == '{':
			colon = i
		}
	}
	return nil, nil, false
}
