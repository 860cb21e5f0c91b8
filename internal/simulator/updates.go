package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	maxPollTimeout  = 50 * time.Second // Telegram cuts longer ones
	maxUpdatesBytes = 4 << 20          // in one response
	maxQueue        = 1_000_000
	retention       = 24 * time.Hour
	callbackLife    = 150 * time.Second
)

// PollStats count the getUpdates calls of one bot.
type PollStats struct {
	Requests  int   `json:"requests"`
	Waiting   int   `json:"waiting"`     // calls open now
	MaxOpen   int   `json:"max_open"`    // most calls of live clients that were open at the same time
	Conflicts int   `json:"conflicts"`   // 409 responses given
	Delivered int   `json:"delivered"`   // updates handed out, repeated ones counted again
	Confirmed int64 `json:"confirmed"`   // highest offset that confirmed; every update below it is acknowledged
	Pending   int   `json:"pending"`     // updates in the queue
	Next      int64 `json:"next_update"` // the id the next update will get
}

// Polls are the statistics of the bot, those of the first one when botID is 0.
func (s *Server) Polls(botID int64) PollStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.botByID(botID)
	if b == nil {
		return PollStats{}
	}
	return b.pollStats()
}

func (b *bot) pollStats() PollStats {
	st := b.stats
	st.Waiting, st.Confirmed, st.Pending, st.Next = b.open, b.Confirmed, len(b.Queue), b.NextUpdate
	return st
}

// poll is a getUpdates call that waits. It is finished once, with the server's lock held.
type poll struct {
	offset   int64
	limit    int
	response chan response // has room for one
}

func (p *poll) finish(r response) { p.response <- r }

// getUpdates does what is known of process_get_updates_query and do_get_updates in tdlib/telegram-bot-api.
func (s *Server) getUpdates(ctx context.Context, b *bot, p params) response {
	offset := p.int("offset", 0)
	limit := int(min(max(p.int("limit", 100), 1), 100))
	timeout := time.Duration(min(max(p.int("timeout", 0), 0), int64(maxPollTimeout/time.Second))) * time.Second

	s.mu.Lock()
	b.stats.Requests++
	b.open++
	if b.open == 1 {
		b.stats.MaxOpen = max(b.stats.MaxOpen, 1)
	}
	s.touch()
	defer func() {
		s.mu.Lock()
		b.open--
		s.touch()
		s.mu.Unlock()
	}()

	if b.Webhook != "" {
		s.mu.Unlock()
		return s.conflict(ctx, b, "Conflict: can't use getUpdates method while webhook is active; "+
			"use deleteWebhook to delete the webhook first")
	}
	b.allow(p)

	now := time.Now()
	since := now.Sub(b.lastPoll)
	if offset == b.lastOffset && since < s.opts.RepeatHold && timeout < s.opts.RepeatHold {
		timeout = s.opts.RepeatHold
	}
	if offset == b.lastOffset && since < 500*time.Millisecond {
		limit = 1
	}
	b.lastOffset, b.lastPoll = offset, now

	updates := s.take(b, offset, limit)
	if len(updates) > 0 || timeout == 0 {
		s.mu.Unlock()
		return updatesResponse(updates)
	}
	if b.waiting != nil {
		b.waiting.finish(displaced)
	}
	me := &poll{offset: offset, limit: limit, response: make(chan response, 1)}
	b.waiting = me
	s.mu.Unlock()

	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case r := <-me.response:
		return s.afterWait(ctx, b, r)
	case <-timer.C:
	case <-ctx.Done():
	case <-s.closed:
	}
	s.mu.Lock()
	if b.waiting == me {
		b.waiting = nil
		s.mu.Unlock()
		return updatesResponse(nil)
	}
	s.mu.Unlock()
	return s.afterWait(ctx, b, <-me.response)
}

var displaced = failure(http.StatusConflict,
	"Conflict: terminated by other getUpdates request; make sure that only one bot instance is running")

// afterWait gives a displaced poll its 409, and counts the overlap if its client is still there.
func (s *Server) afterWait(ctx context.Context, b *bot, r response) response {
	if r.status != http.StatusConflict {
		return r
	}
	if r.description == displaced.description {
		gone := time.NewTimer(s.opts.GoneGrace)
		defer gone.Stop()
		select {
		case <-ctx.Done():
			return r
		case <-gone.C:
			s.mu.Lock()
			b.stats.MaxOpen = max(b.stats.MaxOpen, 2, b.open)
			s.mu.Unlock()
		}
	}
	return s.conflict(ctx, b, r.description)
}

// conflict is fail_query_conflict: the first 409 goes out at once; one that comes less than ConflictHold after
// such a one is held back for that long, which keeps two spinning bots from seeing thousands of them.
func (s *Server) conflict(ctx context.Context, b *bot, description string) response {
	s.mu.Lock()
	b.stats.Conflicts++
	now := time.Now()
	held := !b.lastConflict.IsZero() && now.Sub(b.lastConflict) < s.opts.ConflictHold
	if !held {
		b.lastConflict = now
	}
	s.touch()
	s.mu.Unlock()
	if held {
		timer := time.NewTimer(s.opts.ConflictHold)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-s.closed:
		}
	}
	return failure(http.StatusConflict, description)
}

