package web

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"tandem/internal/inbox"
)

// layout is what every page has.
type layout struct {
	Title    string
	Operator string // "" when nobody is signed in
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
	Status string // open, closed or all
	Tabs   []tab
	Items  []itemView
	Source string // address of the fragment
	Next   string // address of the page with older ones, "" when there are none
	Paged  bool   // not the newest
	First  string // address of the newest

	Trouble *banner // why it is empty although there may be something
}

type tab struct {
	Label, Link string
	Current     bool
}

type itemView struct {
	Link, Name, Username, Initial, Hue string
	Current, Closed                    bool
	Unreachable                        string   // why nothing can be delivered, in a few words
	From                               string   // who wrote the last message, "" for the customer
	Labels                             []string // what is ours to say of it
	Snippet                            string   // the sender's words and nothing else
	State, StateWords                  string   // of the last message, when it is an answer
	Time                               timeView
}

type conversationView struct {
	ID               int64
	Name, Username   string
	Initial, Hue     string
	Closed           bool
	Unreachable      string // why nothing can be delivered, in a sentence
	Back             string // address of the list
	Query            string // keeps the filter of the list: "?status=..."
	Messages         []messageView
	Older, Newest    string // addresses, "" when there is nothing
	HeadSource       string
	MessagesSource   string
	Key, Text, Error string // of the answer form
	Max              int
}

type messageView struct {
	ID              int64
	Out, Auto       bool
	Author          string   // a name
	Label           string   // what is ours to say of the author
	Forwarded       *forward // whose words these are
	Notice          string   // what is ours to say of the content
	Details, Text   string   // the sender's
	Time            timeView
	Edited          *timeView
	ReplyTo         int64
	Attachments     []attachmentView
	State           string
	StateWords      string
	Error, Explain  string
	Waits           string // why it is not sent yet, "" for no reason to be told
	Until           *timeView
	Parts           []partView // of an answer in several, while not all are sent
	TakeBack        string     // address, "" when it does not wait
	TakeBackAPI     string
	Deleted         bool
	Retry           string // address, "" when it cannot be sent again
	RetryAPI, Again string
}

type partView struct{ State, Words string }

type forward struct {
	Name string // "" when Telegram gives none
	Of   string // what has that name, "" for a person
}

type attachmentView struct{ Name, Detail string }

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
	if m := c.LastMessage; m != nil {
		v.Time = at(m.CreatedAt)
		v.Labels, v.Snippet = snippet(*m)
		if m.Direction == inbox.Out {
			var label string
			if v.From, label = author(m.Author); label != "" {
				v.Labels = append([]string{label}, v.Labels...)
			}
			v.State, v.StateWords = string(m.Delivery), deliveryWords[m.Delivery]
			if m.DeletedAt != nil {
				v.State, v.Labels = "", append(v.Labels, "Taken back")
			}
		}
	}
	return v
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
func snippet(m inbox.Message) (labels []string, text string) {
	if m.Forwarded != nil {
		labels = append(labels, "Forwarded")
	}
	if m.Notice != "" {
		labels = append(labels, capital(m.Notice))
	}
	text = m.Text
	if inbox.Blank(text) {
		text = m.Details
	}
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > 140 {
		text = string(r[:140]) + "…"
	}
	return labels, text
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
		Text: m.Text, Details: m.Details, Time: at(m.CreatedAt)}
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
	if m.TelegramDate != nil {
		v.Time = at(*m.TelegramDate)
	}
	if m.EditedAt != nil {
		t := at(*m.EditedAt)
		v.Edited = &t
	}
	if m.ReplyTo != nil {
		v.ReplyTo = *m.ReplyTo
	}
	for _, a := range m.Attachments {
		v.Attachments = append(v.Attachments, viewAttachment(a))
	}
	if !v.Out {
		return v
	}
	if m.DeletedAt != nil {
		v.StateWords, v.Deleted = "taken back", true
		return v
	}
	v.State, v.StateWords, v.Error = string(m.Delivery), deliveryWords[m.Delivery], sentence(m.Error)
	if w := m.Waits; w != nil {
		v.Waits = sentence(w.Text)
		v.TakeBack = fmt.Sprintf("/messages/%d/take-back%s", m.ID, query)
		v.TakeBackAPI = fmt.Sprintf("/api/v1/messages/%d", m.ID)
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

func viewAttachment(a inbox.Attachment) attachmentView {
	v := attachmentView{Name: a.Name}
	detail := []string{capital(inbox.KindName(a.Kind))}
	if inbox.Blank(v.Name) {
		v.Name, detail = capital(inbox.KindName(a.Kind)), nil
	}
	if a.MediaType != "" {
		detail = append(detail, a.MediaType)
	}
	if a.Size > 0 {
		detail = append(detail, sizeWords(a.Size))
	}
	v.Detail = strings.Join(detail, " · ")
	return v
}

func sizeWords(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d bytes", n)
	case n < 1000_000:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
