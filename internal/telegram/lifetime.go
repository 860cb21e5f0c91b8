package telegram

import (
	"context"
	"errors"

	"tandem/internal/backoff"
)

// lifetime is for how long a tenure may do what. Its three contexts end one after the other:
//
//	why               run       work           record
//
//	a stop            at once   drainFor on    recordFor on
//	an error          at once   drainFor on    recordFor on
//	the lock is lost  at once   drainFor on    drainFor and recordFor after a stop, and not before
//
// When run has ended, nothing new begins. What is under way gets drainFor to end in good order. Its outcome gets
// recordFor more, which a stop has to end with. Without a stop there is time, so after a lost lock an outcome is
// written until the database takes it.
type lifetime struct {
	run    context.Context // polls and claims
	work   context.Context // deliveries under way, and the batch in hand
	record context.Context // attempts to write an outcome

	stop context.CancelCauseFunc // ends run, for a reason
	end  func()                  // ends all of it
}

// begin begins a lifetime. Until ctx ends there is no stop. lost is closed when the lock is lost.
func begin(ctx context.Context, lost <-chan struct{}, times timing) *lifetime {
	run, stop := context.WithCancelCause(ctx)
	work, endWork := context.WithCancel(context.WithoutCancel(ctx))
	record, endRecord := context.WithCancel(context.WithoutCancel(ctx))
	l := &lifetime{run: run, work: work, record: record, stop: stop}

	go func() {
		select {
		case <-lost:
			stop(errLost)
		case <-run.Done():
		}
	}()
	notAfterRun := context.AfterFunc(run, func() {
		backoff.Sleep(work, times.drainFor)
		endWork()
		if backoff.Sleep(record, times.recordFor); !errors.Is(l.cause(), errLost) {
			endRecord()
		}
	})
	notAfterStop := context.AfterFunc(ctx, func() {
		backoff.Sleep(record, times.drainFor+times.recordFor)
		endRecord()
	})
	l.end = func() {
		notAfterStop()
		notAfterRun()
		endRecord()
		endWork()
		stop(nil)
	}
	return l
}

// cause is why the tenure ends: the first reason that was given, nil for a stop and while it goes on.
func (l *lifetime) cause() error {
	if cause := context.Cause(l.run); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}
