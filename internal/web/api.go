package web

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"tandem/internal/inbox"
)

const (
	maxQuery = 200 // characters of a search
	maxKey   = 255 // bytes of an Idempotency-Key
)

func (s *Server) listConversations(r *http.Request) (readRequest, error) {
	q, err := queryOf(r)
	if err != nil {
		return readRequest{}, err
	}
	f := inbox.ConversationFilter{
		Status: inbox.ConversationStatus(q.Get("status")),
		Query:  inbox.CleanText(strings.TrimSpace(q.Get("q"))),
	}
	if f.Status != "" && f.Status != inbox.Open && f.Status != inbox.Closed {
		return readRequest{}, bad("status: want open or closed, or nothing for both")
	}
	if n := utf8.RuneCountInString(f.Query); n > maxQuery {
		return readRequest{}, bad("q: want at most %d characters, have %d", maxQuery, n)
	}
	if f.Limit, err = limitOf(q); err != nil {
		return readRequest{}, err
	}
	p := who(r)
	if err := setView(&f, p, q.Get("view"), q.Get("tag")); err != nil {
		return readRequest{}, err
	}
	if f.Before, err = fromCursor("cursor", cursorOf(f.View, f.Query), q.Get("cursor")); err != nil {
		return readRequest{}, err
	}
	return readRequest{listKey(f), p.kind == inbox.ByOperator, func(ctx context.Context) (any, error) {
		items, next, err := s.store.Conversations(ctx, f)
		if err != nil {
			return nil, err
		}
		all := make([]*inbox.Conversation, len(items))
		for i := range items {
			all[i] = &items[i]
		}
		if err := s.addUnreadBy(ctx, p, all); err != nil {
			return nil, err
		}
		list := newList(items, toCursor(cursorOf(f.View, f.Query), next), sizeOfConversation)
		if f.Query != "" {
			return foundConversations{list}, nil
		}
		return list, nil
	}}, nil
}

// foundConversations are of what the index had at that moment, which no event tells. So they are not cached.
type foundConversations struct{ list[inbox.Conversation] }

// found is a page of what a search found.
type found struct {
	Items         []inbox.SearchHit `json:"items"`
	NextCursor    *string           `json:"next_cursor"`
	Complete      bool              `json:"complete"`
	ReachesBackTo *time.Time        `json:"reaches_back_to,omitempty"`
}

func (s *Server) search(r *http.Request) (readRequest, error) {
	q, err := queryOf(r)
	if err != nil {
		return readRequest{}, err
	}
	ask := inbox.SearchQuery{Words: inbox.CleanText(strings.TrimSpace(q.Get("q")))}
	if inbox.Blank(ask.Words) {
		return readRequest{}, bad("q: want the words to search for")
	}
	if n := utf8.RuneCountInString(ask.Words); n > maxQuery {
		return readRequest{}, bad("q: want at most %d characters, have %d", maxQuery, n)
	}
	if ask.Limit, err = limitOf(q); err != nil {
		return readRequest{}, err
	}
	if ask.Before, err = fromCursor("cursor", "s", q.Get("cursor")); err != nil {
		return readRequest{}, err
	}
	key := fmt.Sprintf("search %d %d %s", ask.Limit, ask.Before, ask.Words)
	return readRequest{key, false, func(ctx context.Context) (any, error) {
		p, err := s.store.Search(ctx, ask)
		if err != nil {
			return nil, err
		}
		return found{p.Hits, toCursor("s", p.Next), p.Complete, p.ReachesBackTo}, nil
	}}, nil
}

func (s *Server) getConversation(r *http.Request) (readRequest, error) {
	id, err := pathID(r)
	p := who(r)
	key := fmt.Sprintf("conversation %d", id)
	return readRequest{key, p.kind == inbox.ByOperator, func(ctx context.Context) (any, error) {
		c, err := s.store.Conversation(ctx, id)
		if err == nil {
			err = s.addUnreadBy(ctx, p, []*inbox.Conversation{&c})
		}
		if err != nil {
			return nil, err
		}
		return c, nil
	}}, err
}

func (s *Server) listMessages(r *http.Request) (readRequest, error) {
	id, limit, before, err := pageOf(r, "before", "m")
	return readRequest{fmt.Sprintf("messages %d %d %d", id, limit, before), false, func(ctx context.Context) (any, error) {
		items, next, err := s.store.Messages(ctx, id, limit, before) // not found where there is no conversation
		if err != nil {
			return nil, err
		}
		s.wantFiles(items)
		return newList(items, toCursor("m", next), sizeOfMessage), nil
	}}, err
}

