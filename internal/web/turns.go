package web

import (
	"context"
	"net/http"
	"sync"
	"time"

	"tandem/internal/inbox"
)

// How many reads of one operator or token are under way at once, and how many more may wait how long. All readers
// together have more connections than one may use: see internal/store/driver/lanes.go.
const (
	ownSearches    = 1
	ownReads       = 2
	ownWaiting     = 256
	patienceSearch = 12 * time.Second // longer than a search may take
	patienceRead   = 5 * time.Second
)

var errTurn = &problem{http.StatusTooManyRequests, "you have too many requests under way at once; wait for their answers, then try again"}

// turns lets nobody read so much at once that others have to wait.
type turns struct {
	mu    sync.Mutex
	lines map[turn]*line
}

type turn struct {
	who    streamer
	search bool
}

// line is where the requests of one reader wait, in the order in which they came.
type line struct {
	slots chan struct{}
	users int // those in it and those that wait, under turns.mu
}

// take waits for the reader's turn. Who reads for the server itself has it always.
func (t *turns) take(ctx context.Context, search bool) (leave func(), err error) {
	p, ok := ctx.Value(whoKey{}).(principal)
	if !ok {
		return func() {}, nil
	}
	most, patience := ownReads, patienceRead
	if search {
		most, patience = ownSearches, patienceSearch
	}
	key := turn{streamer{p.kind, p.id}, search}
	t.mu.Lock()
	l := t.lines[key]
	if l == nil {
		l = &line{slots: make(chan struct{}, most)}
		t.lines[key] = l
	}
	if l.users >= most+ownWaiting {
		t.mu.Unlock()
		return nil, errTurn
	}
	l.users++
	t.mu.Unlock()
	gone := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(t.lines, key)
		}
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case l.slots <- struct{}{}:
		return func() { <-l.slots; gone() }, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-limit.C:
		err = errTurn
	}
	gone()
	return nil, err
}

// fairStore is a store in which each reader waits for his turn.
type fairStore struct {
	inbox.OperatorStore
	turns *turns
	// What everybody sees, on each page and in each scrape, is read for all together. Nobody may change it.
	bots  *coalesced[[]inbox.BotStatus]
	queue *coalesced[inbox.QueueStats]
	lists map[inbox.ConversationFilter]*coalesced[newestConversations]
}

type newestConversations struct {
	items []inbox.Conversation
	next  int64
}

func newFairStore(store inbox.OperatorStore) fairStore {
	f := fairStore{OperatorStore: store, turns: &turns{lines: map[turn]*line{}}}
	f.bots = coalesce(func(ctx context.Context) ([]inbox.BotStatus, error) { return store.Bots(ctx) })
	f.queue = coalesce(func(ctx context.Context) (inbox.QueueStats, error) { return store.Queue(ctx) })
	f.lists = map[inbox.ConversationFilter]*coalesced[newestConversations]{}
	for _, status := range []inbox.ConversationStatus{"", inbox.Open, inbox.Closed} {
		newest := inbox.ConversationFilter{Status: status, Limit: pageSize, Brief: true}
		f.lists[newest] = coalesce(func(ctx context.Context) (n newestConversations, err error) {
			n.items, n.next, err = store.Conversations(ctx, newest)
			return n, err
		})
	}
	return f
}

func (f fairStore) Conversations(ctx context.Context, filter inbox.ConversationFilter) ([]inbox.Conversation, int64, error) {
	if newest, ok := f.lists[filter]; ok {
		n, err := newest.get(ctx)
		return n.items, n.next, err
	}
	leave, err := f.turns.take(ctx, filter.Query != "")
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	return f.OperatorStore.Conversations(ctx, filter)
}

func (f fairStore) Conversation(ctx context.Context, id int64) (inbox.Conversation, error) {
	leave, err := f.turns.take(ctx, false)
	if err != nil {
		return inbox.Conversation{}, err
	}
	defer leave()
	return f.OperatorStore.Conversation(ctx, id)
}

func (f fairStore) Messages(ctx context.Context, conversationID int64, limit int, before int64) ([]inbox.Message, int64, error) {
	leave, err := f.turns.take(ctx, false)
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	return f.OperatorStore.Messages(ctx, conversationID, limit, before)
}

func (f fairStore) Message(ctx context.Context, id int64) (inbox.Message, error) {
	leave, err := f.turns.take(ctx, false)
	if err != nil {
		return inbox.Message{}, err
	}
	defer leave()
	return f.OperatorStore.Message(ctx, id)
}

func (f fairStore) Events(ctx context.Context, after int64, limit int) ([]inbox.Event, error) {
	leave, err := f.turns.take(ctx, false)
	if err != nil {
		return nil, err
	}
	defer leave()
	return f.OperatorStore.Events(ctx, after, limit)
}

func (f fairStore) Bots(ctx context.Context) ([]inbox.BotStatus, error) { return f.bots.get(ctx) }

func (f fairStore) Queue(ctx context.Context) (inbox.QueueStats, error) { return f.queue.get(ctx) }
