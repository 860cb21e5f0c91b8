package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"tandem/internal/inbox"
)

// brokenOff is what an operator reads about an answer that was being sent when its bot ended.
const brokenOff = "the bot ended while it was sending this: Telegram may have delivered it or not"

// PollLock waits for the right to poll across hosts; see inbox.BotStore. A connection that fails is tried again until
// ctx ends. An error that wraps exitcode.Config says what a person has to mend.
func (s *Store) PollLock(
	ctx context.Context, botID int64, instance string, waiting func(holder string),
) (inbox.PollLock, error) {
	if s.db == nil {
		return nil, s.Ready()
	}
	if waiting == nil {
		waiting = func(string) {}
	}
	lock, err := s.db.PollLock(ctx, botID, inbox.CleanText(instance), waiting)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.polling.lock, s.polling.botID = lock, botID
	return lock, err
}

// TakeOver begins a tenure; see inbox.BotStore.
func (s *Store) TakeOver(ctx context.Context, botID int64, instance string) (inbox.Tenure, error) {
	tenure := inbox.Tenure{BotID: botID}
	err := s.change(ctx, "take over", func(l *ledger) error {
		if lock := s.pollLockOf(botID); lock != nil {
			if held, err := s.db.Holds(l.ctx, l.c, lock); err != nil {
				return err
			} else if !held {
				return inbox.ErrNoLock
			}
		}
		_, err := l.exec(s.db.InsertOrKeep(`INSERT INTO bots
			(id, username, name, epoch, signed_off, next_offset, state, reason, instance, since, heartbeat_at)
			VALUES ($1, '', '', 0, TRUE, 0, 'starting', '', '', $2, $2)`), botID, l.now)
		if err != nil {
			return err
		}
		err = l.one(to(&tenure.Epoch, &tenure.Clean, &tenure.NextOffset),
			`SELECT epoch, signed_off, next_offset FROM bots WHERE id = $1`, botID)
		if err != nil {
			return err
		}
		tenure.Epoch++
		_, err = l.exec(`UPDATE bots SET epoch = $1, signed_off = FALSE, state = $2, reason = '', retry_at = 0, sends_at = 0,
			instance = $3, since = $4, heartbeat_at = $4 WHERE id = $5`,
			tenure.Epoch, string(inbox.BotStarting), inbox.CleanText(instance), l.now, botID)
		if err != nil {
			return err
		}
		l.event(inbox.BotUpdated, botID, 0, 0)
		return l.breakOff(botID)
	})
	if err != nil {
		return inbox.Tenure{}, err
	}
	return tenure, nil
}

// pollLockOf is the lock that was taken last, nil if there was none or it is another bot's.
func (s *Store) pollLockOf(botID int64) inbox.PollLock {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.polling.botID != botID {
		return nil
	}
	return s.polling.lock
}

// breakOff turns what an older tenure left in Sending to Unknown.
func (l *ledger) breakOff(botID int64) error {
	type left struct{ id, message, conversation, part int64 }
	list, err := all(l.tx, func(scan func(...any) error) (d left, err error) {
		return d, scan(&d.id, &d.message, &d.conversation, &d.part)
	}, `SELECT id, message_id, conversation_id, part FROM deliveries
		WHERE bot_id = $1 AND state = 'sending' ORDER BY id`, botID)
	if err != nil {
		return err
	}
	for _, d := range list {
		_, err := l.exec(`UPDATE deliveries SET state = 'unknown', error = $1, turn = FALSE, updated_at = $2 WHERE id = $3`,
			brokenOff, l.now, d.id)
		if err != nil {
			return err
		}
		if err := l.hold(d.message, d.part, inbox.Unknown); err != nil {
			return err
		}
		if err := l.giveTurn(d.conversation); err != nil {
			return err
		}
		if err := l.sumUp(botID, d.conversation, d.message); err != nil {
			return err
		}
	}
	return nil
}

