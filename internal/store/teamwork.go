package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"tandem/internal/inbox"
)

// ChangeConversation makes what a team does with a conversation, and keeps what was done; see inbox.OperatorTeam.
func (s *Store) ChangeConversation(
	ctx context.Context, id int64, ch inbox.ConversationChange,
) (inbox.Conversation, error) {
	var c inbox.Conversation
	const what = "change a conversation"
	if ch.Status != nil && *ch.Status != inbox.Open && *ch.Status != inbox.Closed {
		return c, fmt.Errorf("%s: %w", what, conflict("it is open or closed"))
	}
	stale := false
	err := s.change(ctx, what, func(l *ledger) (err error) {
		if c, err = conversation(l.tx, id); err != nil {
			return err
		}
		if stale = ch.Version != 0 && ch.Version != c.Version; stale {
			return nil
		}
		changed, err := l.changeConversation(c, ch)
		if err != nil || !changed {
			return err
		}
		l.event(inbox.ConversationUpdated, c.BotID, id, 0)
		c, err = conversation(l.tx, id)
		return err
	})
	switch {
	case err != nil:
		return inbox.Conversation{}, err
	case stale:
		return c, fmt.Errorf("%s: %w", what, inbox.ErrStale)
	}
	return c, nil
}

// changeConversation writes what the change makes of c, and says whether that is anything.
func (l *ledger) changeConversation(c inbox.Conversation, ch inbox.ConversationChange) (changed bool, err error) {
	status, banned := c.Status, c.Banned
	var assignee inbox.Colleague
	if c.Assignee != nil {
		assignee = *c.Assignee
	}
	snoozed := microsPtr(c.SnoozedUntil)
	did := func(kind inbox.ActivityKind, detail string) error {
		changed = true
		return l.did(c.ID, ch.By, kind, detail)
	}
	if ch.Status != nil && *ch.Status != status {
		status = *ch.Status
		if status == inbox.Closed {
			snoozed = nil
		}
		kind := map[inbox.ConversationStatus]inbox.ActivityKind{inbox.Open: inbox.WasOpened, inbox.Closed: inbox.WasClosed}
		if err := did(kind[status], ""); err != nil {
			return false, err
		}
	}
	if ch.Assignee != nil && *ch.Assignee != assignee.ID {
		assignee = inbox.Colleague{ID: *ch.Assignee}
		kind := inbox.Unassigned
		if assignee.ID != 0 {
			kind = inbox.Assigned
			found, err := l.row(to(&assignee.Name), `SELECT name FROM operators WHERE id = $1`, assignee.ID)
			if err != nil {
				return false, err
			}
			if !found {
				return false, inbox.ErrNoOperator
			}
		}
		if err := did(kind, assignee.Name); err != nil {
			return false, err
		}
	}
	if until := ch.SnoozedUntil; until != nil {
		was := snoozed
		if until.IsZero() {
			if snoozed = nil; was != nil {
				if err := did(inbox.Woken, ""); err != nil {
					return false, err
				}
			}
		} else if status != inbox.Open {
			return false, conflict("a closed conversation cannot be snoozed: open it first")
		} else if at := micros(*until); was == nil || at != *was {
			snoozed = &at
			if err := did(inbox.Snoozed, until.UTC().Format(time.RFC3339)); err != nil {
				return false, err
			}
		}
	}
	if ch.Banned != nil && *ch.Banned != banned {
		banned = *ch.Banned
		kind := map[bool]inbox.ActivityKind{true: inbox.WasBanned, false: inbox.Unbanned}
		if err := did(kind[banned], ""); err != nil {
			return false, err
		}
	}
	tags, err := l.changeTags(c, ch, did)
	if err != nil || !changed {
		return false, err
	}
	var until, woken int64
	if snoozed != nil {
		until = *snoozed
	} else if c.WokenAt != nil {
		woken = micros(*c.WokenAt)
	}
	err = l.later(`UPDATE conversations SET status = $1, assignee_id = $2, snoozed_until = $3, banned = $4, tags = $5,
			woken_at = $6, updated_at = $7 WHERE id = $8`,
		string(status), assignee.ID, until, banned, inbox.EncodeNames(tags), woken, max(l.now, c.Version+1), c.ID)
	if err == nil && c.Status == inbox.Closed && status == inbox.Open {
		err = l.waitsAgain(c.ID)
	}
	return true, err
}

