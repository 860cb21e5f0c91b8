package telegram

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tandem/internal/backoff"
	"tandem/internal/exitcode"
	"tandem/internal/inbox"
)

// allowedUpdates is sent with each poll. Where it is missing, Telegram goes on with what another program set.
var allowedUpdates = []string{"message", "edited_message", "callback_query", "my_chat_member", "message_reaction"}

// maxBatchUpdates is how many updates one poll may bring, the most that Telegram gives.
const maxBatchUpdates = 100

type getUpdates struct {
	Offset  int64    `json:"offset,omitempty"`
	Limit   int      `json:"limit"`
	Timeout int      `json:"timeout"`
	Allowed []string `json:"allowed_updates"`
}

// poll takes updates until run ends. What it has received by then it stores, as long as work allows. An
// offset goes to Telegram, which forgets all below it, only after those updates were committed.
func (x *tenure) poll() error {
	run, work := x.life.run, x.life.work
	username := x.knownAs()
	decode, err := newDecoder(username)
	if err != nil {
		return err
	}
	x.mu.Lock()
	x.started = true
	x.mu.Unlock()
	wait := x.times.pollWait
	if retryAt, _ := x.health.pauses(); retryAt.IsZero() {
		x.health.set(inbox.BotPolling, "")
	} else {
		wait = 0 // Telegram has not taken a request yet: whether it takes polls shows at once then
	}
	x.Log.Info("ready", "bot", username, "bot_id", x.BotID, "epoch", x.Epoch)

	pause, limit := x.times.backoff(), maxBatchUpdates
	for offset := x.NextOffset; x.breaker.pass(run); x.vitals.within(thePoll, 0) {
		x.vitals.within(thePoll, x.times.pollWait+x.times.pollMargin+x.times.hangMargin)
		if err := x.Guard(); err != nil {
			return exitcode.With(exitcode.TempFail,
				fmt.Errorf("stopped polling, because nothing keeps another bot from it any more: %w", err))
		}
		began := time.Now()
		resp := x.ask(run, offset, limit, wait)
		if run.Err() != nil && resp.class != taken {
			return nil
		}
		x.metrics.polls.WithLabelValues(resp.class.String()).Inc()
		switch resp.class {
		case taken:
			wait = x.times.pollWait
			decode.named(x.knownAs())
			batch, next, err := decode.batch(resp.result)
			if err != nil {
				resp = response{class: broken, status: resp.status, description: err.Error()}
				break
			}
			if len(batch) > 0 {
				if err := x.storeBatch(work, batch, next); err != nil || work.Err() != nil {
					return err
				}
			}
			pause.Reset()
			limit = min(2*limit, maxBatchUpdates)
			x.polled()
			// A server that neither holds the poll nor has anything new would be asked without end.
			if idle := len(batch) == 0 || next == offset; idle && time.Since(began) < x.times.idlePause {
				backoff.Sleep(run, x.times.idlePause)
			}
			if len(batch) > 0 {
				offset = next
			}
			continue
		case lapsed:
			return errLost
		case conflict:
			return x.conflict(run, resp)
		case unauthorized:
			return refusedToken(resp)
		}
		if resp.class == flooded {
			wait = 0 // so that the next one says at once whether the pause is over
		}
		if resp.tooLong {
			limit = 1 // one alone may be short enough
		}
		delay := x.times.wait(resp, pause)
		x.pollFailed(resp, delay)
		x.vitals.within(thePoll, delay+x.times.hangMargin)
		x.rest(run, resp, delay)
	}
	return nil
}

// rest waits before the next poll. A pause that Telegram asked for also ends when Telegram takes a getMe.
func (x *tenure) rest(ctx context.Context, resp response, delay time.Duration) {
	if resp.class != flooded {
		backoff.Sleep(ctx, delay)
		return
	}
	select {
	case <-x.resumed: // from before the pause
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, delay)
	defer cancel()
	select {
	case <-x.resumed:
	case <-ctx.Done():
	}
}

func (x *tenure) knownAs() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.username
}

// ask is one getUpdates, which Telegram may hold for wait. A connection on which nothing comes any more is given up.
func (x *tenure) ask(ctx context.Context, offset int64, limit int, wait time.Duration) response {
	ctx, cancel := context.WithTimeout(ctx, x.times.pollWait+x.times.pollMargin)
	defer cancel()
	return x.client.call(ctx, "getUpdates", getUpdates{
		Offset: max(offset, 0), // a negative one would throw away what waits
		Limit:  limit, Timeout: int(wait.Seconds()), Allowed: allowedUpdates,
	}, x.times.maxBatchBytes)
}