// hold keeps the parts of an answer back that come after one that is failed or unknown: the customer would get the rest
// of something of which the beginning is missing.
func (l *ledger) hold(messageID, part int64, because inbox.DeliveryState) error {
	why := fmt.Sprintf("held: part %d was not delivered", part+1)
	if because == inbox.Unknown {
		why = fmt.Sprintf("held: it is not known whether part %d was delivered", part+1)
	}
	_, err := l.exec(`UPDATE deliveries SET state = 'failed', error = $1, held = $2, turn = FALSE, updated_at = $2
		WHERE message_id = $3 AND part > $4 AND operation = 'send' AND state = 'queued'`, why, l.now, messageID, part)
	return err
}

// fence is ErrFenced unless the tenure is the bot's newest and has not been signed off.
func (l *ledger) fence(t inbox.Tenure) error {
	var epoch int64
	var off bool
	found, err := l.row(to(&epoch, &off), `SELECT epoch, signed_off FROM bots WHERE id = $1`, t.BotID)
	if err == nil && (!found || epoch != t.Epoch || off) {
		err = inbox.ErrFenced
	}
	return err
}

// SignOff ends a tenure in good order; see inbox.BotStore.
func (s *Store) SignOff(ctx context.Context, t inbox.Tenure, state inbox.BotState, reason string) error {
	return s.change(ctx, "sign off", func(l *ledger) error {
		if err := l.fence(t); err != nil {
			return err
		}
		l.event(inbox.BotUpdated, t.BotID, 0, 0)
		_, err := l.exec(`UPDATE bots SET signed_off = TRUE, state = $1, reason = $2, retry_at = 0, sends_at = 0,
			since = $3, heartbeat_at = $3 WHERE id = $4`,
			string(state), inbox.CleanText(reason), l.now, t.BotID)
		return err
	})
}

// ReportBot says how the bot is; see inbox.BotStore.
func (s *Store) ReportBot(ctx context.Context, t inbox.Tenure, r inbox.BotReport) error {
	r.Username, r.Name = inbox.CleanText(r.Username), inbox.CleanText(r.Name)
	r.Reason, r.Instance = inbox.CleanText(r.Reason), inbox.CleanText(r.Instance)
	return s.change(ctx, "report the bot's state", func(l *ledger) error {
		if err := l.fence(t); err != nil {
			return err
		}
		var was inbox.BotReport
		var since, wasRetry, wasSends int64
		err := l.one(to(&was.Username, &was.Name, &was.State, &was.Reason, &was.Instance, &since, &wasRetry, &wasSends),
			`SELECT username, name, state, reason, instance, since, retry_at, sends_at FROM bots WHERE id = $1`, t.BotID)
		if err != nil {
			return err
		}
		if r.Username == "" {
			r.Username = was.Username
		}
		if r.Name == "" {
			r.Name = was.Name
		}
		retry, sends := microsOrZero(r.RetryAt), microsOrZero(r.SendsAt)
		r.RetryAt, r.SendsAt = time.Time{}, time.Time{}
		if was.State != r.State {
			since = l.now
		}
		if was != r || retry != wasRetry || sends != wasSends {
			l.event(inbox.BotUpdated, t.BotID, 0, 0)
		}
		if sends != wasSends {
			if err := l.waitsChanged(`d.bot_id = $1`, t.BotID); err != nil {
				return err
			}
		}
		_, err = l.exec(`UPDATE bots SET username = $1, name = $2, state = $3, reason = $4, instance = $5, since = $6,
			heartbeat_at = $7, retry_at = $8, sends_at = $9 WHERE id = $10`,
			r.Username, r.Name, string(r.State), r.Reason, r.Instance, since, l.now, retry, sends, t.BotID)
		return err
	})
}

// claims remembers what was handed to the sender. A commit of a claim that failed may have happened all the same: the
// connection broke before the answer. Then rows say Sending that nobody sends. The next claim finds them: they are not
// among those that were handed out.
type claims struct {
	mu     sync.Mutex
	tenure inbox.Tenure  // the one that handed belongs to
	handed map[int64]int // the attempt of each delivery
	doubt  bool          // the last claim ended in an error
}

const deliveryColumns = `d.id, d.message_id, d.conversation_id, c.chat_id, m.thread_id, d.part, d.text, d.attempt,
	COALESCE(r.telegram_message_id, (SELECT s.telegram_message_id FROM deliveries s
		WHERE s.message_id = r.id AND s.telegram_message_id IS NOT NULL ORDER BY s.part LIMIT 1), 0)`

