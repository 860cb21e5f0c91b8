package web

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"tandem/internal/inbox"
)

// layout is what every page has.
type layout struct {
	Title    string
	Operator string // "" when nobody is signed in
	Me       int64  // his id
	Banner   *banner
	Refresh  int    // seconds after which the page loads itself again, 0 for never
	Screen   string // list, conversation, or "" for a page of text
	Event    int64  // from which the page's stream goes on
	Live     bool
}

// inboxPage is the list, and beside it one conversation.
type inboxPage struct {
	layout
	List         *listView
	Conversation *conversationView // nil when none is chosen
}

type listView struct {
	Query  string
	View   string // one of inbox.Views
	Tag    string
	Views  viewsView
	Items  []itemView
	Source string // address of the fragment
	Next   string // address of the page with older ones, "" when there are none
	Paged  bool   // not the newest
	First  string // address of the newest
	Leave  string // address of the list without the search

	Incomplete    bool // older messages are not in the index yet
	ReachesBackTo *timeView

	Trouble *banner // why it is empty although there may be something
}

type itemView struct {
	Link, Name, Username, Initial, Hue string
	Current, Closed                    bool
	Unreachable                        string        // why nothing can be delivered, in a few words
	From                               string        // who wrote the last message, "" for the customer
	Labels                             []string      // what is ours to say of it
	Snippet                            template.HTML // the sender's words and nothing else
	State, StateWords                  string        // of the last message, when it is an answer
	Time                               timeView
	itemTeam
}

type conversationView struct {
	conversationTeam
	ID               int64
	Name, Username   string
	Initial, Hue     string
	Closed           bool
	Unreachable      string   // why nothing can be delivered, in a sentence
	Former           []string // names of before
	Back             string   // address of the list
	Query            string   // keeps the filter of the list: "?status=..."
	Messages         []messageView
	Older, Newest    string // addresses, "" when there is nothing
	HeadSource       string
	DeskSource       string
	MessagesSource   string
	Key, Text, Error string // of the answer form
	Max              int
	ReplyTo          *replyView // what the answer replies to, nil for nothing
	Topics           bool       // the chat has topics
	TopicID          int64      // where the answer goes
	Topic            string
}

type messageView struct {
	Memo            *memoView // a note, and no message
	Deed            *deedView // what was done, and no message
	ID              int64
	Out, Auto       bool
	Author          string        // a name
	Label           string        // what is ours to say of the author
	Forwarded       *forward      // whose words these are
	Notice          string        // what is ours to say of the content
	Details         string        // the sender's
	Text            template.HTML // the sender's
	Service         bool
	Reactions       []inbox.Reaction
	Topic           string // its name, or its number
	ViaBot          string
	Items           []inbox.Item
	Place           string // address of a map
	Reply           *replyView
	Time            timeView
	Edited          *timeView
	EditedTimes     string // how often, in words
	EditsLink       string // address of what it said before, "" where nothing is kept
	EditsSource     string // the same for the script
	Attachments     []attachmentView
	Album           string // of the pictures that were sent together, "" for none
	AlbumStart      bool   // it is the first of its album on the page
	AlbumEnd        bool
	State           string
	StateWords      string
	Error, Explain  string
	Waits           string // why it is not sent yet, "" for no reason to be told
	Until           *timeView
	Parts           []partView // of an answer in several, while not all are sent
	TakeBack        string     // address, "" when it does not wait
	TakeBackAPI     string
	Deleted         bool
	Change          string // how far an edit or deletion is, "" for none
	ChangeFailed    bool
	ChangeLink      string // address of the page that edits and deletes it, "" where it cannot be
	Retry           string // address, "" when it cannot be sent again
	MainChat        string // the same, out of its topic; "" when it has none
	MainChatAPI     string
	ReplyLink       string // address of the page on which an answer replies to it
	TopicID         int64
	RetryAPI, Again string
}

// IsDone says that a task is done.
func (messageView) IsDone(i inbox.Item) bool { return i.Done != nil && *i.Done }

// replyView is the line above a message that replies to another one.
type replyView struct {
	Link   string // address of the page with it, "" where it is not stored
	ID     int64
	From   string
	Label  string // what is ours to say of it
	Text   string
	Quoted bool
}

type partView struct{ State, Words string }

type forward struct {
	Name string // "" when Telegram gives none
	Of   string // what has that name, "" for a person
}

// timeView is a time in UTC; the page's script shows it in the reader's zone.
type timeView struct{ Machine, Human string }

func at(t time.Time) timeView {
	t = t.UTC()
	human := t.Format("2 Jan 15:04") + " UTC"
	if t.Year() != time.Now().UTC().Year() {
		human = t.Format("2 Jan 2006 15:04") + " UTC"
	}
	return timeView{t.Format(time.RFC3339), human}
}

