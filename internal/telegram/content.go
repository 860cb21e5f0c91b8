package telegram

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	tele "gopkg.in/telebot.v3"

	"tandem/internal/inbox"
)

// kind is one sort of content.
type kind struct {
	field string                           // of Message, that holds it
	words func(raw json.RawMessage) string // what the sender put into it, in a line; nil where the name says it all
	file  bool                             // the field describes a file
}

// kinds are in the order in which they are looked for. An animation also has a document, a venue a location, and a
// forwarded story or a reply to one a text. telebot knows most of their types, but not the newer ones.
var kinds = []kind{
	{field: "animation", file: true},
	{field: "audio", words: audio, file: true},
	{field: "document", file: true},
	{field: "paid_media"},
	{field: "live_photo", file: true},
	{field: "photo", file: true},
	{field: "sticker", words: stringField("emoji"), file: true},
	{field: "video", words: duration, file: true},
	{field: "video_note", words: duration, file: true},
	{field: "voice", words: duration, file: true},
	{field: "checklist", words: checklist},
	{field: "contact", words: contact},
	{field: "dice", words: dice},
	{field: "game", words: stringField("title")},
	{field: "poll", words: poll},
	{field: "venue", words: venue},
	{field: "location", words: location},
	{field: "story"},
	{field: "invoice", words: stringField("title")},
	{field: "gift"},
	{field: "unique_gift"},
	{field: "giveaway"},
	{field: "giveaway_winners"},
	{field: "web_app_data", words: stringField("data")},
	{field: "users_shared"},
	{field: "chat_shared"},
	{field: "successful_payment", words: payment},
	{field: "refunded_payment", words: payment},
	{field: "pinned_message"},
	{field: "write_access_allowed"},
	{field: "message_auto_delete_timer_changed"},
	{field: "proximity_alert_triggered"},
	{field: "connected_website"},
	{field: "passport_data"},
	{field: "chat_background_set"},
	{field: "forum_topic_created", words: stringField("name")},
	{field: "forum_topic_edited", words: stringField("name")},
	{field: "forum_topic_closed"},
	{field: "forum_topic_reopened"},
}

// around are the Message fields that say something about a message, but are not what was sent.
var around = map[string]bool{}

func init() {
	for _, name := range strings.Fields(`
		message_id message_thread_id direct_messages_topic from sender_chat sender_boost_count sender_business_bot
		sender_tag date guest_query_id business_connection_id chat forward_origin forward_from forward_from_chat
		forward_from_message_id forward_signature forward_sender_name forward_date is_topic_message
		is_automatic_forward reply_to_message external_reply quote reply_to_story reply_to_checklist_task_id
		reply_to_poll_option_id via_bot edit_date has_protected_content is_from_offline is_paid_post media_group_id
		author_signature paid_star_count text entities link_preview_options suggested_post_info effect_id caption
		caption_entities show_caption_above_media has_media_spoiler reply_markup guest_bot_caller_user
		guest_bot_caller_chat
	`) {
		around[name] = true
	}
}

// fieldName is what names in the Bot API look like. What has another name is no content.
var fieldName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// content says what was sent: the kind by the name of its field, the words that the customer wrote with it and nothing
// else, the details that he put into it beside them, and the file.
func content(f fields) (kindName, text, details string, attachments []inbox.Attachment) {
	if s, ok := get[string](f, "text"); ok {
		if text := links(s, f, "entities"); !inbox.Blank(text) {
			return inbox.KindText, text, "", nil
		}
	}
	caption, _ := get[string](f, "caption")
	text = links(caption, f, "caption_entities")
	if inbox.Blank(text) {
		text = ""
	}
	for _, k := range kinds {
		if !f.has(k.field) {
			continue
		}
		if k.file {
			if a, ok := attachment(k.field, f[k.field]); ok {
				attachments = append(attachments, a)
			}
		}
		return k.field, text, k.details(f[k.field]), attachments
	}
	if text != "" {
		return inbox.KindText, text, "", nil
	}
	// Something that came to Telegram after this was written.
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if !around[name] && fieldName.MatchString(name) && f.has(name) {
			if a, ok := attachment(name, f[name]); ok {
				attachments = append(attachments, a)
			}
			return name, "", "", attachments
		}
	}
	if f.has("text") {
		return inbox.KindText, "", "", nil
	}
	return inbox.KindUnknown, "", "", nil
}

