package telegram

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"tandem/internal/exitcode"
	"tandem/internal/inbox"
)

// Options say for whom a bot works and with what.
type Options struct {
	Token    Token
	APIURL   string // of the Bot API server, http or https
	Instance string // who this is, "host:pid", for people
	Store    inbox.BotStore
	// Guard is asked before each poll. An error says that the caller's lock does not guard any more; the bot
	// then ends with it.
	Guard func() error
	// Changed is told each new state of the bot, in order; nil for nobody. It must not take long.
	Changed func(Condition)
	Log     *slog.Logger
}

// Condition is how the bot is. In standby State and Reason are those of before, and Holder is who has the lock.
type Condition struct {
	State   inbox.BotState
	Reason  string
	StandBy bool
	Holder  string
}

// timing is what a test makes shorter.
type timing struct {
	pollWait       time.Duration // for which Telegram may hold a poll; it cuts at 50 s
	pollMargin     time.Duration // beyond pollWait, until a poll that Telegram should have answered is given up
	idlePause      time.Duration // between polls that brought nothing new and did not take time either
	maxBatchBytes  int64         // of updates that are taken at once
	sendLimit      time.Duration // after which a delivery is given up as unknown
	claimEvery     time.Duration // between looks at the queue when no hint comes
	maxHold        time.Duration // of a pause that Telegram asks for, before it is asked again
	maxHoldAll     time.Duration // of a pause in all that is sent, before one message tries whether it is over
	backoffFirst   time.Duration
	backoffMost    time.Duration
	settleFor      time.Duration // before the first poll after a holder that did not sign off
	drainFor       time.Duration // for what is under way when the tenure ends
	recordFor      time.Duration // after drainFor, for outcomes that are not written yet
	fencedWait     time.Duration // for word of a lost lock, when another is found to have taken over
	heartbeatEvery time.Duration
	storeLimit     time.Duration // far beyond what any database takes to answer, or to be found away
	hangMargin     time.Duration // beyond its own limit, after which a part of the bot that has not moved on hangs
}

// Draining, recording and signing off stay together below 8 seconds, which is what init allows for all.
var usualTiming = timing{
	pollWait: 50 * time.Second, pollMargin: 10 * time.Second, idlePause: 500 * time.Millisecond,
	maxBatchBytes: maxUpdatesBytes,
	sendLimit:     30 * time.Second, claimEvery: 10 * time.Second,
	maxHold: inbox.MaxHold, maxHoldAll: time.Minute,
	backoffFirst: 500 * time.Millisecond, backoffMost: 30 * time.Second,
	settleFor: time.Second, drainFor: 5 * time.Second, recordFor: 1500 * time.Millisecond, fencedWait: 10 * time.Second,
	heartbeatEvery: inbox.HeartbeatEvery, storeLimit: 5 * time.Minute, hangMargin: time.Minute,
}

func (t timing) backoff() *backoff { return &backoff{min: t.backoffFirst, max: t.backoffMost} }

// storeBackoff is shorter: a database that is back should not be kept waiting.
func (t timing) storeBackoff() *backoff {
	return &backoff{min: t.backoffFirst / 5, max: t.backoffMost / 10}
}

// Bot takes updates in and sends answers out for one token. Make it with New.
type Bot struct {
	Options
	endpoint *endpoint
	metrics  *metrics
	health   *health
	vitals   vitals
	times    timing
}

// New makes a bot. It does nothing until Run.
func New(o Options) *Bot {
	if o.Guard == nil {
		o.Guard = func() error { return nil }
	}
	h := newHealth(o.Changed)
	return &Bot{
		Options: o, endpoint: newEndpoint(o.APIURL, o.Token), health: h, metrics: newMetrics(h), times: usualTiming,
	}
}

var errLost = errors.New("the lock between hosts was lost")

// Run polls and sends until ctx ends, then finishes what it has in hand within a few seconds and returns nil.
// It stands by while another holds the lock, and goes through outages of the database and of Telegram by
// itself. An error ends it: with exit code 75 when another program polls with the token or the lock does
// not guard any more, with 78 when the token is refused.
func (b *Bot) Run(ctx context.Context) error {
	defer b.endpoint.close()
	for {
		err := b.hold(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errLost):
			b.Log.Warn("stopped polling: the lock between hosts was lost, waiting to have it again")
		default:
			return err
		}
	}
}