func customerName(c inbox.Customer) string {
	if inbox.Blank(c.Name) {
		return "No name"
	}
	return strings.Join(strings.Fields(c.Name), " ")
}

func initial(name string) string {
	for _, r := range name {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	return "?"
}

func hue(id int64) string { return "hue" + strconv.FormatInt(((id%6)+6)%6, 10) }

var deliveryWords = map[inbox.DeliveryState]string{
	inbox.Queued:  "waiting to be sent",
	inbox.Sending: "being sent",
	inbox.Sent:    "sent",
	inbox.Failed:  "not delivered",
	inbox.Unknown: "may have been delivered",
}

const unknownExplained = "Telegram may have taken this answer, so it is not sent again by itself. " +
	"Sent again, the customer may get it twice."

func viewItem(c inbox.Conversation, link string, current bool) itemView {
	name := customerName(c.Customer)
	v := itemView{Link: link, Name: name, Username: c.Customer.Username, Initial: initial(name), Hue: hue(c.Customer.ID),
		Current: current, Closed: c.Status == inbox.Closed, Unreachable: unreachable(c).short, Time: at(c.CreatedAt)}
	if m := c.Edited; m != nil && m.EditedAt != nil {
		v.Time = at(*m.EditedAt)
		v.Labels, v.Snippet = snippet(*m)
		v.Labels = append([]string{"Edited"}, v.Labels...)
	} else if m := c.LastMessage; m != nil {
		v.Time = at(m.CreatedAt)
		v.Labels, v.Snippet = snippet(*m)
		if m.Direction == inbox.Out {
			var label string
			if v.From, label = author(m.Author); label != "" {
				v.Labels = append([]string{label}, v.Labels...)
			}
			v.State, v.StateWords = string(m.Delivery), deliveryWords[m.Delivery]
			if m.DeletedAt != nil {
				v.State = ""
				if m.Delivery == inbox.Sent {
					v.Labels = append(v.Labels, "Deleted")
				} else {
					v.Labels = append(v.Labels, "Taken back")
				}
			}
		}
	}
	return v
}

// foundLabels say where a hit is, where that is not the text.
var foundLabels = map[inbox.FoundIn]string{inbox.InFile: "File", inbox.InQuote: "Quoted", inbox.InName: "Customer"}

// viewHit shows what a search found. query is that of the list.
func viewHit(h inbox.SearchHit, query string, current int64) itemView {
	c := h.Conversation
	v := viewItem(c, fmt.Sprintf("/conversations/%d%s", c.ID, query), h.Message == nil && c.ID == current)
	v.Labels, v.From, v.State, v.StateWords = nil, "", "", ""
	if label := foundLabels[h.In]; label != "" {
		v.Labels = []string{label}
	}
	v.Snippet = markedLine(h.Snippet, h.Marks)
	if m := h.Message; m != nil {
		v.Link, v.Time = messageLink(c.ID, m.ID, query), at(m.CreatedAt)
		if m.Direction == inbox.Out {
			var label string
			if v.From, label = author(m.Author); label != "" {
				v.Labels = append([]string{label}, v.Labels...)
			}
		}
	}
	return v
}

// markedLine is a line with marks, which count UTF-16 units.
func markedLine(line string, marks [][2]int) template.HTML {
	var b strings.Builder
	units := utf16.Encode([]rune(line))
	escape := func(from, to int) string { return template.HTMLEscapeString(string(utf16.Decode(units[from:to]))) }
	at := 0
	for _, m := range marks {
		if m[0] < at || m[1] < m[0] || m[1] > len(units) {
			continue
		}
		b.WriteString(escape(at, m[0]) + "<mark>" + escape(m[0], m[1]) + "</mark>")
		at = m[1]
	}
	b.WriteString(escape(at, len(units)))
	return template.HTML(b.String())
}

// unreachableWords say why nothing can be delivered to a customer: in the list, and above his conversation.
type unreachableWords struct{ short, long string }

var whyUnreachable = map[inbox.Reach]unreachableWords{
	inbox.BlockedBot: {"blocked the bot",
		"This customer has blocked the bot: nothing can be delivered until they unblock it."},
	inbox.AccountGone: {"account is gone",
		"This customer's Telegram account is gone: nothing can be delivered any more."},
	inbox.NeverStarted: {"has not started the bot",
		"This customer has not started the bot, or has deleted the chat: nothing can be delivered until they write again."},
	inbox.Reachable: {"cannot be reached", "This customer has blocked the bot, or their Telegram account is gone: " +
		"nothing can be delivered until they write again."},
}

func unreachable(c inbox.Conversation) unreachableWords {
	if !c.Blocked {
		return unreachableWords{}
	}
	words, ok := whyUnreachable[c.Unreachable]
	if !ok { // a reason of a later version
		words = whyUnreachable[inbox.Reachable]
	}
	return words
}

// snippet is what the list shows of a message: what is ours to say of it, and the sender's words.
func snippet(m inbox.Message) (labels []string, shown template.HTML) {
	if m.Forwarded != nil {
		labels = append(labels, "Forwarded")
	}
	if m.Notice != "" {
		labels = append(labels, capital(m.Notice))
	}
	text, entities := m.Text, m.Entities
	if inbox.Blank(text) {
		text, entities = m.Details, nil
	}
	if inbox.Blank(text) && len(m.Attachments) > 0 {
		text = m.Attachments[0].Name
	}
	const most = 140
	text = strings.TrimRightFunc(text, unicode.IsSpace)
	if r := []rune(text); len(r) > most {
		text = string(r[:most])
		within := entities[:0:0]
		for _, e := range entities {
			if e.Length = min(e.Length, inbox.UTF16Len(text)-e.Offset); e.Length > 0 {
				within = append(within, e)
			}
		}
		entities = within
		return labels, richLine(text, entities) + "…"
	}
	return labels, richLine(text, entities)
}

// author is the name of who wrote an answer, and what is ours to say of him: a name is whatever somebody chose.
func author(a inbox.Author) (name, label string) {
	switch {
	case a.Kind == inbox.ByBot:
		return "", "Automatic reply"
	case a.Kind == inbox.ByAPI:
		label = "API"
	}
	if inbox.Blank(a.Name) {
		return "No name", label
	}
	return a.Name, label
}

// capital makes words fit to stand at the beginning.
func capital(words string) string {
	if words == "" {
		return ""
	}
	return strings.ToUpper(words[:1]) + words[1:]
}

func viewMessage(m inbox.Message, query string) messageView {
	v := messageView{ID: m.ID, Out: m.Direction == inbox.Out, Auto: m.Author.Kind == inbox.ByBot,
		Details: m.Details, Time: at(m.CreatedAt), Service: m.Service, ViaBot: m.ViaBot, Items: m.Items,
		Reactions: m.Reactions, Topic: topicName(m), TopicID: m.ThreadID, Reply: viewReply(m, query)}
	if !m.Service && m.DeletedAt == nil && (!v.Out || m.Delivery == inbox.Sent) {
		between := "?"
		if query != "" {
			between = query + "&"
		}
		v.ReplyLink = fmt.Sprintf("/conversations/%d%sreply=%d#compose-text", m.ConversationID, between, m.ID)
	}
	text := m.Text
	for _, a := range m.Attachments {
		if strings.TrimSpace(text) == a.Name { // the file says it
			text = ""
		}
	}
	if text != "" {
		v.Text = richText(text, m.Entities)
	}
	if p := m.Place; p != nil {
		v.Place = fmt.Sprintf("https://www.openstreetmap.org/?mlat=%.6f&mlon=%.6f#map=16/%.6f/%.6f",
			p.Latitude, p.Longitude, p.Latitude, p.Longitude)
	}
	v.Author, v.Label = author(m.Author)
	if f := m.Forwarded; f != nil {
		v.Forwarded = &forward{Name: strings.Join(strings.Fields(f.Name), " ")}
		if f.Kind == "channel" || f.Kind == "chat" {
			v.Forwarded.Of = map[string]string{"channel": "the channel", "chat": "the group"}[f.Kind]
		}
	}
	if len(m.Attachments) == 0 || !inbox.Blank(m.Details) { // else the files say it
		v.Notice = capital(m.Notice)
	}
	if m.Pressed != nil {
		v.Notice, v.Details = m.Notice+":", *m.Pressed
		if !inbox.Blank(m.Button) {
			v.Details += " (" + m.Button + ")"
		}
	}
	if m.TelegramDate != nil {
		v.Time = at(*m.TelegramDate)
	}
	if m.Older {
		v.Notice = strings.TrimSuffix("Edited a message from before this inbox: "+m.Notice, ": ")
	}
	if m.EditedAt != nil {
		t := at(*m.EditedAt)
		v.Edited = &t
		if v.EditedTimes = "edited"; m.Edits > 1 {
			v.EditedTimes = fmt.Sprintf("edited %d times", m.Edits)
		}
	}
	if m.Edits > 0 {
		v.EditsLink = fmt.Sprintf("/messages/%d/edits", m.ID)
		v.EditsSource = "/fragments" + v.EditsLink
	}
	for _, a := range m.Attachments {
		v.Attachments = append(v.Attachments, viewAttachment(m, a, query))
	}
	if v.inAlbum() {
		v.Album = m.AlbumID
	}
	if len(m.Items) > 0 {
		v.Details = m.Title
	}
	if len(m.Attachments) == 1 && m.Attachments[0].Kind == m.Kind { // it stands at the file
		v.Attachments[0].Said, v.Notice, v.Details = v.Details, "", ""
	}
	if !v.Out {
		return v
	}
	if m.DeletedAt != nil {
		v.StateWords, v.Deleted = "taken back", true
		if m.Delivery == inbox.Sent {
			v.StateWords = "deleted"
		}
		return v
	}
	v.Change, v.ChangeFailed = changeWords(m), m.Change != nil && m.Change.State == inbox.Failed
	if m.Delivery != inbox.Sending && m.Delivery != inbox.Unknown {
		v.ChangeLink = fmt.Sprintf("/messages/%d/change", m.ID)
	}
	v.State, v.StateWords, v.Error = string(m.Delivery), deliveryWords[m.Delivery], sentence(m.Error)
	if w := m.Waits; w != nil {
		v.Waits = sentence(w.Text)
		if m.Delivery == inbox.Queued {
			v.TakeBack = fmt.Sprintf("/messages/%d/take-back%s", m.ID, query)
			v.TakeBackAPI = fmt.Sprintf("/api/v1/messages/%d", m.ID)
		}
		if w.Until != nil {
			t := at(*w.Until)
			v.Until = &t
		}
	}
	if m.Delivery != inbox.Sent {
		for _, p := range m.Parts {
			words := fmt.Sprintf("Part %d of %d: %s.", p.Part, len(m.Parts), deliveryWords[p.Delivery])
			v.Parts = append(v.Parts, partView{string(p.Delivery), strings.TrimSpace(words + " " + sentence(capital(p.Error)))})
		}
	}
	if m.Delivery == inbox.Failed || m.Delivery == inbox.Unknown {
		v.Retry = fmt.Sprintf("/messages/%d/retry%s", m.ID, query)
		v.RetryAPI = fmt.Sprintf("/api/v1/messages/%d/retry", m.ID)
		v.Again = "Try again"
		if m.ThreadID != 0 {
			between := "?"
			if query != "" {
				between = "&"
			}
			v.MainChat, v.MainChatAPI = v.Retry+between+"topic_id=0", v.RetryAPI+"?topic_id=0"
		}
	}
	if m.Delivery == inbox.Unknown {
		v.Explain, v.Again = unknownExplained, "Send again"
	}
	if v.Parts != nil && v.Retry != "" {
		v.Error = "" // its part says it
		v.Explain = strings.TrimSpace(v.Explain + " " + v.Again + " sends what was not sent, in order.")
	}
	return v
}

// topicName is what a topic is called: by its number where nobody has told its name.
func topicName(m inbox.Message) string {
	switch {
	case m.ThreadID == 0:
		return ""
	case inbox.Blank(m.Topic):
		return strconv.FormatInt(m.ThreadID, 10)
	}
	return m.Topic
}

func viewReply(m inbox.Message, query string) *replyView {
	if m.Reply == nil && m.ReplyTo == nil {
		return nil
	}
	var v replyView
	if r := m.Reply; r != nil {
		v = replyView{From: strings.Join(strings.Fields(r.From), " "), Quoted: r.Quoted, Label: capital(r.Notice),
			Text: strings.Join(strings.Fields(r.Text), " ")}
		switch r.Origin {
		case inbox.FromStory:
			v.Label = "Story"
		case inbox.Elsewhere:
			v.Label = strings.TrimSuffix("From another chat: "+r.Notice, ": ")
		}
	}
	if v.Text == "" && v.Label == "" {
		v.Label = "An earlier message"
	}
	if m.ReplyTo != nil {
		v.ID = *m.ReplyTo
		v.Link = messageLink(m.ConversationID, v.ID, query)
	}
	return &v
}

// groupAlbums marks where the pictures that were sent together begin and end.
func groupAlbums(list []messageView) {
	for i := range list {
		v := &list[i]
		v.AlbumStart = v.Album != "" && (i == 0 || list[i-1].Album != v.Album)
		v.AlbumEnd = v.Album != "" && (i+1 == len(list) || list[i+1].Album != v.Album)
	}
}

// messageLink is the address of the page that has a message, at the message. query is that of the list.
func messageLink(conversation, message int64, query string) string {
	between := "?"
	if query != "" {
		between = query + "&"
	}
	return fmt.Sprintf("/conversations/%d%sat=%d#m%d", conversation, between, message, message)
}
