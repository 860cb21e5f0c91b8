package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/proctest"
	"tandem/internal/store/driver"
)

// occupied has every connection of a way in use, with a statement that goes on until the returned function is called.
func occupied(t *testing.T, s *Store, w driver.Way) (release func()) {
	t.Helper()
	var wg sync.WaitGroup
	end, begun := make(chan struct{}), make(chan error)
	n := s.db.Lane(w).Size()
	for range n {
		wg.Go(func() {
			first := sync.OnceFunc(func() { begun <- nil })
			err := s.readBy(t.Context(), w, "test", func(x tx) error {
				r, err := x.c.Query(x.ctx, `SELECT last_event FROM counters`)
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
	onEach(t, func(t *testing.T, _ database, url string) {
		s := running(t, url)
		newFill(t, s).mustStore()
		if _, err := s.CreateToken(t.Context(), "t", []byte("hash")); err != nil {
			t.Fatal(err)
		}
		release := occupied(t, s, driver.Search)
		defer release()
		if _, _, err := s.Conversations(t.Context(), inbox.ConversationFilter{Limit: 10}); err != nil {
			t.Errorf("a page beside searches: %v", err)
		}
		releasePages := occupied(t, s, driver.Pages)
		defer releasePages()
		quick, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		if _, err := s.TokenByHash(quick, []byte("hash")); err != nil {
			t.Errorf("a token: %v", err)
		}
		if _, err := s.LastEvent(quick); err != nil {
			t.Errorf("the newest event: %v", err)
		}
		author := inbox.Author{Kind: inbox.ByAPI, ID: "1"}
		if _, _, err := s.AddAnswer(quick, 1, inbox.Answer{Text: "a", Author: author}); err != nil {
			t.Errorf("an answer: %v", err)
		}
		for range 2 {
			if trouble := s.checkOnce(t.Context(), s.current()); trouble != nil {
				t.Errorf("the health check: %s", trouble.Reason)
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
			if inbox.KindOf(err) != inbox.Busy || errors.Is(err, inbox.ErrUnavailable) ||
				!strings.Contains(err.Error(), "busy") {
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

// TestASearchThatTakesTooLong : it is given up, is not called an outage, and leaves the store well, through a pooler
// too.
func TestASearchThatTakesTooLong(t *testing.T) {
	t.Parallel()
	pooled := databases["postgres"]
	pooled.url = func(t *testing.T) string { return pgtest.Bouncer(t, pgtest.URL(t)) }
	all := maps.Clone(databases)
	all["pooler"] = pooled
	for name, db := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Open(db.url(t), slog.New(slog.NewTextHandler(t.Output(), nil)))
			defer s.Close()
			s.limits[driver.Search] = 300 * time.Millisecond
			if err := s.Connect(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range 4 { // more often than it has connections
				err := s.readBy(t.Context(), driver.Search, "search", func(x tx) error {
					var n int64
					return x.one(to(&n), db.slow)
				})
				if inbox.KindOf(err) != inbox.TooLong || errors.Is(err, inbox.ErrUnavailable) ||
					strings.Contains(err.Error(), "not available") {
					t.Fatalf("a slow search: %v", err)
				}
				if trouble := s.checkOnce(t.Context(), s.current()); trouble != nil || s.Ready() != nil {
					t.Errorf("the store is in trouble: %v", s.Ready())
				}
			}
			if db.active == "" {
				return
			}
			// Each would go on for an hour.
			proctest.Eventually(t, 10*time.Second, "none of them goes on in the server", func() bool {
				var running int
				err := s.read(t.Context(), "test", func(x tx) error { return x.one(to(&running), db.active) })
				return err == nil && running == 0
			})
		})
	}
}

// TestASearchIsGivenUp : SQLite's driver can end the first step of a statement alone, so that one finds all.
func TestASearchIsGivenUp(t *testing.T) {
	t.Parallel()
	s := Open(databases["sqlite"].url(t), slog.New(slog.NewTextHandler(t.Output(), nil)))
	defer s.Close()
	s.limits[driver.Search] = time.Minute // to find out how long it takes here and now
	if err := s.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	newFill(t, s).mustStore()
	author := inbox.Author{Kind: inbox.ByAPI, ID: "1"}
	for range 12 {
		if _, _, err := s.AddAnswer(t.Context(), 1,
			inbox.Answer{Text: strings.Repeat("a", inbox.MaxAnswer-4) + " aab", Author: author}); err != nil {
			t.Fatal(err)
		}
	}
	indexed(t, s)
	looked := inbox.SearchQuery{Words: strings.Repeat("a", 150) + "b"}
	began := time.Now()
	if _, err := s.Search(t.Context(), looked); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(began)
	s.limits[driver.Search] = whole / 4
	began = time.Now()
	_, err := s.Search(t.Context(), looked)
	if took := time.Since(began); inbox.KindOf(err) != inbox.TooLong || took > whole*3/4 {
		t.Errorf("it took %s of %s, %v", took, whole, err)
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
				release := occupied(t, s, driver.Search)
				defer release()
			}
			f.mustStore()
			f.check()
			if trouble := s.checkOnce(t.Context(), nil); trouble != nil {
				t.Error(trouble.Reason)
			}
			// Beside these is the connection that listens. It has asked something else while it was made, as those that
			// look for a pooler and that migrate, which end soon.
			proctest.Eventually(t, 10*time.Second, "there are no more connections than there may be", func() bool {
				var have int
				err := s.read(t.Context(), "test", func(x tx) error {
					return x.one(to(&have), `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()
						AND query NOT LIKE 'LISTEN%' AND query NOT LIKE 'SELECT last_event, revocations FROM counters%'`)
				})
				return err == nil && have <= n
			})
		})
	}
}
