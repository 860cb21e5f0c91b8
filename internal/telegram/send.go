package telegram

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"tandem/internal/backoff"
	"tandem/internal/inbox"
)

// sendWorkers is how many deliveries may be under way at once, each to another customer. Telegram takes about 50 ms for
// one, so that is well above the 30 a second that it allows.
const sendWorkers = 8

// sender hands claimed deliveries to workers and writes down how they went.
type sender struct {
	*tenure

	ended   chan struct{} // gets a word whenever a delivery has ended
	fatal   chan error    // why no more can be sent
	workers sync.WaitGroup

	mu      sync.Mutex
	busy    int
	suspect bool      // the last delivery met trouble: one at a time until what became of one is clear
	pauseTo time.Time // nothing is sent before
	limited bool      // Telegram seems to limit the bot as a whole: after pauseTo one delivery tries if it still does
	floods  []flood
	pace    *pace
	backoff *backoff.Backoff

	claimBackoff *backoff.Backoff // used by claim alone
}

type flood struct {
	chat int64
	at   time.Time
}

// send delivers what is queued until run ends. Then it waits for what is under way: for the deliveries until work ends,
// and for the writing of their outcomes until record does.
func (x *tenure) send() error {
	run := x.life.run
	hints, cancel := x.Store.Subscribe()
	defer cancel()
	s := &sender{
		tenure: x, ended: make(chan struct{}, 1), fatal: make(chan error, 1),
		backoff: x.times.backoff(), claimBackoff: x.times.storeBackoff(), pace: newPace(x.Limits),
	}
	defer s.workers.Wait()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for s.breaker.pass(run) {
		due, err := s.claim(run)
		if err != nil {
			return err
		}
		timer.Reset(min(max(due, 0), x.times.claimEvery))
		select {
		case <-hints:
		case <-s.ended:
		case <-timer.C:
		case err := <-s.fatal:
			return err
		case <-run.Done():
		}
	}
	return nil
}

// claim takes as many deliveries as can leave now and starts them. due is when to look again at the latest.
func (s *sender) claim(run context.Context) (due time.Duration, err error) {
	due = s.times.claimEvery
	for !s.breaker.isTripped() && run.Err() == nil {
		s.mu.Lock()
		free := sendWorkers - s.busy
		if s.suspect {
			free = min(free, 1-s.busy)
		}
		now := time.Now()
		wait := s.pauseTo.Sub(now)
		limited, idle := s.limited, s.busy == 0
		free, paceWait := s.pace.allowance(now, free)
		notYet := s.pace.notYet(now)
		s.mu.Unlock()
		switch {
		case wait > 0:
			return wait, nil
		case paceWait > 0:
			return paceWait, nil
		case free <= 0 || s.Store.Ready() != nil:
			return due, nil
		}
		// Not cut off when the tenure ends: it could be committed all the same, and nobody would send it.
		var claimed []inbox.Delivery
		var next time.Time
		if limited {
			claimed, next, err = s.Store.ClaimProbe(s.life.work, s.Tenure)
		} else {
			claimed, next, err = s.Store.ClaimDeliveries(s.life.work, s.Tenure, free, notYet)
		}
		switch {
		case errors.Is(err, inbox.ErrFenced):
			return due, endFenced(err)
		case err != nil:
			if s.claimBackoff.Failures == 0 && s.life.work.Err() == nil {
				s.Log.Error("answers to send cannot be read, trying again", "error", err)
			}
			return s.claimBackoff.Next(), nil
		}
		s.claimBackoff.Reset()
		if limited && idle && len(claimed) == 0 { // nobody is there to try: the next one is alone all the same
			s.mu.Lock()
			s.endLimit()
			s.mu.Unlock()
		}
		for _, d := range claimed {
			s.mu.Lock()
			s.busy++
			s.pace.note(time.Now(), d.ConversationID)
			s.mu.Unlock()
			s.metrics.inFlight.Inc()
			s.workers.Go(func() { s.deliver(d) })
		}
		if len(claimed) < free {
			if !next.IsZero() {
				due = min(due, time.Until(next))
			}
			return due, nil
		}
	}
	return due, nil
}

// deliver sends one part and writes down how it went. A delivery that makes us panic fails for itself.
func (s *sender) deliver(d inbox.Delivery) {
	defer func() {
		s.mu.Lock()
		s.busy--
		s.mu.Unlock()
		s.metrics.inFlight.Dec()
		select {
		case s.ended <- struct{}{}:
		default:
		}
	}()
	began := time.Now()
	o := s.attempt(d)
	s.metrics.sends.WithLabelValues(string(o.State)).Inc()
	s.metrics.sendSeconds.Observe(time.Since(began).Seconds())
	s.write(o)
}

