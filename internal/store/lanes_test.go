package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/proctest"
)

// occupied has every connection of a way in use, with a statement that goes on until the returned function is called.
func occupied(t *testing.T, s *Store, w way) (release func()) {
	t.Helper()
	var wg sync.WaitGroup
	end, begun := make(chan struct{}), make(chan error)
	n := cap(s.db.lane(w).slots)
	if _, ok := s.db.(*sqlite); ok {
		n = sqliteConns[w]
	}
	for range n {
		wg.Go(func() {
			first := sync.OnceFunc(func() { begun <- nil })
			err := s.readBy(t.Context(), w, "test", func(x tx) error {
				r, err := x.c.query(x.ctx, `SELECT last_event FROM counters`)
				if err != nil {
					return err
				}
				defer r.Close()
				first()
				<-end
				return nil
			})
			if err != nil {
				begun <- err
			}
		})
	}
	for range n {
		if err := <-begun; err != nil {
			t.Fatal(err)
		}
	}
	release = sync.OnceFunc(func() { close(end); wg.Wait() })
	t.Cleanup(release)
	return release
}

// TestReadsThatTakeAll : however many slow reads there are, the health check, a look at who it is, and an answer
// have their own way, and nobody says that the database is away.
func TestReadsThatTakeAll(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, url string) {
		s := running(t, url)
		newFill(t, s).mustStore()
		if _, err := s.CreateToken(t.Context(), "t", []byte("hash")); err != nil {
			t.Fatal(err)
		}
		release := occupied(t, s, search)
		defer release()
		if _, _, err := s.Conversations(t.Context(), inbox.ConversationFilter{Limit: 10}); err != nil {
			t.Errorf("a page beside searches: %v", err)
		}
		releasePages := occupied(t, s, pages)
		defer releasePages()
		quick, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		if _, err := s.TokenByHash(quick, []byte("hash")); err != nil {
			t.Errorf("a token: %v", err)
		}
		if _, err := s.LastEvent(quick); err != nil {
			t.Errorf("the newest event: %v", err)
		}
		if _, _, err := s.AddAnswer(quick, 1, inbox.Answer{Text: "a", Author: inbox.Author{Kind: inbox.ByAPI, ID: "1"}}); err != nil {
			t.Errorf("an answer: %v", err)
		}
		for range 2 {
			if trouble := s.checkOnce(t.Context(), s.current()); trouble != nil {
				t.Errorf("the health check: %s", trouble.reason)
			}
		}
		for name, ask := range map[string]func() error{
			"a page": func() error { _, _, err := s.Messages(t.Context(), 1, 10, 0); return err },
			"a search": func() error {
				_, _, err := s.Conversations(t.Context(), inbox.ConversationFilter{Query: "x"})
				return err
			},
		} {
			err := ask()
			if inbox.KindOf(err) != inbox.Busy || errors.Is(err, inbox.ErrUnavailable) || !strings.Contains(err.Error(), "busy") {
				t.Errorf("%s while all connections are in use: %v", name, err)
			}
		}
		if err := s.Ready(); err != nil {
			t.Errorf("the store is in trouble: %v", err)
		}
		release()
		releasePages()
		if _, _, err := s.Messages(t.Context(), 1, 10, 0); err != nil {
			t.Errorf("after that: %v", err)
		}
	})
}

// slow is a statement that takes until it is ended.
func slow(s *Store) string {
	if _, ok := s.db.(*sqlite); ok {
		return `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n`
	}
	return `SELECT COUNT(*) FROM generate_series(1, 20000000000)`
}

// TestASearchThatTakesTooLong is given up, is not called an outage, and leaves the store well; through a pooler as well.
func TestASearchThatTakesTooLong(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) string{"sqlite": databases["sqlite"], "postgres": databases["postgres"],
		"pooler": func(t *testing.T) string { return pgtest.Bouncer(t, pgtest.URL(t)) }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Open(open(t), slog.New(slog.NewTextHandler(t.Output(), nil)))
			defer s.Close()
			s.limits[search] = 300 * time.Millisecond
			if err := s.Connect(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range 4 { // more often than it has connections
				err := s.readBy(t.Context(), search, "search", func(x tx) error {
					var n int64
					return x.one(to(&n), slow(s))
				})
				if inbox.KindOf(err) != inbox.TooLong || errors.Is(err, inbox.ErrUnavailable) || strings.Contains(err.Error(), "not available") {
					t.Fatalf("a slow search: %v", err)
				}
				if trouble := s.checkOnce(t.Context(), s.current()); trouble != nil || s.Ready() != nil {
					t.Errorf("the store is in trouble: %v", s.Ready())
				}
			}
			if _, ok := s.db.(*sqlite); ok {
				return
			}
			proctest.Eventually(t, 10*time.Second, "none of them goes on in the server", func() bool { // each would for an hour
				var running int
				err := s.read(t.Context(), "test", func(x tx) error {
					return x.one(to(&running), `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()
						AND state = 'active' AND query LIKE '%generate_series(1, 2%' AND pid <> pg_backend_pid()`)
				})
				return err == nil && running == 0
			})
		})
	}
}

