package inbox

import (
	"context"
	"time"
)

// OperatorStore is what the web side asks of a store. Every method fails with ErrUnavailable while the database cannot
// be used.
type OperatorStore interface {
	OperatorFiles
	OperatorTeam
	OperatorCanned

	// Ready is nil, or says in words why the database cannot be used now.
	Ready() error
	// Subscribe returns a channel that gets a hint soon after anybody (this process or another) committed something.
	// Hints are coalesced and may be spurious: read the events. cancel ends the subscription.
	Subscribe() (hints <-chan struct{}, cancel func())

	// Conversations lists newest first. next continues the list as Before, 0 at its end. A page of this or the next
	// list ends early where it has many bytes, and has one item at least.
	Conversations(ctx context.Context, f ConversationFilter) (items []Conversation, next int64, err error)
	Conversation(ctx context.Context, id int64) (Conversation, error)
	SetConversationStatus(ctx context.Context, id int64, s ConversationStatus) (Conversation, error)
	// Messages lists a conversation newest first, from below the id before (0: from the newest).
	Messages(ctx context.Context, conversationID int64, limit int, before int64) (items []Message, next int64, err error)
	Message(ctx context.Context, id int64) (Message, error)
	// Edits lists what a message said before, oldest first, from above the number after (0: from the first).
	Edits(ctx context.Context, messageID int64, limit int, after int64) (items []Wording, next int64, err error)
	// Search finds messages and customers by their words. What was stored is found within a second.
	Search(ctx context.Context, q SearchQuery) (SearchPage, error)
	// WordsProgress says how far the index is that Search asks.
	WordsProgress(ctx context.Context) (WordsProgress, error)
	// AddAnswer stores an answer and queues its parts in one transaction. With a key that the same author used before it
	// returns the first message and created=false, also when both arrive at once.
	AddAnswer(ctx context.Context, conversationID int64, a Answer) (m Message, created bool, err error)
	// QueueDue has answers join those that are sent whose time has come.
	QueueDue(ctx context.Context) error
	// ToMainChat takes an answer that is failed or unknown out of its topic, which may be gone; ErrConflict for any other.
	ToMainChat(ctx context.Context, messageID int64) error
	// RetryAnswer queues the parts of an answer that are failed or unknown again; ErrConflict for any other answer.
	RetryAnswer(ctx context.Context, messageID int64) (Message, error)

	// EditAnswer changes the words of an answer: at once where nothing of it was sent, else as soon as Telegram has taken
	// that. ErrConflict where it cannot be changed as things are, ErrUnfit where the words need more parts than were sent.
	EditAnswer(ctx context.Context, messageID int64, text string) (Message, error)
	// DeleteAnswer takes an answer back of which nothing was sent (done), or has Telegram asked to delete it. One that was
	// deleted already is no error. ErrConflict where it cannot be deleted.
	DeleteAnswer(ctx context.Context, messageID int64) (m Message, done bool, err error)
	// TakeBack keeps an answer from being sent of which nothing was. It stays, with DeletedAt. ErrConflict for any other
	// message. One that was taken back already is no error.
	TakeBack(ctx context.Context, messageID int64) (Message, error)

	// LastEvent is the number of the newest committed event. Read before the data of a page, it is a number
	// from which a stream misses nothing.
	LastEvent(ctx context.Context) (int64, error)
	// Events returns up to limit events after the number given, in commit order. ErrReset when that number is
	// above the newest or events right after it were pruned.
	Events(ctx context.Context, after int64, limit int) ([]Event, error)

	// Bots lists those that ever ran, the one with the latest heartbeat first.
	Bots(ctx context.Context) ([]BotStatus, error)
	Queue(ctx context.Context) (QueueStats, error)
	// Unread counts the messages that a bot has yet to read anew; see BotStore.
	Unread(ctx context.Context) (left int64, err error)

	// IssueSignIn makes the operator if there is none of that name, and a one-time sign-in link known by the
	// hash of its secret; older links of that operator are void from then on.
	IssueSignIn(ctx context.Context, name string, hash []byte, expires time.Time) (Operator, error)
	// SignInOperator says whose unused link it is, without using it up; ErrNotFound when void, used or expired.
	SignInOperator(ctx context.Context, hash []byte) (Operator, error)
	// RedeemSignIn uses the link up: of many at once one gets the operator, the others ErrNotFound. The sessions that the
	// operator has end with it, unless keep.
	RedeemSignIn(ctx context.Context, hash []byte, keep bool) (Operator, error)
	// SignOutOperator ends the sessions and voids the unused link of the operator of that name; ErrNotFound if there is
	// none.
	SignOutOperator(ctx context.Context, name string) error
	// RemoveOperator does that and removes the operator. What he wrote keeps his name. One who is added under the same
	// name later is another one.
	RemoveOperator(ctx context.Context, name string) error
	Operator(ctx context.Context, id int64) (Operator, error)
	Operators(ctx context.Context) ([]Operator, error)

	// CreateToken stores an API token by the hash of its secret; ErrConflict when the name is taken.
	CreateToken(ctx context.Context, name string, hash []byte) (Token, error)
	RevokeToken(ctx context.Context, name string) error
	TokenByHash(ctx context.Context, hash []byte) (Token, error)
	Tokens(ctx context.Context) ([]Token, error)

	// Sessions of signed-in operators, in the shape of an scs.CtxStore: the key is already hashed by the caller.
	FindSession(ctx context.Context, key string) (data []byte, found bool, err error)
	CommitSession(ctx context.Context, key string, data []byte, expires time.Time) error
	// TouchSession replaces the data of a session that is there, and does nothing to one that has ended since it was read.
	TouchSession(ctx context.Context, key string, data []byte) error
	DeleteSession(ctx context.Context, key string) error
	// Sessions lists up to limit of those that have not expired, from after the key given ("": from the first).
	Sessions(ctx context.Context, after string, limit int) ([]Session, error)

	// Revocations is a number that another one replaces whenever a token, a session or an operator's right was ended.
	// The hints of Subscribe come for it, too.
	Revocations(ctx context.Context) (int64, error)
	// Grants says until when each right holds, as far as is known now: the zero time where it has ended.
	Grants(ctx context.Context, grants []Grant) (until []time.Time, err error)

	// LookUp looks up many credentials at once, as TokenByHash, FindSession and Operator do one each.
	LookUp(ctx context.Context, c Credentials) (Known, error)

	// Prune removes what has served its time: expired sessions and links, old idempotency keys and events.
	Prune(ctx context.Context) error
}

