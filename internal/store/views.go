package store

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"tandem/internal/inbox"
)

// teamColumns are what a team has said of a conversation. A migration's triggers keep those that follow from messages.
const teamColumns = `c.assignee_id, COALESCE((SELECT o.name FROM operators o WHERE o.id = c.assignee_id), ''), c.tags,
	c.snoozed_until, c.woken_at, c.waiting_from, c.waiting_since, c.banned, c.came_from`

type teamColumnValues struct {
	assignee               int64
	name, tags             string
	snoozed, woken, waited int64
}

func (v *teamColumnValues) dest(c *inbox.Conversation) []any {
	return []any{&v.assignee, &v.name, &v.tags, &v.snoozed, &v.woken, &c.WaitingFrom, &v.waited, &c.Banned, &c.CameFrom}
}

// fill sets what was read. Each change of a conversation sets updated_at, those of older programs too, and two of them
// have never the same microsecond. So it is the version.
func (v *teamColumnValues) fill(c *inbox.Conversation, updated int64) {
	c.Version = updated
	if v.name != "" {
		c.Assignee = &inbox.Colleague{ID: v.assignee, Name: v.name}
	}
	c.Tags = inbox.DecodeNames(v.tags)
	for _, t := range []struct {
		at int64
		to **time.Time
	}{{v.snoozed, &c.SnoozedUntil}, {v.woken, &c.WokenAt}, {v.waited, &c.WaitingSince}} {
		if t.at > 0 {
			*t.to = fromMicrosPtr(&t.at)
		}
	}
}

// What each view has. The words are those of the partial indexes, as SQLite does not infer them.
const (
	isOpen    = `c.status = 'open' AND NOT c.banned AND c.snoozed_until = 0`
	isWaiting = isOpen + ` AND c.waiting_from > 0`
	isSnoozed = `c.snoozed_until > 0 AND c.status = 'open' AND NOT c.banned`
	isClosed  = `c.status = 'closed' AND NOT c.banned`
)

// inView narrows a condition on conversations c to the filter's view and tag.
func inView(f inbox.ConversationFilter, where string, args []any) (string, []any) {
	switch f.View {
	case inbox.ViewOpen:
		where += ` AND ` + isOpen
	case inbox.ViewMine:
		args = append(args, f.Operator)
		where += fmt.Sprintf(` AND c.assignee_id = $%d AND `, len(args)) + isOpen
	case inbox.ViewUnassigned:
		where += ` AND c.assignee_id = 0 AND ` + isOpen
	case inbox.ViewWaiting:
		where += ` AND ` + isWaiting
	case inbox.ViewSnoozed:
		where += ` AND ` + isSnoozed
	case inbox.ViewClosed:
		where += ` AND ` + isClosed
	}
	if f.Tag != "" {
		args = append(args, fold(inbox.CleanText(f.Tag)))
		where += fmt.Sprintf(
			` AND c.id IN (SELECT t.conversation_id FROM conversation_tags t WHERE t.folded = $%d)`, len(args))
	}
	return where, args
}

// order is how a list of conversations goes on: newest first, or the longest waiting first.
type order struct {
	column string
	up     bool
}

// orderOf is the order of a filter's view, and where its page begins.
func orderOf(f inbox.ConversationFilter) (o order, start int64) {
	if f.View == inbox.ViewWaiting && f.Query == "" { // a search is newest first in each view
		return order{"c.waiting_from", true}, max(f.Before, 0)
	}
	return order{listPlace, false}, before(f.Before)
}

func (o order) direction() string {
	if o.up {
		return ""
	}
	return " DESC"
}

func (o order) by() string { return o.column + o.direction() }

// beyond is what comes after the place given, upTo what comes before it, and it.
func (o order) beyond(place string) string {
	if !o.up { // where nothing was written there is nothing to be listed
		place += " AND " + o.column + " > 0"
	}
	return o.column + map[bool]string{false: " < ", true: " > "}[o.up] + place
}

func (o order) upTo(place string) string {
	return o.column + map[bool]string{false: " >= ", true: " <= "}[o.up] + place
}

