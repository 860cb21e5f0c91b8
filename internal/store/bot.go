package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/store/driver"
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
		err = l.later(`UPDATE bots SET epoch = $1, signed_off = FALSE, state = $2, reason = '', retry_at = 0, sends_at = 0,
			instance = $3, since = $4, heartbeat_at = $4, knows = $5, knows_epoch = $1 WHERE id = $6`,
			tenure.Epoch, string(inbox.BotStarting), inbox.CleanText(instance), l.now, int64(s.skill), botID)
		if err != nil {
			return err
		}
		l.event(inbox.BotUpdated, botID, 0, 0)
		if err := l.breakOff(botID); err != nil {
			return err
		}
		if err := l.changeAgain(botID); err != nil {
			return err
		}
		return l.turnsOfOlder(botID)
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
		WHERE bot_id = $1 AND state = 'sending' AND operation = 'send' ORDER BY id`, botID)
	if err != nil {
		return err
	}
	for _, d := range list {
		err := l.later(`UPDATE deliveries SET state = 'unknown', error = $1, turn = FALSE, updated_at = $2 WHERE id = $3`,
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
	return l.later(`UPDATE deliveries SET state = 'failed', error = $1, held = $2, turn = FALSE, updated_at = $2
		WHERE message_id = $3 AND part > $4 AND operation = 'send' AND state = 'queued'`, why, l.now, messageID, part)
}

// fence is ErrFenced unless the tenure is the bot's newest and has not been signed off.
func (t tx) fence(of inbox.Tenure) error {
	if err := t.askFence(of); err != nil {
		return err
	}
	return t.flush()
}

// askFence asks that. The answer comes with flush, which nothing may be written before.
func (t tx) askFence(of inbox.Tenure) error {
	return t.c.Later(t.ctx, func(r driver.Rows) error {
		var epoch int64
		var off bool
		if !r.Next() {
			return errors.Join(r.Err(), inbox.ErrFenced)
		}
		if err := r.Scan(&epoch, &off); err != nil {
			return err
		}
		if epoch != of.Epoch || off {
			return inbox.ErrFenced
		}
		return nil
	}, `SELECT epoch, signed_off FROM bots WHERE id = $1`, of.BotID)
}

// SignOff ends a tenure in good order; see inbox.BotStore.
func (s *Store) SignOff(ctx context.Context, t inbox.Tenure, state inbox.BotState, reason string) error {
	return s.changeKnowing(ctx, "sign off", func(l *ledger) error { return l.askFence(t) }, func(l *ledger) error {
		l.event(inbox.BotUpdated, t.BotID, 0, 0)
		return l.later(`UPDATE bots SET signed_off = TRUE, state = $1, reason = $2, retry_at = 0, sends_at = 0,
			since = $3, heartbeat_at = $3 WHERE id = $4`,
			string(state), inbox.CleanText(reason), l.now, t.BotID)
	})
}

// ReportBot says how the bot is; see inbox.BotStore.
func (s *Store) ReportBot(ctx context.Context, t inbox.Tenure, r inbox.BotReport) error {
	r.Username, r.Name = inbox.CleanText(r.Username), inbox.CleanText(r.Name)
	r.Reason, r.Instance = inbox.CleanText(r.Reason), inbox.CleanText(r.Instance)
	var was inbox.BotReport
	var since, wasRetry, wasSends int64
	return s.changeKnowing(ctx, "report the bot's state", func(l *ledger) error {
		if err := l.askFence(t); err != nil {
			return err
		}
		return l.ask(to(&was.Username, &was.Name, &was.State, &was.Reason, &was.Instance, &since, &wasRetry, &wasSends), nil,
			`SELECT username, name, state, reason, instance, since, retry_at, sends_at FROM bots WHERE id = $1`, t.BotID)
	}, func(l *ledger) error {
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
		return l.later(`UPDATE bots SET username = $1, name = $2, state = $3, reason = $4, instance = $5, since = $6,
			heartbeat_at = $7, retry_at = $8, sends_at = $9 WHERE id = $10`,
			r.Username, r.Name, string(r.State), r.Reason, r.Instance, since, l.now, retry, sends, t.BotID)
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

// deliveryColumns are those of a delivery to be sent, of its message, and whether there are other parts of that.
const deliveryColumns = `d.id, d.message_id, d.conversation_id, c.chat_id, m.thread_id, d.part, d.text, d.attempt,
	COALESCE(r.telegram_message_id, (SELECT s.telegram_message_id FROM deliveries s
		WHERE s.message_id = r.id AND s.telegram_message_id IS NOT NULL ORDER BY s.part LIMIT 1), 0),
	d.paused_until, d.silent, d.operation, ` + summary

const deliveryTables = ` FROM deliveries d
	JOIN messages m ON m.id = d.message_id
	JOIN conversations c ON c.id = d.conversation_id
	LEFT JOIN messages r ON r.id = m.reply_to`

// due is a delivery that may be claimed, and what else a claim has to know of it.
type due struct {
	inbox.Delivery
	paused int64
	sum
}

func scanDue(scan func(...any) error) (d due, err error) {
	err = scan(&d.ID, &d.MessageID, &d.ConversationID, &d.ChatID, &d.ThreadID, &d.Part, &d.Text, &d.Attempt, &d.ReplyTo,
		&d.paused, &d.Silent, &d.Operation, &d.delivery, &d.error, &d.alone)
	if d.Part > 0 {
		d.ReplyTo = 0 // the first part replies, the others follow it
	}
	return d, err
}

// sum is what a message says of its delivery, and whether one delivery alone decides that.
type sum struct {
	delivery inbox.DeliveryState
	error    string
	alone    bool
}

// summary are the columns of a sum.
const summary = `m.delivery, m.error, d.operation = 'send' AND NOT EXISTS (SELECT 1 FROM deliveries o
	WHERE o.message_id = d.message_id AND o.operation = 'send' AND o.part <> d.part)`

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

// claimInOrder claims what the conditions find, the first one's first, without the conversations of notYet. It
// remembers what it handed out.
func (s *Store) claimInOrder(
	ctx context.Context, t inbox.Tenure, limit int, notYet map[int64]time.Time, order ...string,
) (claimed []inbox.Delivery, next time.Time, err error) {
	k := &s.claims
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.tenure.BotID != t.BotID || k.tenure.Epoch != t.Epoch {
		k.tenure, k.handed, k.doubt = t, map[int64]int{}, false
	}
	if !k.doubt {
		// Whoever commits anything wakes the bot, and there is mostly nothing to send. So it looks before it locks.
		some, next, err := s.someDue(ctx, t, notYet)
		if err != nil || !some {
			return nil, next, err
		}
	}
	var mine []due
	found := make([][]due, len(order))
	var later *int64
	err = s.changeKnowing(ctx, "claim deliveries", func(l *ledger) error {
		if err := l.askFence(t); err != nil {
			return err
		}
		if k.doubt {
			err := askAll(l.tx, &mine, scanDue, `SELECT `+deliveryColumns+deliveryTables+`
				WHERE d.bot_id = $1 AND d.state = 'sending' AND d.epoch = $2 ORDER BY d.id`, t.BotID, t.Epoch)
			if err != nil {
				return err
			}
		}
		// Conversations take turns: updated_at is when a delivery got its turn.
		for i, condition := range order {
			err := askAll(l.tx, &found[i], scanDue, `SELECT `+deliveryColumns+deliveryTables+`
				WHERE d.bot_id = $1 AND d.turn AND d.state = 'queued' AND `+condition+`
				ORDER BY d.not_before, d.updated_at, d.id LIMIT $3`, t.BotID, l.now, limit+len(notYet))
			if err != nil {
				return err
			}
		}
		return l.ask(to(&later), nil, nextDue, t.BotID, l.now)
	}, func(l *ledger) error {
		claimed, next = nil, time.Time{}
		for _, d := range mine {
			if k.handed[d.ID] != d.Attempt {
				claimed = append(claimed, d.Delivery)
			}
		}
		var fresh []due
		for _, d := range slices.Concat(found...) {
			if at, early := notYet[d.ConversationID]; early {
				next = sooner(next, at)
			} else if len(claimed)+len(fresh) < limit {
				fresh = append(fresh, d)
			}
		}
		if err := l.claim(t, fresh); err != nil {
			return err
		}
		for _, d := range fresh {
			claimed = append(claimed, d.Delivery)
		}
		if later != nil {
			next = sooner(next, fromMicros(*later))
		}
		return l.addTargets(claimed)
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

// nextDue is when the earliest of those that are held back is due.
var nextDue = fmt.Sprintf(`SELECT MIN(not_before) FROM deliveries
	WHERE bot_id = $1 AND turn AND state = 'queued' AND not_before > $2 AND not_before <= $2 + %d`, beyond)

// sooner is the earlier of two times, of which the zero time is none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// someDue says whether a claim would find anything, and when one would if it does not. It locks nothing.
func (s *Store) someDue(
	ctx context.Context, t inbox.Tenure, notYet map[int64]time.Time,
) (some bool, next time.Time, err error) {
	var conversations []int64
	var later *int64
	err = s.lookUp(ctx, "look for deliveries", func(x tx) error {
		now := micros(time.Now())
		if err := x.askFence(t); err != nil {
			return err
		}
		err := askAll(x, &conversations, func(scan func(...any) error) (id int64, err error) { return id, scan(&id) },
			fmt.Sprintf(`SELECT conversation_id FROM deliveries WHERE bot_id = $1 AND turn AND state = 'queued'
				AND (not_before <= $2 OR not_before > $2 + %d) LIMIT $3`, beyond), t.BotID, now, len(notYet)+1)
		if err == nil {
			err = x.ask(to(&later), nil, nextDue, t.BotID, now)
		}
		if err != nil {
			return err
		}
		return x.flush()
	})
	for _, id := range conversations {
		at, early := notYet[id]
		if !early {
			return true, time.Time{}, err
		}
		next = sooner(next, at)
	}
	if later != nil {
		next = sooner(next, fromMicros(*later))
	}
	return false, next, err
}

// claim makes them those of the tenure. It counts their attempts.
func (l *ledger) claim(t inbox.Tenure, list []due) error {
	var ids, messages values
	for i := range list {
		d := &list[i]
		d.Attempt++
		ids.add(d.ID)
		if d.alone && (d.delivery != inbox.Sending || d.error != "") {
			messages.add(d.MessageID)
			l.event(inbox.MessageUpdated, t.BotID, d.ConversationID, d.MessageID)
		}
	}
	err := l.updateThose(`UPDATE deliveries SET state = 'sending', attempt = attempt + 1, epoch = $1, error = '',
		paused_until = 0, updated_at = $2 WHERE id IN `, ids, t.Epoch, l.now)
	if err == nil {
		err = l.updateThose(`UPDATE messages SET delivery = $1, error = '' WHERE id IN `, messages, string(inbox.Sending))
	}
	if err != nil {
		return err
	}
	for _, d := range list {
		if d.Operation != inbox.Send {
			if err := l.changeState(t.BotID, d.ConversationID, d.MessageID, inbox.Sending, ""); err != nil {
				return err
			}
		}
		if !d.alone {
			if err := l.sumUp(t.BotID, d.ConversationID, d.MessageID); err != nil {
				return err
			}
		}
		if d.paused > 0 {
			if err := l.waitsChanged(`d.conversation_id = $1`, d.ConversationID); err != nil {
				return err
			}
		}
	}
	return nil
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
	var message, conversation, epoch, held, part int64
	var attempt int
	var state inbox.DeliveryState
	var operation inbox.Operation
	var telegram *int64
	var was sum
	var blocked, found bool
	err := s.changeKnowing(ctx, "record an outcome", func(l *ledger) error {
		if err := l.askFence(t); err != nil {
			return err
		}
		return l.ask(to(&message, &conversation, &epoch, &attempt, &held, &state, &telegram,
			&part, &blocked, &operation, &was.delivery, &was.error, &was.alone), &found,
			`SELECT d.message_id, d.conversation_id, d.epoch, d.attempt, d.not_before, d.state, d.telegram_message_id,
				d.part, c.blocked, d.operation, `+summary+`
			FROM deliveries d JOIN messages m ON m.id = d.message_id JOIN conversations c ON c.id = d.conversation_id
			WHERE d.id = $1 AND d.bot_id = $2`,
			o.DeliveryID, t.BotID)
	}, func(l *ledger) error {
		switch {
		case !found && (o.Operation == inbox.Edit || o.Operation == inbox.Delete):
			return nil // it was stored already
		case !found:
			return inbox.ErrNotFound
		case epoch == t.Epoch && attempt > o.Attempt:
			// It was stored, although the answer of the database was cut off. The delivery is being sent again.
			return nil
		case epoch == t.Epoch && state == o.State && held == notBefore &&
			(sentID == nil || telegram != nil && *telegram == *sentID):
			return nil
		case epoch != t.Epoch || state != inbox.Sending:
			return inbox.ErrFenced
		}
		err := l.later(`UPDATE deliveries SET state = $1, telegram_message_id = $2, error = $3, not_before = $4,
			paused_until = $5, updated_at = $6 WHERE id = $7`,
			string(o.State), sentID, o.Error, notBefore, paused, l.now, o.DeliveryID)
		if err != nil {
			return err
		}
		if operation != inbox.Send {
			if err := l.changed(t.BotID, conversation, message, part, o); err != nil {
				return err
			}
			if paused > 0 {
				if err := l.waitsChanged(`d.conversation_id = $1`, conversation); err != nil {
					return err
				}
			}
			return l.giveTurn(conversation)
		}
		if o.State == inbox.Failed || o.State == inbox.Unknown {
			if err := l.hold(message, part, o.State); err != nil {
				return err
			}
		}
		if err := l.giveTurn(conversation); err != nil {
			return err
		}
		if was.alone {
			err = l.summed(t.BotID, conversation, message, was, sum{delivery: o.State, error: o.Error})
		} else {
			err = l.sumUp(t.BotID, conversation, message)
		}
		if err != nil {
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
func (l *ledger) giveTurn(conversations ...int64) error {
	// The condition of the partial index is repeated word for word, as SQLite does not infer it.
	turn := func(conversation string) string {
		return `COALESCE(
			(SELECT q.id FROM deliveries q WHERE q.conversation_id = ` + conversation + ` AND q.state = 'sending'
				AND q.state IN ('queued', 'sending') ORDER BY q.id LIMIT 1),
			(SELECT q.id FROM deliveries q WHERE q.conversation_id = ` + conversation + ` AND q.state = 'queued'
				AND q.state IN ('queued', 'sending') ORDER BY q.id LIMIT 1), 0)`
	}
	var all values
	for _, id := range conversations {
		all.add(id)
	}
	err := l.updateThose(`UPDATE deliveries SET turn = FALSE WHERE turn AND id <> `+turn(`deliveries.conversation_id`)+`
		AND conversation_id IN `, all)
	if err != nil {
		return err
	}
	for _, some := range all.portions() {
		err := l.later(`UPDATE deliveries SET turn = TRUE, updated_at = $1 WHERE NOT turn AND id IN
			(SELECT `+turn(`c.id`)+` FROM conversations c WHERE c.id IN (`+places(1, len(some))+`))`,
			append([]any{l.now}, some...)...)
		if err != nil {
			return err
		}
	}
	return nil
}

// sumUp makes a message's delivery that of its worst part, of those that are not held because of another. The message
// is one of that bot and conversation.
func (l *ledger) sumUp(botID, conversationID, messageID int64) error {
	worst := map[inbox.DeliveryState]int{
		inbox.Sent: 0, inbox.Queued: 1, inbox.Sending: 2, inbox.Unknown: 3, inbox.Failed: 4,
	}
	var was, now sum
	err := l.ask(to(&was.delivery, &was.error), nil, `SELECT delivery, error FROM messages WHERE id = $1`, messageID)
	if err != nil {
		return err
	}
	parts, err := all(l.tx, func(scan func(...any) error) (p sum, err error) {
		return p, scan(&p.delivery, &p.error)
	}, `SELECT state, error FROM deliveries
		WHERE message_id = $1 AND operation = 'send' AND held <> updated_at ORDER BY part`, messageID)
	if err != nil || len(parts) == 0 {
		return err
	}
	now = parts[0]
	for _, p := range parts[1:] {
		if worst[p.delivery] > worst[now.delivery] {
			now = p
		}
	}
	return l.summed(botID, conversationID, messageID, was, now)
}

// summed makes a message's delivery now.
func (l *ledger) summed(botID, conversationID, messageID int64, was, now sum) error {
	if now.delivery != inbox.Failed && now.delivery != inbox.Unknown {
		now.error = ""
	}
	if was.delivery == now.delivery && was.error == now.error {
		return nil
	}
	l.event(inbox.MessageUpdated, botID, conversationID, messageID)
	return l.later(`UPDATE messages SET delivery = $1, error = $2 WHERE id = $3`,
		string(now.delivery), now.error, messageID)
}
