package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tandem/internal/inbox"
)

// The part of the API that a team works with: whose turn a conversation is, who has read what, and notes.

// optional is a field of a JSON object that may be left out, which is something else than null.
type optional[T any] struct {
	given bool
	value *T // nil for null
}

func (o *optional[T]) UnmarshalJSON(b []byte) error {
	o.given = true
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	o.value = new(T)
	return json.Unmarshal(b, o.value)
}

func (s *Server) patchConversation(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Status       *inbox.ConversationStatus `json:"status"`
		AssigneeID   optional[int64]           `json:"assignee_id"`
		Tags         *[]string                 `json:"tags"`
		SnoozedUntil optional[string]          `json:"snoozed_until"`
		Banned       *bool                     `json:"banned"`
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	ch := inbox.ConversationChange{By: who(r).author(), Status: in.Status, Banned: in.Banned}
	if ch.Status != nil && *ch.Status != inbox.Open && *ch.Status != inbox.Closed {
		return unprocessable(`status: want "open" or "closed"`)
	}
	if in.AssigneeID.given {
		ch.Assignee = new(int64)
		if id := in.AssigneeID.value; id != nil {
			if *ch.Assignee = *id; *id <= 0 {
				return unprocessable("assignee_id: want the id of an operator, or null for nobody")
			}
		}
	}
	if in.Tags != nil {
		tags, err := inbox.CleanTags(*in.Tags)
		if err != nil {
			return unprocessable("tags: %v", err)
		}
		ch.Tags = &tags
	}
	if in.SnoozedUntil.given {
		ch.SnoozedUntil = &time.Time{}
		if text := in.SnoozedUntil.value; text != nil {
			until, err := time.Parse(time.RFC3339, *text)
			if err != nil {
				return unprocessable(`snoozed_until: want a time like "2026-03-01T09:00:00Z", or null`)
			}
			if err := checkSnooze(until); err != nil {
				return err
			}
			ch.SnoozedUntil = &until
		}
	}
	if ch.Status == nil && ch.Assignee == nil && ch.Tags == nil && ch.SnoozedUntil == nil && ch.Banned == nil {
		return unprocessable(
			`nothing is to be changed: send status ("open" or "closed"), assignee_id, tags, snoozed_until or banned`)
	}
	var err error
	if ch.Version, err = versionOf(r.Header.Values("If-Match")); err != nil {
		return err
	}
	id, err := pathID(r)
	if err != nil {
		return err
	}
	c, err := s.store.ChangeConversation(r.Context(), id, ch)
	status := http.StatusOK
	switch {
	case errors.Is(err, inbox.ErrStale):
		status = http.StatusPreconditionFailed
	case errors.Is(err, inbox.ErrNoOperator):
		return unprocessable("assignee_id: there is no such operator")
	case err != nil:
		return err
	}
	if err := s.addUnread(r, []*inbox.Conversation{&c}); err != nil {
		return err
	}
	w.Header().Set("ETag", etag(c.Version))
	return writeJSON(w, status, c)
}

func checkSnooze(until time.Time) error {
	switch ahead := time.Until(until); {
	case ahead <= 0:
		return unprocessable("snoozed_until: this time has passed; want one that is ahead, or null")
	case ahead > inbox.MaxSnooze:
		return unprocessable("snoozed_until: want a time within five years")
	}
	return nil
}

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// noVersion is that of no conversation.
const noVersion = -1

// versionOf is the version that a change was made from: 0 where any will do.
func versionOf(ifMatch []string) (int64, error) {
	header := strings.TrimSpace(strings.Join(ifMatch, ","))
	if header == "" || header == "*" {
		return 0, nil
	}
	for _, r := range header {
		if r < ' ' || r > '~' {
			return 0, bad("If-Match: want the ETag of the conversation")
		}
	}
	version, err := strconv.ParseInt(strings.Trim(header, `"`), 10, 64)
	if err != nil || version <= 0 || len(header) < 3 || header[0] != '"' {
		return noVersion, nil // a weak one, or one that we never gave, is that of nothing
	}
	return version, nil
}

// serveConversation is serveRead with the ETag of the conversation.
func (s *Server) serveConversation(w http.ResponseWriter, r *http.Request) error {
	return s.serveReadWith(s.getConversation, func(h http.Header, body []byte) {
		var c struct {
			Version int64 `json:"version"`
		}
		if json.Unmarshal(body, &c) == nil && c.Version != 0 {
			h.Set("ETag", etag(c.Version))
		}
	})(w, r)
}

// addUnread says of conversations what the operator who asks has not read.
func (s *Server) addUnread(r *http.Request, list []*inbox.Conversation) error {
	return s.addUnreadBy(r.Context(), who(r), list)
}

func (s *Server) addUnreadBy(ctx context.Context, p principal, list []*inbox.Conversation) error {
	if p.kind != inbox.ByOperator || len(list) == 0 {
		return nil
	}
	ids := make([]int64, len(list))
	for i, c := range list {
		ids[i] = c.ID
	}
	unread, err := s.store.UnreadBy(ctx, p.id, ids)
	if err != nil {
		return err
	}
	for _, c := range list {
		n := unread[c.ID]
		c.Unread = &n
	}
	return nil
}