// nothingToSee is said of an answer before Telegram refuses it, and after.
const nothingToSee = "there is nothing in it to be seen, and Telegram takes no empty message"

// attempt sends one part, and says what became of it.
func (s *sender) attempt(d inbox.Delivery) (o inbox.Outcome) {
	defer func() {
		if r := recover(); r != nil {
			s.Log.Error("a delivery broke the sender", "delivery", d.ID, "panic", s.client.scrub(fmt.Sprint(r)))
			o = inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, State: inbox.Unknown,
				Error: "an error in this program kept it from knowing how the delivery went"}
		}
	}()
	if d.Operation == inbox.Edit || d.Operation == inbox.Delete {
		return s.attemptChange(d)
	}
	if inbox.Blank(d.Text) {
		return inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, State: inbox.Failed, Error: nothingToSee}
	}
	ctx, cancel := context.WithTimeout(s.life.work, s.times.sendLimit)
	defer cancel()
	resp := s.client.send(ctx, d, true, true)
	// What it replies to is gone: without it then. Where a topic is gone it is for a person to say where it goes.
	if resp.class == refused && resp.has("message to be replied not found", "reply message not found",
		"replied message not found") {
		s.mu.Lock()
		s.pace.note(time.Now(), d.ConversationID)
		s.mu.Unlock()
		resp = s.client.send(ctx, d, false, true)
	}
	return s.outcome(d, resp)
}

// outcome turns a response into what is stored, and into what it means for the deliveries after it.
func (s *sender) outcome(d inbox.Delivery, resp response) inbox.Outcome {
	o := outcomeOf(d, resp)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch resp.class {
	case taken, refused:
		s.backoff.Reset()
		if s.limited && time.Now().Before(s.pauseTo) {
			break // it had left before the pause began
		}
		s.suspect = false
		if s.limited {
			s.Log.Info("Telegram limits the bot as a whole no more, sending goes on")
			s.endLimit()
		}
	case flooded:
		wait := resp.retryAfter
		if wait == 0 {
			missing := backoff.Backoff{Min: s.times.backoffFirst * 2, Max: s.times.backoffMost, Failures: d.Attempt - 1}
			wait = missing.Next()
		}
		now := time.Now()
		o.RetryAt, o.PausedUntil = now.Add(min(wait, s.times.maxHold)), now.Add(wait)
		s.Log.Warn("Telegram asks for a pause before the next message to a customer",
			"conversation", d.ConversationID, "message", d.MessageID, "retry_after", wait,
			"until", o.PausedUntil.UTC().Truncate(time.Second), "next_try", o.RetryAt.UTC().Truncate(time.Second),
			"reason", resp.Error())
		s.pace.spent(o.RetryAt, d.ConversationID)
		s.flooded(d, min(wait, s.times.maxHold, s.times.maxHoldAll))
	case lapsed: // another may have the lock, and this delivery with it
		select {
		case s.fatal <- errLost:
		default:
		}
	case unauthorized:
		s.pauseTo = time.Now().Add(time.Hour) // the bot is about to end
		select {
		case s.fatal <- refusedToken(resp):
		default:
		}
	default:
		if s.life.work.Err() != nil {
			break // stopped by us, which says nothing about Telegram
		}
		s.suspect = true
		if next := time.Now().Add(s.backoff.Next()); next.After(s.pauseTo) {
			s.pauseTo = next
		}
		if o.State == inbox.Queued {
			o.RetryAt = s.pauseTo
		}
		s.trouble("sendMessage", resp)
	}
	return o
}

// flooded stops all sending when several customers' chats meet the limit within a moment. Then the limit is that of the
// bot as a whole, or looks like it. So one delivery tries soon whether it is over, and another 429 makes the pause go
// on. A delivery that was held back before says only that its own chat still waits. flooded is called with mu held.
func (s *sender) flooded(d inbox.Delivery, wait time.Duration) {
	now := time.Now()
	if !s.limited {
		if d.Attempt > 1 {
			return
		}
		chats := map[int64]bool{d.ChatID: true}
		recent := s.floods[:0]
		for _, f := range s.floods {
			if now.Sub(f.at) < 2*time.Second {
				recent = append(recent, f)
				chats[f.chat] = true
			}
		}
		s.floods = append(recent, flood{d.ChatID, now})
		if len(chats) < 3 {
			return
		}
		s.floods = nil
	}
	if next := now.Add(wait); next.After(s.pauseTo) {
		if s.pauseTo.Before(now) { // one line for each pause, not for each of those under way when it began
			s.Log.Warn("Telegram limits the bot as a whole, sending pauses until one message tries again",
				"for", wait, "next_try", next.UTC().Truncate(time.Second))
		}
		s.pauseTo = next
	}
	s.limited, s.suspect = true, true
	s.health.pauseSends(s.pauseTo)
}

