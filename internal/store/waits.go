package store

import (
	"fmt"
	"time"

	"tandem/internal/inbox"
)

// beyond is further ahead than anything is held back, in microseconds. A delivery that is held back until then was so
// by a clock that has been put right since. It is due.
const beyond = int64((inbox.MaxHold + 10*time.Minute) / time.Microsecond)

// head is the delivery of a conversation that is next, and what is known of its bot.
type head struct {
	message, notBefore, paused, sendsAt, retryAt, beat, before, queued int64
	error                                                              string
	state                                                              inbox.BotState
	older                                                              bool            // the bot cannot do it
	ahead                                                              map[int64]int64 // of each other answer
}

// waiting says that something of the message is queued: the answer, or a change of it.
func waiting(m *inbox.Message) bool {
	return m.Delivery == inbox.Queued || m.Change != nil && m.Change.State == inbox.Queued
}

// askWaits asks what each listed answer waits for that is queued. tell says it, when that is known.
func askWaits(t tx, list []inbox.Message) (tell func() error, err error) {
	heads, err := askHeads(t, list)
	if err != nil {
		return nil, err
	}
	return func() error {
		now := time.Now()
		for i := range list {
			m := &list[i]
			h := heads[m.ConversationID]
			if !waiting(m) || h == nil { // the one before it is under way
				continue
			}
			if h.ahead == nil && h.message != m.ID && h.queued > fewAhead && !h.holds(now) {
				var err error
				if h.ahead, err = aheadOf(t, m.ConversationID); err != nil {
					return err
				}
			}
			h.tell(m, h.ahead[m.ID], now)
		}
		return nil
	}, nil
}

// askHeads asks what is next in the conversations of those of the list that are queued.
func askHeads(t tx, list []inbox.Message) (map[int64]*head, error) {
	heads := map[int64]*head{}
	var conversations values
	for i := range list {
		if waiting(&list[i]) {
			conversations.add(list[i].ConversationID)
		}
	}
	const older = `q.state = 'queued' AND q.state <> 'sent'`
	if err := askOlder(t, heads, conversations); err != nil {
		return nil, err
	}
	// Where many are queued that is found out once, and not counted for each.
	return heads, among(t, fmt.Sprintf(`SELECT d.conversation_id, d.message_id, d.not_before, d.paused_until, d.error,
			b.sends_at, b.retry_at, b.state, b.heartbeat_at,
			CASE WHEN d.created_at > (SELECT q.created_at FROM deliveries q WHERE `+older+`
					ORDER BY q.created_at LIMIT 1 OFFSET %[2]d) THEN %[1]d
				ELSE (SELECT COUNT(*) FROM (SELECT 1 FROM deliveries q WHERE `+older+`
					AND q.created_at < d.created_at LIMIT %[1]d) older) END,
			(SELECT COUNT(*) FROM (SELECT 1 FROM deliveries q WHERE q.conversation_id = d.conversation_id
				AND q.state = 'queued' AND q.state IN ('queued', 'sending') LIMIT %[1]d) older)
		FROM deliveries d JOIN bots b ON b.id = d.bot_id
		WHERE d.turn AND d.state = 'queued' AND d.conversation_id IN `, countAtMost, countAtMost-1),
		conversations, func(scan func(...any) error) error {
			h := &head{}
			var conversation int64
			err := scan(&conversation, &h.message, &h.notBefore, &h.paused, &h.error,
				&h.sendsAt, &h.retryAt, &h.state, &h.beat, &h.before, &h.queued)
			heads[conversation] = h
			return err
		})
}

// pause is until when this delivery is held back, and why.
func (h *head) pause() (until time.Time, why string) {
	until, why = fromMicros(h.paused), h.error
	if why == "" {
		why = "Telegram asks for a pause"
	}
	if h.paused-h.notBefore > time.Minute.Microseconds() {
		why += "; it is tried again every hour"
	}
	if sendsAt := fromMicros(h.sendsAt); sendsAt.After(until) {
		return sendsAt, "Telegram asks this bot for a pause in all that it sends; one message tries then whether it is over"
	}
	return until, why
}

// holds says whether it is held back by more than its place.
func (h *head) holds(now time.Time) bool {
	until, _ := h.pause()
	return h.older || until.After(now) || notSending(h.state, h.beat, h.retryAt, now) != ""
}