const deliveryTables = ` FROM deliveries d
	JOIN messages m ON m.id = d.message_id
	JOIN conversations c ON c.id = d.conversation_id
	LEFT JOIN messages r ON r.id = m.reply_to`

func scanDelivery(scan func(...any) error) (d inbox.Delivery, err error) {
	err = scan(&d.ID, &d.MessageID, &d.ConversationID, &d.ChatID, &d.ThreadID, &d.Part, &d.Text, &d.Attempt, &d.ReplyTo)
	if d.Part > 0 {
		d.ReplyTo = 0 // the first part replies, the others follow it
	}
	return d, err
}

// Which deliveries are due: those that were held back until now, those that never were, and those that are held back by
// a clock that has been put right since.
const (
	heldBack   = `d.not_before > 0 AND d.not_before <= $2`
	unhindered = `d.not_before = 0 AND CAST($2 AS BIGINT) > 0`
)

var wrongClock = fmt.Sprintf(`d.not_before > $2 + %d`, beyond)

// ClaimDeliveries marks queued deliveries as Sending and returns them; see inbox.BotStore. What was held back and is
// due goes first: it has waited longest.
func (s *Store) ClaimDeliveries(
	ctx context.Context, t inbox.Tenure, limit int, notYet map[int64]time.Time,
) (claimed []inbox.Delivery, next time.Time, err error) {
	return s.claimInOrder(ctx, t, limit, notYet, heldBack, unhindered, wrongClock)
}

// ClaimProbe claims one delivery; see inbox.BotStore. What was held back goes last: its chat may be the one that
// Telegram keeps waiting.
func (s *Store) ClaimProbe(ctx context.Context, t inbox.Tenure) (claimed []inbox.Delivery, next time.Time, err error) {
	return s.claimInOrder(ctx, t, 1, nil, unhindered, heldBack, wrongClock)
}

// claimInOrder claims what the conditions find, and remembers what it handed out.
func (s *Store) claimInOrder(
	ctx context.Context, t inbox.Tenure, limit int, notYet map[int64]time.Time, order ...string,
) (claimed []inbox.Delivery, next time.Time, err error) {
	k := &s.claims
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.tenure.BotID != t.BotID || k.tenure.Epoch != t.Epoch {
		k.tenure, k.handed, k.doubt = t, map[int64]int{}, false
	}
	err = s.change(ctx, "claim deliveries", func(l *ledger) error {
		claimed, next = nil, time.Time{}
		if err := l.fence(t); err != nil {
			return err
		}
		var lost []inbox.Delivery
		if k.doubt {
			mine, err := all(l.tx, scanDelivery, `SELECT `+deliveryColumns+deliveryTables+`
				WHERE d.bot_id = $1 AND d.state = 'sending' AND d.epoch = $2 ORDER BY d.id`, t.BotID, t.Epoch)
			if err != nil {
				return err
			}
			for _, d := range mine {
				if k.handed[d.ID] != d.Attempt {
					lost = append(lost, d)
				}
			}
		}
		fresh, soonest, err := l.claim(t, limit-len(lost), notYet, order)
		if err != nil {
			return err
		}
		claimed = append(lost, fresh...)
		var due *int64
		err = l.one(to(&due), `SELECT MIN(not_before) FROM deliveries
			WHERE bot_id = $1 AND turn AND state = 'queued' AND not_before > $2`, t.BotID, l.now)
		if next = soonest; due != nil && (next.IsZero() || fromMicros(*due).Before(next)) {
			next = fromMicros(*due)
		}
		return err
	})
	if err != nil {
		k.doubt = true
		return nil, time.Time{}, err
	}
	k.doubt = false
	for _, d := range claimed {
		k.handed[d.ID] = d.Attempt
	}
	return claimed, next, nil
}

