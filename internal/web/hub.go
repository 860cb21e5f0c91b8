package web

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"tandem/internal/inbox"
)

const (
	maxEventsPerRead = 500
	// maxBatchesBehind is how far a stream may lag behind before it is ended. Its reader comes back and goes on.
	maxBatchesBehind = 64
	hubRetryAfter    = time.Second
	// rightsCheckGap is the least time between two checks of the rights of all streams.
	rightsCheckGap = 100 * time.Millisecond
)

// hub reads new events once for all streams. Each subscriber gets everything that was committed after it
// subscribed, in order, and perhaps a little of what was there before: it drops what it has already. It also ends the
// streams whose readers may not read any more. It checks the rights of all at once when anybody's right has ended, and
// now and then.
type hub struct {
	store        inbox.OperatorStore
	log          *slog.Logger
	recheckEvery time.Duration

	revocations int64 // the count at the last check of rights
	checkedAt   time.Time

	mu         sync.Mutex
	subs       map[*subscriber]struct{}
	positioned chan struct{} // closed when reading has begun somewhere
}

type subscriber struct {
	grant   inbox.Grant
	cut     func()             // ends the stream at once, whatever waits to be written
	batches chan []inbox.Event // closed when there will be no more; then why is set
	why     error
}

var (
	// errSlow ends a stream whose reader does not keep up.
	errSlow = errors.New("the reader of this stream is too slow")
	// errRightEnded ends one whose reader may not read any more.
	errRightEnded = errors.New("the right of this stream's reader has ended")
)

func newHub(store inbox.OperatorStore, log *slog.Logger, recheckEvery time.Duration) *hub {
	return &hub{store: store, log: log, recheckEvery: recheckEvery,
		subs: map[*subscriber]struct{}{}, positioned: make(chan struct{})}
}

// subscribe waits until reading has begun. What is committed after it returned will be delivered, and cut is called if
// the right ends after it returned.
func (h *hub) subscribe(ctx context.Context, grant inbox.Grant, cut func()) (*subscriber, error) {
	timeout := time.NewTimer(2 * time.Second)
	defer timeout.Stop()
	select {
	case <-h.positioned:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timeout.C:
		if err := h.store.Ready(); err != nil {
			return nil, err
		}
		return nil, inbox.ErrUnavailable
	}
	sub := &subscriber{grant: grant, cut: cut, batches: make(chan []inbox.Event, maxBatchesBehind)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subs[sub] = struct{}{}
	return sub, nil
}

func (h *hub) unsubscribe(sub *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subs, sub)
}

// send gives a batch to all and ends those that have no room for it.
func (h *hub) send(batch []inbox.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for sub := range h.subs {
		select {
		case sub.batches <- batch:
		default:
			h.endLocked(sub, errSlow)
		}
	}
}

func (h *hub) endAll(why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for sub := range h.subs {
		h.endLocked(sub, why)
	}
}

func (h *hub) endLocked(sub *subscriber, why error) {
	sub.why = why
	close(sub.batches)
	delete(h.subs, sub)
}

// checkRights ends the streams whose right has ended. It looks at them if the count of revocations says that one may
// have ended, or if a recheck is due. again is set if it put that off, as it has just looked.
func (h *hub) checkRights(ctx context.Context, due bool) (again <-chan time.Time, err error) {
	h.mu.Lock()
	subs := slices.Collect(maps.Keys(h.subs))
	h.mu.Unlock()
	if len(subs) == 0 {
		return nil, nil
	}
	count, err := h.store.Revocations(ctx) // before the rights themselves: one that ends in between is for the next check
	if err != nil {
		return nil, err
	}
	if count == h.revocations && !due {
		return nil, nil
	}
	if since := time.Since(h.checkedAt); since < rightsCheckGap && !due {
		return time.After(rightsCheckGap - since), nil
	}
	grants := make([]inbox.Grant, len(subs))
	for i, sub := range subs {
		grants[i] = sub.grant
	}
	until, err := h.store.Grants(ctx, grants)
	if err != nil {
		return nil, err
	}
	h.revocations, h.checkedAt = count, time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, sub := range subs {
		if _, on := h.subs[sub]; on && !until[i].After(h.checkedAt) {
			h.endLocked(sub, errRightEnded)
			sub.cut()
		}
	}
	return nil, nil
}

func (h *hub) run(ctx context.Context) {
	hints, cancel := h.store.Subscribe()
	defer cancel()
	defer h.endAll(context.Canceled)
	recheck := time.NewTicker(h.recheckEvery)
	defer recheck.Stop()
	for begun, due, last := false, false, int64(0); ; {
		var err error
		var retry <-chan time.Time
		if !begun {
			last, err = h.store.LastEvent(ctx)
			if begun = err == nil; begun {
				close(h.positioned)
			}
		}
		if begun {
			retry, err = h.checkRights(ctx, due)
			due = due && err != nil
		}
		if begun && err == nil {
			last, err = h.readFrom(ctx, last)
		}
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, inbox.ErrReset):
			// Another database than before. Streams must not go on before the new position is known.
			if last, err = h.store.LastEvent(ctx); err == nil {
				h.endAll(inbox.ErrReset)
			}
		}
		if err != nil {
			if !inbox.TryLater(err) {
				h.log.Warn("reading events failed, trying again", "error", err)
			}
			// Of a database that is only busy the streams have missed nothing: they go on where they are.
			if errors.Is(err, inbox.ErrUnavailable) || !inbox.TryLater(err) {
				h.endAll(err)
			}
			retry = time.After(hubRetryAfter)
		}
		select {
		case <-ctx.Done():
			return
		case <-hints:
		case <-recheck.C:
			due = true
		case <-retry:
		}
	}
}

// readFrom reads and sends what is there after last, and returns where it got to.
func (h *hub) readFrom(ctx context.Context, last int64) (int64, error) {
	for {
		batch, err := h.store.Events(ctx, last, maxEventsPerRead)
		if err != nil {
			return last, err
		}
		if len(batch) > 0 {
			last = batch[len(batch)-1].Seq
			h.send(batch)
		}
		if len(batch) < maxEventsPerRead {
			return last, nil
		}
	}
}
