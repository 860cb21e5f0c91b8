package telegram

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/inbox"
)

// TestWhatEndsWhen holds begin to the table in the comment of lifetime, also where two things happen.
func TestWhatEndsWhen(t *testing.T) {
	const never = time.Duration(-1)
	type ends struct{ run, work, record time.Duration }
	failure := errors.New("a part failed")
	drain, both := usualTiming.drainFor, usualTiming.drainFor+usualTiming.recordFor
	for name, c := range map[string]struct {
		stop, fail, lose time.Duration // when that happens
		want             ends
		cause            error
	}{
		"nothing":                    {never, never, never, ends{never, never, never}, nil},
		"a stop":                     {1, never, never, ends{1, 1 + drain, 1 + both}, nil},
		"an error":                   {never, 1, never, ends{1, 1 + drain, 1 + both}, failure},
		"a lost lock":                {never, never, 1, ends{1, 1 + drain, never}, errLost},
		"a lost lock, then a stop":   {time.Minute, never, 1, ends{1, 1 + drain, time.Minute + both}, errLost},
		"a stop while it drains":     {time.Second, never, 1, ends{1, 1 + drain, time.Second + both}, errLost},
		"a stop, then a lost lock":   {1, never, 2, ends{1, 1 + drain, 1 + both}, nil},
		"an error, then a stop":      {time.Second, 1, never, ends{1, 1 + drain, 1 + both}, failure},
		"an error, then a lost lock": {never, 1, 2, ends{1, 1 + drain, 1 + both}, failure},
		"a lost lock, then an error": {never, 2, 1, ends{1, 1 + drain, never}, errLost},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ctx, stop := context.WithCancel(t.Context())
				lost := make(chan struct{})
				life := begin(ctx, lost, usualTiming)
				for when, f := range map[*time.Duration]func(){
					&c.stop: stop, &c.fail: func() { life.stop(failure) }, &c.lose: func() { close(lost) },
				} {
					if *when != never {
						time.AfterFunc(*when, f)
					}
				}
				got := ends{never, never, never}
				context.AfterFunc(life.run, func() { got.run = time.Since(began) })
				context.AfterFunc(life.work, func() { got.work = time.Since(began) })
				context.AfterFunc(life.record, func() { got.record = time.Since(began) })
				time.Sleep(time.Hour)
				synctest.Wait()
				if got != c.want {
					t.Errorf("ended after %+v, want %+v", got, c.want)
				}
				if cause := life.cause(); cause != c.cause {
					t.Errorf("the cause is %v, want %v", cause, c.cause)
				}
				life.end()
				stop()
				if life.run.Err() == nil || life.work.Err() == nil || life.record.Err() == nil {
					t.Errorf("not all is over: %v, %v, %v", life.run.Err(), life.work.Err(), life.record.Err())
				}
			})
		})
	}
}

// takenAway is a rig whose lock and whose writes of method a test takes away.
func takenAway(t *testing.T, method string) (*rig, *held, *brokenStore) {
	t.Helper()
	lock, broken := &held{}, &brokenStore{}
	r := newRig(t, rigOptions{wrap: func(s inbox.BotStore) inbox.BotStore {
		broken.BotStore, lock.BotStore = s, broken
		return lock
	}})
	r.tg.Customer(7, "hello")
	r.conversation(7)
	r.tg.NeedConfirmed(patience)
	broken.set(method, errAway)
	return r, lock, broken
}

// TestAnOutcomeAfterALostLock : it is written until the database takes it, however long that is, and until a stop.
func TestAnOutcomeAfterALostLock(t *testing.T) {
	outcomeInHand := func(t *testing.T) (*rig, *held, *brokenStore, inbox.Message) {
		r, lock, broken := takenAway(t, "RecordOutcome")
		m := r.answer(7, "taken by Telegram")
		r.eventually("an attempt to write the outcome", func() bool { return broken.count("RecordOutcome") > 0 })
		lock.lose()
		lost := time.Now()
		r.eventually("a time after which a stop would have ended the attempts", func() bool {
			return time.Since(lost) > 2*(quick.drainFor+quick.recordFor)
		})
		attempts := broken.count("RecordOutcome")
		r.eventually("one more attempt", func() bool { return broken.count("RecordOutcome") > attempts })
		return r, lock, broken, m
	}
	t.Run("written", func(t *testing.T) {
		r, lock, broken, m := outcomeInHand(t)
		broken.set("RecordOutcome", nil)
		r.delivery(m.ID, inbox.Sent)
		r.eventually("the next tenure", func() bool { return lock.takes() == 2 })
		if n := r.requests("sendMessage", 7); n != 1 {
			t.Errorf("sent %d times", n)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		r, _, _, m := outcomeInHand(t)
		if took := r.stopped(); took > 4*time.Second {
			t.Errorf("the stop took %v", took)
		}
		r.delivery(m.ID, inbox.Sending)
	})
}

// TestABatchAfterALostLock : it is given up, so that the next tenure can begin. Telegram gives it again.
func TestABatchAfterALostLock(t *testing.T) {
	r, lock, broken := takenAway(t, "StoreUpdates")
	r.tg.Customer(7, "in hand")
	r.eventually("an attempt to store", func() bool { return broken.count("StoreUpdates") > 0 })
	lock.lose()
	r.eventually("the next tenure", func() bool { return lock.takes() == 2 })
	broken.set("StoreUpdates", nil)
	r.eventually("the message", func() bool { return len(r.messages(7)) == 2 })
}

// slowClaims is a store that a test makes slow at claiming.
type slowClaims struct {
	inbox.BotStore
	slow           chan struct{} // closed: claims wait for release
	begun, release chan struct{}
}

func (s *slowClaims) ClaimDeliveries(
	ctx context.Context, t inbox.Tenure, n int, notYet map[int64]time.Time,
) ([]inbox.Delivery, time.Time, error) {
	select {
	case <-s.slow:
		select {
		case s.begun <- struct{}{}:
		default:
		}
		<-s.release
	default:
	}
	return s.BotStore.ClaimDeliveries(ctx, t, n, notYet)
}

// TestAClaimThatAStopMeets : it may have been committed all the same, so what it claimed is sent.
func TestAClaimThatAStopMeets(t *testing.T) {
	claims := &slowClaims{slow: make(chan struct{}), begun: make(chan struct{}, 1), release: make(chan struct{})}
	r := newRig(t, rigOptions{
		wrap:   func(s inbox.BotStore) inbox.BotStore { claims.BotStore = s; return claims },
		timing: slower(func(q *timing) { q.drainFor = patience }),
	})
	r.tg.Customer(7, "hello")
	r.conversation(7)
	close(claims.slow)
	m := r.answer(7, "claimed while it stops")
	<-claims.begun
	r.stop()
	close(claims.release)
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	r.delivery(m.ID, inbox.Sent)
}
