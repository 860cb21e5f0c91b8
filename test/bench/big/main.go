// Big measures web with many messages: the list, a conversation, an answer, and each search of the published list, on
// SQLite and PostgreSQL, at several sizes. It prints Markdown tables and draws them as an SVG. `make bench-big` runs
// it.
//
// With -seed it only fills a database, and goes on where it was ended: the same messages in the same order each time.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/proctest"
	"tandem/internal/store"
)

const (
	botID = 4242
	batch = 500
	// asks is how often list, conversation and answer are asked for.
	asks = 100
)

func main() {
	bin := flag.String("bin", "bin", "folder with the built executables")
	sizes := flag.String("sizes", "1000,30000,1000000", "how many messages, in turn")
	databases := flag.String("databases", "sqlite,postgres", "which databases")
	svg := flag.String("svg", "", "the plot of cost against size goes to this file")
	seed := flag.String("seed", "", "only fill the database of this URL")
	n := flag.Int("n", 1_000_000, "with -seed: how many messages")
	flag.Parse()
	log.SetFlags(0)
	if *seed != "" {
		if err := fill(*seed, *n); err != nil {
			log.Fatal(err)
		}
		return
	}
	var tables []table
	for _, database := range strings.Split(*databases, ",") {
		t := table{database: database}
		for _, size := range strings.Split(*sizes, ",") {
			of, err := strconv.Atoi(size)
			if err != nil || of < 100 {
				log.Fatalf("-sizes: want numbers of 100 or more, have %q", size)
			}
			c, err := measure(*bin, database, of)
			if errors.Is(err, pgtest.ErrNotInstalled) {
				fmt.Println("\nNothing of PostgreSQL: it is not installed.")
				break
			}
			if err != nil {
				log.Fatalf("%s with %d messages: %v", database, of, err)
			}
			t.columns = append(t.columns, c)
		}
		if len(t.columns) > 0 {
			t.print(os.Stdout)
			tables = append(tables, t)
		}
	}
	if *svg != "" {
		if err := os.WriteFile(*svg, plot(tables), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

// fill stores the messages that are missing, and waits until all can be found.
func fill(address string, of int) error {
	db := store.Open(address, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); _ = db.Run(ctx) }()
	defer func() { cancel(); <-done; db.Close() }()
	if err := db.WaitReady(ctx); err != nil {
		return err
	}
	index := make(chan struct{})
	go func() { defer close(index); db.KeepIndex(ctx) }()
	defer func() { cancel(); <-index }()
	tenure, err := db.TakeOver(ctx, botID, "seed")
	if err != nil {
		return err
	}
	v := newVocabulary()
	began := time.Now()
	for from := int(tenure.NextOffset); from < of; from += batch {
		var updates []inbox.Update
		for n := from; n < min(from+batch, of); n++ {
			chat := chatOf(n, of)
			text := v.messageOf(n, of)
			updates = append(updates, inbox.Update{ID: int64(n), Kind: "message",
				Raw: fmt.Appendf(nil, `{"update_id":%d,"message":{"message_id":%d,"date":1700000000,"chat":{"id":%d,"type":`+
					`"private"},"from":{"id":%d,"is_bot":false,"first_name":%q},"text":%q}}`, n, n, chat, chat, v.nameOf(chat), text),
				Message: &inbox.IncomingMessage{ChatID: chat, MessageID: int64(n + 1), Kind: "text", Text: text,
					Date: time.Unix(1_700_000_000+int64(n), 0), Customer: inbox.Customer{ID: chat, Name: v.nameOf(chat)}}})
		}
		if err := db.StoreUpdates(ctx, tenure, updates, int64(min(from+batch, of))); err != nil {
			return err
		}
	}
	stored := time.Since(began)
	for {
		p, err := db.WordsProgress(ctx)
		if err != nil {
			return err
		}
		if p == (inbox.WordsProgress{}) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	fmt.Fprintf(os.Stderr, "%d messages: stored after %s, all can be found after %s\n", of,
		stored.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	return nil
}

// cost is how long something takes.
type cost struct {
	what     string
	hits     bool // a search that finds something
	asked    int
	p50, p99 time.Duration
}

// column is what was measured at one size.
type column struct {
	messages int
	costs    []cost
}

// measure fills a new database and asks web.
func measure(bin, database string, of int) (c column, err error) {
	c.messages = of
	dir, err := os.MkdirTemp("", "tandem-big-")
	if err != nil {
		return c, err
	}
	defer os.RemoveAll(dir)
	address := "sqlite:" + filepath.Join(dir, "tandem.db")
	if database == "postgres" {
		db, err := pgtest.Standalone("fsync=on", "full_page_writes=on")
		if err != nil {
			return c, err
		}
		defer db.Remove()
		address = db.URL()
	}
	if err := fill(address, of); err != nil {
		return c, err
	}
	port, err := proctest.FreePort()
	if err != nil {
		return c, err
	}
	env := append(os.Environ(), "DATABASE_URL="+address, "LOG_LEVEL=warn", "WEB_OPS_ADDR=off", "RUN_DIR="+dir,
		fmt.Sprintf("WEB_ADDR=127.0.0.1:%d", port))
	create := exec.Command(filepath.Join(bin, "web"), "token", "create", "bench")
	create.Env = env
	token, err := create.Output()
	if err != nil {
		return c, fmt.Errorf("web token create: %w", err)
	}
	web := exec.Command(filepath.Join(bin, "web"))
	web.Env, web.Stderr = env, os.Stderr
	web.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := web.Start(); err != nil {
		return c, err
	}
	defer func() { _ = web.Process.Kill(); _ = web.Wait() }()
	a := api{fmt.Sprintf("http://127.0.0.1:%d/api/v1", port), strings.TrimSpace(string(token))}
	if err := a.wait(); err != nil {
		return c, err
	}

	v := newVocabulary()
	var ids []int64
	add := func(what string, hits bool, n int, ask func(i int) error) error {
		k, err := measured(what, n, ask)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		k.hits = hits
		c.costs = append(c.costs, k)
		return nil
	}
	err = add("list of 50 conversations", false, asks, func(i int) error {
		var list struct{ Items []struct{ ID int64 } }
		err := a.do("GET", fmt.Sprintf("/conversations?limit=%d", 50-i%10), "", &list)
		for _, item := range list.Items {
			ids = append(ids, item.ID)
		}
		return err
	})
	if err != nil || len(ids) == 0 {
		return c, errors.Join(err, errors.New("no conversations"))
	}
	err = errors.Join(
		add("50 messages of a conversation", false, asks, func(i int) error {
			return a.do("GET", fmt.Sprintf("/conversations/%d/messages?limit=%d", ids[i%len(ids)], 50-i%10), "", nil)
		}),
		add("an answer", false, asks, func(i int) error {
			return a.do("POST", fmt.Sprintf("/conversations/%d/messages", ids[i%len(ids)]), `{"text":"good day"}`, nil)
		}))
	if err != nil {
		return c, err
	}
	for _, s := range v.searches(of) {
		empty := 0
		err := add(s.name, s.hits, len(s.questions), func(i int) error {
			var found struct{ Items []json.RawMessage }
			err := a.do("GET", "/search?q="+url.QueryEscape(s.questions[i]), "", &found)
			if len(found.Items) == 0 {
				empty++
			}
			return err
		})
		if err != nil {
			return c, err
		}
		if s.hits && empty > len(s.questions)/4 || !s.hits && empty < len(s.questions) {
			return c, fmt.Errorf("%s: %d of %d questions found nothing", s.name, empty, len(s.questions))
		}
	}
	return c, nil
}

// measured asks n times, once each, and gives the median and the 99th of a hundred.
func measured(what string, n int, ask func(i int) error) (cost, error) {
	var took []time.Duration
	for i := range n {
		began := time.Now()
		if err := ask(i); err != nil {
			return cost{}, err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	if n == 0 {
		return cost{what: what}, nil
	}
	return cost{what: what, asked: n, p50: took[n/2], p99: took[min(n*99/100, n-1)]}, nil
}

type api struct{ base, token string }

func (a api) do(method, path, body string, into any) error {
	r, err := http.NewRequest(method, a.base+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+a.token)
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s %s", method, path, response.Status, b)
	}
	if into != nil {
		return json.Unmarshal(b, into)
	}
	return nil
}

// wait waits until web answers.
func (a api) wait() error {
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = a.do("GET", "/conversations?limit=1", "", nil); err == nil {
			return nil
		}
	}
	return err
}