// hold is one tenure: from the lock between hosts to its end.
func (b *Bot) hold(ctx context.Context) error {
	b.health.set(inbox.BotStarting, "waiting for the database")
	lock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Release()
	defer b.vitals.within(thePoll, 0)
	defer b.vitals.within(theProbe, 0)
	b.health.set(inbox.BotStarting, "")

	run, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case <-lock.Lost():
			stop(errLost)
		case <-run.Done():
		}
	}()
	t, err := b.takeOver(run)
	if errors.Is(err, inbox.ErrNoLock) {
		b.Log.Warn("not taking over", "reason", err)
		sleep(run, b.times.settleFor)
		return b.cause(run, errLost)
	} else if err != nil {
		return b.cause(run, err)
	}
	since := time.Now()
	b.Log.Info("took over", "epoch", t.Epoch, "offset", t.NextOffset, "clean", t.Clean)

	// What is under way when the tenure ends gets time to end in good order, and its outcome gets written:
	// at a stop for as long as there is, without one until the database takes it.
	work, endWork := context.WithCancel(context.WithoutCancel(ctx))
	defer endWork()
	record, endRecord := context.WithCancel(context.WithoutCancel(ctx))
	defer endRecord()
	defer context.AfterFunc(run, func() {
		sleep(work, b.times.drainFor)
		endWork()
		if sleep(record, b.times.recordFor); !errors.Is(context.Cause(run), errLost) {
			endRecord()
		}
	})()
	defer context.AfterFunc(ctx, func() {
		sleep(record, b.times.drainFor+b.times.recordFor)
		endRecord()
	})()

	b.health.pauseSends(time.Time{})
	x := &tenure{
		Bot: b, Tenure: t, client: b.endpoint.while(lock.Held), breaker: newBreaker(), resumed: make(chan struct{}, 1),
	}
	var parts sync.WaitGroup
	part := func(f func() error) {
		parts.Go(func() {
			defer func() {
				if r := recover(); r != nil {
					b.Log.Error("panic", "value", b.endpoint.scrub(fmt.Sprint(r)), "stack", string(debug.Stack()))
					stop(fmt.Errorf("the bot broke, which is an error in this program: %s", b.endpoint.scrub(fmt.Sprint(r))))
				}
			}()
			if err := f(); err != nil {
				stop(err)
			}
		})
	}
	part(func() error { return x.report(run) })
	part(func() error {
		return x.breaker.run(run, b.times, x.getMe, x.reachable)
	})
	part(func() error {
		asked, err := x.introduce(run)
		if err != nil || run.Err() != nil {
			return err
		}
		if asked.class == flooded {
			part(func() error { return x.introduceLater(run, asked) })
		}
		if !t.Clean && !sleep(run, b.times.settleFor-time.Since(since)) {
			return nil
		}
		part(func() error { return x.send(run, work, record) })
		return x.poll(run, work)
	})
	parts.Wait()
	return x.signOff(ctx, b.cause(run, nil), lock)
}