func (s *Server) postMessage(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Text    *string `json:"text"`
		ReplyTo *int64  `json:"reply_to"`
		TopicID *int64  `json:"topic_id"`
		Silent  bool    `json:"silent"`
		SendAt  *string `json:"send_at"`
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if in.Text == nil {
		return unprocessable("text: it is missing")
	}
	key := r.Header.Get("Idempotency-Key")
	if err := checkKey(key); err != nil {
		return err
	}
	a := inbox.Answer{Text: *in.Text, Topic: in.TopicID, Silent: in.Silent, Key: key}
	if in.ReplyTo != nil {
		if a.ReplyTo = *in.ReplyTo; a.ReplyTo <= 0 {
			return unprocessable("reply_to: want the id of a message")
		}
	}
	if in.SendAt != nil {
		var err error
		if a.SendAt, err = sendAt(*in.SendAt); err != nil {
			return err
		}
	}
	m, created, err := s.addAnswer(r, a)
	if err != nil {
		return err
	}
	if !created {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	return writeJSON(w, http.StatusAccepted, m)
}

// addAnswer stores what the page and the API take as an answer, by the same rules.
func (s *Server) addAnswer(r *http.Request, a inbox.Answer) (inbox.Message, bool, error) {
	a.Text = inbox.CleanText(a.Text)
	if inbox.Blank(a.Text) {
		return inbox.Message{}, false, unprocessable("the answer is empty: Telegram refuses a text that shows nothing")
	}
	if n := utf8.RuneCountInString(a.Text); n > inbox.MaxAnswer {
		return inbox.Message{}, false,
			unprocessable("the answer is too long: it has %d characters, at most %d can be sent", n, inbox.MaxAnswer)
	}
	if a.Topic != nil && (*a.Topic < 0 || *a.Topic > math.MaxInt32) {
		return inbox.Message{}, false, unprocessable("topic_id: want the number of a topic, or 0 for the main chat")
	}
	id, err := pathID(r)
	if err != nil {
		return inbox.Message{}, false, err
	}
	if a.ReplyTo != 0 {
		to, err := s.store.Message(r.Context(), a.ReplyTo)
		if err == nil && to.ConversationID != id {
			err = inbox.ErrNotFound
		}
		if errors.Is(err, inbox.ErrNotFound) {
			return inbox.Message{}, false, unprocessable("reply_to: there is no such message in this conversation")
		}
		if err != nil {
			return inbox.Message{}, false, err
		}
	}
	a.Author = who(r).author()
	return s.store.AddAnswer(r.Context(), id, a)
}

// sendAt is a time at which an answer is to be sent. One that has passed is now: a repeat of the request may come late.
func sendAt(text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	switch {
	case err != nil:
		return at, unprocessable(`send_at: want a time like "2026-03-01T09:00:00Z"`)
	case time.Until(at) > inbox.MaxSnooze:
		return at, unprocessable("send_at: want a time within five years")
	case at.Before(time.Unix(0, 0)):
		return at, unprocessable("send_at: want a time that is ahead")
	}
	return at.UTC(), nil
}

func checkKey(key string) error {
	if len(key) > maxKey {
		return bad("Idempotency-Key: want at most %d characters, have %d", maxKey, len(key))
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
		return bad("Idempotency-Key: want printable ASCII")
	}
	return nil
}

func (s *Server) retryMessage(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	m, err := s.retry(r, id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, m)
}

// retry sends an answer again: where it went before, or to the main chat if the address says topic_id=0.
func (s *Server) retry(r *http.Request, id int64) (inbox.Message, error) {
	q, err := queryOf(r)
	if err != nil {
		return inbox.Message{}, err
	}
	switch q.Get("topic_id") {
	case "":
	case "0":
		if err := s.store.ToMainChat(r.Context(), id); err != nil {
			return inbox.Message{}, err
		}
	default:
		return inbox.Message{}, bad("topic_id: want 0, for the main chat, or nothing")
	}
	return s.store.RetryAnswer(r.Context(), id)
}

// conversation is the one that the path names.
func (s *Server) conversation(r *http.Request) (inbox.Conversation, error) {
	id, err := pathID(r)
	if err != nil {
		return inbox.Conversation{}, err
	}
	return s.store.Conversation(r.Context(), id)
}

func pathID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(mux.Vars(r)["id"], 10, 64)
	if err != nil { // only digits come here, so it is too large
		return 0, inbox.ErrNotFound
	}
	return id, nil
}