// changeTags writes which tags the conversation has, in the spelling in which each was used first.
func (l *ledger) changeTags(
	c inbox.Conversation, ch inbox.ConversationChange, did func(inbox.ActivityKind, string) error,
) ([]string, error) {
	want := c.Tags
	if ch.Tags != nil {
		want = *ch.Tags
	}
	is := func(tag string) func(string) bool {
		return func(other string) bool { return fold(other) == fold(tag) }
	}
	if ch.AddTag != "" && !slices.ContainsFunc(want, is(ch.AddTag)) {
		want = append(slices.Clone(want), ch.AddTag)
	}
	if ch.RemoveTag != "" {
		want = slices.DeleteFunc(slices.Clone(want), is(ch.RemoveTag))
	}
	if len(want) > inbox.MaxTags {
		return nil, conflict("a conversation has at most %d tags: take one away first", inbox.MaxTags)
	}
	tags := []string{}
	for _, tag := range want {
		if slices.ContainsFunc(tags, is(tag)) {
			continue
		}
		if i := slices.IndexFunc(c.Tags, is(tag)); i >= 0 {
			tags = append(tags, c.Tags[i])
			continue
		}
		folded := fold(tag)
		found, err := l.row(to(&tag), `SELECT name FROM tags WHERE folded = $1`, folded)
		if err == nil && !found {
			err = l.later(`INSERT INTO tags (folded, name) VALUES ($1, $2)`, folded, tag)
		}
		if err == nil {
			err = l.later(`INSERT INTO conversation_tags (folded, conversation_id) VALUES ($1, $2)`, folded, c.ID)
		}
		if err == nil {
			err = did(inbox.Tagged, tag)
		}
		if err != nil {
			return nil, err
		}
		tags = append(tags, tag)
	}
	for _, tag := range c.Tags {
		if slices.ContainsFunc(tags, is(tag)) {
			continue
		}
		err := l.later(`DELETE FROM conversation_tags WHERE folded = $1 AND conversation_id = $2`, fold(tag), c.ID)
		if err == nil {
			err = did(inbox.Untagged, tag)
		}
		if err != nil {
			return nil, err
		}
	}
	return tags, nil
}