// Counts says how many conversations each view has; see inbox.OperatorTeam. It reads a few rows that triggers keep,
// whatever there is to count.
func (s *Store) Counts(ctx context.Context, operator int64) (map[inbox.View]int64, error) {
	counts := map[inbox.View]int64{}
	err := s.lookUp(ctx, "count conversations", func(t tx) error {
		for _, v := range inbox.Views {
			counts[v] = 0
		}
		_, err := all(t, func(scan func(...any) error) (struct{}, error) {
			var place string
			var all, mine, nobodys int64
			err := scan(&place, &all, &mine, &nobodys)
			switch place {
			case "waiting", "open":
				counts[inbox.ViewOpen] += all
				counts[inbox.ViewMine] += mine
				counts[inbox.ViewUnassigned] += nobodys
				if place == "waiting" {
					counts[inbox.ViewWaiting] = all
				}
			case "snoozed":
				counts[inbox.ViewSnoozed] = all
			case "closed":
				counts[inbox.ViewClosed] = all
			}
			if place != "" { // nothing was written there yet
				counts[inbox.ViewAll] += all
			}
			return struct{}{}, err
		}, countsSQL, operator)
		return err
	})
	if err != nil {
		return nil, err
	}
	if operator == 0 {
		counts[inbox.ViewMine] = 0
	}
	return counts, nil
}

const countsSQL = `SELECT place, CAST(SUM(n) AS BIGINT),
		CAST(SUM(CASE WHEN assignee_id = $1 THEN n ELSE 0 END) AS BIGINT),
		CAST(SUM(CASE WHEN assignee_id = 0 THEN n ELSE 0 END) AS BIGINT)
	FROM tallies GROUP BY place`

// KnownTags lists tags that were used; see inbox.OperatorTeam.
func (s *Store) KnownTags(ctx context.Context, limit int) ([]string, error) {
	var list []string
	err := s.lookUp(ctx, "list tags", func(t tx) (err error) {
		list, err = all(t, func(scan func(...any) error) (name string, err error) {
			return name, scan(&name)
		}, `SELECT name FROM tags ORDER BY folded LIMIT $1`, limit)
		return err
	})
	return list, err
}

// quietKinds are for the condition of what a customer wrote.
var quietKinds = `('` + strings.Join(inbox.QuietKinds(), `', '`) + `')`

// readTogetherUnread is how many conversations are counted in one statement, which so stays prepared.
const readTogetherUnread = 50

// unreadSQL counts what a customer wrote behind the place up to which an operator has read. Where he has read nothing,
// that is what was there when he was added, but for what waits for an answer.
var unreadSQL = `SELECT c.id, (SELECT COUNT(*) FROM (SELECT 1 FROM messages m
		WHERE m.conversation_id = c.id AND m.direction = 'in' AND m.kind NOT IN ` + quietKinds + `
			AND m.id > COALESCE(r.message_id, CASE WHEN c.waiting_from > 0 AND c.waiting_from <= o.seen_from
				THEN c.waiting_from - 1 ELSE o.seen_from END)
		LIMIT ` + fmt.Sprint(inbox.MaxUnread) + `) unread)
	FROM conversations c JOIN operators o ON o.id = $1
	LEFT JOIN reads r ON r.operator_id = $1 AND r.conversation_id = c.id
	WHERE c.id IN (` + places(1, readTogetherUnread) + `)`

// UnreadBy counts what an operator has not read; see inbox.OperatorTeam.
func (s *Store) UnreadBy(ctx context.Context, operator int64, conversations []int64) (map[int64]int64, error) {
	unread := map[int64]int64{}
	err := s.read(ctx, "count what is unread", func(t tx) error {
		for from := 0; from < len(conversations); from += readTogetherUnread {
			args := []any{operator}
			for i := range readTogetherUnread {
				id := int64(0)
				if from+i < len(conversations) {
					id = conversations[from+i]
				}
				args = append(args, id)
			}
			_, err := all(t, func(scan func(...any) error) (struct{}, error) {
				var id, n int64
				err := scan(&id, &n)
				unread[id] = n
				return struct{}{}, err
			}, unreadSQL, args...)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return unread, err
}

// MarkRead says up to where an operator has read; see inbox.OperatorTeam. It makes no event: it shows to him alone, who
// did it.
func (s *Store) MarkRead(ctx context.Context, operator, conversation, message int64, forward bool) error {
	return s.write(ctx, "mark a conversation as read", func(t tx) error {
		var id int64
		err := t.one(to(&id), `SELECT c.id FROM conversations c WHERE c.id = $1
			AND ($2 = 0 OR EXISTS (SELECT 1 FROM messages m WHERE m.id = $2 AND m.conversation_id = c.id))`,
			conversation, message)
		if err != nil {
			return err
		}
		err = t.later(s.db.InsertOrKeep(`INSERT INTO reads (operator_id, conversation_id, message_id) VALUES ($1, $2, $3)`),
			operator, conversation, message)
		if err != nil {
			return err
		}
		from := int64(math.MaxInt64)
		if forward {
			from = message
		}
		return t.later(`UPDATE reads SET message_id = $3
			WHERE operator_id = $1 AND conversation_id = $2 AND message_id < $4`, operator, conversation, message, from)
	})
}
