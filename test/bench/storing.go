package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/pgtest"
)

// posting is for how long each number of clients posts, after as long a time that does not count.
const posting = 3 * time.Second

// postingClients are how many post at once. Each waits for its answer, and asks again.
var postingClients = []int{1, 64}

// storing prints how fast a bot stores updates, and a web answers, in both databases. Both do what they promise: SQLite
// with synchronous=FULL, PostgreSQL with fsync=on.
func (b *bench) storing() error {
	measured := map[string]figures{"SQLite": {}, "PostgreSQL": {}}
	for range b.rounds {
		b.n++
		file := filepath.Join(b.dir, fmt.Sprintf("storing%d.db", b.n))
		if err := b.storingIn("sqlite:"+file, measured["SQLite"]); err != nil {
			return fmt.Errorf("SQLite: %w", err)
		}
		db, err := pgtest.Standalone("fsync=on", "full_page_writes=on")
		if errors.Is(err, pgtest.ErrNotInstalled) {
			continue
		}
		if err != nil {
			return err
		}
		err = b.storingIn(db.URL(), measured["PostgreSQL"])
		db.Remove()
		if err != nil {
			return fmt.Errorf("PostgreSQL: %w", err)
		}
	}
	fmt.Printf("\nStoring and posting alone, medians of %d rounds of %s. 0 is a database that is not installed.\n\n",
		b.rounds, posting)
	fmt.Println("| figure | SQLite | PostgreSQL |\n| --- | --- | --- |")
	for _, row := range storingFigures() {
		fmt.Printf("| %s | %.4g | %.4g |\n", row, measured["SQLite"].median(row), measured["PostgreSQL"].median(row))
	}
	return nil
}

const storedRate = "updates stored and confirmed, a second"

func postedRate(clients int) string { return fmt.Sprintf("answers posted by %d, a second", clients) }

func postedP99(clients int) string { return fmt.Sprintf("p99 of an answer where %d post, ms", clients) }

func storingFigures() (list []string) {
	list = append(list, storedRate)
	for _, n := range postingClients {
		list = append(list, postedRate(n), postedP99(n))
	}
	return list
}

func (b *bench) storingIn(url string, into figures) error {
	f := &fleet{bench: b, env: append(os.Environ(), "DATABASE_URL="+url, "LOG_LEVEL=warn")}
	if err := f.seed(); err != nil {
		return err
	}
	into.add(storedRate, f.stored)
	webs, err := f.start(1, nil)
	defer webs.kill()
	if err != nil {
		return err
	}
	for _, clients := range postingClients {
		if _, err := f.postAll(webs[0], clients, warmUp); err != nil {
			return err
		}
		began := time.Now()
		took, err := f.postAll(webs[0], clients, posting)
		if err != nil {
			return err
		}
		into.add(postedRate(clients), float64(len(took))/time.Since(began).Seconds())
		slices.Sort(took)
		into.add(postedP99(clients), float64(took[(len(took)-1)*99/100].Microseconds())/1000)
	}
	return nil
}

// postAll has so many clients post to different conversations, and returns how long each answer took.
func (f *fleet) postAll(web replica, clients int, d time.Duration) ([]time.Duration, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	var posted atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for range clients {
		wg.Go(func() {
			var took []time.Duration
			var err error
			for err == nil && time.Now().Before(end) {
				began := time.Now()
				to := f.write[posted.Add(1)%int64(len(f.write))]
				_, err = f.do(client, web, request{"POST", fmt.Sprintf("/conversations/%d/messages", to),
					`{"text":"an answer of a benchmark"}`})
				took = append(took, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			all, failed = append(all, took...), errors.Join(failed, err)
		})
	}
	wg.Wait()
	return all, failed
}