// did keeps what was done with a conversation.
func (l *ledger) did(conversationID int64, by inbox.Author, kind inbox.ActivityKind, detail string) error {
	return l.later(`INSERT INTO activities
		(conversation_id, after_message, kind, detail, author_kind, author_id, author_name, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		conversationID, l.lastMessage, string(kind), detail, string(by.Kind), by.ID, by.Name, l.now)
}

// askOperators asks who of the authors is an operator still. team gets their ids by those of the authors.
func askOperators(t tx, list []*newAnswer, team map[string]int64) error {
	var ids values
	for _, n := range list {
		if id, err := strconv.ParseInt(n.Author.ID, 10, 64); err == nil && n.Author.Kind == inbox.ByOperator {
			ids.add(id)
		}
	}
	return among(t, `SELECT id FROM operators WHERE id IN `, ids, func(scan func(...any) error) error {
		var id int64
		err := scan(&id)
		team[strconv.FormatInt(id, 10)] = id
		return err
	})
}

// assignAnswered gives each conversation that is nobody's to the operator who answers in it.
func (l *ledger) assignAnswered(out []*outgoing, places map[int64]*answerPlace, team map[string]int64) error {
	for _, o := range out {
		place, operator := places[o.conversation], team[o.author.ID]
		if place.assignee != 0 || operator == 0 || o.author.Kind != inbox.ByOperator {
			continue
		}
		place.assignee = operator
		err := l.later(`UPDATE conversations SET assignee_id = $1 WHERE id = $2`, operator, o.conversation)
		if err == nil {
			err = l.did(o.conversation, o.author, inbox.Assigned, o.author.Name)
		}
		if err != nil {
			return err
		}
		l.event(inbox.ConversationUpdated, o.bot, o.conversation, 0)
	}
	return nil
}

// leave removes an operator. What was assigned to him is nobody's then, which a trigger sees to.
func (l *ledger) leave(operator int64) error {
	type one struct{ id, bot int64 }
	his, err := all(l.tx, func(scan func(...any) error) (o one, err error) {
		return o, scan(&o.id, &o.bot)
	}, `SELECT id, bot_id FROM conversations WHERE assignee_id = $1`, operator)
	for _, c := range his {
		l.event(inbox.ConversationUpdated, c.bot, c.id, 0)
	}
	if err != nil {
		return err
	}
	return l.later(`DELETE FROM operators WHERE id = $1`, operator)
}

// waitsAgain finds anew who waits in a conversation that was opened again, or in which an answer was taken back.
func (l *ledger) waitsAgain(conversationID int64) error {
	var id, at int64
	found, err := l.row(to(&id, &at), `SELECT m.id, m.created_at FROM messages m
		WHERE m.conversation_id = $1 AND m.direction = 'in' AND m.kind NOT IN `+quietKinds+`
			AND m.id > COALESCE((SELECT o.id FROM messages o WHERE o.conversation_id = $1 AND o.direction = 'out'
				AND o.author_kind <> 'bot' AND o.deleted_at = 0 ORDER BY o.id DESC LIMIT 1), 0)
		ORDER BY m.id LIMIT 1`, conversationID)
	if err != nil || !found {
		return err
	}
	return l.later(`UPDATE conversations SET waiting_from = $1, waiting_since = $2 WHERE id = $3`, id, at, conversationID)
}

// wakeAtOnce is how many snoozes end in one transaction.
const wakeAtOnce = 100

// WakeConversations ends snoozes whose time has come; see inbox.OperatorTeam.
func (s *Store) WakeConversations(ctx context.Context) (next time.Time, err error) {
	for {
		var first *int64
		err := s.lookUp(ctx, "look for snoozes that end", func(t tx) error {
			return t.one(to(&first), `SELECT MIN(snoozed_until) FROM conversations WHERE snoozed_until > 0`)
		})
		if err != nil || first == nil {
			return time.Time{}, err
		}
		if at := fromMicros(*first); at.After(time.Now()) {
			return at, nil
		}
		if err := s.change(ctx, "end snoozes", (*ledger).wake); err != nil {
			return time.Time{}, err
		}
	}
}

func (l *ledger) wake() error {
	type one struct{ id, bot int64 }
	due, err := all(l.tx, func(scan func(...any) error) (o one, err error) {
		return o, scan(&o.id, &o.bot)
	}, `SELECT id, bot_id FROM conversations WHERE snoozed_until > 0 AND snoozed_until <= $1
		ORDER BY snoozed_until LIMIT $2`, l.now, wakeAtOnce)
	if err != nil {
		return err
	}
	for _, c := range due {
		err := l.later(`UPDATE conversations SET snoozed_until = 0, woken_at = $1,
			updated_at = CASE WHEN updated_at < $1 THEN $1 ELSE updated_at + 1 END WHERE id = $2`, l.now, c.id)
		if err == nil {
			err = l.did(c.id, inbox.Author{}, inbox.Woken, "")
		}
		if err != nil {
			return err
		}
		l.event(inbox.ConversationUpdated, c.bot, c.id, 0)
	}
	return nil
}