func (x *tenure) polled() {
	x.mu.Lock()
	x.failedPolls = 0
	x.mu.Unlock()
	x.health.polled()
	if !x.breaker.isTripped() {
		x.health.set(inbox.BotPolling, "")
	}
}

func (x *tenure) pollFailed(resp response, delay time.Duration) {
	x.mu.Lock()
	x.failedPolls++
	x.mu.Unlock()
	switch resp.class {
	case broken:
		x.trouble("getUpdates", resp)
	case flooded:
		x.paused("getUpdates", resp, delay)
	default:
		x.Log.Error("Telegram refuses to give updates, trying again", "reason", resp.Error())
		x.health.set(inbox.BotUnreachable, "Telegram refuses to give updates: "+resp.Error())
	}
}

// storeBatch keeps trying until the batch is committed. The store promises that one odd update holds up none of the
// others. When another has taken over, an error says so. When work ends the batch may not be stored: it was not
// acknowledged then, and Telegram gives it again.
func (x *tenure) storeBatch(work context.Context, batch []inbox.Update, next int64) error {
	pause := x.times.storeBackoff()
	for {
		x.vitals.within(thePoll, x.times.storeLimit+x.times.hangMargin)
		err := x.Store.StoreUpdates(work, x.Tenure, batch, next)
		switch {
		case err == nil:
			for _, u := range batch {
				x.metrics.stored(u)
				x.press(u.Press)
				if u.Problem != "" {
					x.Log.Warn("an update could not be understood as a whole, it is kept as it came",
						"update_id", u.ID, "kind", u.Kind, "problem", u.Problem)
				}
			}
			return nil
		case errors.Is(err, inbox.ErrFenced):
			x.Log.Warn("the updates in hand are not stored: another bot has taken over, and gets them",
				"updates", len(batch))
			return endFenced(err)
		case work.Err() != nil:
			x.Log.Warn("stopped before the updates in hand were stored, Telegram will give them again",
				"updates", len(batch))
			return nil
		case pause.Failures == 0:
			x.Log.Error("updates cannot be stored, none is acknowledged until they are",
				"updates", len(batch), "error", err)
		}
		x.metrics.storeErrors.Inc()
		if !backoff.Sleep(work, pause.Next()) {
			return nil
		}
	}
}

// conflict finds out who the other one is. A bot that shares our database has taken over before it polled. Then this
// bot was frozen or cut off, and stands by. The database is asked for as long as word of a lost lock can take.
func (x *tenure) conflict(run context.Context, resp response) error {
	ctx, cancel := context.WithTimeout(run, x.times.fencedWait)
	defer cancel()
	pause := x.times.storeBackoff()
	for {
		err := x.Store.ReportBot(ctx, x.Tenure, x.says(inbox.BotConflict, resp.Error()))
		switch {
		case errors.Is(err, inbox.ErrFenced):
			return endFenced(err)
		case run.Err() != nil:
			return nil // why is known already
		case err == nil, !backoff.Sleep(ctx, pause.Next()):
			return endInConflict(resp)
		}
	}
}

// conflictError is the end of a bot because somebody else takes its updates.
type conflictError struct{ error }

func (e conflictError) Unwrap() error { return e.error }

// endInConflict says who else is there and what to do about it.
func endInConflict(resp response) error {
	reason := fmt.Errorf("another program polls with this bot's token, and it is not one of this installation: %w. "+
		"Stop it (an old deployment, another machine); if you know of none, revoke the token in @BotFather", resp)
	if resp.has("webhook") && !resp.has("other") {
		reason = fmt.Errorf("a webhook is set for this bot, so Telegram gives no updates to anybody who asks: %w. "+
			"Remove it by opening https://api.telegram.org/bot<token>/deleteWebhook "+
			"(without drop_pending_updates, which would throw messages away)", resp)
	}
	return exitcode.With(exitcode.TempFail, conflictError{reason})
}

// batch decodes the result of getUpdates, each update alone. next is the offset that acknowledges all of them.
func (d *decoder) batch(result json.RawMessage) (updates []inbox.Update, next int64, err error) {
	raws, ok := list(result)
	if !ok {
		return nil, 0, errors.New("getUpdates: the result is not a list of updates")
	}
	for _, raw := range raws {
		u, ok := d.update(raw)
		if !ok {
			continue // without an id it can neither be stored once nor be acknowledged
		}
		updates = append(updates, u)
		next = u.ID + 1
	}
	if len(raws) > 0 && len(updates) == 0 {
		return nil, 0, errors.New("getUpdates: updates without update_id")
	}
	return updates, next, nil
}