func (k kind) details(raw json.RawMessage) (words string) {
	if k.words == nil {
		return ""
	}
	defer func() { _ = recover() }() // a form that telebot's types do not bear: the name of the kind alone
	return oneLine(k.words(raw))
}

func oneLine(s string) string {
	// More than what is shown, for spaces that will go.
	s = short(strings.Join(strings.Fields(short(s, 4*maxWords)), " "), maxWords)
	if inbox.Blank(s) {
		return ""
	}
	return s
}

// attachment describes the file of a field; of a photo's sizes the largest, which is the last.
func attachment(field string, raw json.RawMessage) (a inbox.Attachment, ok bool) {
	type file struct {
		ID     string `json:"file_id"`
		Unique string `json:"file_unique_id"`
		Size   int64  `json:"file_size"`
		Name   string `json:"file_name"`
		MIME   string `json:"mime_type"`
		Anim   bool   `json:"is_animated"`
		Vid    bool   `json:"is_video"`
	}
	var one file
	if json.Unmarshal(raw, &one) != nil || one.ID == "" {
		var sizes []file
		if json.Unmarshal(raw, &sizes) != nil || len(sizes) == 0 {
			return a, false
		}
		one = sizes[len(sizes)-1]
	}
	if one.ID == "" || len(one.ID) > maxFileID || len(one.Unique) > maxFileID { // cut, it would be of no use
		return a, false
	}
	switch {
	case one.MIME != "":
	case field == "photo":
		one.MIME = "image/jpeg"
	case field == "sticker" && one.Vid:
		one.MIME = "video/webm"
	case field == "sticker" && one.Anim:
		one.MIME = "application/x-tgsticker"
	case field == "sticker":
		one.MIME = "image/webp"
	case field == "voice":
		one.MIME = "audio/ogg"
	case field == "video_note":
		one.MIME = "video/mp4"
	}
	return inbox.Attachment{
		Kind: inbox.CleanText(field), Name: oneLine(one.Name), MediaType: oneLine(one.MIME), Size: max(one.Size, 0),
		FileID: inbox.CleanText(one.ID), FileUniqueID: inbox.CleanText(one.Unique),
	}, true
}

// entity is what is read of a MessageEntity. Its offset and length count UTF-16 units (Bot API: MessageEntity).
type entity struct {
	Type   string `json:"type"`
	Offset int    `json:"offset"`
	Length int    `json:"length"`
	URL    string `json:"url"`
}

// links is the text with the address of each link behind the words that hide it. It goes through the text once,
// however many entities there are and whatever they cover.
func links(text string, f fields, name string) string {
	text = short(text, maxText)
	entities, ok := get[[]entity](f, name)
	if !ok || text == "" {
		return text
	}
	entities = slices.DeleteFunc(entities, func(e entity) bool {
		return e.Type != "text_link" || e.URL == "" || e.Offset < 0 || e.Length <= 0 || e.Offset > math.MaxInt-e.Length
	})
	if len(entities) == 0 {
		return text
	}
	ends := func(e entity) int { return e.Offset + e.Length }
	slices.SortStableFunc(entities, func(a, b entity) int { return cmp.Compare(ends(a), ends(b)) })
	var out strings.Builder
	units := utf16.Encode([]rune(text))
	next, added := 0, 0
	put := func(at int) { // the addresses that stand after so many units
		for ; next < len(entities) && ends(entities[next]) <= at; next++ {
			e := entities[next]
			bare := strings.TrimSuffix(e.URL, "/")
			// Only words of about the address's length can be the address: nothing else is looked at.
			if e.Length <= len(e.URL)+1 && strings.TrimSuffix(string(utf16.Decode(units[e.Offset:ends(e)])), "/") == bare {
				continue
			}
			if words := " (" + oneLine(e.URL) + ")"; added+len(words) <= maxText {
				added += len(words)
				out.WriteString(words)
			}
		}
	}
	at := 0
	for _, r := range text {
		at += max(utf16.RuneLen(r), 1)
		out.WriteRune(r)
		put(at)
	}
	return out.String()
}

