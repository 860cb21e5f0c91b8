package inbox

import (
	"context"
	"encoding/json"
)

const (
	MaxCannedName = 80   // characters of a name, and of a folder
	MaxCannedText = 4000 // characters
	MaxCanned     = 200  // that one operator has of his own, and that all share
)

// Canned is an answer that is kept to be used again. Placeholders in its text, like {first_name}, are for whoever uses
// it to fill in.
type Canned struct {
	ID     int64      `json:"id"`
	Name   string     `json:"name"`
	Folder string     `json:"folder"` // "" for none
	Text   string     `json:"text"`
	Shared bool       `json:"shared"` // everybody's, else of who made it
	Then   CannedThen `json:"then"`
	Owner  int64      `json:"-"` // an operator, 0 for a program
}

// CannedThen is what is done with the conversation once the answer was sent.
type CannedThen struct {
	Tags     []string            `json:"tags"`     // to be added; never nil
	Assignee *int64              `json:"assignee"` // nil leaves it
	Status   *ConversationStatus `json:"status"`   // nil leaves it
}

// CannedChange is a change of a canned answer. What is nil stays as it is.
type CannedChange struct {
	Name, Folder, Text *string
	Shared             *bool
	Then               *CannedThen
}

// OperatorCanned is what the web side asks of a store about canned answers. An operator sees those that are shared and
// his own, a program, which is operator 0, those that are shared. Others are ErrNotFound for him.
type OperatorCanned interface {
	// Canned lists them by folder and name.
	Canned(ctx context.Context, operator int64) ([]Canned, error)
	// AddCanned stores one; ErrConflict where there are MaxCanned.
	AddCanned(ctx context.Context, c Canned) (Canned, error)
	ChangeCanned(ctx context.Context, operator, id int64, ch CannedChange) (Canned, error)
	DeleteCanned(ctx context.Context, operator, id int64) error
}

// Encode is what is to be done as it is stored.
func (t CannedThen) Encode() string {
	b, err := json.Marshal(t)
	if err != nil { // none makes one
		return ""
	}
	return string(b)
}

// DecodeThen is what was stored.
func DecodeThen(stored string) (t CannedThen) {
	if json.Unmarshal([]byte(stored), &t) != nil {
		t = CannedThen{} // from a version whose form this one does not know
	}
	if t.Tags == nil {
		t.Tags = []string{}
	}
	return t
}