// take confirms what is below offset and returns what comes from there. The lock is held.
func (s *Server) take(b *bot, offset int64, limit int) []queued {
	head := b.NextUpdate
	if len(b.Queue) > 0 {
		head = b.Queue[0].ID
	}
	switch {
	case offset < 0:
		offset = max(b.NextUpdate+offset, head)
	case offset == 0, offset > b.NextUpdate+10, offset < b.NextUpdate-2*maxQueue:
		offset = head
	default:
		b.Confirmed = max(b.Confirmed, offset)
	}
	now := s.now()
	before := len(b.Queue)
	b.Queue = slices.DeleteFunc(b.Queue, func(q queued) bool { return q.ID < offset || q.Expires.Before(now) })
	if len(b.Queue) != before {
		s.touch()
	}
	n, room := 0, maxUpdatesBytes
	for n < len(b.Queue) && n < limit {
		if room -= 50 + len(b.Queue[n].Body); room <= 0 {
			break
		}
		n++
	}
	b.stats.Delivered += n
	return slices.Clone(b.Queue[:n])
}

func updatesResponse(updates []queued) response {
	var out bytes.Buffer
	out.WriteByte('[')
	for i, u := range updates {
		if i > 0 {
			out.WriteString(",\n")
		}
		out.Write(u.json())
	}
	out.WriteByte(']')
	return response{status: http.StatusOK, result: out.Bytes()}
}

// updateKinds are the kinds the server knows, with whether a bot gets them when it did not ask.
var updateKinds = map[string]bool{
	"message": true, "edited_message": true, "channel_post": true, "edited_channel_post": true,
	"inline_query": true, "chosen_inline_result": true, "callback_query": true, "shipping_query": true,
	"pre_checkout_query": true, "poll": true, "poll_answer": true, "my_chat_member": true,
	"chat_join_request": true, "chat_boost": true, "removed_chat_boost": true, "business_connection": true,
	"business_message": true, "edited_business_message": true, "deleted_business_messages": true,
	"purchased_paid_media": true,
	"chat_member":          false, "message_reaction": false, "message_reaction_count": false,
}

// allow stores allowed_updates. What is missing, null or no list of strings keeps the former setting; an
// empty list, or one of unknown words only, is the default.
func (b *bot) allow(p params) {
	var asked []string
	raw, given := p["allowed_updates"]
	if !given || json.Unmarshal([]byte(raw), &asked) != nil || asked == nil {
		return
	}
	var known []string
	for _, kind := range asked {
		if kind = strings.ToLower(kind); hasKind(kind) && !slices.Contains(known, kind) {
			known = append(known, kind)
		}
	}
	b.Allowed = known
}

func hasKind(kind string) bool { _, ok := updateKinds[kind]; return ok }

func (b *bot) allows(kind string) bool {
	byDefault, known := updateKinds[kind]
	if !known {
		return true
	}
	if b.Allowed == nil {
		return byDefault
	}
	return slices.Contains(b.Allowed, kind)
}

// Push queues a raw update for a bot (the first one when botID is 0) and returns its id, 0 when the bot's
// allowed_updates leave its kind out. update is a JSON object; an update_id in it is replaced.
func (s *Server) Push(botID int64, update []byte) (int64, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(update, &fields); err != nil {
		return 0, fmt.Errorf("an update is a JSON object: %w", err)
	}
	delete(fields, "update_id")
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.botByID(botID)
	if b == nil {
		return 0, errNoBot
	}
	kind := ""
	for k := range fields {
		if kind == "" || hasKind(k) {
			kind = k
		}
	}
	body, err := json.Marshal(fields)
	if err != nil {
		return 0, err
	}
	return s.enqueue(b, kind, body, s.expiry(kind, fields[kind])), nil
}

var errNoBot = errors.New("there is no such bot: add one first")

// expiry of an update: Telegram drops a message a day after its date, a button's press after 150 s.
func (s *Server) expiry(kind string, body json.RawMessage) time.Time {
	if kind == "callback_query" {
		return s.now().Add(callbackLife)
	}
	var dated struct {
		Date     int64 `json:"date"`
		EditDate int64 `json:"edit_date"`
	}
	_ = json.Unmarshal(body, &dated) // an odd update has no date and lives a day from now
	if at := max(dated.Date, dated.EditDate); at > 0 {
		return time.Unix(at, 0).Add(retention)
	}
	return s.now().Add(retention)
}

// enqueue puts an update into the bot's queue and serves a waiting poll. The lock is held.
func (s *Server) enqueue(b *bot, kind string, body []byte, expires time.Time) int64 {
	if !b.allows(kind) || len(b.Queue) >= maxQueue || expires.Before(s.now()) {
		return 0
	}
	id := b.NextUpdate
	b.NextUpdate++
	b.Queue = append(b.Queue, queued{ID: id, Body: body, Expires: expires})
	s.touch()
	if s.batching == 0 {
		s.wake(b)
	}
	return id
}

// wake serves a waiting poll if there is something for it. The lock is held.
func (s *Server) wake(b *bot) {
	if b.waiting == nil {
		return
	}
	if updates := s.take(b, b.waiting.offset, b.waiting.limit); len(updates) > 0 {
		b.waiting.finish(updatesResponse(updates))
		b.waiting = nil
	}
}

// SetNextUpdateID makes the following updates count from id, as Telegram does at random after a quiet week.
func (s *Server) SetNextUpdateID(botID, id int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.botByID(botID)
	if b == nil {
		return errNoBot
	}
	if len(b.Queue) > 0 {
		return fmt.Errorf("%d updates are pending: ids change only while the queue is empty", len(b.Queue))
	}
	b.NextUpdate, b.Confirmed = id, 0
	s.touch()
	return nil
}