// forwardedFrom says whose words these are, nil for the customer's own.
func forwardedFrom(f fields) *inbox.Forward {
	origin, ok := get[fields](f, "forward_origin")
	if !ok && !f.has("forward_date") && !f.has("forward_origin") {
		return nil
	}
	from := &inbox.Forward{Kind: "unknown"}
	if kind, ok := get[string](origin, "type"); ok && fieldName.MatchString(kind) {
		from.Kind = kind
	}
	if u, ok := get[fields](origin, "sender_user"); ok {
		from.Name = oneLine(personName(user(u)))
	} else if name, ok := get[string](origin, "sender_user_name"); ok {
		from.Name = oneLine(name)
	} else {
		for _, field := range []string{"chat", "sender_chat"} {
			c, _ := get[fields](origin, field)
			if title, ok := get[string](c, "title"); ok && oneLine(title) != "" {
				from.Name = oneLine(title)
			}
		}
	}
	return from
}

func stringField(name string) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		s, _ := get[string](object(raw), name)
		return s
	}
}

func as[T any](raw json.RawMessage) T {
	var v T
	_ = json.Unmarshal(raw, &v) // what could be read is in v
	return v
}

func duration(raw json.RawMessage) string {
	d := as[struct {
		Seconds int `json:"duration"`
	}](raw).Seconds
	if d <= 0 {
		return ""
	}
	return fmt.Sprintf("%d:%02d", d/60, d%60)
}

func audio(raw json.RawMessage) string {
	a := as[tele.Audio](raw)
	title := cmp.Or(strings.Trim(a.Performer+" - "+a.Title, " -"), a.FileName)
	return strings.Trim(title+", "+duration(raw), ", ")
}

func contact(raw json.RawMessage) string {
	c := as[tele.Contact](raw)
	return strings.Trim(strings.TrimSpace(c.FirstName+" "+c.LastName)+", "+c.PhoneNumber, ", ")
}

func dice(raw json.RawMessage) string {
	d := as[tele.Dice](raw)
	return fmt.Sprintf("%s %d", d.Type, d.Value)
}

func place(l tele.Location) string { return fmt.Sprintf("%.5f, %.5f", l.Lat, l.Lng) }

func location(raw json.RawMessage) string {
	l := as[tele.Location](raw)
	if l.LivePeriod > 0 {
		return place(l) + ", live for " + (time.Duration(l.LivePeriod) * time.Second).String()
	}
	return place(l)
}

func venue(raw json.RawMessage) string {
	v := as[tele.Venue](raw)
	return strings.Trim(v.Title+", "+v.Address, ", ") + " (" + place(v.Location) + ")"
}

func poll(raw json.RawMessage) string {
	p := as[tele.Poll](raw)
	var options []string
	for _, o := range p.Options {
		options = append(options, o.Text)
	}
	return p.Question + " (" + strings.Join(options, " / ") + ")"
}

func checklist(raw json.RawMessage) string {
	c := as[struct {
		Title string
		Tasks []struct{ Text string }
	}](raw)
	var tasks []string
	for _, t := range c.Tasks {
		tasks = append(tasks, t.Text)
	}
	return c.Title + " (" + strings.Join(tasks, " / ") + ")"
}

func payment(raw json.RawMessage) string {
	p := as[struct {
		Currency string
		Total    int64 `json:"total_amount"`
	}](raw)
	if p.Currency == "" {
		return ""
	}
	return fmt.Sprintf("%d %s, in the smallest unit", p.Total, p.Currency)
}