// claim takes what the conditions of order find, the first one's first, without the conversations of notYet. soonest is
// when the first of those that it found may be sent to.
func (l *ledger) claim(t inbox.Tenure, limit int, notYet map[int64]time.Time, order []string) (
	claimed []inbox.Delivery, soonest time.Time, err error,
) {
	for _, due := range order {
		if len(claimed) >= limit {
			break
		}
		// Conversations take turns: updated_at is when a delivery got its turn.
		list, err := all(l.tx, scanDelivery, `SELECT `+deliveryColumns+deliveryTables+`
			WHERE d.bot_id = $1 AND d.turn AND d.state = 'queued' AND `+due+`
			ORDER BY d.not_before, d.updated_at, d.id LIMIT $3`, t.BotID, l.now, limit-len(claimed)+len(notYet))
		if err != nil {
			return nil, soonest, err
		}
		for _, d := range list {
			if at, early := notYet[d.ConversationID]; early {
				if soonest.IsZero() || at.Before(soonest) {
					soonest = at
				}
			} else if len(claimed) < limit {
				claimed = append(claimed, d)
			}
		}
	}
	for i := range claimed {
		d := &claimed[i]
		d.Attempt++
		var paused int64
		if err := l.one(to(&paused), `SELECT paused_until FROM deliveries WHERE id = $1`, d.ID); err != nil {
			return nil, soonest, err
		}
		_, err := l.exec(`UPDATE deliveries SET state = 'sending', attempt = $1, epoch = $2, error = '', paused_until = 0,
			updated_at = $3 WHERE id = $4`,
			d.Attempt, t.Epoch, l.now, d.ID)
		if err != nil {
			return nil, soonest, err
		}
		if err := l.sumUp(t.BotID, d.ConversationID, d.MessageID); err != nil {
			return nil, soonest, err
		}
		if paused > 0 {
			if err := l.waitsChanged(`d.conversation_id = $1`, d.ConversationID); err != nil {
				return nil, soonest, err
			}
		}
	}
	return claimed, soonest, nil
}

// RecordOutcome stores how a claimed delivery went; see inbox.BotStore. The same outcome again is no error: a caller
// whose commit was cut off may say it once more.
func (s *Store) RecordOutcome(ctx context.Context, t inbox.Tenure, o inbox.Outcome) error {
	switch o.State {
	case inbox.Sent, inbox.Failed, inbox.Unknown, inbox.Queued:
	default:
		return fmt.Errorf("record an outcome: %q is none", o.State)
	}
	o.Error = inbox.CleanText(o.Error)
	var notBefore, paused int64
	if o.State == inbox.Queued {
		notBefore, paused = microsOrZero(o.RetryAt), microsOrZero(o.PausedUntil)
	}
	var sentID *int64
	if o.State == inbox.Sent {
		o.Error = ""
		sentID = &o.TelegramMessageID
	}
	err := s.change(ctx, "record an outcome", func(l *ledger) error {
		if err := l.fence(t); err != nil {
			return err
		}
		var message, conversation, epoch, held, part int64
		var attempt int
		var state inbox.DeliveryState
		var telegram *int64
		var blocked bool
		err := l.one(to(&message, &conversation, &epoch, &attempt, &held, &state, &telegram, &blocked,
			&part),
			`SELECT d.message_id, d.conversation_id, d.epoch, d.attempt, d.not_before, d.state, d.telegram_message_id, c.blocked,
				d.part
			FROM deliveries d JOIN conversations c ON c.id = d.conversation_id
			WHERE d.id = $1 AND d.bot_id = $2`, o.DeliveryID, t.BotID)
		switch {
		case err != nil:
			return err
		case epoch == t.Epoch && attempt > o.Attempt:
			// It was stored, although the answer of the database was cut off. The delivery is being sent again.
			return nil
		case epoch == t.Epoch && state == o.State && held == notBefore &&
			(sentID == nil || telegram != nil && *telegram == *sentID):
			return nil
		case epoch != t.Epoch || state != inbox.Sending:
			return inbox.ErrFenced
		}
		_, err = l.exec(`UPDATE deliveries SET state = $1, telegram_message_id = $2, error = $3, not_before = $4,
			paused_until = $5, updated_at = $6 WHERE id = $7`,
			string(o.State), sentID, o.Error, notBefore, paused, l.now, o.DeliveryID)
		if err != nil {
			return err
		}
		if o.State == inbox.Failed || o.State == inbox.Unknown {
			if err := l.hold(message, part, o.State); err != nil {
				return err
			}
		}
		if err := l.giveTurn(conversation); err != nil {
			return err
		}
		if err := l.sumUp(t.BotID, conversation, message); err != nil {
			return err
		}
		if paused > 0 {
			if err := l.waitsChanged(`d.conversation_id = $1`, conversation); err != nil {
				return err
			}
		}
		if o.State == inbox.Sent && blocked || o.Unreachable != inbox.Reachable {
			return l.setReachable(t.BotID, conversation, o.Unreachable)
		}
		return nil
	})
	if err == nil {
		s.claims.mu.Lock()
		if s.claims.handed[o.DeliveryID] == o.Attempt { // else it has been claimed again meanwhile
			delete(s.claims.handed, o.DeliveryID)
		}
		s.claims.mu.Unlock()
	}
	return err
}

