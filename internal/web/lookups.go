package web

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"

	"tandem/internal/inbox"
)

// lookups answers what each request begins with: who it is, and the newest event. Those who ask while one round is
// under way are all answered by the next one, which begins after they asked. So nobody is told what was true only
// before that, and a right that has ended is not found. A hundred requests that arrive together cost two round trips.
type lookups struct {
	store inbox.OperatorStore

	mu      sync.Mutex
	looking bool
	waiting []*lookup
}

// lookup is what one asks.
type lookup struct {
	token, session string // a hash and a key
	operator       int64

	done     chan struct{} // closed when the rest is set
	known    inbox.Known   // of all that were asked together
	err      error
	panicked *readPanic
}

const (
	maxLookups        = 100  // of a round
	maxLookupsWaiting = 4096 // who wait: each holds a goroutine
)

var errTooManyLookups = &inbox.Error{Kind: inbox.Busy,
	Reason: "too many other requests wait to be let in; try again in a moment"}

// ask is what is known from now on. It ends with ctx at the latest.
func (l *lookups) ask(ctx context.Context, one lookup) (inbox.Known, error) {
	one.done = make(chan struct{})
	l.mu.Lock()
	if len(l.waiting) >= maxLookupsWaiting {
		l.mu.Unlock()
		return inbox.Known{}, errTooManyLookups
	}
	l.waiting = append(l.waiting, &one)
	if !l.looking {
		l.looking = true
		go l.run()
	}
	l.mu.Unlock()
	select {
	case <-one.done:
		if one.panicked != nil {
			panic(one.panicked)
		}
		return one.known, one.err
	case <-ctx.Done():
		return inbox.Known{}, ctx.Err()
	}
}

// run looks until nobody waits.
func (l *lookups) run() {
	for {
		l.mu.Lock()
		some := l.waiting[:min(len(l.waiting), maxLookups)]
		l.waiting = l.waiting[len(some):]
		l.looking = len(some) > 0
		l.mu.Unlock()
		if len(some) == 0 {
			return
		}
		l.look(some)
	}
}

func (l *lookups) look(some []*lookup) {
	var known inbox.Known
	var err error
	var panicked *readPanic
	defer func() {
		if v := recover(); v != nil {
			panicked = &readPanic{v, debug.Stack()}
		}
		for _, one := range some {
			one.known, one.err, one.panicked = known, err, panicked
			close(one.done)
		}
	}()
	var all inbox.Credentials
	for _, one := range some {
		switch {
		case one.token != "":
			all.Tokens = append(all.Tokens, []byte(one.token))
		case one.session != "":
			all.Sessions = append(all.Sessions, one.session)
		case one.operator != 0:
			all.Operators = append(all.Operators, one.operator)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), coalescedTimeout)
	defer cancel()
	known, err = l.store.LookUp(ctx, all)
	if errors.Is(err, context.DeadlineExceeded) {
		err = errTooManyLookups
	}
}

func (l *lookups) TokenByHash(ctx context.Context, hash []byte) (inbox.Token, error) {
	known, err := l.ask(ctx, lookup{token: string(hash)})
	if err != nil {
		return inbox.Token{}, err
	}
	token, found := known.Tokens[string(hash)]
	if !found {
		return inbox.Token{}, inbox.ErrNotFound
	}
	return token, nil
}

func (l *lookups) FindSession(ctx context.Context, key string) ([]byte, bool, error) {
	known, err := l.ask(ctx, lookup{session: key})
	data, found := known.Sessions[key]
	return data, found, err
}

func (l *lookups) Operator(ctx context.Context, id int64) (inbox.Operator, error) {
	known, err := l.ask(ctx, lookup{operator: id})
	if err != nil {
		return inbox.Operator{}, err
	}
	operator, found := known.Operators[id]
	if !found {
		return inbox.Operator{}, inbox.ErrNotFound
	}
	return operator, nil
}

func (l *lookups) LastEvent(ctx context.Context) (int64, error) {
	known, err := l.ask(ctx, lookup{})
	return known.LastEvent, err
}
