// Package inbox is the domain: customers' conversations, the messages in them, how answers are delivered, and what a
// store must promise so that nothing written is lost or sent twice. It does no input or output and imports nothing of
// ours. The store implements it, the web and Telegram sides use it.
package inbox

import (
	"errors"
	"time"
)

// Errors of a store that a caller may test for with errors.Is.
var (
	// ErrNotFound : there is no such conversation, message, operator or token.
	ErrNotFound = errors.New("not found")
	// ErrConflict : the thing is in a state that does not allow this. The text around it says which.
	ErrConflict = errors.New("conflict")
	// ErrKeyReused : the idempotency key was used before for another answer.
	ErrKeyReused = errors.New("this Idempotency-Key was used for a different answer")
	// ErrUnavailable : the database cannot be used now. The text around it says why, without secrets.
	ErrUnavailable = errors.New("the database is not available")
	// ErrFenced : another instance has taken over polling since; nothing was written.
	ErrFenced = errors.New("another instance has taken over this bot")
	// ErrNoLock : the lock between hosts is not held in the database that was to be written; nothing was.
	ErrNoLock = errors.New("the lock between hosts is not held in this database")
	// ErrReset : the event asked for is unknown or too old to go on from; read everything again.
	ErrReset = errors.New("events from there are gone")
)

// TryLater says that the same call may do better in a moment: the fault is neither the caller's nor for good.
func TryLater(err error) bool {
	kind := KindOf(err)
	return kind == Busy || kind == TooLong || errors.Is(err, ErrUnavailable)
}

// Direction of a message, seen from the inbox.
type Direction string

const (
	In  Direction = "in"  // from the customer
	Out Direction = "out" // to the customer
)

// ConversationStatus is open or closed. A customer's message opens a closed conversation again.
type ConversationStatus string

const (
	Open   ConversationStatus = "open"
	Closed ConversationStatus = "closed"
)

// AuthorKind says what wrote a message.
type AuthorKind string

const (
	ByCustomer AuthorKind = "customer"
	ByOperator AuthorKind = "operator"
	ByAPI      AuthorKind = "api" // a program with an API token
	ByBot      AuthorKind = "bot" // an automatic reply, such as the greeting after /start
)

// Author is who wrote a message, as known when it was written. ID is the Telegram user id, the operator's
// id or the token's id, by Kind.
type Author struct {
	Kind AuthorKind `json:"kind"`
	ID   string     `json:"id"`
	Name string     `json:"name"`
}

// Customer is the person behind a private chat, as Telegram last described him.
type Customer struct {
	ID       int64  `json:"id"` // Telegram user id
	Name     string `json:"name"`
	Username string `json:"username,omitempty"` // without @
	Language string `json:"language,omitempty"` // IETF tag of his client
	Nameless bool   `json:"-"`                  // Telegram gives no first name: Name is what else there is
}

// Conversation is all that one customer and one bot ever wrote to each other: one per private chat, for ever.
type Conversation struct {
	ID            int64              `json:"id"`
	Version       int64              `json:"version"` // another one after each change, in no order that means anything
	BotID         int64              `json:"bot_id"`
	ChatID        int64              `json:"-"` // Telegram's, keys the conversation together with BotID
	Customer      Customer           `json:"customer"`
	FormerNames   []string           `json:"former_names"` // of the customer, latest first; usernames with their @
	Status        ConversationStatus `json:"status"`
	Blocked       bool               `json:"blocked"`     // nothing can be delivered to the customer, as Unreachable says
	Unreachable   Reach              `json:"unreachable"` // why, with Blocked
	CreatedAt     time.Time          `json:"created_at"`
	UpdatedAt     time.Time          `json:"updated_at"`
	LastMessageID int64              `json:"last_message_id"` // 0 when there is none
	LastMessage   *Message           `json:"last_message,omitempty"`
	// Edited is the beginning of the message whose edit put it where it stands in the list: nil if it is there for its
	// last message. It is told in a brief list alone.
	Edited *Message `json:"-"`

	Assignee     *Colleague `json:"assignee"`      // nil for nobody
	Tags         []string   `json:"tags"`          // never nil
	SnoozedUntil *time.Time `json:"snoozed_until"` // nil for not snoozed
	WokenAt      *time.Time `json:"-"`             // a snooze ended then, and nobody has answered since
	WaitingSince *time.Time `json:"waiting_since"` // when the oldest words of the customer came that nobody has answered
	WaitingFrom  int64      `json:"-"`             // the message with these words, 0 for none
	Banned       bool       `json:"banned"`
	CameFrom     string     `json:"came_from"`        // the payload of /start, "" for none
	Unread       *int64     `json:"unread,omitempty"` // by the operator who asks
}

