package inbox

import (
	"context"
	"time"
)

// BotStore is what the Telegram side asks of a store.
//
// Whoever polls holds a Tenure. Each one has an epoch that is one higher than that of its predecessor. Every write that
// stores an update or claims an answer checks it in its own transaction. So a holder that was frozen, or whose lock was
// lost without its knowing, gets ErrFenced and has changed nothing.
type BotStore interface {
	BotFiles

	// Ready is nil, or says in words why the database cannot be used now.
	Ready() error
	// Subscribe is as in OperatorStore.
	Subscribe() (hints <-chan struct{}, cancel func())

	// PollLock waits until this process alone may poll for the bot on all hosts that share the database, or ctx ends. If
	// it must wait, it calls waiting with who holds it. With SQLite, which one host uses, it is there at once: the lock
	// on a file guards.
	PollLock(ctx context.Context, botID int64, instance string, waiting func(holder string)) (PollLock, error)
	// TakeOver begins a tenure: raises the epoch and turns what an older one left in Sending to Unknown. ErrNoLock
	// if a PollLock that this store gave is not held any more when it does so: a holder that was frozen in between
	// must not displace the one that followed it.
	TakeOver(ctx context.Context, botID int64, instance string) (Tenure, error)
	// SignOff ends a tenure in good order, so that the next holder need not wait. ErrFenced if it was over.
	SignOff(ctx context.Context, t Tenure, state BotState, reason string) error
	// ReportBot says how the bot is; it also counts as a heartbeat. A changed state or reason is an event.
	ReportBot(ctx context.Context, t Tenure, r BotReport) error

	// StoreUpdates stores the updates, what they mean for the inbox and the next offset in one transaction.
	// Those that are stored already change nothing. Only when it returned nil may they be acknowledged.
	StoreUpdates(ctx context.Context, t Tenure, updates []Update, nextOffset int64) error
	// UnreadMessages gives up to limit messages, newest first, that a version has stored or edited which knows less of
	// them than this one, with their raw updates.
	UnreadMessages(ctx context.Context, t Tenure, limit int) ([]UnreadMessage, error)
	// ReadAnew stores what was read of them. One that was edited meanwhile is left alone.
	ReadAnew(ctx context.Context, t Tenure, list []UnreadMessage) error
	// ClaimDeliveries marks up to limit queued deliveries as Sending and returns them: for each conversation at most one,
	// its oldest, and none while one of it is Sending, or before the time that notYet has for it. Conversations take
	// turns: one that was served goes behind those that wait. next is when the earliest that is held back, by RetryAt or
	// by notYet, becomes due, zero when there is none.
	ClaimDeliveries(ctx context.Context, t Tenure, limit int, notYet map[int64]time.Time) (
		claimed []Delivery, next time.Time, err error)
	// ClaimProbe is ClaimDeliveries for one, where one that was not held back goes before those that were.
	ClaimProbe(ctx context.Context, t Tenure) (claimed []Delivery, next time.Time, err error)
	// RecordOutcome stores how a claimed delivery went.
	RecordOutcome(ctx context.Context, t Tenure, o Outcome) error
}

// How long the lock between hosts outlives the last word between its holder and the database. A holder whose line went
// dead knows after LockKnown. What it has under way then ends before LockTrust. A holder that was frozen trusts its
// lock no longer than that. Only after LockGiven does the server give the lock to another, and by LockLease at the
// latest. See docs/adr/0014-the-guarantee-across-hosts.md.
const (
	LockKnown = 7 * time.Second
	LockTrust = 12 * time.Second
	LockGiven = 13 * time.Second
	LockLease = 15 * time.Second
)

// PollLock is the right to poll across hosts.
type PollLock interface {
	// Lost is closed as soon as the lock is known to be lost; polling and claiming must stop at once.
	Lost() <-chan struct{}
	// Held is asked before each poll and each send. It is false once the lock was not confirmed for LockTrust: a
	// process that was frozen and runs again knows by its clock what no connection has told it yet.
	Held() bool
	// Release gives it up. It is safe to call it more than once.
	Release()
}

// Skill is what a bot has to be able to do for a delivery. Whoever can do one can do those before it. A delivery that
// needs more than its bot can do waits, and keeps its place: the bot is older than whoever wrote the answer.
type Skill int64

// SendsText is what bots of each version can do. Whoever adds something that those of the release before cannot do
// adds a Skill, and gives it to BotSkill and to the deliveries that need it. See docs/adr/0091.
const (
	SendsText Skill = iota
	SendsFiles
	ChangesSent // edits and deletes what was sent, and sends without a sound
)

// BotSkill is what bots of this version can do.
const BotSkill = ChangesSent

