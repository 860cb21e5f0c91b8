package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// What a team does with conversations: whose turn it is, who has read what, and what is said among operators. Customers
// never see any of it.

// Errors of a change.
var (
	// ErrStale : the conversation has changed since the version that the change was made from.
	ErrStale = errors.New("the conversation has changed meanwhile")
	// ErrNoOperator : a conversation cannot be assigned to somebody who is no operator.
	ErrNoOperator = errors.New("there is no such operator")
)

const (
	MaxTags    = 20 // of a conversation
	MaxTag     = 40 // characters
	MaxNote    = 8000
	MaxUnread  = 100 // more are not counted
	MaxSnooze  = 5 * 366 * 24 * time.Hour
	maxMention = 20 // operators in one note
)

// View is a part of the conversations, as a team looks at them.
type View string

const (
	ViewOpen       View = "open"       // neither snoozed nor closed
	ViewMine       View = "mine"       // of those, what is assigned to who looks
	ViewUnassigned View = "unassigned" // of those, what is assigned to nobody
	ViewWaiting    View = "waiting"    // of those, where a customer waits for an answer; the longest first
	ViewSnoozed    View = "snoozed"
	ViewClosed     View = "closed"
	ViewAll        View = "all" // those of banned customers too, which no other view has
)

// Views are all of them, in the order in which a page shows them.
var Views = []View{ViewOpen, ViewMine, ViewUnassigned, ViewWaiting, ViewSnoozed, ViewClosed, ViewAll}

// Colleague is an operator as others see him.
type Colleague struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// ConversationChange is what somebody does with a conversation. What is nil stays as it is.
type ConversationChange struct {
	By           Author
	Version      int64 // that it was made from; 0 for whatever stands
	Status       *ConversationStatus
	Assignee     *int64     // 0 for nobody
	Tags         *[]string  // instead of all that are there, as CleanTags gives them
	AddTag       string     // "" for none
	RemoveTag    string     // "" for none
	SnoozedUntil *time.Time // the zero time wakes it
	Banned       *bool
}

// Note is what an operator or a program writes to operators. It is no message, and never sent.
type Note struct {
	ID             int64       `json:"id"`
	ConversationID int64       `json:"-"`
	Text           string      `json:"text"`
	Author         Author      `json:"author"`
	Mentions       []Colleague `json:"mentions"` // never nil
	CreatedAt      time.Time   `json:"created_at"`
	AfterMessage   int64       `json:"-"` // its place: behind the message with this id
}

// ActivityKind says what was done with a conversation.
type ActivityKind string

const (
	Assigned   ActivityKind = "assigned"
	Unassigned ActivityKind = "unassigned"
	WasClosed  ActivityKind = "closed"
	WasOpened  ActivityKind = "opened"
	Tagged     ActivityKind = "tagged"
	Untagged   ActivityKind = "untagged"
	Snoozed    ActivityKind = "snoozed"
	Woken      ActivityKind = "woken"
	WasBanned  ActivityKind = "banned"
	Unbanned   ActivityKind = "unbanned"
)

// Activity is one thing that was done with a conversation. Detail is the operator, the tag or the time (RFC 3339).
type Activity struct {
	ID           int64
	Kind         ActivityKind
	Detail       string
	Author       Author // empty for what happened by itself
	CreatedAt    time.Time
	AfterMessage int64
}

// OperatorTeam is what the web side asks of a store about a team's work.
type OperatorTeam interface {
	// ChangeConversation makes the change, or none of it. With ErrStale it returns the conversation as it stands.
	ChangeConversation(ctx context.Context, id int64, c ConversationChange) (Conversation, error)
	// WakeConversations ends the snoozes whose time has come. next is when the next one ends, the zero time for none.
	WakeConversations(ctx context.Context) (next time.Time, err error)
	// Counts says how many conversations each view has. ViewMine is that of the operator, 0 for a program.
	Counts(ctx context.Context, operator int64) (map[View]int64, error)
	// KnownTags lists tags that were used, by name, at most limit.
	KnownTags(ctx context.Context, limit int) ([]string, error)

	// UnreadBy counts in each conversation what a customer wrote that the operator has not read, MaxUnread at most.
	UnreadBy(ctx context.Context, operator int64, conversations []int64) (map[int64]int64, error)
	// MarkRead says that the operator has read the conversation up to the message and nothing behind it. With forward
	// it takes nothing back. ErrNotFound if the conversation has no such message; 0 is before the first.
	MarkRead(ctx context.Context, operator, conversation, message int64, forward bool) error

	// AddNote stores a note; Mentions is found in its text.
	AddNote(ctx context.Context, conversation int64, n Note) (Note, error)
	// Notes lists newest first, from below the id before (0: from the newest).
	Notes(ctx context.Context, conversation int64, limit int, before int64) (items []Note, next int64, err error)
	// Beside is what stands in the thread between messages, from behind the message with that id on, oldest first: at
	// most limit of each, the newest.
	Beside(ctx context.Context, conversation, from int64, limit int) ([]Note, []Activity, error)
}

// CleanTag is a tag as it is stored; an error says what is wrong with it.
func CleanTag(tag string) (string, error) {
	tag = strings.Join(strings.Fields(CleanText(tag)), " ")
	switch n := utf8.RuneCountInString(tag); {
	case Blank(tag):
		return "", errors.New("a tag is empty")
	case n > MaxTag:
		return "", fmt.Errorf("a tag has %d characters, want at most %d", n, MaxTag)
	}
	return tag, nil
}

// CleanTags is a list of tags as it is stored, each once.
func CleanTags(tags []string) ([]string, error) {
	clean := []string{}
	for _, tag := range tags {
		tag, err := CleanTag(tag)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(clean, func(other string) bool { return strings.EqualFold(other, tag) }) {
			clean = append(clean, tag)
		}
	}
	if len(clean) > MaxTags {
		return nil, fmt.Errorf("these are %d tags, want at most %d", len(clean), MaxTags)
	}
	return clean, nil
}

// Mentioned are the operators whose names stand behind an @ in the text. Of two names the longer one counts where both
// fit.
func Mentioned(text string, operators []Operator) []Colleague {
	list := []Colleague{}
	byLength := slices.Clone(operators)
	slices.SortStableFunc(byLength, func(a, b Operator) int { return len(b.Name) - len(a.Name) })
	for rest := text; ; {
		at := strings.IndexByte(rest, '@')
		if at < 0 || len(list) == maxMention {
			return list
		}
		rest = rest[at+1:]
		for _, op := range byLength {
			if len(rest) < len(op.Name) || !strings.EqualFold(rest[:len(op.Name)], op.Name) || goesOn(rest[len(op.Name):]) {
				continue
			}
			one := Colleague{op.ID, op.Name}
			if !slices.Contains(list, one) {
				list = append(list, one)
			}
			break
		}
	}
}

// goesOn says that a name does not end before the rest.
func goesOn(rest string) bool {
	r, _ := utf8.DecodeRuneInString(rest)
	return rest != "" && (r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r))
}

// EncodeColleagues is a list as it is stored, DecodeColleagues what was stored.
func EncodeColleagues(list []Colleague) string {
	if len(list) == 0 {
		return ""
	}
	b, err := json.Marshal(list)
	if err != nil { // no such list makes one
		return ""
	}
	return string(b)
}

// DecodeColleagues is never nil.
func DecodeColleagues(stored string) []Colleague {
	var list []Colleague
	if stored == "" || json.Unmarshal([]byte(stored), &list) != nil || list == nil {
		return []Colleague{}
	}
	return list
}
