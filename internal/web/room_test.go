package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/inbox"
)

func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, ann, bo := newRoom(), principal{kind: inbox.ByAPI, id: 1}, principal{kind: inbox.ByAPI, id: 2}
		ctx := context.Background()
		var leaves []func()
		for range roomForOne / (1 << 20) {
			leave, err := m.take(ctx, ann, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, leave)
		}
		if _, err := m.take(ctx, ann, smallAnswer); err != nil {
			t.Errorf("a small answer: %v", err)
		}
		if leave, err := m.take(ctx, bo, 1<<20); err != nil {
			t.Errorf("another's answer: %v", err)
		} else {
			leave()
			leave() // once
		}
		if _, err := m.take(ctx, ann, 1<<20); err != errNoOwnRoom {
			t.Errorf("one too many of her own: %v", err)
		}
		got := make(chan error)
		go func() {
			leave, err := m.take(ctx, ann, 1<<20)
			if err == nil {
				leave()
			}
			got <- err
		}()
		synctest.Wait()
		leaves[0]()
		if err := <-got; err != nil {
			t.Errorf("she waited, and there was room: %v", err)
		}
		for _, leave := range leaves[1:] {
			leave()
		}
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		for i := range int64(roomForAll / roomForOne) {
			if _, err := m.take(ctx, principal{id: 100 + i}, roomForOne); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := m.take(ctx, bo, 1<<20); err != errNoRoom {
			t.Errorf("all is taken: %v", err)
		}
		if _, err := m.take(short, bo, 1<<20); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who gave up: %v", err)
		}
		for range roomToWait / (1 << 20) {
			go func() { _, _ = m.take(ctx, bo, 1<<20) }()
		}
		synctest.Wait()
		if began := time.Now(); true {
			if _, err := m.take(ctx, bo, 1<<20); err != errNoRoom || time.Since(began) > 0 {
				t.Errorf("too many wait: %v after %s", err, time.Since(began))
			}
		}
		time.Sleep(roomPatience)
		synctest.Wait()
		if m.queued != 0 || len(m.waiting) != 0 || len(m.of) != roomForAll/roomForOne {
			t.Errorf("%d bytes wait, %d have room", m.queued, len(m.of))
		}
	})
}

// A list that is streamed is the one that is made whole.
func TestAStreamedList(t *testing.T) {
	for n := range 4 {
		items := make([]inbox.Message, n)
		for i := range items {
			items[i] = inbox.Message{ID: int64(i), Text: "a <b> \x01 \"c\" 😀", Attachments: []inbox.Attachment{}}
		}
		l := newList(items, toCursor("m", int64(n)), sizeOfMessage)
		want, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := l.stream(&b); err != nil || b.String() != string(want)+"\n" {
			t.Errorf("%v\nhave %s\nwant %s", err, b.String(), want)
		}
	}
}

// TestTurns : one reader has so many at once and no more, waits in order, and nobody else waits for him.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newFairStore(nil).turns
		as := func(id int64) context.Context {
			return context.WithValue(context.Background(), whoKey{}, principal{kind: inbox.ByAPI, id: id})
		}
		for _, search := range []bool{false, true} {
			most := map[bool]int{false: ownReads, true: ownSearches}[search]
			var leaves []func()
			for range most {
				leave, err := turns.take(as(1), search)
				if err != nil {
					t.Fatal(err)
				}
				leaves = append(leaves, leave)
			}
			results := make(chan error, ownWaiting+1)
			for range ownWaiting + 1 {
				go func() {
					leave, err := turns.take(as(1), search)
					if err == nil {
						leave()
					}
					results <- err
				}()
			}
			synctest.Wait()
			if err := <-results; err != errTurn || len(results) > 0 {
				t.Errorf("one too many waits: %v, and %d more", err, len(results))
			}
			if leave, err := turns.take(as(2), search); err != nil {
				t.Errorf("somebody else: %v", err)
			} else {
				leave()
			}
			leaves[0]()
			for range ownWaiting {
				if err := <-results; err != nil {
					t.Errorf("waited in vain: %v", err)
				}
			}
			for _, leave := range leaves[1:] {
				leave()
			}
		}
		if len(turns.lines) > 0 {
			t.Errorf("%d lines are left", len(turns.lines))
		}
		if leave, err := turns.take(context.Background(), true); err != nil {
			t.Error(err)
		} else {
			leave()
		}
	})
}