// tell says what a queued answer of the conversation waits for, of which so many go before it.
func (h *head) tell(m *inbox.Message, own int64, now time.Time) {
	if words := notSending(h.state, h.beat, h.retryAt, now); words != "" {
		m.Waits = &inbox.Waits{Reason: inbox.WaitsBotDown, Text: words}
		return
	}
	if h.older {
		m.Waits = waitsForNewer(h.message == m.ID)
		return
	}
	until, why := h.pause()
	if !until.After(now) {
		m.Waits = inLine(h.before, own, now)
		return
	}
	m.Waits = &inbox.Waits{Reason: inbox.WaitsPaused, Text: why, Until: &until}
	if h.message != m.ID {
		m.Waits.Reason, m.Waits.Text = inbox.WaitsBehind, "An earlier answer has to go first, and waits: "+why
	}
}

// notSending says why a bot sends nothing at all, "" for one that does.
func notSending(state inbox.BotState, beat, retryAt int64, now time.Time) string {
	switch b := (inbox.BotStatus{State: state, HeartbeatAt: fromMicros(beat)}); {
	case !b.Alive(now):
		return "The bot is not running; this is kept until it is back"
	case state == inbox.BotUnreachable && retryAt == 0: // else it only polls no more
		return "The bot cannot reach Telegram; it keeps trying"
	}
	return ""
}

// aheadOf is how many messages of a conversation go before each of its answers that wait.
func aheadOf(t tx, conversationID int64) (map[int64]int64, error) {
	ahead, sum := map[int64]int64{}, int64(0)
	_, err := all(t, func(scan func(...any) error) (message int64, err error) {
		err = scan(&message)
		if _, known := ahead[message]; !known { // its first part
			ahead[message] = sum
		}
		sum++
		return message, err
	}, `SELECT message_id FROM deliveries WHERE conversation_id = $1 AND state = 'queued'
		AND state IN ('queued', 'sending') ORDER BY id LIMIT $2`, conversationID, countAtMost)
	return ahead, err
}

const (
	countAtMost = 3000 // of those that go before one
	// How fast they leave: all, and those of one conversation. See the pace in internal/telegram.
	ofAll      = time.Second / 29
	ofOne      = 1020 * time.Millisecond
	worthAWord = 5 * time.Second // of waiting
	// fewAhead of one's own conversation are not worth a word.
	fewAhead = int64(worthAWord / ofOne)
)

// inLine says how many go before an answer that waits for its place alone, if that takes long enough to be told: of all
// conversations, or of its own, which take turns with the others.
func inLine(before, own int64, now time.Time) *inbox.Waits {
	w := inbox.Waits{Reason: inbox.WaitsBehind, Text: fmt.Sprintf("%d messages go before it", before)}
	wait := time.Duration(before) * ofAll
	if inOwn := time.Duration(own) * ofOne; inOwn > wait {
		wait, w.Text = inOwn, fmt.Sprintf("%d messages of this conversation go before it", own)
	}
	switch {
	case wait < worthAWord:
		return nil
	case before >= countAtMost && wait == time.Duration(before)*ofAll:
		w.Text = fmt.Sprintf("More than %d messages go before it", countAtMost)
		return &w
	}
	until := now.Add(wait).UTC().Truncate(time.Second)
	w.Until = &until
	return &w
}

// waitsAtOnce is how many answers are told of at most when what they wait for has changed.
const waitsAtOnce = 200

// waitsChanged makes an event for each queued answer that the condition finds. Its Waits has changed, and nothing else
// of it.
func (l *ledger) waitsChanged(condition string, arg int64) error {
	type answer struct{ bot, conversation, message int64 }
	list, err := all(l.tx, func(scan func(...any) error) (a answer, err error) {
		return a, scan(&a.bot, &a.conversation, &a.message)
	}, `SELECT DISTINCT d.bot_id, d.conversation_id, d.message_id FROM deliveries d
		WHERE d.state = 'queued' AND d.state IN ('queued', 'sending') AND `+condition+`
		ORDER BY d.message_id LIMIT $2`, arg, waitsAtOnce)
	for _, a := range list {
		l.event(inbox.MessageUpdated, a.bot, a.conversation, a.message)
	}
	return err
}
