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

	tele "gopkg.in/telebot.v3"

	"tandem/internal/inbox"
)

// kind is one sort of content.
type kind struct {
	field string                           // of Message, that holds it
	words func(raw json.RawMessage) string // what the sender put into it, in a line; nil where the name says it all
	file  bool                             // the field describes a file
	// more fills in what else is known of it; nil for nothing.
	more func(raw json.RawMessage, m *inbox.IncomingMessage)
}

// kinds are in the order in which they are looked for. An animation also has a document, a venue a location, and a
// forwarded story or a reply to one a text. telebot knows most of their types, but not the newer ones.
var kinds = []kind{
	{field: "animation", file: true},
	{field: "audio", words: audio, file: true},
	{field: "document", file: true},
	{field: "paid_media", words: paidMedia, more: filesWithin("paid_media")},
	{field: "live_photo", file: true},
	{field: "photo", file: true},
	{field: "sticker", words: stringField("emoji"), file: true},
	{field: "video", words: duration, file: true},
	{field: "video_note", words: duration, file: true},
	{field: "voice", words: duration, file: true},
	{field: "checklist", words: checklist, more: tasks},
	{field: "contact", words: contact},
	{field: "dice", words: dice},
	{field: "game", words: stringField("title")},
	{field: "poll", words: poll, more: options},
	{field: "venue", words: venue, more: placeIn("location")},
	{field: "location", words: location, more: placeIn("")},
	{field: "story", words: story},
	{field: "invoice", words: stringField("title", "description")},
	{field: "gift", words: gift},
	{field: "unique_gift", words: uniqueGift},
	{field: "giveaway", words: giveaway},
	{field: "giveaway_winners", words: giveaway},
	{field: "giveaway_created"},
	{field: "giveaway_completed"},
	{field: "web_app_data", words: stringField("data")},
	{field: "users_shared", words: sharedUsers},
	{field: "chat_shared", words: stringField("title", "username")},
	{field: "successful_payment", words: payment},
	{field: "refunded_payment", words: payment},
	{field: "pinned_message"},
	{field: "write_access_allowed", words: stringField("web_app_name")},
	{field: "message_auto_delete_timer_changed", words: autoDelete},
	{field: "proximity_alert_triggered", words: proximity},
	{field: "connected_website", words: plainString},
	{field: "passport_data"},
	{field: "chat_background_set"},
	{field: "forum_topic_created", words: stringField("name")},
	{field: "forum_topic_edited", words: stringField("name")},
	{field: "forum_topic_closed"},
	{field: "forum_topic_reopened"},
	{field: "checklist_tasks_done", words: tasksDone},
	{field: "checklist_tasks_added", words: tasksAdded},
}

// known are the Message fields that are no unknown content: those of kinds, and those that say something about a
// message, but are not what was sent.
var known = map[string]bool{"rich_message": true}

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
		known[name] = true
	}
	for i := range kinds {
		known[kinds[i].field] = true
		if kinds[i].field == "pinned_message" {
			kinds[i].words = pinned // which reads a message by this very list
		}
	}
}

// fieldName is what names in the Bot API look like. What has another name is no content.
var fieldName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// content fills in what was sent: the kind by the name of its field, the words that the customer wrote with it and
// nothing else, the details that he put into it beside them, and the files.
func content(f fields, m *inbox.IncomingMessage) {
	c := &m.Content
	if rich, ok := get[any](f, "rich_message"); ok && !f.has("text") {
		m.Kind = "rich_message"
		flat := flatten(rich)
		m.Text, c.Entities, m.Attachments, c.Place = flat.result()
		return
	}
	if text, entities := formatted(f, "text", "entities"); !inbox.Blank(text) {
		m.Kind, m.Text, c.Entities = inbox.KindText, text, entities
		if _, found := unknownContent(f); len(found.words) > 0 {
			m.Details, m.Attachments = found.text(), found.attachments
		}
		return
	}
	m.Text, c.Entities = formatted(f, "caption", "caption_entities")
	if inbox.Blank(m.Text) {
		m.Text, c.Entities = "", nil
	}
	for _, k := range kinds {
		if !f.has(k.field) {
			continue
		}
		m.Kind, m.Details = k.field, k.details(f[k.field])
		switch {
		case k.file:
			if a, ok := attachment(k.field, f[k.field]); ok {
				m.Attachments = append(m.Attachments, a)
			}
		case k.more != nil:
			k.enrich(f[k.field], m)
		}
		return
	}
	// Something that came to Telegram after this was written.
	name, found := unknownContent(f)
	switch {
	case name != "" && (m.Text == "" || len(found.words)+len(found.attachments) > 0):
		m.Kind, m.Details, m.Attachments = name, found.text(), found.attachments
	case m.Text != "" || f.has("text"):
		m.Kind = inbox.KindText
	default:
		m.Kind = inbox.KindUnknown
	}
}