// Tenure is one holding of the right to poll.
type Tenure struct {
	BotID      int64
	Epoch      int64
	NextOffset int64 // for getUpdates; 0 when none was ever stored
	// Clean says that the predecessor signed off (or that there was none): its last poll and writes are over.
	// Otherwise the new holder waits a second before its first poll.
	Clean bool
}

// MaxHold is how long a bot holds anything back at a time, however long Telegram asks it to: it is tried again then. A
// delivery that is held back for much longer was so by a clock that has been put right since.
const MaxHold = time.Hour

// BotReport is what a bot says of itself. An empty Username or Name leaves what was said before.
type BotReport struct {
	Username, Name string
	State          BotState
	Reason         string
	Instance       string
	RetryAt        time.Time // when it asks Telegram again after a pause that Telegram asked for; zero for no pause
	SendsAt        time.Time // when one message tries whether a pause for all that it sends is over; zero for no pause
}

// Update is one update of the Bot API and what it means for the inbox. At most one of Message, Edit and
// Blocked is set; none for what is only kept raw.
type Update struct {
	ID      int64
	Kind    string // the name of its field in the Update object: "message", "callback_query", ...; "" if not known
	Raw     []byte // as Telegram sent it
	Problem string // why it could not be understood; it is kept raw and acknowledged all the same
	Message *IncomingMessage
	Edit    *IncomingMessage // replaces text and attachments of a stored message, or adds it if it is not there
	// Reread reads an earlier update of the message in the way in which Edit was read: nil where that has no message.
	Reread  func(raw []byte) *IncomingMessage
	Blocked *BlockedChange
	Reacted *ReactionChange
	Reply   string // an automatic answer, queued in the same transaction; "" for none
	// Greeting says that Reply is one: it goes out once, and again only where nobody wrote for GreetAgainAfter.
	Greeting bool
	Press    string // the callback query that Telegram wants answered once this is stored; "" for none
}

// GreetAgainAfter is how long nobody has written in a conversation in which another greeting is due.
const GreetAgainAfter = 12 * time.Hour

// IncomingMessage is a customer's message in a private chat.
type IncomingMessage struct {
	ChatID      int64
	MessageID   int64 // Telegram's, unique in the chat; 0 for a button that was pressed
	Customer    Customer
	Kind        string
	Text        string // "" where the customer wrote nothing
	Details     string // as in Message
	Forwarded   *Forward
	Date        time.Time
	EditedAt    *time.Time
	ReplyTo     int64 // Telegram's message id, 0 for none
	ThreadID    int64
	AlbumID     string
	Attachments []Attachment
	Content     Content
}

// UnreadMessage is a message that is to be read anew.
type UnreadMessage struct {
	ID       int64
	EditSeen int64             // tells the update that is shown: its edit date in microseconds, 0 for none
	Raws     [][]byte          // its updates, newest first, not all where there are many
	Message  *IncomingMessage  // what was read; nil where no update is left from which it can be
	Before   []IncomingMessage // what it said before, oldest first
}

// ReactionChange is all that a customer has put to a message now, in place of what was there (message_reaction).
type ReactionChange struct {
	ChatID    int64
	Customer  Customer
	MessageID int64 // Telegram's; the message may not be stored, or not yet
	Date      time.Time
	Reactions []Reaction
}

// BlockedChange is a customer who blocked the bot or took it back (my_chat_member).
type BlockedChange struct {
	ChatID   int64
	Customer Customer
	Blocked  bool
}

// Delivery is one claimed part of an answer, to be sent now.
type Delivery struct {
	ID             int64
	MessageID      int64
	ConversationID int64
	ChatID         int64
	ThreadID       int64
	ReplyTo        int64 // Telegram's message id, 0 for none
	Part           int   // from 0
	Text           string
	Attempt        int  // from 1
	Silent         bool // the customer's phone makes no sound
	// Operation is what is to be done, Send if it is "". Edit and Delete are done to Targets, Telegram's numbers of what
	// the part was sent as. Caption says that an edited text stands at a file.
	Operation Operation
	Targets   []int64
	Caption   bool
}

// Outcome is how a delivery went. State is Sent, Failed, Unknown, or Queued to try again.
type Outcome struct {
	DeliveryID        int64
	Attempt           int       // that of the delivery
	Operation         Operation // the same
	State             DeliveryState
	TelegramMessageID int64     // with Sent
	Error             string    // in plain words, with Failed, Unknown and Queued
	RetryAt           time.Time // with Queued: not before
	PausedUntil       time.Time // with Queued: Telegram asked for a pause until then, which may be long after RetryAt
	Unreachable       Reach     // with Failed: nothing can be delivered to the customer
}