// Reach is why nothing can be delivered to a customer.
type Reach string

const (
	Reachable    Reach = ""            // with Blocked: an older program found that he is not, and did not say why
	BlockedBot   Reach = "blocked"     // he has blocked the bot
	AccountGone  Reach = "gone"        // his account was deleted
	NeverStarted Reach = "not_started" // he has not written to this bot, or deleted the chat
)

// Message is one entry of a conversation. ID is its place in the order of all messages.
type Message struct {
	ID             int64        `json:"id"`
	BotID          int64        `json:"-"`
	ConversationID int64        `json:"conversation_id"`
	Direction      Direction    `json:"direction"`
	Kind           string       `json:"kind"`              // text, photo, sticker, ...: the name of the Bot API's field
	Text           string       `json:"text"`              // text or caption: what somebody wrote, "" where nobody did
	Details        string       `json:"details,omitempty"` // what else the sender put into it: the name in a contact
	Notice         string       `json:"notice,omitempty"`  // what this program says of it, never in the other two; see Say
	Forwarded      *Forward     `json:"forwarded_from"`    // whose words these are, nil for the sender's own
	Author         Author       `json:"author"`
	CreatedAt      time.Time    `json:"created_at"`              // when it was stored
	TelegramDate   *time.Time   `json:"telegram_date,omitempty"` // when the customer sent it, by Telegram's clock
	EditedAt       *time.Time   `json:"edited_at"`
	DeletedAt      *time.Time   `json:"deleted_at"`  // an answer that was taken back
	Attachments    []Attachment `json:"attachments"` // never nil
	ReplyTo        *int64       `json:"reply_to"`    // id of a message of the same conversation
	ThreadID       int64        `json:"thread_id,omitempty"`
	AlbumID        string       `json:"album_id,omitempty"`

	Entities []Entity `json:"entities"` // of Text, never nil
	Reply    *Reply   `json:"reply"`    // nil for none
	TopicID  *int64   `json:"topic_id"` // nil for the main chat
	Topic    string   `json:"topic,omitempty"`
	ViaBot   string   `json:"via_bot,omitempty"`
	Title    string   `json:"title,omitempty"` // of the items
	Items    []Item   `json:"items,omitempty"`
	Place    *Place   `json:"place,omitempty"`
	Pressed  *string  `json:"pressed"`          // the data of a button that the customer pressed
	Button   string   `json:"button,omitempty"` // what stands on it
	// Reactions of the customer, never nil. They are told where a message is asked for, not of the last one in a list.
	Reactions []Reaction `json:"reactions"`
	Service   bool       `json:"service"` // a quiet line: nobody wrote it (see Quiet), or it is Older
	// Older says that it is older than all that is stored. An edit told of it: it stands where that came, quietly.
	Older bool  `json:"older,omitempty"`
	Edits int64 `json:"edits"` // how often its words changed

	// Delivery is set for Out only. Error is set with Failed and Unknown only, in plain words.
	Delivery DeliveryState `json:"delivery,omitempty"`
	Error    string        `json:"error,omitempty"`
	Waits    *Waits        `json:"waits"`  // nil unless it is held back
	Parts    []Part        `json:"parts"`  // nil for an answer in one
	Change   *Change       `json:"change"` // an edit or deletion that Telegram has not taken yet, nil for none
}

// Part is one of the messages of Telegram that a long answer is sent as. One that is refused, or of which it is not
// known, stops those behind it: they are Failed, and their Error says which one holds them.
type Part struct {
	Part     int           `json:"part"` // from 1
	Delivery DeliveryState `json:"delivery"`
	Error    string        `json:"error,omitempty"`
}

// Waits says what an answer waits for that is Queued.
type Waits struct {
	Reason WaitReason `json:"reason"`
	Text   string     `json:"text"`  // in plain words
	Until  *time.Time `json:"until"` // as far as that is known
}

// WaitReason is why an answer waits.
type WaitReason string

const (
	WaitsPaused    WaitReason = "paused"    // Telegram asked for a pause
	WaitsBehind    WaitReason = "behind"    // others have to go before it
	WaitsBotDown   WaitReason = "bot_down"  // no bot runs, or it cannot reach Telegram
	WaitsScheduled WaitReason = "scheduled" // for the time at which it is to be sent
	WaitsBotOlder  WaitReason = "bot_older" // the bot is of a version that cannot send it
)

// Forward says whose words a customer passed on. What he types himself never gets here.
type Forward struct {
	Kind string `json:"kind"` // user, hidden_user, chat or channel (Bot API: MessageOrigin), or unknown
	Name string `json:"name"` // "" where Telegram gives none
}

