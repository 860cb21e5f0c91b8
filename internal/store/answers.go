package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/store/driver"
)

const (
	maxAnswers        = 100     // in one commit
	maxAnswersBytes   = 1 << 20 // of their texts, but for one that is longer alone
	maxAnswersWaiting = 256     // each holds a goroutine and what it was asked with
)

// answers gathers those that are to be stored. Those that come while a commit is under way share the next one. Each has
// an outcome of its own. See docs/adr/0088.
type answers struct {
	mu      sync.Mutex
	storing bool
	waiting []*newAnswer
}

// newAnswer is one of them. Its caller waits for done.
type newAnswer struct {
	inbox.Answer
	conversation int64
	hash         [sha256.Size]byte

	group *answerGroup // that stores it; nil while it waits. Under answers.mu, as the next one.
	gone  bool         // its caller waits no more

	done     chan struct{} // closed when the rest is set
	message  inbox.Message
	created  bool
	err      error
	panicked *storePanic

	attempt answerAttempt
}

// answerAttempt is what one transaction knows of an answer.
type answerAttempt struct {
	keyUsed bool // by the message first, for what has that hash
	first   int64
	hash    []byte
	twin    *newAnswer // the one before it in the same group that has the same key
	out     *outgoing
}

// answerGroup is those that share a commit.
type answerGroup struct {
	list    []*newAnswer
	ctx     context.Context // ends when nobody waits for any of them
	cancel  context.CancelFunc
	present int // callers that still wait, under answers.mu
}

// storePanic goes on in those who wait: nothing would recover it where it happened.
type storePanic struct {
	value any
	stack []byte
}

func (p *storePanic) String() string { return fmt.Sprintf("%v\n%s", p.value, p.stack) }

// AddAnswer stores an answer and queues its parts; see inbox.OperatorStore. If ctx ends before its commit is under way
// it is not stored. After that nobody knows, as with a connection that breaks.
func (s *Store) AddAnswer(
	ctx context.Context, conversationID int64, a inbox.Answer,
) (m inbox.Message, created bool, err error) {
	a.Text, a.Key = inbox.CleanText(a.Text), inbox.CleanText(a.Key)
	a.Author.ID, a.Author.Name = inbox.CleanText(a.Author.ID), inbox.CleanText(a.Author.Name)
	if inbox.Blank(a.Text) {
		return m, false, fmt.Errorf("add an answer: %w", conflict("it is empty"))
	}
	n := &newAnswer{Answer: a, conversation: conversationID, hash: sha256.Sum256(answerBytes(conversationID, a)),
		done: make(chan struct{})}
	err = ctx.Err()
	if err == nil {
		err = s.gather(n)
	}
	if err == nil {
		select {
		case <-n.done:
			if n.panicked != nil {
				panic(n.panicked)
			}
			if n.err == nil {
				return n.message, n.created, nil
			}
			err = n.err
		case <-ctx.Done():
			s.answers.leave(n)
			err = ctx.Err()
		}
	}
	return m, false, fmt.Errorf("add an answer: %w", err)
}

// gather has an answer stored with the next group.
func (s *Store) gather(n *newAnswer) error {
	if t := s.current(); t != nil {
		return t.Err()
	}
	w := &s.answers
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) >= maxAnswersWaiting {
		return busy(driver.TooMany(driver.Writes).Error())
	}
	w.waiting = append(w.waiting, n)
	if !w.storing {
		w.storing = true
		go s.storeAnswers()
	}
	return nil
}

// leave is for a caller who waits no more. What nobody waits for is given up.
func (w *answers) leave(n *newAnswer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n.gone = true
	if n.group == nil {
		w.waiting = slices.DeleteFunc(w.waiting, func(other *newAnswer) bool { return other == n })
		return
	}
	if n.group.present--; n.group.present == 0 {
		n.group.cancel()
	}
}

// next takes those that have come, in their order; nil ends storing.
func (w *answers) next() *answerGroup {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, size := 0, 0
	for n < min(len(w.waiting), maxAnswers) {
		if size += len(w.waiting[n].Text); n > 0 && size > maxAnswersBytes {
			break
		}
		n++
	}
	w.storing = n > 0
	if n == 0 {
		return nil
	}
	g := &answerGroup{list: slices.Clone(w.waiting[:n]), present: n}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	w.waiting = slices.Delete(w.waiting, 0, n)
	for _, one := range g.list {
		one.group = g
	}
	return g
}

func (w *answers) hasLeft(n *newAnswer) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return n.gone
}

// storeAnswers stores until nobody waits.
func (s *Store) storeAnswers() {
	for g := s.answers.next(); g != nil; g = s.answers.next() {
		s.storeGroup(g)
	}
}

