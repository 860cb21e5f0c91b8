package backoff

import (
	"context"
	"testing"
	"time"
)

func TestWaitsGrowAndBeginAgain(t *testing.T) {
	b := Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	for round := range 2 {
		for i, most := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
			most *= time.Millisecond
			if d := b.Next(); d < most/2 || d > most {
				t.Errorf("round %d, failure %d: %v, want %v to %v", round, i+1, d, most/2, most)
			}
		}
		b.Reset()
	}
	if b.Failures = 1 << 20; b.Next() > b.Max {
		t.Error("after very many failures it waits longer than the longest")
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	if !Sleep(ctx, time.Millisecond) || !Sleep(ctx, 0) {
		t.Error("it says that a context has ended which has not")
	}
	time.AfterFunc(time.Millisecond, cancel)
	if Sleep(ctx, time.Hour) || Sleep(ctx, -1) {
		t.Error("it says that a context goes on which has ended")
	}
}