// Attachment describes a file of a message.
type Attachment struct {
	ID           int64     `json:"id"`
	Kind         string    `json:"kind"` // photo, document, voice, ...
	Name         string    `json:"name"`
	MediaType    string    `json:"media_type"` // as its content says; until it is stored, as Telegram says
	Size         int64     `json:"size"`       // bytes, 0 when Telegram does not say
	Width        int       `json:"width"`      // of a picture or video, 0 where that is not known
	Height       int       `json:"height"`
	Duration     int       `json:"duration"` // seconds, 0 where it has none
	State        FileState `json:"state"`
	Error        string    `json:"error"`         // why it is not there, in plain words
	URL          *string   `json:"url"`           // nil until it is stored
	ThumbnailURL *string   `json:"thumbnail_url"` // nil where there is none
	MessageID    int64     `json:"-"`
	FileID       string    `json:"-"`
	FileUniqueID string    `json:"-"`
	Preview      Preview   `json:"-"`
	Asked        bool      `json:"-"` // somebody has asked for its files
}

// DeliveryState is how far an answer is on its way. For a message of several parts it is that of the
// worst part: failed, then unknown, sending, queued, sent.
type DeliveryState string

const (
	Queued  DeliveryState = "queued"
	Sending DeliveryState = "sending" // committed before the request leaves, so that a crash cannot hide it
	Sent    DeliveryState = "sent"
	Failed  DeliveryState = "failed"  // Telegram refused it for good
	Unknown DeliveryState = "unknown" // the line broke after Telegram may have taken it; never resent by itself
)

// EventType names what changed.
type EventType string

const (
	MessageCreated      EventType = "message.created"
	MessageUpdated      EventType = "message.updated"
	ConversationUpdated EventType = "conversation.updated"
	BotUpdated          EventType = "bot.updated"
	NoteCreated         EventType = "note.created"
	NoteUpdated         EventType = "note.updated"
)

// Event says that something changed. It holds ids only, never text, so that erasing a customer erases him.
type Event struct {
	Seq            int64     // in the order of commits, without meaning otherwise
	Type           EventType //
	BotID          int64
	ConversationID int64 // 0 for bot.updated
	MessageID      int64 // 0 for conversation.updated and bot.updated
	NoteID         int64 // of note.created and note.updated only
	At             time.Time
}

// BotState is what a bot last said of itself in the database.
type BotState string

const (
	BotStarting    BotState = "starting"
	BotPolling     BotState = "polling"
	BotUnreachable BotState = "unreachable" // Telegram does not answer; it keeps trying
	BotConflict    BotState = "conflict"    // another program polls with the token, or a webhook is set
	BotFailed      BotState = "failed"      // cannot run as configured
	BotStopped     BotState = "stopped"     // ended in good order
)

// BotStates are all of them.
var BotStates = []BotState{BotStarting, BotPolling, BotUnreachable, BotConflict, BotFailed, BotStopped}

// BotStatus is a bot as the database knows it. A running bot beats at least every HeartbeatEvery.
type BotStatus struct {
	ID          int64
	Username    string
	Name        string
	State       BotState
	Reason      string // in words, without secrets; "" while all is well
	Instance    string // who runs it, "host:pid"
	Since       time.Time
	HeartbeatAt time.Time
	RetryAt     *time.Time // as in BotReport; nil for no pause
	SendsAt     *time.Time
	FilesPaused string // why it fetches no files, "" while it does
}

// HeartbeatEvery is how often a running bot says that it lives. One silent for three times that is taken for gone.
const HeartbeatEvery = 15 * time.Second

// Alive says whether the last word of the bot is recent and is not that it ended.
func (b BotStatus) Alive(now time.Time) bool {
	switch b.State {
	case BotStopped, BotFailed, BotConflict:
		return false
	}
	return now.Sub(b.HeartbeatAt) < 3*HeartbeatEvery
}

// QueueStats counts deliveries (parts of answers) by state; Oldest is when the oldest queued one was written.
type QueueStats struct {
	Queued, Sending, Failed, Unknown int64
	Oldest                           *time.Time
}

// Operator is a person who may read and answer.
type Operator struct {
	ID        int64
	Name      string
	CreatedAt time.Time
	// Generation is raised to end the sessions that began before. Each session carries the one that it began in.
	Generation int64
}

// Session is a signed-in browser, as whoever keeps sessions has encoded it.
type Session struct {
	Key  string
	Data []byte
}

// Grant is the right by which something goes on for long: that of a token, or of an operator's session.
type Grant struct {
	Token int64 // its id, 0 for a session

	Session    string // its key
	Operator   int64
	Generation int64
}

// Forever is when a Grant ends that has no end yet.
var Forever = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// Token lets a program use the API.
type Token struct {
	ID        int64
	Name      string
	CreatedAt time.Time
}
