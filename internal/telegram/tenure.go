package telegram

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"tandem/internal/backoff"
	"tandem/internal/exitcode"
	"tandem/internal/inbox"
)

// tenure is a bot while it holds the right to poll.
type tenure struct {
	*Bot
	inbox.Tenure
	life    *lifetime
	client  *client // sends only while the lock is held
	breaker *breaker
	began   time.Time

	pressed     chan string   // callback queries that are stored and not answered yet
	resumed     chan struct{} // gets a word when a pause in polling is over before its time
	mu          sync.Mutex
	username    string
	name        string
	started     bool // has begun to poll
	failedPolls int  // since one did not fail
}

// parts runs what a tenure does, each part beside the others, until all of them have ended. The first that fails ends
// the tenure.
func (x *tenure) parts() {
	run := x.life.run
	var running sync.WaitGroup
	start := func(part func() error) { running.Go(func() { x.part(part) }) }
	start(func() error { return x.report(run) })
	start(func() error { return x.breaker.run(run, x.times, x.getMe, x.reachable) })
	start(func() error {
		me, err := x.introduce(run)
		if err != nil || run.Err() != nil {
			return err
		}
		if me.class == flooded {
			start(func() error { return x.introduceLater(run, me) })
		}
		if !x.Clean && !backoff.Sleep(run, x.times.settleFor-time.Since(x.began)) {
			return nil
		}
		start(x.send)
		start(x.answerPresses)
		start(x.readAnew)
		start(x.fetch)
		return x.poll()
	})
	running.Wait()
}

// part runs one part. Its error ends the tenure, and so does a panic.
func (x *tenure) part(f func() error) {
	defer func() {
		if r := recover(); r != nil {
			value := x.client.scrub(fmt.Sprint(r))
			x.Log.Error("panic", "value", value, "stack", string(debug.Stack()))
			x.life.stop(fmt.Errorf("the bot broke, which is an error in this program: %s", value))
		}
	}()
	if err := f(); err != nil {
		x.life.stop(err)
	}
}

// getMe asks who the bot is: the cheapest question, and the first one.
func (x *tenure) getMe(ctx context.Context) response {
	ctx, cancel := context.WithTimeout(ctx, x.times.sendLimit)
	defer cancel()
	x.vitals.within(theProbe, x.times.sendLimit+x.times.hangMargin)
	resp := x.client.call(ctx, "getMe", struct{}{}, maxResponseBytes)
	if resp.class == taken {
		var me struct {
			ID        int64  `json:"id"`
			Username  string `json:"username"`
			FirstName string `json:"first_name"`
		}
		if err := json.Unmarshal(resp.result, &me); err == nil {
			x.mu.Lock()
			x.username, x.name = short(me.Username, maxName), short(me.FirstName, maxName)
			x.mu.Unlock()
		}
	}
	x.vitals.within(theProbe, x.times.backoffMost+x.times.hangMargin)
	return resp
}

// introduce asks who the bot is. Where Telegram cannot be reached it waits until it can, however long that takes. An
// address that has never spoken as a Bot API server and has no such page is a wrong address: waiting would not mend it.
func (x *tenure) introduce(ctx context.Context) (response, error) {
	resp := x.getMe(ctx)
	switch {
	case ctx.Err() != nil:
		return resp, nil
	case resp.class == taken:
		x.vitals.within(theProbe, 0)
		return resp, nil
	case resp.class == flooded: // a pause for getMe is none for the others
		x.vitals.within(theProbe, 0)
		x.paused("getMe", resp, x.times.wait(resp, x.times.backoff()))
		return resp, nil
	case resp.class == unauthorized:
		return resp, refusedToken(resp)
	case resp.class == lapsed:
		return resp, errLost
	case resp.class == broken && x.endpoint.proxy == nil && // else a proxy may have said it
		(resp.status == http.StatusNotFound || resp.status == http.StatusUnauthorized):
		return resp, exitcode.With(exitcode.Config,
			fmt.Errorf("TELEGRAM_API_URL is not the address of a Bot API server: %s", resp.description))
	}
	x.trouble("getMe", resp)
	x.breaker.pass(ctx)
	return resp, nil
}

// introduceLater asks again who the bot is, once Telegram wants to hear it.
func (x *tenure) introduceLater(ctx context.Context, resp response) error {
	pause := x.times.backoff()
	for resp.class != taken {
		if !backoff.Sleep(ctx, x.times.wait(resp, pause)) || !x.breaker.pass(ctx) {
			return nil
		}
		if resp = x.getMe(ctx); resp.class == unauthorized {
			return refusedToken(resp)
		}
		x.vitals.within(theProbe, 0)
	}
	x.resumePolls()
	return nil
}

