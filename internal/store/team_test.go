package store

import (
	"database/sql"
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"

	"tandem/internal/inbox"
	"tandem/internal/store/driver"
)

// beforeTeams is the schema of the last version that knows nothing of a team.
const beforeTeams = 14

// TestATeamBesideTheVersionBefore : what was there before the update is in its view after it, and so is what a program
// of the version before goes on to write.
func TestATeamBesideTheVersionBefore(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, kind database, address string) {
		files := fstest.MapFS{}
		for _, name := range migrationNames(t, kind)[:beforeTeams] {
			b, err := fs.ReadFile(kind.migrations, name)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = &fstest.MapFile{Data: b}
		}
		db := kind.open(t, address)
		defer db.Close()
		if err := driver.MigrateUp(t.Context(), db, kind.goose, files); err != nil {
			t.Fatal(err)
		}
		old := oldProgram{t: t, db: db}
		old.exec(`INSERT INTO bots (id, username, name, epoch, signed_off, next_offset, state, reason, instance, since,
			heartbeat_at) VALUES (1, '', '', 1, TRUE, 0, 'polling', '', '', 0, 0)`)
		old.exec(`INSERT INTO operators (id, name, created_at) VALUES (1, 'Amy', 0)`)
		for id := 1; id <= 4; id++ {
			old.exec(fmt.Sprintf(`INSERT INTO conversations (id, bot_id, chat_id, customer_id, customer_name,
				customer_username, customer_language, search, status, blocked, last_message_id, created_at, updated_at)
				VALUES (%d, 1, %[1]d, %[1]d, '', '', '', '', 'open', FALSE, 0, 0, 0)`, id))
		}
		old.writes(1, "in", "customer", "hello")
		old.writes(1, "out", "bot", "welcome")
		old.writes(2, "in", "customer", "hello")
		old.writes(2, "out", "operator", "yes?")
		old.writes(3, "in", "customer", "hello")
		old.exec(`UPDATE conversations SET status = 'closed' WHERE id = 3`)

		s := running(t, address)
		want := func(when string, views map[inbox.View]int64, waits map[int64]int64) {
			t.Helper()
			counts, err := s.Counts(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			for view, n := range views {
				if counts[view] != n {
					t.Errorf("%s: %s counts %d, want %d", when, view, counts[view], n)
				}
			}
			for id, from := range waits {
				c, err := s.Conversation(t.Context(), id)
				if err != nil || c.WaitingFrom != from || (c.WaitingSince != nil) != (from > 0) {
					t.Errorf("%s: conversation %d waits from message %d, want %d: %v", when, id, c.WaitingFrom, from, err)
				}
			}
		}
		want("after the update", map[inbox.View]int64{inbox.ViewOpen: 2, inbox.ViewWaiting: 1, inbox.ViewClosed: 1,
			inbox.ViewAll: 3}, map[int64]int64{1: 1, 2: 0, 3: 0})

		old.writes(1, "out", "operator", "here")
		old.writes(2, "in", "customer", "and?")
		old.exec(`UPDATE conversations SET status = 'open' WHERE id = 3`)
		old.writes(3, "in", "customer", "again")
		old.writes(4, "in", "customer", "/start shop")
		want("while both write", map[inbox.View]int64{inbox.ViewOpen: 4, inbox.ViewWaiting: 3, inbox.ViewClosed: 0,
			inbox.ViewAll: 4}, map[int64]int64{1: 0, 2: 7, 3: 8, 4: 9})
		if c, err := s.Conversation(t.Context(), 4); err != nil || c.CameFrom != "shop" {
			t.Errorf("came from %q: %v", c.CameFrom, err)
		}
		// Amy has read what was there, but for what waits.
		unread, err := s.UnreadBy(t.Context(), 1, []int64{1, 2, 3, 4})
		if err != nil || fmt.Sprint(unread) != "map[1:0 2:1 3:1 4:1]" {
			t.Errorf("unread: %v %v", unread, err)
		}
		amy := int64(1)
		if _, err := s.ChangeConversation(t.Context(), 4, inbox.ConversationChange{Assignee: &amy}); err != nil {
			t.Fatal(err)
		}
		old.exec(`DELETE FROM operators WHERE id = 1`)
		if c, err := s.Conversation(t.Context(), 4); err != nil || c.Assignee != nil {
			t.Errorf("assigned to %v, who was removed: %v", c.Assignee, err)
		}
		want("without Amy", map[inbox.View]int64{inbox.ViewUnassigned: 4, inbox.ViewMine: 0}, nil)
	})
}

// oldProgram writes as the version before does.
type oldProgram struct {
	t       *testing.T
	db      *sql.DB
	message int
}

func (o *oldProgram) exec(statement string) {
	o.t.Helper()
	if _, err := o.db.ExecContext(o.t.Context(), statement); err != nil {
		o.t.Fatalf("%s: %v", statement, err)
	}
}

func (o *oldProgram) writes(conversation int, direction, author, text string) {
	o.t.Helper()
	o.message++
	o.exec(fmt.Sprintf(`INSERT INTO messages (id, bot_id, conversation_id, direction, kind, text, search, author_kind,
		author_id, author_name, created_at, edit_seen, thread_id, album_id, delivery, error)
		VALUES (%d, 1, %d, '%s', 'text', '%s', '', '%s', '', '', %[1]d, 0, 0, '', '', '')`,
		o.message, conversation, direction, text, author))
	o.exec(fmt.Sprintf(`UPDATE counters SET last_message = %d`, o.message))
	o.exec(fmt.Sprintf(`UPDATE conversations SET last_message_id = %d, updated_at = %[1]d WHERE id = %d`,
		o.message, conversation))
}
