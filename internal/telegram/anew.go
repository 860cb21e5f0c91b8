package telegram

import (
	"encoding/json"
	"errors"
	"slices"

	"tandem/internal/backoff"
	"tandem/internal/inbox"
)

// atOnce is how many messages are read anew in one step.
const atOnce = 100

// readAnew reads messages anew that a version stored which knew less of them: in steps, so that what comes in goes on.
// When none is left it looks again now and then, since such a version may still run elsewhere.
func (x *tenure) readAnew() error {
	run := x.life.run
	decode, err := newDecoder("")
	if err != nil {
		return err
	}
	pause, done := x.times.storeBackoff(), 0
	for run.Err() == nil {
		list, err := x.Store.UnreadMessages(run, x.Tenure, atOnce)
		if err == nil && len(list) > 0 {
			decode.readAnew(list)
			err = x.storeAnew(list)
		}
		wait := x.times.anewPause
		switch {
		case errors.Is(err, inbox.ErrFenced):
			return endFenced(err)
		case err != nil:
			if pause.Failures == 0 && run.Err() == nil {
				x.Log.Warn("messages of an older version cannot be read anew, trying again", "error", err)
			}
			wait = pause.Next()
		case len(list) > 0:
			pause.Reset()
			done += len(list)
		default:
			pause.Reset()
			if done > 0 {
				x.Log.Info("messages of an older version were read anew", "messages", done)
				done = 0
			}
			wait = x.times.anewIdle
		}
		backoff.Sleep(run, wait)
	}
	return nil
}

// storeAnew stores what was read. What cannot be stored keeps what it had, and holds up none of the others.
func (x *tenure) storeAnew(list []inbox.UnreadMessage) error {
	run := x.life.run
	err := x.Store.ReadAnew(run, x.Tenure, list)
	if err == nil || run.Err() != nil || inbox.TryLater(err) || errors.Is(err, inbox.ErrFenced) {
		return err
	}
	for _, u := range list {
		one := []inbox.UnreadMessage{u}
		err := x.Store.ReadAnew(run, x.Tenure, one)
		if err == nil {
			continue
		}
		x.Log.Error("a message cannot be stored as it is read now, it stays as it was", "message", u.ID, "error", err)
		one[0].Message = nil
		if err := x.Store.ReadAnew(run, x.Tenure, one); err != nil {
			return err
		}
	}
	return nil
}

// readAnew sets of each the message that its raw updates have, nil where none has the one that is shown, and what it
// said before.
func (d *decoder) readAnew(list []inbox.UnreadMessage) {
	for i := range list {
		u := &list[i]
		for _, raw := range u.Raws { // newest first
			update, ok := d.update(json.RawMessage(raw))
			m := update.Message
			if m == nil {
				m = update.Edit
			}
			if !ok || m == nil {
				continue
			}
			seen := int64(0)
			if m.EditedAt != nil {
				seen = m.EditedAt.UnixMicro()
			}
			switch {
			case u.Message == nil && seen == u.EditSeen:
				u.Message = m
			case u.Message != nil && seen <= u.EditSeen:
				u.Before = append(u.Before, *m)
			}
		}
		slices.Reverse(u.Before)
		u.Raws = nil
	}
}
