package telegram

import (
	"time"

	"tandem/internal/backoff"
	"tandem/internal/inbox"
)

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
	anewPause      time.Duration // between steps in which messages are read anew
	anewIdle       time.Duration // between looks for such messages when there are none
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
	anewPause: 100 * time.Millisecond, anewIdle: time.Minute,
}

func (t timing) backoff() *backoff.Backoff {
	return &backoff.Backoff{Min: t.backoffFirst, Max: t.backoffMost}
}

// storeBackoff is shorter: a database that is back should not be kept waiting.
func (t timing) storeBackoff() *backoff.Backoff {
	return &backoff.Backoff{Min: t.backoffFirst / 5, Max: t.backoffMost / 10}
}

// wait is for how long a request that was flooded, or did not get through, waits before it is made again: as long as
// Telegram asks for, but no longer than maxHold.
func (t timing) wait(resp response, pause *backoff.Backoff) time.Duration {
	if resp.class == flooded && resp.retryAfter > 0 {
		return min(resp.retryAfter, t.maxHold)
	}
	return pause.Next()
}