// setView reads view= and tag= of a list of conversations.
func setView(f *inbox.ConversationFilter, p principal, view, tag string) error {
	if f.View = inbox.View(view); view != "" && !slices.Contains(inbox.Views, f.View) {
		words := make([]string, len(inbox.Views))
		for i, v := range inbox.Views {
			words[i] = string(v)
		}
		return bad("view: want one of %s", strings.Join(words, ", "))
	}
	if f.View == inbox.ViewMine {
		if p.kind != inbox.ByOperator {
			return bad("view: mine is that of an operator, and a token is none")
		}
		f.Operator = p.id
	}
	if f.Tag = strings.Join(strings.Fields(inbox.CleanText(tag)), " "); utf8.RuneCountInString(f.Tag) > inbox.MaxTag {
		return bad("tag: want at most %d characters", inbox.MaxTag)
	}
	return nil
}

// cursorOf tells the cursors of lists in different orders apart.
func cursorOf(v inbox.View, query string) string {
	if v == inbox.ViewWaiting && query == "" {
		return "w"
	}
	return "c"
}

func (s *Server) counts(w http.ResponseWriter, r *http.Request) error {
	var operator int64
	if p := who(r); p.kind == inbox.ByOperator {
		operator = p.id
	}
	counts, err := s.store.Counts(r.Context(), operator)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, counts)
}

func (s *Server) listOperators(w http.ResponseWriter, r *http.Request) error {
	team, err := s.colleagues(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"items": team})
}

func (s *Server) colleagues(ctx context.Context) ([]inbox.Colleague, error) {
	operators, err := s.store.Operators(ctx)
	team := make([]inbox.Colleague, len(operators))
	for i, op := range operators {
		team[i] = inbox.Colleague{ID: op.ID, Name: op.Name}
	}
	return team, err
}

func (s *Server) postRead(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		MessageID *int64 `json:"message_id"`
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if in.MessageID == nil || *in.MessageID < 0 {
		return unprocessable("message_id: want the id of the message up to which it was read")
	}
	p := who(r)
	if p.kind != inbox.ByOperator {
		return &problem{http.StatusForbidden, "only an operator who is signed in reads; a token reads nothing away"}
	}
	c, err := s.conversation(r)
	if err != nil {
		return err
	}
	err = s.store.MarkRead(r.Context(), p.id, c.ID, *in.MessageID, false)
	if errors.Is(err, inbox.ErrNotFound) {
		return unprocessable("message_id: there is no such message in this conversation")
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) listNotes(w http.ResponseWriter, r *http.Request) error {
	id, limit, before, err := pageOf(r, "cursor", "n")
	if err != nil {
		return err
	}
	items, next, err := s.store.Notes(r.Context(), id, limit, before)
	if err != nil {
		return err
	}
	return s.writeLarge(w, r, newList(items, toCursor("n", next), func(n *inbox.Note) int { return 300 + len(n.Text) }))
}

func (s *Server) postNote(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Text *string `json:"text"`
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if in.Text == nil {
		return unprocessable("text: it is missing")
	}
	n, err := s.addNote(r, *in.Text)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, n)
}

// addNote stores what the page and the API take as a note, by the same rules.
func (s *Server) addNote(r *http.Request, text string) (inbox.Note, error) {
	text = inbox.CleanText(text)
	if inbox.Blank(text) {
		return inbox.Note{}, unprocessable("the note is empty")
	}
	if n := utf8.RuneCountInString(text); n > inbox.MaxNote {
		return inbox.Note{}, unprocessable("the note is too long: it has %d characters, want at most %d", n, inbox.MaxNote)
	}
	id, err := pathID(r)
	if err != nil {
		return inbox.Note{}, err
	}
	return s.store.AddNote(r.Context(), id, inbox.Note{Text: text, Author: who(r).author()})
}

// wakeEvery is how late a snooze ends at most, and an answer joins those that are sent.
const wakeEvery = time.Second

// keepTimes ends snoozes, and has answers sent that are due, until ctx ends.
func (s *Server) keepTimes(ctx context.Context) {
	tick := time.NewTicker(wakeEvery)
	defer tick.Stop()
	told := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.store.Ready() != nil {
			continue
		}
		_, err := s.store.WakeConversations(ctx)
		err = errors.Join(err, s.store.QueueDue(ctx))
		if err != nil && !inbox.TryLater(err) && ctx.Err() == nil && !told {
			s.log.Warn("what is due cannot be done, trying again", "error", err)
		}
		told = err != nil
	}
}

// listKey is what the cached list of a filter is kept by.
func listKey(f inbox.ConversationFilter) string {
	return fmt.Sprintf("conversations %d %d %s %s %q %s", f.Limit, f.Before, f.View, f.Status, f.Tag, f.Query)
}