// TestASearchThatFindsSomethingAtOnce is given up as well when what is left takes too long.
func TestASearchThatFindsSomethingAtOnce(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, url string) {
		s := Open(url, slog.New(slog.NewTextHandler(t.Output(), nil)))
		defer s.Close()
		s.limits[search] = time.Minute // to find out how long it takes here and now
		if err := s.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		newFill(t, s).mustStore()
		author := inbox.Author{Kind: inbox.ByAPI, ID: "1"}
		for range 12 {
			if _, _, err := s.AddAnswer(t.Context(), 1, inbox.Answer{Text: strings.Repeat("a", inbox.MaxAnswer), Author: author}); err != nil {
				t.Fatal(err)
			}
		}
		looked := strings.Repeat("a", 150) + "b"
		began := time.Now()
		if _, _, err := s.Conversations(t.Context(), inbox.ConversationFilter{Query: looked}); err != nil {
			t.Fatal(err)
		}
		whole := time.Since(began)
		tenure, err := s.TakeOver(t.Context(), 1, "test")
		if err != nil {
			t.Fatal(err)
		}
		err = s.StoreUpdates(t.Context(), tenure, []inbox.Update{{ID: 1000, Raw: []byte("x"), Message: &inbox.IncomingMessage{ChatID: 99, MessageID: 1, Text: looked}}}, 1001)
		if err != nil {
			t.Fatal(err)
		}
		s.limits[search] = whole / 4
		began = time.Now()
		_, _, err = s.Conversations(t.Context(), inbox.ConversationFilter{Query: looked, Limit: 10})
		if took := time.Since(began); inbox.KindOf(err) != inbox.TooLong || took > whole*3/4 {
			t.Errorf("it took %s of %s, %v", took, whole, err)
		}
	})
}

// TestShare : of few connections as of many each is in one lane, all together are no more than there may be, and a
// search never has the last one to itself if there are two.
func TestShare(t *testing.T) {
	for n := 1; n <= 60; n++ {
		sum, seen := 0, map[*lane]bool{}
		lanes := share(n)
		for _, l := range lanes {
			if !seen[l] {
				seen[l] = true
				sum += cap(l.slots)
			}
		}
		if sum != n {
			t.Errorf("of %d connections %d are used", n, sum)
		}
		for w := pages; w < ways && n > 1; w++ {
			if lanes[w] == lanes[search] {
				t.Errorf("of %d connections searches share with %s", n, wayNames[w])
			}
		}
	}
}

// TestFewConnections : with any number of them everything works, and a search keeps nobody else waiting.
func TestFewConnections(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 5; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			s := running(t, edited(t, pgtest.URL(t), func(u *url.URL) {
				q := u.Query()
				q.Set("pool_max_conns", fmt.Sprint(n))
				q.Set("pool_min_conns", "1")
				u.RawQuery = q.Encode()
			}))
			f := newFill(t, s)
			f.mustStore()
			if n > 1 {
				release := occupied(t, s, search)
				defer release()
			}
			f.mustStore()
			f.check()
			if trouble := s.checkOnce(t.Context(), nil); trouble != nil {
				t.Error(trouble.reason)
			}
			var have int
			err := s.read(t.Context(), "test", func(x tx) error {
				return x.one(to(&have), `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND query NOT LIKE 'LISTEN%' AND query NOT LIKE '%last_event FROM counters WHERE id = 1%'`)
			})
			if err != nil || have > n {
				t.Errorf("%d connections, %v", have, err)
			}
		})
	}
}

// TestMaxWaiting : those who wait are bounded, and one too many is told at once.
func TestMaxWaiting(t *testing.T) {
	l := newLane(1)
	leave, err := l.enter(t.Context(), access)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range maxWaiting[writes] {
		wg.Go(func() { _, _ = l.enter(ctx, writes) })
	}
	for l.waiting.Load() < maxWaiting[writes] {
		time.Sleep(time.Millisecond)
	}
	var full *fullError
	if _, err := l.enter(t.Context(), writes); !errors.As(err, &full) || full.waited != 0 {
		t.Errorf("one too many: %v", err)
	}
	cancel()
	wg.Wait()
	leave()
	if leave, err := l.enter(t.Context(), access); err != nil {
		t.Error(err)
	} else {
		leave()
	}
}

// TestASearchIsOneProcessOfTheServer : it has no workers beside it, which would take the processors from all the others.
func TestASearchIsOneProcessOfTheServer(t *testing.T) {
	s := running(t, pgtest.URL(t))
	err := s.db.read(t.Context(), search, func(c conn) error {
		var workers string
		err := tx{t.Context(), c}.one(to(&workers), `SELECT current_setting('max_parallel_workers_per_gather')`)
		if err == nil && workers != "0" {
			t.Errorf("%s workers", workers)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
