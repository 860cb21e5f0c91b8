package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tandem/internal/backoff"
	"tandem/internal/inbox"
	"tandem/internal/store/driver"
	"tandem/internal/words"
)

const (
	// indexStep is how many messages are indexed in one transaction, and indexBytes how many bytes of them: others wait
	// for it.
	indexStep  = 200
	indexBytes = 256 << 10
	// indexAtOnce is how many are read at once.
	indexAtOnce = 20
	// indexPause is between the steps of an older database, in which others write.
	indexPause = 5 * time.Millisecond
	// indexGather is how long what is new is gathered, so that many commits of others are few of the index.
	indexGather = 50 * time.Millisecond
	// indexEvery is how long a hint that was missed can stay unnoticed.
	indexEvery = 500 * time.Millisecond
	maxBehind  = 10_000
)

// KeepIndex keeps the index of words up to date until ctx ends: with what is new within a moment, and with what was
// there before the index, step by step. Any number of processes may do so.
func (s *Store) KeepIndex(ctx context.Context) {
	hints, cancel := s.Subscribe()
	defer cancel()
	retry := backoff.Backoff{Min: driver.RetryMin, Max: connectMax}
	for ctx.Err() == nil {
		more, err := s.indexSome(ctx)
		switch {
		case err != nil:
			if ctx.Err() == nil && !inbox.TryLater(err) {
				s.log.Error("new messages cannot be found by search", "error", err)
			}
			if !backoff.Sleep(ctx, retry.Next()) {
				return
			}
			continue
		case more:
			if !backoff.Sleep(ctx, indexPause) {
				return
			}
			continue
		}
		retry.Reset()
		select {
		case <-ctx.Done():
		case <-hints:
			backoff.Sleep(ctx, indexGather)
		case <-time.After(indexEvery):
		}
	}
}

// todo is a row of words_todo.
type todo struct{ n, message, conversation int64 }

// indexSome brings the index some steps further, and says whether there is more to do. What is new goes first.
func (s *Store) indexSome(ctx context.Context) (more bool, err error) {
	var due bool
	err = s.lookUp(ctx, "look for words to index", func(t tx) error {
		return t.one(to(&due), `SELECT messages_from > 1 OR names_from > 1 OR EXISTS (SELECT 1 FROM words_todo)
			FROM words_state WHERE id = 1`)
	})
	if err != nil || !due {
		return false, err
	}
	err = s.write(ctx, "index words", func(t tx) error {
		x := indexing{tx: t, db: s.db}
		found, err := t.row(to(&x.messagesFrom, &x.namesFrom), s.db.LockWords())
		if err != nil || !found { // another process does it
			more = false
			return err
		}
		more, err = x.step()
		return err
	})
	return more, err
}

// indexing is a transaction that writes the index.
type indexing struct {
	tx
	db                      driver.Words
	messagesFrom, namesFrom int64
}

func (x *indexing) step() (more bool, err error) {
	list, err := all(x.tx, func(scan func(...any) error) (d todo, err error) {
		return d, scan(&d.n, &d.message, &d.conversation)
	}, `SELECT n, message_id, conversation_id FROM words_todo ORDER BY n LIMIT $1`, indexStep)
	switch {
	case err != nil:
		return false, err
	case len(list) > 0:
		return true, x.changed(list)
	case x.namesFrom > 1:
		return true, x.oldNames()
	case x.messagesFrom > 1:
		return true, x.oldMessages()
	}
	return false, nil
}

// changed indexes what was noted.
func (x *indexing) changed(list []todo) error {
	var messages, names []int64
	for _, d := range list {
		switch {
		case d.message >= x.messagesFrom: // those below are read later, as they are then
			messages = append(messages, d.message)
		case d.conversation >= x.namesFrom:
			names = append(names, d.conversation)
		}
	}
	for _, ids := range []*[]int64{&messages, &names} {
		slices.Sort(*ids)
		*ids = slices.Compact(*ids)
	}
	if err := x.putNames(names); err != nil {
		return err
	}
	slices.Reverse(messages)
	left, err := x.putMessages(messages)
	if err != nil {
		return err
	}
	// What was written meanwhile has rows of its own: those that were read are removed, and no others.
	var done values
	for _, d := range list {
		if !slices.Contains(left, d.message) {
			done.add(d.n)
		}
	}
	return x.removeTodo(done)
}

func (x *indexing) removeTodo(done values) error {
	return x.updateThose(`DELETE FROM words_todo WHERE n IN `, done)
}

// oldNames indexes some that were there before the index.
func (x *indexing) oldNames() error {
	ids, err := x.ids(`SELECT id FROM conversations WHERE id < $1 ORDER BY id DESC LIMIT $2`, x.namesFrom, indexStep)
	if err != nil {
		return err
	}
	from := int64(1)
	if len(ids) > 0 {
		from = ids[len(ids)-1]
	}
	slices.Reverse(ids)
	if err := x.putNames(ids); err != nil {
		return err
	}
	return x.later(`UPDATE words_state SET names_from = $1 WHERE id = 1`, from)
}

