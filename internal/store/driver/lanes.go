package driver

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Way is what something is done in the database for. Each way has connections of its own, so one that is full says
// nothing about the others: who searches a million messages keeps nobody from signing in or answering.
type Way int

const (
	Search Way = iota // may read everything there is
	Pages             // reads as much as a page has
	Access            // looks one thing up: who it is, the newest event
	Health            // the health check, and what a start needs to know
	Writes            // one transaction at a time
	Ways
)

var wayNames = [Ways]string{"searches", "pages", "look-ups", "health checks", "changes"}

const (
	searchTimeout = 5 * time.Second // what a search asks of the index takes some milliseconds
	readTimeout   = 10 * time.Second
	accessTimeout = 5 * time.Second  // for one row found by its key
	writeTimeout  = 15 * time.Second // SQLite alone waits up to 5 s for a lock
)

// Limits are how long something may take once it has a connection.
var Limits = [Ways]time.Duration{
	Search: searchTimeout, Pages: readTimeout, Access: accessTimeout, Health: CheckTimeout, Writes: writeTimeout,
}

// waits are how long something may wait for a connection before that.
var waits = [Ways]time.Duration{
	Search: searchTimeout, Pages: 5 * time.Second, Access: 3 * time.Second, Health: CheckTimeout, Writes: writeTimeout,
}

// maxWaiting bounds how many wait for a way. Each holds a goroutine and what it was asked with. A look-up is over at
// once, and each request begins with one.
var maxWaiting = [Ways]int32{Search: 256, Pages: 256, Access: 4096, Health: 256, Writes: 256}

// Lane is the connections of one way, or of several where there are few connections.
type Lane struct {
	slots   chan struct{}
	waiting atomic.Int32
}

// NewLane makes one of so many connections.
func NewLane(connections int) *Lane { return &Lane{slots: make(chan struct{}, connections)} }

// Size is how many connections it has.
func (l *Lane) Size() int { return cap(l.slots) }

// Enter waits for a connection; who got one calls leave. Those that wait get theirs in the order in which they came.
func (l *Lane) Enter(ctx context.Context, w Way) (leave func(), err error) {
	leave = func() { <-l.slots }
	select {
	case l.slots <- struct{}{}:
		return leave, nil
	default:
	}
	defer l.waiting.Add(-1)
	if l.waiting.Add(1) > maxWaiting[w] {
		return nil, TooMany(w)
	}
	limit := time.NewTimer(waits[w])
	defer limit.Stop()
	select {
	case l.slots <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-limit.C:
		return nil, &FullError{w, waits[w]}
	}
}

// TooMany is the error for one who is not even let wait, as too many others do.
func TooMany(w Way) error { return &FullError{w, 0} }

// FullError says that there was no connection for a way, which is no fault of the database.
type FullError struct {
	way    Way
	waited time.Duration
}

func (e *FullError) Error() string {
	if e.waited == 0 {
		return fmt.Sprintf("too many other %s wait already; try again in a moment", wayNames[e.way])
	}
	return fmt.Sprintf("other %s took all the time for %s; try again in a moment", wayNames[e.way], e.waited)
}

// Share gives each way its lane, of n connections together. With few connections ways share one, and what may take
// long is the first to be kept apart.
func Share(n int) (lanes [Ways]*Lane) {
	switch {
	case n >= 5:
		few := min(max((n-4)/3, 1), 2+max(n-10, 0)/5)
		lanes[Search], lanes[Access] = NewLane(few), NewLane(min(few, 2))
		lanes[Health], lanes[Writes] = NewLane(1), NewLane(1)
		lanes[Pages] = NewLane(n - 2 - cap(lanes[Search].slots) - cap(lanes[Access].slots))
	case n == 4:
		lanes[Search], lanes[Health], lanes[Writes] = NewLane(1), NewLane(1), NewLane(1)
		lanes[Access] = NewLane(1)
		lanes[Pages] = lanes[Access]
	case n == 3:
		lanes[Search], lanes[Writes], lanes[Access] = NewLane(1), NewLane(1), NewLane(1)
		lanes[Pages], lanes[Health] = lanes[Access], lanes[Access]
	case n == 2:
		lanes[Search], lanes[Writes] = NewLane(1), NewLane(1)
		lanes[Pages], lanes[Access], lanes[Health] = lanes[Writes], lanes[Writes], lanes[Writes]
	default:
		one := NewLane(1)
		lanes = [Ways]*Lane{one, one, one, one, one}
	}
	return lanes
}