// storeGroup stores answers with one commit. If the database refuses that, one of them may be why: then each is stored
// by itself.
func (s *Store) storeGroup(g *answerGroup) {
	defer func() {
		if v := recover(); v != nil {
			p := &storePanic{v, debug.Stack()}
			s.log.Error("a panic while answers were stored", "panic", p.String())
			for _, n := range g.list {
				n.panicked = p
			}
		}
		for _, n := range g.list {
			close(n.done)
		}
		g.cancel()
	}()
	err := s.storeTogether(g.ctx, g.list)
	if len(g.list) > 1 && err != nil && g.ctx.Err() == nil &&
		!errors.Is(err, inbox.ErrUnavailable) && inbox.KindOf(err) != inbox.Busy {
		s.log.Warn("answers cannot be stored together, storing each by itself", "error", err)
		for _, n := range g.list {
			if s.answers.hasLeft(n) {
				n.err = context.Canceled
			} else if err := s.storeTogether(g.ctx, []*newAnswer{n}); err != nil {
				n.err = err
			}
		}
		return
	}
	for _, n := range g.list {
		if err != nil {
			n.err = err
		}
	}
}

// storeTogether stores answers in one transaction. Its error is that of all. The outcome that an answer has of its own
// is in it: one that is refused was so before anything was written, and does not harm the others.
func (s *Store) storeTogether(ctx context.Context, list []*newAnswer) error {
	var written []inbox.Message
	var tell func() error
	places, team := map[int64]*answerPlace{}, map[string]int64{}
	err := s.changeKnowing(ctx, "store", func(l *ledger) error {
		var conversations values
		for _, n := range list {
			n.message, n.created, n.err, n.attempt = inbox.Message{}, false, nil, answerAttempt{}
			conversations.add(n.conversation)
			if n.Key == "" {
				continue
			}
			err := l.ask(to(&n.attempt.first, &n.attempt.hash), &n.attempt.keyUsed, `SELECT message_id, request_hash
				FROM idempotency_keys WHERE author_kind = $1 AND author_id = $2 AND key = $3`,
				string(n.Author.Kind), n.Author.ID, n.Key)
			if err != nil {
				return err
			}
		}
		if err := askOperators(l.tx, list, team); err != nil {
			return err
		}
		return among(l.tx, `SELECT c.id, c.bot_id, c.assignee_id, COALESCE((SELECT m.thread_id FROM messages m
				WHERE m.conversation_id = c.id AND m.direction = 'in' ORDER BY m.id DESC LIMIT 1), 0)
			FROM conversations c WHERE c.id IN `, conversations, func(scan func(...any) error) error {
			var id int64
			p := &answerPlace{}
			err := scan(&id, &p.bot, &p.assignee, &p.thread)
			places[id] = p
			return err
		})
	}, func(l *ledger) (err error) {
		out, err := l.accept(list, places)
		if err != nil || len(out) == 0 {
			return err
		}
		if err := l.addOut(out...); err != nil {
			return err
		}
		if err := l.assignAnswered(out, places, team); err != nil {
			return err
		}
		var keys [][]any
		for _, n := range list {
			if n.attempt.out != nil && n.Key != "" {
				keys = append(keys, []any{string(n.Author.Kind), n.Author.ID, n.Key, n.hash[:], n.attempt.out.id, l.now})
			}
		}
		err = l.addRows(`INSERT INTO idempotency_keys (author_kind, author_id, key, request_hash, message_id, created_at)`,
			keys)
		if err == nil {
			written, tell, err = askWritten(l.tx, out)
		}
		return err
	})
	if err != nil {
		return err
	}
	if tell != nil {
		if err := tell(); err != nil {
			return err
		}
	}
	for _, n := range list {
		if n.attempt.out != nil {
			n.message, n.created = written[0], true
			written = written[1:]
		} else if n.attempt.twin != nil {
			n.message = n.attempt.twin.message
		}
	}
	return nil
}

// answerPlace is what an answer has to know of its conversation: of which bot it is, to whom it is assigned, and the
// topic in which the customer wrote last.
type answerPlace struct{ bot, assignee, thread int64 }