// paused says that Telegram asks for a pause in polling: why, until when, and when it is asked again.
func (x *tenure) paused(method string, resp response, wait time.Duration) {
	now := time.Now().Truncate(time.Second)
	until, next := now.Add(max(resp.retryAfter, wait)), now.Add(wait)
	x.Log.Warn("Telegram asks for a pause", "method", method, "retry_after", resp.retryAfter,
		"until", until.UTC(), "next_try", next.UTC(), "reason", resp.Error())
	reason := fmt.Sprintf("Telegram asks for a pause in polling until %s: %s", clock(until), resp.Error())
	if resp.retryAfter > wait {
		reason += ". It is asked again before that, every hour"
	}
	x.health.pause(inbox.BotUnreachable, reason, next)
}

// clock is a moment for people.
func clock(t time.Time) string { return t.UTC().Format("2 Jan 2006 15:04:05 UTC") }

// resumePolls ends a pause in polling, because Telegram has taken a request of that kind.
func (x *tenure) resumePolls() {
	select {
	case x.resumed <- struct{}{}:
	default:
	}
}

// trouble trips the breaker because of a response, and says so once for each outage.
func (x *tenure) trouble(method string, resp response) {
	if !x.breaker.isTripped() {
		x.Log.Warn("Telegram does not answer as it should, trying again", "method", method, "reason", resp.Error())
	}
	x.health.set(inbox.BotUnreachable, "Telegram cannot be reached: "+resp.Error())
	x.vitals.within(theProbe, x.times.backoffMost+x.times.hangMargin)
	x.breaker.trip()
}

// reachable is called when a probe got through. While only polls fail, that is not enough to say all is well.
func (x *tenure) reachable(resp response) {
	x.vitals.within(theProbe, 0)
	if resp.class == taken {
		x.resumePolls()
	}
	if retryAt, _ := x.health.pauses(); !retryAt.IsZero() {
		return // that says more
	}
	x.mu.Lock()
	failedPolls, state := x.failedPolls, inbox.BotStarting
	if x.started {
		state = inbox.BotPolling
	}
	x.mu.Unlock()
	if failedPolls > 1 {
		return
	}
	x.Log.Info("Telegram answers again")
	x.health.set(state, "")
}

// says is what the bot says of itself in a state.
func (x *tenure) says(state inbox.BotState, reason string) inbox.BotReport {
	x.mu.Lock()
	defer x.mu.Unlock()
	return inbox.BotReport{
		Username: x.username, Name: x.name, State: state, Reason: reason, Instance: x.Instance,
	}
}

// report tells the database how the bot is, at each change and as a heartbeat.
func (x *tenure) report(ctx context.Context) error {
	beat := time.NewTicker(x.times.heartbeatEvery)
	defer beat.Stop()
	for {
		state, reason, _ := x.health.get()
		said := x.says(state, reason)
		said.RetryAt, said.SendsAt = x.health.pauses()
		if err := x.Store.ReportBot(ctx, x.Tenure, said); errors.Is(err, inbox.ErrFenced) {
			return endFenced(err)
		}
		select {
		case <-x.health.changed:
		case <-beat.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// signOff writes the last word and returns what Run should make of the end.
func (x *tenure) signOff(ctx context.Context, lock inbox.PollLock) error {
	cause, state, reason := x.life.cause(), inbox.BotStopped, ""
	switch {
	case ctx.Err() != nil, cause == nil:
	case errors.Is(cause, errLost):
		return cause
	case errors.Is(cause, inbox.ErrFenced):
		// On PostgreSQL the word that the lock is gone follows at once, and waiting for it is what to do. On
		// SQLite nothing follows: two bots guard themselves with different files.
		if x.waitLost(ctx, lock) {
			return errLost
		}
		return exitcode.With(exitcode.TempFail, fmt.Errorf(
			"%w although this one holds its lock: let all bots of this token use the same POLL_LOCK_FILE", cause))
	case errors.As(cause, new(conflictError)):
		state, reason = inbox.BotConflict, cause.Error()
	case exitcode.Of(cause) == exitcode.Config:
		state, reason = inbox.BotFailed, cause.Error()
	default:
		reason = cause.Error()
	}
	x.health.set(state, reason)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := x.Store.SignOff(last, x.Tenure, state, reason); err != nil {
		x.Log.Warn("could not sign off in the database: the next bot waits a second longer", "error", err)
	}
	return cause
}

func (x *tenure) waitLost(ctx context.Context, lock inbox.PollLock) bool {
	ctx, cancel := context.WithTimeout(ctx, x.times.fencedWait)
	defer cancel()
	select {
	case <-lock.Lost():
		return true
	case <-ctx.Done():
		return false
	}
}

// endFenced ends a tenure that another has followed.
func endFenced(err error) error { return fmt.Errorf("stop polling and sending: %w", err) }

// refusedToken is the end of a bot whose token the server does not know.
func refusedToken(resp response) error {
	if resp.code == http.StatusMisdirectedRequest {
		return exitcode.With(exitcode.Config, fmt.Errorf("this Bot API server does not serve this bot: %w", resp))
	}
	return exitcode.With(exitcode.Config, fmt.Errorf("token refused by Telegram: %w. It was revoked or mistyped: "+
		"get the present one from @BotFather (/mybots, API Token) and set TELEGRAM_BOT_TOKEN", resp))
}