// queryOf is the query of the address, whole: what net/url cannot read it would leave out without a word.
func queryOf(r *http.Request) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, bad("the query of the address cannot be read: %v", err)
	}
	return q, nil
}

func limitOf(q url.Values) (int, error) {
	if q.Get("limit") == "" {
		return 50, nil
	}
	n, err := strconv.Atoi(q.Get("limit"))
	if err != nil || n < 1 || n > 200 {
		return 0, bad("limit: want a number from 1 to 200")
	}
	return n, nil
}

// pageOf is which page of the list of a conversation or a message is asked for: whose it is, how long the page is to be
// and where it goes on. name is the parameter that has the cursor.
func pageOf(r *http.Request, name, kind string) (id int64, limit int, from int64, err error) {
	q, err := queryOf(r)
	if err == nil {
		limit, err = limitOf(q)
	}
	if err == nil {
		from, err = fromCursor(name, kind, q.Get(name))
	}
	if err == nil {
		id, err = pathID(r)
	}
	return id, limit, from, err
}

// A cursor says where a listing goes on. kind keeps that of one list from being used with another.
func toCursor(kind string, at int64) *string {
	if at == 0 {
		return nil
	}
	c := base64.RawURLEncoding.EncodeToString([]byte(kind + strconv.FormatInt(at, 10)))
	return &c
}

func fromCursor(name, kind, cursor string) (int64, error) {
	if cursor == "" {
		return 0, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	digits, ok := strings.CutPrefix(string(b), kind)
	at, bad2 := strconv.ParseInt(digits, 10, 64)
	if err != nil || !ok || bad2 != nil || at < 1 {
		return 0, bad("%s: want a next_cursor that this list gave before", name)
	}
	return at, nil
}

func bad(format string, args ...any) error {
	return &problem{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func unprocessable(format string, args ...any) error {
	return &problem{http.StatusUnprocessableEntity, fmt.Sprintf(format, args...)}
}

// readJSON reads the body, one JSON object with no other fields than those of into.
func readJSON(r *http.Request, into any) error {
	body := bufio.NewReader(r.Body)
	if !saysJSON(r, body) {
		return &problem{http.StatusUnsupportedMediaType, "send JSON with the header Content-Type: application/json"}
	}
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	var late *lateError
	if err == nil {
		if _, more := d.Token(); errors.As(more, &late) {
			err = more
		} else if more != io.EOF {
			err = errors.New("there is more after the JSON object")
		}
	}
	var tooLarge *http.MaxBytesError
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &late):
		return err
	case errors.As(err, &tooLarge):
		return &problem{http.StatusRequestEntityTooLarge, tooLong(tooLarge.Limit)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errTooSlow
	case errors.As(err, &wrongType):
		if wrongType.Field == "" {
			return bad("the body must be a JSON object, this is of another kind: %s", wrongType.Value)
		}
		return unprocessable("%s: want a %s, this is of another kind: %s",
			wrongType.Field, wrongType.Type.Kind(), wrongType.Value)
	case err == io.EOF:
		return bad("the body is empty: send a JSON object")
	}
	return bad("the body is not the JSON that is wanted here: %v", err)
}

// saysJSON says whether the body is to be taken for JSON. A program with a token may leave the header out, or to
// `curl -d`, which calls everything a form; a browser may not, because another site's form could be sent so, too.
func saysJSON(r *http.Request, body *bufio.Reader) bool {
	header := r.Header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(header)
	switch {
	case err == nil && media == "application/json":
		return true
	case header != "" && (err != nil || media != "application/x-www-form-urlencoded") || who(r).kind != inbox.ByAPI:
		return false
	}
	for { // an error is the decoder's to tell
		switch b, err := body.Peek(1); {
		case err != nil || b[0] == '{':
			return true
		case strings.IndexByte(" \t\r\n", b[0]) < 0:
			return false
		}
		_, _ = body.Discard(1)
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	writeBody(w, status, b)
	return nil
}

func writeBody(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
	_, _ = w.Write([]byte{'\n'})
}
