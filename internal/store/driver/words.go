package driver

import (
	"context"
	"strconv"

	"tandem/internal/words"
)

// Words is the index of what is found by its words (docs/adr/0095): which pieces each text has, in a form of the
// database's own. The store cuts the texts, keeps the index up to date and looks at what was found.
type Words interface {
	// LockWords reads messages_from and names_from of words_state, and keeps others from writing the index until the
	// commit. It finds no row while somebody else does so.
	LockWords() string
	// PutWords replaces what the index has of these ids, which ascend. One without pieces is removed.
	PutWords(ctx context.Context, c Conn, table WordTable, list []WordsOf) error
	// FindWords gives up to limit ids from and below those given, the highest first. What it finds may be too much, and
	// is never too little.
	FindWords(ctx context.Context, c Conn, table WordTable, q Question, from, below int64, limit int) ([]int64, error)
}

// WordTable is the name of a table of such an index.
type WordTable string

const (
	MessageWords WordTable = "message_words" // by the ids of messages
	NameWords    WordTable = "name_words"    // by the ids of conversations
)

// WordsOf is what the index keeps of one message, or of one customer's names.
type WordsOf struct {
	ID     int64
	Folded string
	Others []string // pieces that are no part of the text
}

// Pieces are all that the index keeps of it, none for what is there no more. They take some forty times the room of
// the text, so a driver asks for those of one message at a time.
func (w WordsOf) Pieces() []string { return append(words.Pieces(w.Folded), w.Others...) }

// Question is what has to be there: of each of its lists one term at least.
type Question [][]words.Term

// The pieces of an index that are no part of a text begin with a character that stands in none: it is of those that
// Unicode leaves to programs.
const (
	withinMark  = "\uE100"
	exactlyMark = "\uE101"
)

// Within is the piece that all messages of a conversation have.
func Within(conversation int64) words.Term {
	return words.Term{Pieces: []string{withinMark + strconv.FormatInt(conversation, 10)}}
}

// Exactly is the piece of a number that is found as a whole only.
func Exactly(number string) words.Term {
	return words.Term{Pieces: []string{exactlyMark + number}}
}
