package inbox

import (
	"errors"
	"fmt"
)

// ErrUnfit : the words do not fit into what was sent. The reason of the Error that wraps it says why.
var ErrUnfit = errors.New("it does not fit")

func unfit(format string, args ...any) error {
	return &Error{Kind: Unfit, Reason: fmt.Sprintf(format, args...)}
}

// Operation is what Telegram is to be asked to do.
type Operation string

const (
	Send   Operation = "send"
	Edit   Operation = "edit"
	Delete Operation = "delete"
)

// Change is an edit or a deletion of what was sent, until Telegram has taken it.
type Change struct {
	Operation Operation     `json:"operation"`
	State     DeliveryState `json:"state"` // Queued, Sending, Failed or Unknown
	Error     string        `json:"error"` // why it failed, in plain words
	Text      string        `json:"-"`     // what it is to say then
}

// SentPart is a part of an answer that Telegram has.
type SentPart struct {
	Text  string
	Files bool // it has some, and the text is their caption
}

// FitText says what each part has to say for the answer to say text: fewer where it needs fewer, which are those that
// say something. ErrUnfit where it needs more than were sent.
func FitText(text string, parts []SentPart) ([]string, error) {
	text = CleanText(text)
	var worded int // the parts that go before the files, or are all
	for worded < len(parts) && !parts[worded].Files {
		worded++
	}
	if worded == 0 { // a caption, which may be none
		if Blank(text) {
			text = ""
		}
		if n := UTF16Len(text); n > MaxChangedCaption {
			return nil, unfit("the text at a file has at most %d characters as Telegram counts, this has %d",
				MaxChangedCaption, n)
		}
		return []string{text}, nil
	}
	list := SplitText(text)
	switch {
	case len(list) == 0:
		return nil, unfit("Telegram takes no text that shows nothing; delete the answer instead")
	case len(list) > worded:
		return nil, unfit("the answer was sent in %d parts, and these words need %d", worded, len(list))
	}
	return list, nil
}

// MaxChangedCaption is the longest text that stands at a file, in UTF-16 code units (Bot API: editMessageCaption).
const MaxChangedCaption = 1024
