package store

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
)

func benchStore(b *testing.B, url string) *Store {
	b.Helper()
	s := Open(url, slog.New(slog.DiscardHandler))
	if err := s.Connect(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	return s
}

func benchSQLite(b *testing.B) *Store {
	b.Helper()
	return benchStore(b, "sqlite:"+filepath.Join(b.TempDir(), "bench.db"))
}

// benchEach runs a benchmark on each kind of database. They do what they promise: SQLite with synchronous=FULL,
// PostgreSQL with fsync=on.
func benchEach(b *testing.B, run func(b *testing.B, s *Store)) {
	b.Run("sqlite", func(b *testing.B) { run(b, benchSQLite(b)) })
	b.Run("postgres", func(b *testing.B) {
		run(b, benchStore(b, pgtest.Server(b, "fsync=on", "full_page_writes=on").URL()))
	})
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
func BenchmarkStoreUpdates(b *testing.B) { benchEach(b, storeUpdates) }

func storeUpdates(b *testing.B, s *Store) {
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

// BenchmarkAddAnswer is answers to a thousand conversations, one after another, and from 64 who each wait for theirs.
func BenchmarkAddAnswer(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			benchEach(b, func(b *testing.B, s *Store) { addAnswers(b, s, clients) })
		})
	}
}

func addAnswers(b *testing.B, s *Store, clients int) {
	t, err := s.TakeOver(b.Context(), 1, "bench")
	if err != nil {
		b.Fatal(err)
	}
	for i := range 10 {
		if err := s.StoreUpdates(b.Context(), t, benchUpdates(1+i*100, 100), 0); err != nil {
			b.Fatal(err)
		}
	}
	var last atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range clients {
		wg.Go(func() {
			for n := last.Add(1); n <= int64(b.N); n = last.Add(1) {
				_, _, err := s.AddAnswer(context.Background(), 1+n%1000, inbox.Answer{Text: fmt.Sprintf("answer %d", n),
					Key: fmt.Sprint(n), Author: inbox.Author{Kind: inbox.ByAPI, ID: "1"}})
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "answers/s")
}

// BenchmarkConversations is one page of the list.
func BenchmarkConversations(b *testing.B) {
	s := benchSQLite(b)
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
