package inbox

import "time"

// SearchQuery asks for messages and customers by their words. All words have to be in one message, or in the names of
// one customer; package words says where a word is found.
type SearchQuery struct {
	Words        string
	Conversation int64 // messages of this one alone, 0 for names and all messages
	Limit        int   // 1 to 200
	Before       int64 // the id to go on below; 0 begins with names, and with the newest messages
}

// SearchPage is what was found: on the first page customers by their names, then messages, the newest first.
type SearchPage struct {
	Hits []SearchHit
	Next int64 // continues the list as Before, 0 at its end
	// Complete is false while older messages are not in the index yet. It goes back to the time given, if any.
	Complete      bool
	ReachesBackTo *time.Time
}

// SearchHit is a place where the words were found.
type SearchHit struct {
	Message      *Message     `json:"message"` // nil for a name
	Conversation Conversation `json:"conversation"`
	In           FoundIn      `json:"in"`
	Snippet      string       `json:"snippet"` // in one line
	Marks        [][2]int     `json:"marks"`   // where the words are in it: from and to, in UTF-16 units
}

// FoundIn is where in a message words were found.
type FoundIn string

const (
	InText    FoundIn = "text"
	InCaption FoundIn = "caption" // the text of a message with files
	InFile    FoundIn = "file"    // the name of one
	InQuote   FoundIn = "quote"   // the words that it replies to
	InName    FoundIn = "name"    // a name of the customer, or his number
)

// SearchField is a part of a message, or of what is known of a customer, that can be found.
type SearchField struct {
	In   FoundIn
	Text string
}

// SearchFields are all parts of a message that can be found: what somebody wrote or sent first, what is ours to say of
// it last.
func (m Message) SearchFields() []SearchField {
	var fields []SearchField
	add := func(in FoundIn, text string) {
		if text != "" {
			fields = append(fields, SearchField{in, text})
		}
	}
	text := InText
	if len(m.Attachments) > 0 {
		text = InCaption
	}
	add(text, m.Text)
	add(InText, m.Details)
	add(InText, m.Title)
	for _, item := range m.Items {
		add(InText, item.Text)
	}
	for _, a := range m.Attachments {
		add(InFile, a.Name)
	}
	if m.Reply != nil {
		add(InQuote, m.Reply.Text)
	}
	for _, e := range m.Entities {
		add(text, e.URL)
	}
	if m.Forwarded != nil {
		add(InText, m.Forwarded.Name)
	}
	add(InText, m.Button)
	add(InText, m.Notice)
	return fields
}

// SearchFields are the names of the customer, the present one first.
func (c Conversation) SearchFields() []SearchField {
	fields := []SearchField{{InName, c.Customer.Name}}
	if c.Customer.Username != "" {
		fields = append(fields, SearchField{InName, atName(c.Customer.Username)})
	}
	for _, name := range c.FormerNames {
		fields = append(fields, SearchField{InName, name})
	}
	return fields
}

// WordsProgress is how far the index of words is.
type WordsProgress struct {
	Behind   int64 // changes that are not in it yet, counted up to a bound
	LeftFrom int64 // messages with ids below this are not in it yet, 0 for none
}