// setReachable notes why nothing can be delivered to a customer, or that something can. What has just been taken was
// delivered to one who is there again.
func (l *ledger) setReachable(botID, conversationID int64, why inbox.Reach) error {
	n, err := l.exec(`UPDATE conversations SET blocked = $1, unreachable = $2, updated_at = $3
		WHERE id = $4 AND (blocked <> $1 OR unreachable <> $2)`,
		why != inbox.Reachable, string(why), l.now, conversationID)
	if err == nil && n > 0 {
		l.event(inbox.ConversationUpdated, botID, conversationID, 0)
	}
	return err
}

// giveTurn marks the delivery of a conversation that is being sent, else its oldest queued one. Then those that can be
// claimed are one range of one index, however many are queued behind them.
func (l *ledger) giveTurn(conversationID int64) error {
	var turn *int64
	// The condition of the partial index is repeated word for word, as SQLite does not infer it.
	err := l.one(to(&turn), `SELECT COALESCE(
		(SELECT id FROM deliveries WHERE conversation_id = $1 AND state = 'sending' AND state IN ('queued', 'sending')
			ORDER BY id LIMIT 1),
		(SELECT id FROM deliveries WHERE conversation_id = $1 AND state = 'queued' AND state IN ('queued', 'sending')
			ORDER BY id LIMIT 1))`, conversationID)
	if err != nil {
		return err
	}
	if turn == nil {
		turn = new(int64)
	}
	_, err = l.exec(`UPDATE deliveries SET turn = FALSE WHERE conversation_id = $1 AND turn AND id <> $2`,
		conversationID, *turn)
	if err != nil {
		return err
	}
	_, err = l.exec(`UPDATE deliveries SET turn = TRUE, updated_at = $2 WHERE id = $1 AND NOT turn`, *turn, l.now)
	return err
}

// sumUp makes a message's delivery that of its worst part, of those that are not held because of another. The message
// is one of that bot and conversation.
func (l *ledger) sumUp(botID, conversationID, messageID int64) error {
	worst := map[inbox.DeliveryState]int{
		inbox.Sent: 0, inbox.Queued: 1, inbox.Sending: 2, inbox.Unknown: 3, inbox.Failed: 4,
	}
	type part struct {
		state inbox.DeliveryState
		error string
	}
	parts, err := all(l.tx, func(scan func(...any) error) (p part, err error) {
		return p, scan(&p.state, &p.error)
	}, `SELECT state, error FROM deliveries
		WHERE message_id = $1 AND operation = 'send' AND held <> updated_at ORDER BY part`, messageID)
	if err != nil || len(parts) == 0 {
		return err
	}
	sum := parts[0]
	for _, p := range parts[1:] {
		if worst[p.state] > worst[sum.state] {
			sum = p
		}
	}
	if sum.state != inbox.Failed && sum.state != inbox.Unknown {
		sum.error = ""
	}
	changed, err := l.exec(`UPDATE messages SET delivery = $1, error = $2
		WHERE id = $3 AND (delivery <> $1 OR error <> $2)`, string(sum.state), sum.error, messageID)
	if err == nil && changed > 0 {
		l.event(inbox.MessageUpdated, botID, conversationID, messageID)
	}
	return err
}
