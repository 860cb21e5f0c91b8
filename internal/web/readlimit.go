package web

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"tandem/internal/inbox"
)

// How many reads of one operator or token are under way at once, and how many more may wait how long. All readers
// together have more connections than one may use: see internal/store/driver/lanes.go.
const (
	maxSearchesEach = 1
	maxReadsEach    = 2
	maxWaitingEach  = 256
	maxSearchWait   = 6 * time.Second // longer than a search may take
	maxReadWait     = 5 * time.Second
)

var errTooManyReads = &problem{http.StatusTooManyRequests,
	"you have too many requests under way at once; wait for their answers, then try again"}

// readLimit lets nobody read so much at once that others have to wait.
type readLimit struct {
	mu     sync.Mutex
	queues map[readQueueKey]*readQueue
}

type readQueueKey struct {
	who    identity
	search bool
}

// readQueue is where the reads of one reader wait, in the order in which they came.
type readQueue struct {
	slots chan struct{}
	users int // reads under way and waiting, guarded by readLimit.mu
}

// acquire waits until the reader may read. Who reads for the server itself always may.
func (l *readLimit) acquire(ctx context.Context, search bool) (release func(), err error) {
	return l.acquireUnless(ctx, search, nil)
}

// acquireUnless is acquire that ends when started is closed, with errStarted.
func (l *readLimit) acquireUnless(
	ctx context.Context, search bool, started <-chan struct{},
) (release func(), err error) {
	p, ok := ctx.Value(whoKey{}).(principal)
	if !ok {
		return func() {}, nil
	}
	maxReads, maxWait := maxReadsEach, maxReadWait
	if search {
		maxReads, maxWait = maxSearchesEach, maxSearchWait
	}
	key := readQueueKey{p.identity, search}
	l.mu.Lock()
	q := l.queues[key]
	if q == nil {
		q = &readQueue{slots: make(chan struct{}, maxReads)}
		l.queues[key] = q
	}
	if q.users >= maxReads+maxWaitingEach {
		l.mu.Unlock()
		return nil, errTooManyReads
	}
	q.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if q.users--; q.users == 0 {
			delete(l.queues, key)
		}
	}
	timeout := time.NewTimer(maxWait)
	defer timeout.Stop()
	select {
	case q.slots <- struct{}{}:
		return func() { <-q.slots; leave() }, nil
	case <-started:
		err = errStarted
	case <-ctx.Done():
		err = ctx.Err()
	case <-timeout.C:
		err = errTooManyReads
	}
	leave()
	return nil, err
}

// fairStore is a store whose reads keep the limit of each reader.
type fairStore struct {
	inbox.OperatorStore
	limit *readLimit
	look  *lookups
	// What everybody sees, on each page and in each scrape, is read for all together. Nobody may change it.
	bots  *coalesced[[]inbox.BotStatus]
	queue *coalesced[inbox.QueueStats]
	files *coalesced[inbox.FileStats]
	lists map[inbox.ConversationFilter]*coalesced[newestConversations]
	// Pages that several ask for at the same time are read once.
	pages    *shared[inbox.ConversationFilter, newestConversations]
	heads    *shared[int64, inbox.Conversation]
	messages *shared[pageKey, messagePage]
}

// pageKey is a page of messages of a conversation.
type pageKey struct {
	conversation int64
	limit        int
	before       int64
}

type messagePage struct {
	items []inbox.Message
	next  int64
}

type newestConversations struct {
	items []inbox.Conversation
	next  int64
}

func newFairStore(store inbox.OperatorStore) fairStore {
	f := fairStore{
		OperatorStore: store, limit: &readLimit{queues: map[readQueueKey]*readQueue{}}, look: &lookups{store: store},
		pages: &shared[inbox.ConversationFilter, newestConversations]{}, heads: &shared[int64, inbox.Conversation]{},
		messages: &shared[pageKey, messagePage]{},
	}
	f.bots = coalesce(func(ctx context.Context) ([]inbox.BotStatus, error) { return store.Bots(ctx) })
	f.queue = coalesce(func(ctx context.Context) (inbox.QueueStats, error) { return store.Queue(ctx) })
	f.files = coalesce(func(ctx context.Context) (inbox.FileStats, error) { return store.FileStats(ctx) })
	f.lists = map[inbox.ConversationFilter]*coalesced[newestConversations]{}
	for _, view := range inbox.Views {
		if view == inbox.ViewMine {
			continue // that of each is another
		}
		newest := inbox.ConversationFilter{View: view, Limit: pageSize, Brief: true}
		f.lists[newest] = coalesce(func(ctx context.Context) (n newestConversations, err error) {
			n.items, n.next, err = store.Conversations(ctx, newest)
			return n, err
		})
	}
	return f
}

func (f fairStore) Conversations(
	ctx context.Context, filter inbox.ConversationFilter,
) ([]inbox.Conversation, int64, error) {
	if newest, ok := f.lists[filter]; ok {
		n, err := newest.get(ctx)
		return n.items, n.next, err
	}
	if filter.Query == "" {
		n, err := f.pages.get(ctx, filter, f.admit(ctx), func() (n newestConversations, err error) {
			n.items, n.next, err = f.OperatorStore.Conversations(ctx, filter)
			return n, err
		})
		return slices.Clone(n.items), n.next, err
	}
	release, err := f.limit.acquire(ctx, true)
	if err != nil {
		return nil, 0, err
	}
	defer release()
	return f.OperatorStore.Conversations(ctx, filter)
}

