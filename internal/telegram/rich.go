package telegram

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tandem/internal/inbox"
)

// Telegram's own limits of a rich message are 16 levels and 50 files.
const (
	maxLevels = 64
	maxFiles  = 50
	maxFound  = 4_000 // characters of what is found in content that nobody here has met
)

// flat is a rich message as text that can be read from above to below, with its entities and files.
type flat struct {
	text     strings.Builder
	left     int // characters that may be added
	units    int
	entities []inbox.Entity
	urls     int // bytes of their addresses
	files    []inbox.Attachment
	place    *inbox.Place

	begun   bool // there is something on the present line
	pending bool // a label stands on it, which the next block follows
	levels  int
}

// flatten reads a RichMessage.
func flatten(v any) *flat {
	r := &flat{left: maxText}
	m, _ := v.(map[string]any)
	r.blocks(m["blocks"])
	if r.text.Len() == 0 && len(r.files) == 0 { // of another form
		found := &finds{}
		found.look("rich_message", v, 0)
		r.put(found.text())
		r.files = found.attachments
	}
	return r
}

func (r *flat) result() (string, []inbox.Entity, []inbox.Attachment, *inbox.Place) {
	text := strings.TrimRight(r.text.String(), " \n")
	if inbox.Blank(text) {
		return "", nil, r.files, r.place
	}
	units := inbox.UTF16Len(text)
	entities := r.entities[:0]
	for _, e := range r.entities {
		if e.Length = min(e.Length, units-e.Offset); e.Length > 0 {
			entities = append(entities, e)
		}
	}
	slices.SortStableFunc(entities, func(a, b inbox.Entity) int { return a.Offset - b.Offset })
	return text, entities, r.files, r.place
}

// put adds words as they are.
func (r *flat) put(s string) {
	s = inbox.CleanText(s)
	for i := range s {
		if r.left == 0 {
			s = s[:i]
			break
		}
		r.left--
	}
	if s == "" {
		return
	}
	r.text.WriteString(s)
	r.units += inbox.UTF16Len(s)
	r.begun = !strings.HasSuffix(s, "\n")
	r.pending = false
}

// line begins a line, unless a label waits for what is to stand behind it.
func (r *flat) line() {
	if r.begun && !r.pending {
		r.put("\n")
	}
	r.pending = false
}

// mark makes what do adds an entity of that type.
func (r *flat) mark(e inbox.Entity, do func()) {
	i := len(r.entities)
	keep := i < maxEntities && fieldName.MatchString(e.Type) && len(e.URL) <= maxURL && r.urls+len(e.URL) <= maxURLsBytes
	if keep {
		r.urls += len(e.URL)
		e.Offset = r.units
		r.entities = append(r.entities, e)
	}
	do()
	if keep {
		r.entities[i].Length = r.units - e.Offset
	}
}

// deeper does something one level below, if there may be one.
func (r *flat) deeper(do func()) {
	if r.levels == maxLevels {
		return
	}
	r.levels++
	do()
	r.levels--
}

func (r *flat) blocks(v any) {
	list, _ := v.([]any)
	for _, b := range list {
		if r.left == 0 {
			return
		}
		r.deeper(func() { r.block(b) })
	}
}

func (r *flat) block(v any) {
	b, ok := v.(map[string]any)
	if !ok {
		r.line()
		r.inline(v)
		return
	}
	switch kind, _ := b["type"].(string); kind {
	case "paragraph", "footer", "thinking":
		r.line()
		r.inline(b["text"])
	case "heading":
		r.line()
		r.mark(inbox.Entity{Type: "bold"}, func() { r.inline(b["text"]) })
	case "pre":
		language, _ := b["language"].(string)
		r.line()
		r.mark(inbox.Entity{Type: "pre", Language: oneLine(short(language, 64))}, func() { r.inline(b["text"]) })
	case "mathematical_expression":
		r.line()
		r.inline(v)
	case "divider":
		r.line()
		r.put("———")
	case "anchor":
	case "list":
		items, _ := b["items"].([]any)
		for _, i := range items {
			if r.left == 0 {
				return
			}
			item, _ := i.(map[string]any)
			r.line()
			r.put(itemLabel(item))
			r.pending = true
			r.blocks(item["blocks"])
			r.inline(item["text"])
			r.pending = false
		}
	case "blockquote", "pullquote":
		r.line()
		r.mark(inbox.Entity{Type: "blockquote"}, func() {
			r.inline(b["text"])
			r.blocks(b["blocks"])
			r.credit(b["credit"])
		})
	case "details":
		r.line()
		r.mark(inbox.Entity{Type: "bold"}, func() { r.inline(b["summary"]) })
		r.blocks(b["blocks"])
	case "table":
		r.line()
		r.inline(b["caption"])
		rows, _ := b["cells"].([]any)
		for _, row := range rows {
			if r.left == 0 {
				return
			}
			r.line()
			cells, _ := row.([]any)
			for i, cell := range cells {
				if i > 0 {
					r.put(" | ")
				}
				r.inline(cell)
			}
		}
	case "collage", "slideshow":
		r.blocks(b["blocks"])
		r.caption(b["caption"])
	case "map":
		f := raised(b["location"])
		if p := placeOf(f); p != nil {
			r.line()
			r.put(fmt.Sprintf("%.5f, %.5f", p.Latitude, p.Longitude))
			if r.place == nil {
				r.place = p
			}
		}
		r.caption(b["caption"])
	default:
		if value, ok := b[kind]; ok && kind != "" && kind != "type" { // photo, video, voice_note, ...
			raw, err := json.Marshal(value)
			if a, ok := attachment(kind, raw); err == nil && ok {
				if len(r.files) < maxFiles {
					r.files = append(r.files, a)
				}
				r.caption(b["caption"])
				return
			}
		}
		// A block that came to Telegram after this was written: by its words.
		r.line()
		r.inline(b["text"])
		r.blocks(b["blocks"])
		found := &finds{}
		for _, name := range slices.Sorted(maps.Keys(b)) {
			if name != "text" && name != "blocks" {
				found.look(name, b[name], r.levels)
			}
		}
		if words := found.text(); words != "" {
			r.line()
			r.put(words)
		}
		r.files = append(r.files, found.attachments[:min(len(found.attachments), maxFiles-len(r.files))]...)
	}
}

