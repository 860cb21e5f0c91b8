package telegram

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"tandem/internal/backoff"
	"tandem/internal/inbox"
)

// Options say for whom a bot works and with what.
type Options struct {
	Token    Token
	APIURL   string   // of the Bot API server, http or https
	Proxy    *url.URL // by way of which it is asked; nil for none
	Limits   Limits   // of what it sends
	Instance string   // who this is, "host:pid", for people
	Store    inbox.BotStore
	// Guard is asked before each poll. An error says that the caller's lock does not guard any more; the bot
	// then ends with it.
	Guard func() error
	// Changed is told each new state of the bot, in order; nil for nobody. It must not take long.
	Changed func(Condition)
	Files   FileOptions
	Log     *slog.Logger
}

// Condition is how the bot is. In standby State and Reason are those of before, and Holder is who has the lock.
type Condition struct {
	State   inbox.BotState
	Reason  string
	StandBy bool
	Holder  string
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
	o.Files.Limit = cmp.Or(o.Files.Limit, UsualFileLimit)
	h := newHealth(o.Changed)
	return &Bot{
		Options: o, endpoint: newEndpoint(o.APIURL, o.Token, o.Proxy), health: h, metrics: newMetrics(h), times: usualTiming,
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

// hold is one tenure: from the lock between hosts to the sign-off.
func (b *Bot) hold(ctx context.Context) error {
	b.health.set(inbox.BotStarting, "waiting for the database")
	lock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Release()
	b.health.set(inbox.BotStarting, "")

	life := begin(ctx, lock.Lost(), b.times)
	defer life.end()
	t, err := b.takeOver(life.run)
	if err != nil {
		return cmp.Or(life.cause(), err)
	}
	b.Log.Info("took over", "epoch", t.Epoch, "offset", t.NextOffset, "clean", t.Clean)
	b.health.pauseSends(time.Time{})

	x := &tenure{
		Bot: b, Tenure: t, life: life, client: b.endpoint.while(lock.Held), breaker: newBreaker(),
		began: time.Now(), resumed: make(chan struct{}, 1), pressed: make(chan string, maxPresses),
	}
	defer b.vitals.within(thePoll, 0)
	defer b.vitals.within(theProbe, 0)
	x.parts()
	return x.signOff(ctx, lock)
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
		if !backoff.Sleep(ctx, pause.Next()) {
			return nil, ctx.Err()
		}
	}
}

// takeOver begins a tenure in the database. Where the lock has gone in the meantime it is lost.
func (b *Bot) takeOver(run context.Context) (inbox.Tenure, error) {
	pause := b.times.storeBackoff()
	for {
		t, err := b.Store.TakeOver(run, b.Token.BotID(), b.Instance)
		switch {
		case errors.Is(err, inbox.ErrNoLock):
			b.Log.Warn("not taking over", "reason", err)
			backoff.Sleep(run, b.times.settleFor)
			return t, errLost
		case err == nil || run.Err() != nil || !inbox.TryLater(err):
			return t, err
		}
		if !backoff.Sleep(run, pause.Next()) {
			return t, run.Err()
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
