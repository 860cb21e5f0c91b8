package web

import (
	"testing"
	"time"

	"tandem/internal/inbox"
)

// A stream that does not take its batches is ended, never given later ones in place of those it missed; others go on.
func TestTheHubEndsWhoLagsBehind(t *testing.T) {
	h := newHub(nil, nil, time.Minute)
	close(h.positioned)
	slow, err := h.subscribe(t.Context(), inbox.Grant{}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	quick, err := h.subscribe(t.Context(), inbox.Grant{}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	for seq := int64(1); seq <= 2*maxBatchesBehind; seq++ {
		h.send([]inbox.Event{{Seq: seq}})
		if batch, ok := <-quick.batches; !ok || batch[0].Seq != seq {
			t.Fatalf("the quick one has %v %v, want %d", batch, ok, seq)
		}
	}
	want := int64(0)
	for batch := range slow.batches {
		if want++; batch[0].Seq != want {
			t.Fatalf("the slow one has %d, want %d", batch[0].Seq, want)
		}
	}
	if want != maxBatchesBehind || slow.why != errSlow {
		t.Errorf("the slow one got %d batches and was ended with %v", want, slow.why)
	}
	h.unsubscribe(slow)
	h.unsubscribe(quick)
	if len(h.subs) != 0 {
		t.Errorf("%d subscribers are left", len(h.subs))
	}
}
