package store

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"tandem/internal/inbox"
)

// way is what something is done in the database for. Each way has connections of its own, so that one that is full
// says nothing about the others: who searches a million messages keeps nobody from signing in or answering.
type way int

const (
	search way = iota // may read everything there is
	pages             // reads as much as a page has
	access            // looks one thing up: who it is, the newest event
	health            // the health check, and what a start needs to know
	writes            // one transaction at a time
	ways
)

var wayNames = [ways]string{"searches", "pages", "look-ups", "health checks", "changes"}

// How long something may take once it has a connection.
var wayLimits = [ways]time.Duration{search: readTimeout, pages: readTimeout, access: accessTimeout, health: checkTimeout, writes: writeTimeout}

// How long it may wait for one before that.
var wayWaits = [ways]time.Duration{search: 12 * time.Second, pages: 5 * time.Second, access: 3 * time.Second, health: checkTimeout, writes: writeTimeout}

// maxWaiting bounds how many wait for a way; each holds a goroutine and what it was asked with. A look-up is over at
// once, and each request begins with one.
var maxWaiting = [ways]int32{search: 256, pages: 256, access: 4096, health: 256, writes: 256}

// lane is the connections of one way, or of several where there are few connections.
type lane struct {
	slots   chan struct{}
	waiting atomic.Int32
}

func newLane(connections int) *lane { return &lane{slots: make(chan struct{}, connections)} }

// enter waits for a connection; who got one calls leave. Those that wait get theirs in the order in which they came.
func (l *lane) enter(ctx context.Context, w way) (leave func(), err error) {
	leave = func() { <-l.slots }
	select {
	case l.slots <- struct{}{}:
		return leave, nil
	default:
	}
	defer l.waiting.Add(-1)
	if l.waiting.Add(1) > maxWaiting[w] {
		return nil, &fullError{w, 0}
	}
	limit := time.NewTimer(wayWaits[w])
	defer limit.Stop()
	select {
	case l.slots <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-limit.C:
		return nil, &fullError{w, wayWaits[w]}
	}
}

// fullError says that there was no connection for a way, which is no fault of the database.
type fullError struct {
	way    way
	waited time.Duration
}

func (e *fullError) Error() string {
	if e.waited == 0 {
		return fmt.Sprintf("too many other %s wait already; try again in a moment", wayNames[e.way])
	}
	return fmt.Sprintf("other %s took all the time for %s; try again in a moment", wayNames[e.way], e.waited)
}

// share gives each way its lane, of n connections together. With few connections ways share one, and what may take
// long is the first to be kept apart.
func share(n int) (lanes [ways]*lane) {
	switch {
	case n >= 5:
		few := min(max((n-4)/3, 1), 2+max(n-10, 0)/5)
		lanes[search], lanes[access] = newLane(few), newLane(min(few, 2))
		lanes[health], lanes[writes] = newLane(1), newLane(1)
		lanes[pages] = newLane(n - 2 - cap(lanes[search].slots) - cap(lanes[access].slots))
	case n == 4:
		lanes[search], lanes[health], lanes[writes] = newLane(1), newLane(1), newLane(1)
		lanes[access] = newLane(1)
		lanes[pages] = lanes[access]
	case n == 3:
		lanes[search], lanes[writes], lanes[access] = newLane(1), newLane(1), newLane(1)
		lanes[pages], lanes[health] = lanes[access], lanes[access]
	case n == 2:
		lanes[search], lanes[writes] = newLane(1), newLane(1)
		lanes[pages], lanes[access], lanes[health] = lanes[writes], lanes[writes], lanes[writes]
	default:
		one := newLane(1)
		lanes = [ways]*lane{one, one, one, one, one}
	}
	return lanes
}

// busy is an error of a database that is well and had no time for this.
func busy(reason string) error { return &inbox.Error{Kind: inbox.Busy, Reason: reason} }