// cause is why the tenure ended: the first reason that was given, nil after a stop.
func (b *Bot) cause(run context.Context, err error) error {
	if cause := context.Cause(run); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// lock waits for the right to poll across hosts.
func (b *Bot) lock(ctx context.Context) (inbox.PollLock, error) {
	pause, told := b.times.storeBackoff(), ""
	for {
		lock, err := b.Store.PollLock(ctx, b.Token.BotID(), b.Instance, func(holder string) {
			b.StandBy(holder)
			b.Log.Info("standing by: another bot holds the lock in the database", "holder", holder)
		})
		if err == nil {
			return lock, nil
		}
		if ctx.Err() != nil || !inbox.TryLater(err) {
			return nil, err
		}
		if reason := err.Error(); reason != told {
			told = reason
			b.Log.Warn("the lock between hosts cannot be asked for, trying again", "reason", reason)
			b.health.set(inbox.BotStarting, reason)
		}
		if !sleep(ctx, pause.next()) {
			return nil, ctx.Err()
		}
	}
}

func (b *Bot) takeOver(ctx context.Context) (inbox.Tenure, error) {
	pause := b.times.storeBackoff()
	for {
		t, err := b.Store.TakeOver(ctx, b.Token.BotID(), b.Instance)
		if err == nil || ctx.Err() != nil || !inbox.TryLater(err) {
			return t, err
		}
		if !sleep(ctx, pause.next()) {
			return t, ctx.Err()
		}
	}
}

// StandBy says that another holds a lock that this bot waits for. Run takes it back when it goes on.
func (b *Bot) StandBy(holder string) { b.health.standBy(holder) }

// Ready is nil when the bot polls or stands by, else it says in words what is in the way.
func (b *Bot) Ready() error {
	state, reason, standby := b.health.get()
	if standby {
		return nil
	}
	if err := b.Store.Ready(); err != nil {
		return err
	}
	if state == inbox.BotPolling {
		return nil
	}
	if reason == "" {
		reason = "not polling yet"
	}
	return fmt.Errorf("%s: %s", state, reason)
}

// tenure is a bot while it holds the right to poll.
type tenure struct {
	*Bot
	inbox.Tenure
	client  *client // sends only while the lock is held
	breaker *breaker

	resumed     chan struct{} // gets a word when a pause in polling is over before its time
	mu          sync.Mutex
	username    string
	name        string
	started     bool // has begun to poll
	failedPolls int  // since one did not fail
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

// introduce asks who the bot is until Telegram says it, however long that takes. An address that has never spoken as a
// Bot API server and has no such page is a wrong address: waiting would not mend it.
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
	case resp.class == broken && (resp.status == http.StatusNotFound || resp.status == http.StatusUnauthorized):
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
		if !sleep(ctx, x.times.wait(resp, pause)) || !x.breaker.pass(ctx) {
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

// wait is for how long a request that was flooded, or did not get through, waits before it is made again: as long as
// Telegram asks for, but no longer than maxHold.
func (t timing) wait(resp response, pause *backoff) time.Duration {
	if resp.class == flooded && resp.retryAfter > 0 {
		return min(resp.retryAfter, t.maxHold)
	}
	return pause.next()
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

// report tells the database how the bot is, at each change and as a heartbeat.
func (x *tenure) report(ctx context.Context) error {
	beat := time.NewTicker(x.times.heartbeatEvery)
	defer beat.Stop()
	for {
		state, reason, _ := x.health.get()
		retryAt, sendsAt := x.health.pauses()
		x.mu.Lock()
		r := inbox.BotReport{Username: x.username, Name: x.name, State: state, Reason: reason, Instance: x.Instance, RetryAt: retryAt, SendsAt: sendsAt}
		x.mu.Unlock()
		if err := x.Store.ReportBot(ctx, x.Tenure, r); errors.Is(err, inbox.ErrFenced) {
			return errFenced(err)
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
func (x *tenure) signOff(ctx context.Context, cause error, lock inbox.PollLock) error {
	state, reason := inbox.BotStopped, ""
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
		return exitcode.With(exitcode.TempFail, fmt.Errorf("%w although this one holds its lock: let all bots of this token use the same POLL_LOCK_FILE", cause))
	case exitcode.Of(cause) == exitcode.TempFail:
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

// errFenced ends a tenure that another has followed.
func errFenced(err error) error { return fmt.Errorf("stop polling and sending: %w", err) }

// refusedToken is the end of a bot whose token the server does not know.
func refusedToken(resp response) error {
	if resp.code == http.StatusMisdirectedRequest {
		return exitcode.With(exitcode.Config, fmt.Errorf("this Bot API server does not serve this bot: %w", resp))
	}
	return exitcode.With(exitcode.Config, fmt.Errorf("token refused by Telegram: %w. It was revoked or mistyped: get the present one from @BotFather (/mybots, API Token) and set TELEGRAM_BOT_TOKEN", resp))
}
