package telegram

import (
	"context"
	"sync"
	"time"

	"tandem/internal/backoff"
)

// A press of a button shows a spinner in the customer's app until it is answered. Telegram takes an answer for about
// 150 s.
const (
	pressWorkers = 4
	maxPresses   = 1_000 // that wait to be answered; more of them have nobody who looks at them all
	pressTries   = 3
)

// press has a callback query answered that was stored. It waits for nothing.
func (x *tenure) press(query string) {
	if query == "" {
		return
	}
	select {
	case x.pressed <- query:
	default:
		x.Log.Warn("a button that was pressed is not answered: too many others wait for that", "waiting", maxPresses)
	}
}

// answerPresses answers until run ends, and then what is left as long as work allows. The answer says nothing: it is
// the operator who reacts. One that fails is no loss, since the press is stored.
func (x *tenure) answerPresses() error {
	var workers sync.WaitGroup
	for range pressWorkers {
		workers.Go(func() {
			for {
				select {
				case query := <-x.pressed:
					x.answerPress(query)
					continue
				case <-x.life.run.Done():
				}
				select {
				case query := <-x.pressed:
					x.answerPress(query)
				default:
					return
				}
			}
		})
	}
	workers.Wait()
	return nil
}

func (x *tenure) answerPress(query string) {
	pause := x.times.backoff()
	for range pressTries {
		ctx, cancel := context.WithTimeout(x.life.work, x.times.sendLimit)
		resp := x.client.call(ctx, "answerCallbackQuery", map[string]string{"callback_query_id": query}, maxResponseBytes)
		cancel()
		switch resp.class {
		case taken:
			return
		case broken, flooded:
			if !backoff.Sleep(x.life.run, min(max(pause.Next(), resp.retryAfter), time.Minute)) {
				return
			}
		default: // too old, or answered before
			x.Log.Debug("the answer to a press of a button was refused", "reason", resp.Error())
			return
		}
	}
}