// oldMessages indexes some that were there before the index, the newest of them first.
func (x *indexing) oldMessages() error {
	ids, err := x.ids(`SELECT id FROM messages WHERE id < $1 ORDER BY id DESC LIMIT $2`, x.messagesFrom, indexStep)
	if err != nil {
		return err
	}
	left, err := x.putMessages(ids)
	if err != nil {
		return err
	}
	from := int64(1)
	if done := ids[:len(ids)-len(left)]; len(done) > 0 {
		from = done[len(done)-1]
	}
	return x.later(`UPDATE words_state SET messages_from = $1 WHERE id = 1`, from)
}

func (x *indexing) ids(sql string, args ...any) ([]int64, error) {
	return all(x.tx, func(scan func(...any) error) (id int64, err error) { return id, scan(&id) }, sql, args...)
}

// putMessages indexes the first of these, the highest ids, and says which are left as they were many bytes.
func (x *indexing) putMessages(ids []int64) (left []int64, err error) {
	var list []driver.WordsOf
	bytes := 0
	for len(ids) > 0 && bytes < indexBytes {
		some := ids[:min(indexAtOnce, len(ids))]
		ids = ids[len(some):]
		texts, err := textsOf(x.tx, some)
		if err != nil {
			return nil, err
		}
		there := map[int64]inbox.Message{}
		for _, m := range texts {
			there[m.ID] = m
		}
		for _, id := range some {
			w := driver.WordsOf{ID: id}
			if m, ok := there[id]; ok {
				w = wordsOf(id, m.SearchFields())
				w.Others = driver.Within(m.ConversationID).Pieces
				bytes += len(w.Folded)
			}
			list = append(list, w)
		}
	}
	slices.Reverse(list) // the index of SQLite wants them ascending
	return ids, x.db.PutWords(x.ctx, x.c, driver.MessageWords, list)
}

// textsOf reads messages for their words alone.
func textsOf(t tx, ids []int64) ([]inbox.Message, error) {
	where, args := idsIn(ids, indexAtOnce)
	list, err := all(t, scanMessage, `SELECT `+messageColumns+` FROM messages m WHERE m.id IN `+where, args...)
	if err != nil {
		return nil, err
	}
	return list, addAttachmentsOf(t, list, `SELECT m.id FROM messages m WHERE m.id IN `+where, args...)
}

// idsIn is a list of ids for IN. It always has n of them, so that the statement stays prepared.
func idsIn(ids []int64, n int) (string, []any) {
	args := make([]any, n)
	for i := range args {
		args[i] = int64(0)
		if i < len(ids) {
			args[i] = ids[i]
		}
	}
	return "(" + places(0, n) + ")", args
}

// putNames indexes the names of these conversations, whose ids ascend.
func (x *indexing) putNames(ids []int64) error {
	var list []driver.WordsOf
	for some := range slices.Chunk(ids, indexAtOnce) {
		where, args := idsIn(some, indexAtOnce)
		there := map[int64]inbox.Conversation{}
		_, err := all(x.tx, func(scan func(...any) error) (c inbox.Conversation, err error) {
			var former string
			err = scan(&c.ID, &c.Customer.ID, &c.Customer.Name, &c.Customer.Username, &former)
			c.FormerNames = inbox.DecodeNames(former)
			there[c.ID] = c
			return c, err
		}, `SELECT id, customer_id, customer_name, customer_username, former_names FROM conversations
			WHERE id IN `+where, args...)
		if err != nil {
			return err
		}
		for _, id := range some {
			w := driver.WordsOf{ID: id}
			if c, ok := there[id]; ok {
				w = wordsOf(id, c.SearchFields())
				w.Others = driver.Exactly(strconv.FormatInt(c.Customer.ID, 10)).Pieces
			}
			list = append(list, w)
		}
	}
	return x.db.PutWords(x.ctx, x.c, driver.NameWords, list)
}

// wordsOf folds what can be found.
func wordsOf(id int64, fields []inbox.SearchField) driver.WordsOf {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f.Text + "\n")
	}
	return driver.WordsOf{ID: id, Folded: words.Fold(b.String())}
}

// WordsProgress says how far the index is; see inbox.OperatorStore.
func (s *Store) WordsProgress(ctx context.Context) (inbox.WordsProgress, error) {
	var p inbox.WordsProgress
	err := s.lookUp(ctx, "look how far the index of words is", func(t tx) error {
		err := t.one(to(&p.Behind, &p.LeftFrom), `SELECT
			(SELECT COUNT(*) FROM (SELECT 1 FROM words_todo LIMIT $1) notes), CASE WHEN messages_from > 1
				THEN messages_from ELSE 0 END FROM words_state WHERE id = 1`, maxBehind)
		if errors.Is(err, inbox.ErrNotFound) {
			err = fmt.Errorf("the row of words_state is missing, which the schema makes: the database is damaged")
		}
		return err
	})
	return p, err
}
