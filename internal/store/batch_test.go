package store

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/inbox"
)

// oddUpdates are updates of few customers in which all happens that one may do to another: the same again, ids and
// messages that come twice, edits before and after what they edit and out of order, replies, topics, files, and so on.
func oddUpdates(r *rand.Rand, n int) (list []inbox.Update) {
	when := func() time.Time { return time.Unix(1_700_000_000+r.Int64N(50), 0).UTC() }
	names := []string{"Ada", "Ada L.", "Bob"}
	read := map[string]inbox.IncomingMessage{} // what each update says
	for id := int64(1); len(list) < n; id++ {
		chat := r.Int64N(6) + 1
		customer := inbox.Customer{ID: chat, Name: names[r.IntN(40)%3], Username: fmt.Sprint("u", chat)}
		u := inbox.Update{ID: id, Kind: "message", Raw: fmt.Appendf(nil, "%d", id)}
		m := inbox.IncomingMessage{ChatID: chat, MessageID: r.Int64N(int64(n)), Customer: customer, Kind: "text",
			Text: fmt.Sprint("text ", id), Date: when()}
		if r.IntN(10) == 0 {
			m.Text = fmt.Sprint("/start from ", id)
		}
		if r.IntN(9) == 0 {
			m.ReplyTo = r.Int64N(int64(n))
			m.Content.Reply = &inbox.Reply{}
		}
		if r.IntN(6) == 0 {
			m.ThreadID = r.Int64N(3)
		}
		switch r.IntN(14) {
		case 0, 1:
			at := when()
			m.EditedAt = &at
			u.Edit = &m
		case 2:
			u.Blocked = &inbox.BlockedChange{ChatID: chat, Customer: customer, Blocked: r.IntN(2) == 0}
		case 3:
			u.Reacted = &inbox.ReactionChange{ChatID: chat, Customer: customer, MessageID: m.MessageID, Date: when(),
				Reactions: []inbox.Reaction{{Emoji: "x"}}}
		case 4:
			u.Problem = "not understood"
		case 5:
			m.Kind, m.Text, m.Details, m.ThreadID = "forum_topic_created", "", fmt.Sprint("topic ", id), r.Int64N(3)
			u.Message = &m
		case 6:
			m.Attachments = []inbox.Attachment{{Kind: "photo", FileID: fmt.Sprint("f", id), FileUniqueID: fmt.Sprint("u", id%5),
				Size: 5, Preview: inbox.Preview{FileID: fmt.Sprint("p", id), Size: 1}}}
			u.Message = &m
		case 7:
			u.Reply, u.Greeting = "welcome", r.IntN(2) == 0
			u.Message = &m
		default:
			u.Message = &m
		}
		if len(list) > 0 {
			switch before := list[r.IntN(len(list))]; r.IntN(12) {
			case 0:
				u = before // once more
			case 1:
				u.ID = before.ID // the id is used again
			}
		}
		u.Reread = func(raw []byte) *inbox.IncomingMessage {
			m, found := read[string(raw)]
			if !found {
				return nil
			}
			return &m
		}
		if u.Message != nil || u.Edit != nil {
			read[string(u.Raw)] = m
		}
		list = append(list, u)
	}
	return list
}

// TestABatchIsLikeOneByOne : whatever comes together is stored as if it had come one by one, and as it is stored with a
// savepoint for each. Both databases have the same in the end.
func TestABatchIsLikeOneByOne(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			var want []string
			var from string
			for _, name := range []string{"sqlite", "postgres"} {
				for _, way := range []string{"one by one", "in batches", "at once", "careful"} {
					r := rand.New(rand.NewPCG(seed, 1))
					updates := oddUpdates(r, 150)
					s := Open(databases[name].url(t), slog.New(slog.DiscardHandler))
					defer s.Close()
					if err := s.Connect(t.Context()); err != nil {
						t.Fatal(err)
					}
					tenure, err := s.TakeOver(t.Context(), 1, "test")
					if err != nil {
						t.Fatal(err)
					}
					for len(updates) > 0 {
						n := map[string]int{"one by one": 1, "in batches": min(1+r.IntN(30), len(updates)), "at once": len(updates),
							"careful": len(updates)}[way]
						if err := s.storeUpdates(t.Context(), tenure, updates[:n], 7, way == "careful"); err != nil {
							t.Fatalf("%s, %s: %v", name, way, err)
						}
						updates = updates[n:]
					}
					have := dump(t, s)
					if want == nil {
						want, from = have, name+", "+way
					}
					if diff := cmp.Diff(want, have); diff != "" {
						t.Fatalf("%s, %s is not as %s:\n%s", name, way, from, diff)
					}
				}
			}
			if len(want) < 200 {
				t.Errorf("only %d rows", len(want))
			}
		})
	}
}