// endLimit ends what flooded began. It is called with mu held.
func (s *sender) endLimit() {
	s.limited = false
	s.health.pauseSends(time.Time{})
}

// write stores the outcome, however long the database is away. Trouble that waiting does not mend is given up after a
// few tries. What is not written becomes unknown when the next bot takes over.
func (s *sender) write(o inbox.Outcome) {
	pause := s.times.storeBackoff()
	for {
		err := s.Store.RecordOutcome(s.life.record, s.Tenure, o)
		switch {
		case err == nil:
			return
		case errors.Is(err, inbox.ErrFenced), s.life.record.Err() != nil:
			s.Log.Warn("the outcome of a delivery was not written, it will be unknown",
				"delivery", o.DeliveryID, "outcome", o.State, "error", err)
			return
		case pause.Failures == 0:
			s.Log.Error("the outcome of a delivery cannot be written, trying again",
				"delivery", o.DeliveryID, "error", err)
		case !inbox.TryLater(err) && pause.Failures > 8:
			s.Log.Error("the outcome of a delivery is given up",
				"delivery", o.DeliveryID, "outcome", o.State, "error", err)
			return
		}
		if !backoff.Sleep(s.life.record, pause.Next()) {
			return
		}
	}
}

// outcomeOf says what a response means for one delivery, in words for the one who wrote it.
func outcomeOf(d inbox.Delivery, resp response) inbox.Outcome {
	o := inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, Operation: d.Operation}
	switch resp.class {
	case taken:
		o.State, o.TelegramMessageID = inbox.Sent, messageID(resp.result)
	case flooded:
		o.State, o.Error = inbox.Queued, "Telegram asks for a pause before the next message to this customer"
	case unauthorized:
		o.State, o.Error = inbox.Queued, "Telegram refused the bot's token"
	case lapsed:
		o.State, o.Error = inbox.Queued, "the bot was held up before it could send this"
	case conflict:
		o.State, o.Error = inbox.Queued, "Telegram sees a conflict: "+resp.Error()
	case refused:
		o.State = inbox.Failed
		o.Error, o.Unreachable = refusal(resp)
	case broken:
		o.State, o.Error = inbox.Queued, "Telegram cannot be reached: "+resp.Error()
		if resp.maybeTaken {
			o.State = inbox.Unknown
			o.Error = "Telegram may have taken it, but its answer did not arrive: " + resp.Error()
			if resp.has("immediately deleted") {
				o.Error = "Telegram took it and deleted it at once: " + resp.Error()
			}
		}
	}
	return o
}

// refusal says in plain words why Telegram does not deliver, and why nothing can be delivered to the customer at all,
// if that is so.
func refusal(resp response) (words string, why inbox.Reach) {
	switch {
	case resp.has("blocked by the user", "user_is_blocked", "user is blocked"):
		return "the customer has blocked the bot", inbox.BlockedBot
	case resp.has("user is deactivated", "user_deactivated"): // also as INPUT_USER_DEACTIVATED
		return "the customer's Telegram account is gone", inbox.AccountGone
	case resp.has("can't initiate conversation"):
		return "the customer has not written to this bot yet, or deleted the chat; a bot cannot begin", inbox.NeverStarted
	case resp.has("chat not found", "peer_id_invalid", "user not found"):
		return "Telegram knows no such chat of this bot: the customer is gone, or wrote to another bot", inbox.Reachable
	case resp.has("can't send messages to bots", "bot was kicked", "not a member", "chat was deleted",
		"upgraded to a supergroup", "have no rights", "not enough rights"):
		return "the bot may not write into this chat: " + resp.Error(), inbox.Reachable
	case resp.has("thread not found", "topic_deleted", "topic_id_invalid"):
		return "the topic is gone in which this was to be written", inbox.Reachable
	case resp.has("topic_closed"):
		return "the topic is closed in which this was to be written", inbox.Reachable
	case resp.has("too long"):
		return "the text is too long for one message of Telegram", inbox.Reachable
	case resp.has("text is empty", "text must be non-empty"):
		return nothingToSee, inbox.Reachable
	}
	return "Telegram refused it: " + resp.Error(), inbox.Reachable
}