// unknownContent is the first field that nobody here has met, and what is found in all such fields.
func unknownContent(f fields) (name string, found *finds) {
	found = &finds{}
	for _, field := range slices.Sorted(maps.Keys(f)) {
		if known[field] || !fieldName.MatchString(field) || !f.has(field) {
			continue
		}
		name = cmp.Or(name, field)
		if v, ok := get[any](f, field); ok {
			found.look(field, v, 0)
		}
	}
	return name, found
}

func (k kind) enrich(raw json.RawMessage, m *inbox.IncomingMessage) {
	defer func() { _ = recover() }() // as in details
	k.more(raw, m)
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
	a = inbox.Attachment{
		Kind: inbox.CleanText(field), Name: oneLine(one.Name), MediaType: oneLine(one.MIME), Size: max(one.Size, 0),
		FileID: inbox.CleanText(one.ID), FileUniqueID: inbox.CleanText(one.Unique),
	}
	addShape(&a, raw)
	return a, true
}

// forwardedFrom says whose words these are, nil for the customer's own.
func forwardedFrom(f fields) *inbox.Forward {
	if !f.has("forward_date") && !f.has("forward_origin") {
		return nil
	}
	return originOf(f, "forward_origin")
}

// originOf reads a MessageOrigin.
func originOf(f fields, name string) *inbox.Forward {
	origin, _ := get[fields](f, name)
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

// stringField joins the strings of some fields.
func stringField(names ...string) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		f := object(raw)
		var words []string
		for _, name := range names {
			if s, _ := get[string](f, name); !inbox.Blank(s) {
				words = append(words, s)
			}
		}
		return strings.Join(words, ", ")
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
	title := strings.Trim(a.Performer+" - "+a.Title, " -") // its name stands at the file
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

// Past this many an item is in the details alone. Telegram's limits are 12 options and 100 tasks.
const maxItems = 100

func poll(raw json.RawMessage) string {
	p := as[tele.Poll](raw)
	var options []string
	for _, o := range p.Options {
		options = append(options, o.Text)
	}
	return p.Question + " (" + strings.Join(options, " / ") + ")"
}

func options(raw json.RawMessage, m *inbox.IncomingMessage) {
	p := as[tele.Poll](raw)
	m.Content.Title = oneLine(p.Question)
	for i, o := range p.Options {
		if i == maxItems {
			break
		}
		item := inbox.Item{Text: oneLine(o.Text)}
		if votes := int64(o.VoterCount); votes > 0 {
			item.Votes = &votes
		}
		m.Content.Items = append(m.Content.Items, item)
	}
}

// task is one of a checklist. It is done if it says when, or who did it.
type task struct {
	ID   int64           `json:"id"`
	Text string          `json:"text"`
	At   int64           `json:"completion_date"`
	User json.RawMessage `json:"completed_by_user"`
	Chat json.RawMessage `json:"completed_by_chat"`
}

func (t task) done() bool {
	there := func(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }
	return t.At > 0 || there(t.User) || there(t.Chat)
}

type taskList struct {
	Title string
	Tasks []task
}

func checklist(raw json.RawMessage) string {
	c := as[taskList](raw)
	var tasks []string
	for _, t := range c.Tasks {
		mark := ""
		if t.done() {
			mark = "☑ "
		}
		tasks = append(tasks, mark+t.Text)
	}
	return c.Title + " (" + strings.Join(tasks, " / ") + ")"
}

func tasks(raw json.RawMessage, m *inbox.IncomingMessage) {
	c := as[taskList](raw)
	m.Content.Title = oneLine(c.Title)
	for i, t := range c.Tasks {
		if i == maxItems {
			break
		}
		done := t.done()
		m.Content.Items = append(m.Content.Items, inbox.Item{Text: oneLine(t.Text), Done: &done})
	}
}

// tasksDone names the tasks that were ticked, and those that were not done after all.
func tasksDone(raw json.RawMessage) string {
	c := as[struct {
		Of struct {
			Checklist taskList
		} `json:"checklist_message"`
		Done    []int64 `json:"marked_as_done_task_ids"`
		NotDone []int64 `json:"marked_as_not_done_task_ids"`
	}](raw)
	named := func(ids []int64, mark string) (words []string) {
		for _, t := range c.Of.Checklist.Tasks {
			if slices.Contains(ids[:min(len(ids), maxItems)], t.ID) {
				words = append(words, mark+t.Text)
			}
		}
		return words
	}
	return strings.Join(append(named(c.Done, "☑ "), named(c.NotDone, "☐ ")...), " / ")
}

func tasksAdded(raw json.RawMessage) string {
	var words []string
	for _, t := range as[taskList](raw).Tasks {
		words = append(words, t.Text)
	}
	return strings.Join(words, " / ")
}

// placeIn sets the place that stands in a field, or that is the whole.
func placeIn(field string) func(json.RawMessage, *inbox.IncomingMessage) {
	return func(raw json.RawMessage, m *inbox.IncomingMessage) {
		if field != "" {
			raw = object(raw)[field]
		}
		m.Content.Place = placeOf(object(raw))
	}
}

func placeOf(f fields) *inbox.Place {
	lat, ok := get[float64](f, "latitude")
	lon, ok2 := get[float64](f, "longitude")
	if !ok || !ok2 || math.Abs(lat) > 90 || math.Abs(lon) > 180 {
		return nil
	}
	return &inbox.Place{Latitude: lat, Longitude: lon}
}

// filesWithin finds the files of a list of media.
func filesWithin(field string) func(json.RawMessage, *inbox.IncomingMessage) {
	return func(raw json.RawMessage, m *inbox.IncomingMessage) {
		found := &finds{}
		v, _ := get[any](object(raw), field)
		found.look(field, v, 0)
		m.Attachments = found.attachments
	}
}

func paidMedia(raw json.RawMessage) string {
	if n, _ := get[int64](object(raw), "star_count"); n > 0 {
		return fmt.Sprintf("%d Stars", n)
	}
	return ""
}

// story is whose story it is.
func story(raw json.RawMessage) string {
	c, _ := get[fields](object(raw), "chat")
	return chatName(c)
}

// chatName is the title of a chat, or the name of the person that it is.
func chatName(c fields) string {
	if title, ok := get[string](c, "title"); ok && !inbox.Blank(title) {
		return oneLine(title)
	}
	u := user(c)
	if name := strings.TrimSpace(u.FirstName + " " + u.LastName); !inbox.Blank(name) {
		return oneLine(name)
	}
	if u.Username != "" {
		return "@" + oneLine(u.Username)
	}
	return ""
}

func gift(raw json.RawMessage) string {
	f := object(raw)
	g, _ := get[fields](f, "gift")
	sticker, _ := get[fields](g, "sticker")
	emoji, _ := get[string](sticker, "emoji")
	words := []string{}
	if emoji != "" {
		words = append(words, emoji)
	}
	if n, _ := get[int64](g, "star_count"); n > 0 {
		words = append(words, fmt.Sprintf("%d Stars", n))
	}
	if text, _ := get[string](f, "text"); !inbox.Blank(text) {
		words = append(words, text)
	}
	return strings.Join(words, ", ")
}

func uniqueGift(raw json.RawMessage) string {
	g, _ := get[fields](object(raw), "gift")
	base, _ := get[string](g, "base_name")
	if n, _ := get[int64](g, "number"); n > 0 && base != "" {
		return fmt.Sprintf("%s #%d", base, n)
	}
	return base
}

func giveaway(raw json.RawMessage) string {
	f := object(raw)
	var words []string
	chats, _ := get[[]fields](f, "chats")
	if c, ok := get[fields](f, "chat"); ok {
		chats = append(chats, c)
	}
	for _, c := range chats[:min(len(chats), maxItems)] {
		words = append(words, chatName(c))
	}
	if n, _ := get[int64](f, "winner_count"); n > 0 {
		words = append(words, fmt.Sprintf("winners: %d", n))
	}
	if n, _ := get[int64](f, "prize_star_count"); n > 0 {
		words = append(words, fmt.Sprintf("%d Stars", n))
	}
	if prize, _ := get[string](f, "prize_description"); !inbox.Blank(prize) {
		words = append(words, prize)
	}
	return strings.Join(slices.DeleteFunc(words, inbox.Blank), ", ")
}

func sharedUsers(raw json.RawMessage) string {
	users, _ := get[[]fields](object(raw), "users")
	var words []string
	for _, u := range users[:min(len(users), maxItems)] {
		name := chatName(u)
		if id, ok := get[int64](u, "user_id"); ok && name == "" {
			name = fmt.Sprintf("User %d", id)
		}
		words = append(words, name)
	}
	return strings.Join(words, ", ")
}

// pinned is the beginning of the message that was pinned.
func pinned(raw json.RawMessage) string { return firstWords(object(raw)).Text }

func autoDelete(raw json.RawMessage) string {
	seconds, ok := get[int64](object(raw), "message_auto_delete_time")
	switch {
	case !ok || seconds < 0:
		return ""
	case seconds == 0:
		return "off"
	case seconds%86_400 == 0:
		return fmt.Sprintf("to %d d", seconds/86_400)
	}
	return "to " + (time.Duration(min(seconds, 1<<31)) * time.Second).String()
}

func proximity(raw json.RawMessage) string {
	f := object(raw)
	traveller, _ := get[fields](f, "traveler")
	watcher, _ := get[fields](f, "watcher")
	metres, _ := get[int64](f, "distance")
	return fmt.Sprintf("%s, %s: %d m", chatName(traveller), chatName(watcher), metres)
}

func plainString(raw json.RawMessage) string { return as[string](raw) }

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
