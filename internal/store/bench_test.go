package store

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"tandem/internal/inbox"
)

func benchStore(b *testing.B) *Store {
	b.Helper()
	s := Open("sqlite:"+filepath.Join(b.TempDir(), "bench.db"), slog.New(slog.DiscardHandler))
	if err := s.Connect(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	return s
}

func benchUpdates(first, n int) []inbox.Update {
	updates := make([]inbox.Update, n)
	for i := range updates {
		id := first + i
		updates[i] = inbox.Update{ID: int64(id), Kind: "message",
			Raw: fmt.Appendf(nil, `{"update_id":%d,"message":{"text":"message %d"}}`, id, id),
			Message: &inbox.IncomingMessage{ChatID: int64(1000 + id%1000), MessageID: int64(id), Kind: "text",
				Text:     fmt.Sprintf("message %d", id),
				Customer: inbox.Customer{ID: int64(1000 + id%1000), Name: "Ada Lovelace"}, Date: time.Unix(1_700_000_000, 0)}}
	}
	return updates
}

// BenchmarkStoreUpdates is 100 updates in one transaction, as a full poll brings them.
func BenchmarkStoreUpdates(b *testing.B) {
	s := benchStore(b)
	t, err := s.TakeOver(b.Context(), 1, "bench")
	if err != nil {
		b.Fatal(err)
	}
	next := 1
	for b.Loop() {
		if err := s.StoreUpdates(context.Background(), t, benchUpdates(next, 100), int64(next+100)); err != nil {
			b.Fatal(err)
		}
		next += 100
	}
	b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "updates/s")
}

// BenchmarkConversations is one page of the list.
func BenchmarkConversations(b *testing.B) {
	s := benchStore(b)
	t, err := s.TakeOver(b.Context(), 1, "bench")
	if err != nil {
		b.Fatal(err)
	}
	for i := range 50 {
		if err := s.StoreUpdates(b.Context(), t, benchUpdates(1+i*100, 100), 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.Conversations(context.Background(), inbox.ConversationFilter{Limit: 50}); err != nil {
			b.Fatal(err)
		}
	}
}