// Credentials are what many requests show.
type Credentials struct {
	Tokens    [][]byte // hashes of secrets
	Sessions  []string // keys
	Operators []int64
}

// Known is what is there of credentials, and the number of the newest event, which was read before them.
type Known struct {
	LastEvent int64
	Tokens    map[string]Token  // by hash
	Sessions  map[string][]byte // data by key
	Operators map[int64]Operator
}

// ConversationFilter selects conversations. Query finds a part of a name, username or message, whatever its
// case; "" finds all. Before is what the page before gave as next, 0 to begin with the newest.
type ConversationFilter struct {
	Status ConversationStatus // "" for both
	Query  string
	Limit  int // 1 to 200
	Before int64
	Brief  bool // of the last message only the beginning is wanted
	// View is one of Views, "" for ViewAll. Operator is whose ViewMine it is. ViewWaiting goes on above Before, which is
	// the WaitingFrom of the one before.
	View     View
	Operator int64
	Tag      string // "" for any
}

// Answer is what an operator or a program writes to a customer.
type Answer struct {
	Text   string // cleaned by CleanText, not blank, at most MaxAnswer characters
	Author Author
	// ReplyTo is a message of the same conversation to which it replies, 0 for none. It goes to the topic of that.
	ReplyTo int64
	// Topic is where it goes otherwise, 0 for the main chat. Nil is where the customer wrote last.
	Topic *int64
	// Silent says that the customer's phone makes no sound for it.
	Silent bool
	// SendAt is when it joins those that are sent, the zero time for at once.
	SendAt time.Time
	Key    string // idempotency key, "" for none; unique per author
}
