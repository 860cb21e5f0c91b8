package store

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"tandem/internal/pgtest"
	"tandem/internal/store/storetest"
)

func TestMain(m *testing.M) {
	if job := os.Getenv("STORE_TEST_PROCESS"); job != "" {
		os.Exit(process(job))
	}
	goleak.VerifyTestMain(m)
}

// databases are the two that everything is tried on; each makes a new empty one and returns its URL.
var databases = map[string]func(t *testing.T) string{
	"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "tandem.db") },
	"postgres": func(t *testing.T) string { return pgtest.URL(t) },
}

func both(t *testing.T, test func(t *testing.T, url string)) {
	for name, make := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, make(t))
		})
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	for name, make := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) func() storetest.Store {
				url := make(t)
				return func() storetest.Store { return running(t, url) }
			})
		})
	}
}

// running opens a store, runs it until the test ends and waits until it is ready.
func running(t *testing.T, url string) *Store {
	t.Helper()
	s := started(t, url)
	if err := s.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func started(t *testing.T, url string) *Store {
	t.Helper()
	s, _ := stoppable(t, url)
	return s
}

// stoppable is started with a function that ends it before the test does, as a process would: Run, then Close.
func stoppable(t *testing.T, url string) (s *Store, stop func()) {
	t.Helper()
	s = Open(url, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Logf("Run ended with: %v", err)
		}
		s.Close()
	})
	t.Cleanup(stop)
	return s, stop
}
