package store

import (
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/proctest"
	"tandem/internal/store/driver"
)

// hits are the ids of the messages that are found, and whether that is all there is.
func hits(t *testing.T, s *Store, words string) (ids []int64, complete bool) {
	t.Helper()
	for q := (inbox.SearchQuery{Words: words, Limit: 200}); ; {
		page, err := s.Search(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range page.Hits {
			if h.Message != nil {
				ids = append(ids, h.Message.ID)
			}
		}
		if page.Complete == (page.ReachesBackTo != nil) && len(page.Hits) > 0 {
			t.Errorf("complete is %v, and it reaches back to %v", page.Complete, page.ReachesBackTo)
		}
		if q.Before = page.Next; q.Before == 0 {
			return ids, page.Complete
		}
	}
}

// indexed brings the index up to date.
func indexed(t *testing.T, s *Store) {
	t.Helper()
	proctest.Eventually(t, time.Minute, "all is indexed", func() bool {
		if _, err := s.indexSome(t.Context()); err != nil {
			t.Fatal(err)
		}
		p, err := s.WordsProgress(t.Context())
		return err == nil && p == inbox.WordsProgress{}
	})
}

// TestAnOlderDatabaseIsIndexed : what was there before the index is found step by step, the newest first, and meanwhile
// a search says how far back it reaches. What programs write that know no index is found as well.
func TestAnOlderDatabaseIsIndexed(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, kind database, address string) {
		const n = 3*indexStep + 7
		beside := kind.open(t, address)
		defer beside.Close()
		before := fstest.MapFS{}
		for _, name := range migrationNames(t, kind) {
			b, err := fs.ReadFile(kind.migrations, name)
			if err != nil {
				t.Fatal(err)
			}
			if name < "00013" {
				before[name] = &fstest.MapFile{Data: b}
			}
		}
		if err := driver.MigrateUp(t.Context(), beside, kind.goose, before); err != nil {
			t.Fatal(err)
		}
		write := func(sql string) {
			t.Helper()
			if _, err := beside.ExecContext(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		write(`INSERT INTO bots
			(id, username, name, epoch, signed_off, next_offset, state, reason, instance, since, heartbeat_at)
			VALUES (1, '', '', 0, TRUE, 0, '', '', '', 0, 0)`)
		write(`INSERT INTO conversations (bot_id, chat_id, customer_id, customer_name, customer_username, customer_language,
			search, status, blocked, last_message_id, created_at, updated_at)
			VALUES (1, 5, 5, 'Ada', '', '', '', 'open', FALSE, 1, 0, 0)`)
		message := func(id int, text string) string {
			return fmt.Sprintf(`INSERT INTO messages (id, bot_id, conversation_id, direction, kind, text, search, author_kind,
				author_id, author_name, created_at, edit_seen, thread_id, album_id, delivery, error)
				VALUES (%d, 1, 1, 'in', 'text', '%s', '', 'customer', '', '', %d, 0, 0, '', '', '')`, id, text, id)
		}
		var want []int64
		for id := 1; id <= n; id++ {
			write(message(id, fmt.Sprintf("apple %d", id)))
			want = append([]int64{int64(id)}, want...)
		}
		write(fmt.Sprintf(`UPDATE counters SET last_message = %d`, n))

		s := Open(address, slog.New(slog.NewTextHandler(t.Output(), nil)))
		defer s.Close()
		if err := s.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if ids, complete := hits(t, s, "apple"); len(ids) != 0 || complete {
			t.Errorf("before the first step %d are found, complete is %v", len(ids), complete)
		}
		// An older program adds one message, and changes one that is not read yet.
		write(message(n+1, "apple too"))
		write(fmt.Sprintf(`UPDATE counters SET last_message = %d`, n+1))
		write(`UPDATE messages SET text = 'pear', edit_seen = 7 WHERE id = 3`)
		want = slices.DeleteFunc(append([]int64{n + 1}, want...), func(id int64) bool { return id == 3 })
		var last int
		for more := true; more; {
			var err error
			if more, err = s.indexSome(t.Context()); err != nil {
				t.Fatal(err)
			}
			ids, complete := hits(t, s, "apple")
			if len(ids) > len(want) || !slices.Equal(ids, want[:len(ids)]) {
				t.Fatalf("found %v", ids)
			}
			if len(ids) < last || complete && len(ids) != len(want) {
				t.Errorf("%d are found after %d, complete is %v", len(ids), last, complete)
			}
			last = len(ids)
		}
		if ids, complete := hits(t, s, "apple"); !slices.Equal(ids, want) || !complete {
			t.Errorf("at the end %d of %d are found, complete is %v", len(ids), len(want), complete)
		}
		if ids, _ := hits(t, s, "pear"); !slices.Equal(ids, []int64{3}) {
			t.Errorf("the changed one is not found: %v", ids)
		}
		if page, err := s.Search(t.Context(), inbox.SearchQuery{Words: "ada", Limit: 9}); err != nil || len(page.Hits) != 1 {
			t.Errorf("the name is not found: %v %v", page.Hits, err)
		}
		write(`DELETE FROM messages WHERE id = 5`)
		if _, err := s.indexSome(t.Context()); err != nil {
			t.Fatal(err)
		}
		var left int64
		err := s.readBy(t.Context(), driver.Search, "test", func(x tx) error {
			ids, err := s.db.FindWords(x.ctx, x.c, driver.MessageWords,
				driver.Question{termsOf("apple")}, 5, 6, 10)
			left = int64(len(ids))
			return err
		})
		if err != nil || left != 0 {
			t.Errorf("a message that is gone is in the index: %d %v", left, err)
		}
	})
}

// TestSearchAcrossBlocks : where the blocks of PostgreSQL's index meet nothing is lost, and what is frequent in an old
// one is found.
func TestSearchAcrossBlocks(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, kind database, address string) {
		s := running(t, address)
		tenure, err := s.TakeOver(t.Context(), 1, "test")
		if err != nil {
			t.Fatal(err)
		}
		beside := kind.open(t, address)
		defer beside.Close()
		update := 0
		store := func(from int64, texts ...string) {
			t.Helper()
			_, err := beside.ExecContext(t.Context(), fmt.Sprintf(`UPDATE counters SET last_message = %d`, from))
			if err != nil {
				t.Fatal(err)
			}
			var updates []inbox.Update
			for _, text := range texts {
				update++
				updates = append(updates, inbox.Update{ID: int64(update), Message: &inbox.IncomingMessage{ChatID: 1,
					MessageID: int64(update), Kind: "text", Text: text, Customer: inbox.Customer{ID: 1, Name: "Ada"}}})
			}
			if err := s.StoreUpdates(t.Context(), tenure, updates, int64(update+1)); err != nil {
				t.Fatal(err)
			}
		}
		const block = 1 << 16
		store(10, "apple pie", "apple", "apple tart")
		store(block-3, "apple pie", "apple", "apple tart", "apple pie", "apple crumble")
		store(5*block, "apple tart")
		indexed(t, s)
		for words, want := range map[string][]int64{
			"apple":     {5*block + 1, block + 2, block + 1, block, block - 1, block - 2, 13, 12, 11},
			"pie apple": {block + 1, block - 2, 11},
			"ta":        {5*block + 1, block, 13},
			"crumble":   {block + 2},
			"plum":      nil,
		} {
			if have, _ := hits(t, s, words); !slices.Equal(have, want) {
				t.Errorf("%q: %v, want %v", words, have, want)
			}
		}
	})
}
