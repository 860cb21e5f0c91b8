package store

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"
)

// TestAWriterWhoLeavesAtTheBeginning : requests are given up at every moment of the beginning of a transaction, as a
// browser does that is closed. None of them leaves it open, which would keep every writer out for good.
func TestAWriterWhoLeavesAtTheBeginning(t *testing.T) {
	t.Parallel()
	s := Open("sqlite:"+filepath.Join(t.TempDir(), "tandem.db"), slog.New(slog.DiscardHandler))
	t.Cleanup(s.Close)
	if err := s.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	given := 0
	for i := range 3000 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%300)*time.Microsecond)
		_, err := s.IssueSignIn(ctx, "alice", []byte{byte(i), byte(i >> 8)}, time.Now().Add(time.Hour))
		cancel()
		if err != nil {
			given++
		}
	}
	if given == 0 {
		t.Error("none was given up")
	}
	if _, err := s.IssueSignIn(t.Context(), "alice", []byte("last"), time.Now().Add(time.Hour)); err != nil {
		t.Errorf("after %d that were given up nothing can be written: %v", given, err)
	}
	if err := s.Ready(); err != nil {
		t.Error(err)
	}
}