// itemLabel is what stands before an item: its number, a box, or a point.
func itemLabel(item map[string]any) string {
	if has, _ := item["has_checkbox"].(bool); has {
		if done, _ := item["is_checked"].(bool); done {
			return "☑ "
		}
		return "☐ "
	}
	if label, _ := item["label"].(string); !inbox.Blank(label) {
		return oneLine(short(label, 64)) + " "
	}
	return "• "
}

func (r *flat) credit(v any) {
	if v != nil {
		r.line()
		r.put("— ")
		r.inline(v)
	}
}

// caption is that of a block: a RichBlockCaption, or a rich text where an older form has one.
func (r *flat) caption(v any) {
	c, ok := v.(map[string]any)
	if _, typed := c["type"]; !ok || typed {
		if v != nil {
			r.line()
			r.inline(v)
		}
		return
	}
	r.line()
	r.inline(c["text"])
	r.credit(c["credit"])
}

// inline adds a RichText: a string, a list, or an object with a type.
func (r *flat) inline(v any) {
	if r.left == 0 {
		return
	}
	switch t := v.(type) {
	case string:
		r.put(t)
	case []any:
		for _, part := range t {
			r.deeper(func() { r.inline(part) })
		}
	case map[string]any:
		kind, _ := t["type"].(string)
		e := inbox.Entity{Type: kind}
		switch kind {
		case "url":
			e.Type = "text_link"
			e.URL, _ = t["url"].(string)
		case "email_address":
			e.Type = "email"
		case "mathematical_expression":
			e.Type = "code"
		case "custom_emoji":
			id, _ := t["custom_emoji_id"].(string)
			e.CustomEmojiID = oneLine(short(id, 64))
		case "text_mention":
			e.User = entityUser(raised(t["user"]))
		}
		e.URL = inbox.CleanText(e.URL)
		r.mark(e, func() {
			before := r.units
			for _, name := range []string{"text", "expression", "alternative_text"} {
				if part, ok := t[name]; ok {
					r.deeper(func() { r.inline(part) })
					break
				}
			}
			if r.units == before && kind != "anchor" {
				found := &finds{}
				found.look("", v, r.levels)
				r.put(found.text())
			}
		})
	}
}

// raised makes fields of a value that was read already.
func raised(v any) fields {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return object(raw)
}

// finds are the words and files in something whose form is not known.
type finds struct {
	words       []string
	characters  int
	attachments []inbox.Attachment
}

func (f *finds) text() string { return strings.Join(f.words, "\n") }

// unsaid are names of fields whose strings are nobody's words.
var unsaid = map[string]bool{
	"id": true, "type": true, "mime_type": true, "file_id": true, "file_unique_id": true, "language_code": true,
	"thumbnail": true, "thumb": true, "cover": true, "invoice_payload": true, "file_path": true, "hash": true,
}

// look collects what is in the value of a field.
func (f *finds) look(name string, v any, level int) {
	if level >= maxLevels || unsaid[name] || strings.HasSuffix(name, "_id") || strings.HasSuffix(name, "_ids") {
		return
	}
	switch t := v.(type) {
	case string:
		if t = strings.TrimSpace(short(t, maxFound)); inbox.Blank(t) || f.characters >= maxFound {
			return
		}
		t = short(t, maxFound-f.characters)
		f.characters += len([]rune(t))
		f.words = append(f.words, t)
	case []any:
		if f.file(name, t) {
			return
		}
		for _, part := range t {
			f.look(name, part, level+1)
		}
	case map[string]any:
		isFile := f.file(name, t)
		for _, key := range slices.Sorted(maps.Keys(t)) {
			if isFile && key == "file_name" { // it stands at the file
				continue
			}
			f.look(key, t[key], level+1)
		}
	}
}

// file adds a file, or a photo with its sizes.
func (f *finds) file(name string, v any) bool {
	one, _ := v.(map[string]any)
	if sizes, ok := v.([]any); ok && len(sizes) > 0 {
		one, _ = sizes[len(sizes)-1].(map[string]any)
		if _, sized := one["width"]; !sized {
			return false
		}
	}
	if id, _ := one["file_id"].(string); id == "" || len(f.attachments) == maxFiles {
		return false
	}
	raw, err := json.Marshal(one)
	if err != nil {
		return false
	}
	a, ok := attachment(name, raw)
	if ok {
		f.attachments = append(f.attachments, a)
	}
	return ok
}