func (f fairStore) Search(ctx context.Context, q inbox.SearchQuery) (inbox.SearchPage, error) {
	release, err := f.limit.acquire(ctx, true)
	if err != nil {
		return inbox.SearchPage{}, err
	}
	defer release()
	return f.OperatorStore.Search(ctx, q)
}

// admit lets a page be read by one who may read, for all who wait for it.
func (f fairStore) admit(ctx context.Context) func(started <-chan struct{}) (release func(), err error) {
	return func(started <-chan struct{}) (release func(), err error) {
		return f.limit.acquireUnless(ctx, false, started)
	}
}

func (f fairStore) Conversation(ctx context.Context, id int64) (inbox.Conversation, error) {
	return f.heads.get(ctx, id, f.admit(ctx), func() (inbox.Conversation, error) {
		return f.OperatorStore.Conversation(ctx, id)
	})
}

func (f fairStore) Messages(
	ctx context.Context, conversationID int64, limit int, before int64,
) ([]inbox.Message, int64, error) {
	p, err := f.messages.get(ctx, pageKey{conversationID, limit, before}, f.admit(ctx), func() (p messagePage, err error) {
		p.items, p.next, err = f.OperatorStore.Messages(ctx, conversationID, limit, before)
		return p, err
	})
	return slices.Clone(p.items), p.next, err
}

func (f fairStore) Notes(
	ctx context.Context, conversation int64, limit int, before int64,
) ([]inbox.Note, int64, error) {
	release, err := f.limit.acquire(ctx, false)
	if err != nil {
		return nil, 0, err
	}
	defer release()
	return f.OperatorStore.Notes(ctx, conversation, limit, before)
}

func (f fairStore) UnreadBy(ctx context.Context, operator int64, conversations []int64) (map[int64]int64, error) {
	release, err := f.limit.acquire(ctx, false)
	if err != nil {
		return nil, err
	}
	defer release()
	return f.OperatorStore.UnreadBy(ctx, operator, conversations)
}

func (f fairStore) Beside(
	ctx context.Context, conversation, from int64, limit int,
) ([]inbox.Note, []inbox.Activity, error) {
	release, err := f.limit.acquire(ctx, false)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	return f.OperatorStore.Beside(ctx, conversation, from, limit)
}

func (f fairStore) Message(ctx context.Context, id int64) (inbox.Message, error) {
	release, err := f.limit.acquire(ctx, false)
	if err != nil {
		return inbox.Message{}, err
	}
	defer release()
	return f.OperatorStore.Message(ctx, id)
}

func (f fairStore) Edits(ctx context.Context, id int64, limit int, after int64) ([]inbox.Wording, int64, error) {
	release, err := f.limit.acquire(ctx, false)
	if err != nil {
		return nil, 0, err
	}
	defer release()
	return f.OperatorStore.Edits(ctx, id, limit, after)
}

func (f fairStore) Events(ctx context.Context, after int64, limit int) ([]inbox.Event, error) {
	release, err := f.limit.acquire(ctx, false)
	if err != nil {
		return nil, err
	}
	defer release()
	return f.OperatorStore.Events(ctx, after, limit)
}

func (f fairStore) Bots(ctx context.Context) ([]inbox.BotStatus, error) { return f.bots.get(ctx) }

func (f fairStore) Queue(ctx context.Context) (inbox.QueueStats, error) { return f.queue.get(ctx) }

func (f fairStore) Unread(ctx context.Context) (int64, error) {
	release, err := f.limit.acquire(ctx, false)
	if err != nil {
		return 0, err
	}
	defer release()
	return f.OperatorStore.Unread(ctx)
}

func (f fairStore) TokenByHash(ctx context.Context, hash []byte) (inbox.Token, error) {
	return f.look.TokenByHash(ctx, hash)
}

func (f fairStore) FindSession(ctx context.Context, key string) ([]byte, bool, error) {
	return f.look.FindSession(ctx, key)
}

func (f fairStore) Operator(ctx context.Context, id int64) (inbox.Operator, error) {
	return f.look.Operator(ctx, id)
}

func (f fairStore) LastEvent(ctx context.Context) (int64, error)           { return f.look.LastEvent(ctx) }
func (f fairStore) FileStats(ctx context.Context) (inbox.FileStats, error) { return f.files.get(ctx) }

func (f fairStore) File(ctx context.Context, attachmentID int64, preview bool) (inbox.StoredFile, error) {
	release, err := f.limit.acquire(ctx, false)
	if err != nil {
		return inbox.StoredFile{}, err
	}
	defer release()
	return f.OperatorStore.File(ctx, attachmentID, preview)
}

func (f fairStore) FileChunk(ctx context.Context, blob, n int64) ([]byte, error) {
	release, err := f.limit.acquire(ctx, false)
	if err != nil {
		return nil, err
	}
	defer release()
	return f.OperatorStore.FileChunk(ctx, blob, n)
}