// dump is all that matters of what is stored, without times and the numbers that a database gives.
func dump(t *testing.T, s *Store) (lines []string) {
	t.Helper()
	for _, q := range []string{
		`SELECT 'chat', chat_id, customer_id, customer_name, customer_username, search, former_names, status, blocked,
			unreachable, last_message_id, greeted_at > 0, moved, moved_by, waiting_from,
			waiting_since > 0, came_from FROM conversations ORDER BY chat_id`,
		`SELECT 'message', m.id, c.chat_id, m.direction, m.kind, m.text, m.search, m.author_name, m.details,
			COALESCE(m.telegram_message_id, 0), COALESCE(m.edited_at, 0), m.edit_seen, COALESCE(m.reply_to, 0), m.thread_id,
			m.content, m.content_of, m.delivery FROM messages m JOIN conversations c ON c.id = m.conversation_id ORDER BY m.id`,
		`SELECT 'update', u.update_id, u.superseded, u.kind, u.raw, u.problem, COALESCE(c.chat_id, 0),
			COALESCE(u.message_id, 0) FROM updates u LEFT JOIN conversations c ON c.id = u.conversation_id ORDER BY u.id`,
		`SELECT 'delivery', message_id, part, text, state, turn FROM deliveries ORDER BY message_id, part`,
		`SELECT 'attachment', message_id, kind, file_id, file_unique_id FROM attachments ORDER BY message_id, id`,
		`SELECT 'file', a.message_id, f.preview, f.file_id, f.state FROM files f LEFT JOIN attachments a
			ON a.id = f.attachment_id ORDER BY a.message_id, f.preview, f.file_id`,
		`SELECT 'topic', c.chat_id, o.thread_id, o.name FROM topics o JOIN conversations c ON c.id = o.conversation_id
			ORDER BY c.chat_id, o.thread_id`,
		`SELECT 'reaction', c.chat_id, r.telegram_message_id, r.list, r.seen FROM reactions r JOIN conversations c
			ON c.id = r.conversation_id ORDER BY c.chat_id, r.telegram_message_id`,
		`SELECT DISTINCT 'event', e.type, c.chat_id, e.message_id FROM events e JOIN conversations c
			ON c.id = e.conversation_id ORDER BY 2, 3, 4`,
		`SELECT 'wording', message_id, n, kind, text, details, content FROM wordings ORDER BY message_id, n`,
		`SELECT 'tally', assignee_id, place, n FROM tallies WHERE n > 0 ORDER BY place`,
		`SELECT 'counters', last_message FROM counters`,
		`SELECT 'bot', next_offset FROM bots`,
	} {
		columns := 1 + strings.Count(q[:strings.Index(q, "FROM ")], ",")
		columns -= strings.Count(q[:strings.Index(q, "FROM ")], ", 0)")
		err := s.read(context.Background(), "dump", func(x tx) error {
			rows, err := all(x, func(scan func(...any) error) (string, error) {
				row, dest := make([]any, columns), make([]any, columns)
				for i := range row {
					dest[i] = &row[i]
				}
				err := scan(dest...)
				for i, v := range row {
					switch v := v.(type) {
					case []byte:
						row[i] = string(v)
					case bool: // SQLite gives what a comparison gives as a number
						row[i] = map[bool]int64{true: 1}[v]
					}
				}
				return strings.ReplaceAll(fmt.Sprintln(row...), "\\x", ""), err
			}, q)
			lines = append(lines, rows...)
			return err
		})
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	slices.Sort(lines)
	return lines
}

// TestEachMessageMovesItsConversation : of several in one batch the first is the one since which the customer waits,
// and one in the middle says where he came from.
func TestEachMessageMovesItsConversation(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, _ database, url string) {
		s := running(t, url)
		tenure, err := s.TakeOver(t.Context(), 1, "test")
		if err != nil {
			t.Fatal(err)
		}
		var updates []inbox.Update
		for i, text := range []string{"hi", "/start shop", "bye"} {
			id := int64(i + 1)
			updates = append(updates, inbox.Update{ID: id, Raw: []byte(text),
				Message: &inbox.IncomingMessage{ChatID: 7, MessageID: id, Kind: "text", Text: text}})
		}
		if err := s.StoreUpdates(t.Context(), tenure, updates, 4); err != nil {
			t.Fatal(err)
		}
		var from, last int64
		var came string
		err = s.read(t.Context(), "test", func(x tx) error {
			return x.one(to(&from, &last, &came), `SELECT waiting_from, last_message_id, came_from FROM conversations`)
		})
		if err != nil || from != 1 || last != 3 || came != "shop" {
			t.Errorf("waits since message %d of %d, came from %q, %v", from, last, came, err)
		}
	})
}