// accept says which answers are to be stored, and gives the others their outcome. It writes nothing.
func (l *ledger) accept(list []*newAnswer, places map[int64]*answerPlace) (out []*outgoing, err error) {
	type key struct {
		kind    inbox.AuthorKind
		id, key string
	}
	byKey := map[key]*newAnswer{}
	for _, n := range list {
		k := key{n.Author.Kind, n.Author.ID, n.Key}
		twin, place := byKey[k], places[n.conversation]
		switch {
		case n.attempt.keyUsed && !bytes.Equal(n.attempt.hash, n.hash[:]), twin != nil && twin.hash != n.hash:
			n.err = inbox.ErrKeyReused
		case n.attempt.keyUsed:
			if n.message, err = message(l.tx, n.attempt.first); err != nil {
				return nil, err
			}
		case twin != nil:
			n.attempt.twin = twin
		case place == nil:
			n.err = inbox.ErrNotFound
		default:
			to, err := l.placeOf(n.conversation, place.thread, n.Answer)
			if errors.Is(err, inbox.ErrConflict) {
				n.err = err
				continue
			}
			if err != nil {
				return nil, err
			}
			n.attempt.out = &outgoing{bot: place.bot, conversation: n.conversation, author: n.Author, text: n.Text, to: to,
				silent: n.Silent, due: microsOrZero(n.SendAt)}
			out = append(out, n.attempt.out)
			if n.Key != "" {
				byKey[k] = n
			}
		}
	}
	return out, nil
}

// askWritten asks for what has just been written, the last of their conversations. tell completes it, when that is
// known.
func askWritten(t tx, out []*outgoing) (list []inbox.Message, tell func() error, err error) {
	list = make([]inbox.Message, len(out))
	at := map[int64]int{}
	var ids values
	for i, o := range out {
		ids.add(o.id)
		at[o.id] = i
		// So much is known before it is read, and says what else is to be asked for.
		list[i] = inbox.Message{ID: o.id, ConversationID: o.conversation, Direction: inbox.Out, Text: o.text,
			ThreadID: o.to.thread, Delivery: inbox.Queued}
	}
	err = among(t, `SELECT `+messageColumns+` FROM messages m WHERE m.id IN `, ids, func(scan func(...any) error) error {
		m, err := scanMessage(scan)
		list[at[m.ID]] = m
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	heads, err := askHeads(t, list)
	if err != nil {
		return nil, nil, err
	}
	parts, err := askParts(t, list)
	if err != nil {
		return nil, nil, err
	}
	scheduled, err := askScheduled(t, list)
	if err != nil {
		return nil, nil, err
	}
	topics, err := askTopics(t, list)
	return list, func() error {
		behind := map[int64]int64{} // deliveries of these and those after them, by conversation
		now := time.Now()
		for i, o := range slices.Backward(out) {
			behind[o.conversation] += o.parts
			if h := heads[o.conversation]; h != nil {
				h.tell(&list[i], h.queued-behind[o.conversation], now)
			}
		}
		return errors.Join(parts(), scheduled(), topics())
	}, err
}

// outgoing is a message to a customer that is to be stored.
type outgoing struct {
	bot, conversation int64
	author            inbox.Author
	text              string
	to                destination
	silent            bool
	due               int64 // it is to be sent then, 0 for now

	id    int64 // which addOut gives it
	parts int64 // as many deliveries
}

// needs is what a bot must be able to do for it.
func (o *outgoing) needs() int64 {
	if o.silent {
		return int64(inbox.ChangesSent)
	}
	return int64(inbox.SendsText)
}

// addOut stores messages to customers with their deliveries.
func (l *ledger) addOut(list ...*outgoing) error {
	var messages, deliveries [][]any
	var conversations values
	var turns []int64
	for _, o := range list {
		o.id = l.nextMessage()
		messages = append(messages, []any{o.id, o.bot, o.conversation, "out", "text", o.text, fold(o.text),
			string(o.author.Kind), o.author.ID, o.author.Name, l.now, 0, o.to.thread, "", "queued", "",
			orNull(o.to.reply), o.to.content.Encode(), 0})
		for i, part := range inbox.SplitText(o.text) {
			if o.due != 0 {
				break
			}
			deliveries = append(deliveries, o.delivery(i, part, l.now))
			o.parts++
		}
		conversations.add(o.conversation)
		turns = append(turns, o.conversation)
		l.event(inbox.MessageCreated, o.bot, o.conversation, o.id)
	}
	err := l.addRows(`INSERT INTO messages
		(id, bot_id, conversation_id, direction, kind, text, search, author_kind, author_id, author_name,
			created_at, edit_seen, thread_id, album_id, delivery, error, reply_to, content, content_of)`, messages)
	if err == nil {
		err = l.addRows(addDeliveries, deliveries)
	}
	for _, o := range list {
		if o.due != 0 && err == nil {
			err = l.schedule(o)
		}
	}
	if err == nil {
		err = l.giveTurn(turns...)
	}
	if err != nil {
		return err
	}
	// They have the highest ids that there are.
	return l.updateThose(newestOf, conversations, l.now)
}
