package simulator

import (
	"bytes"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxCalls and maxSent bound what is kept: then the older half is dropped. The counts go on.
const (
	maxCalls = 20_000
	maxSent  = 200_000
)

// Call is one Bot API call as recorded. Token is only the number before the colon.
type Call struct {
	At          time.Time         `json:"at"`
	Duration    time.Duration     `json:"duration_ns"`
	Token       string            `json:"token"`
	Method      string            `json:"method"`
	Params      map[string]string `json:"params,omitempty"`
	Status      int               `json:"status"` // 0: no response was given
	Description string            `json:"description,omitempty"`
	Fault       string            `json:"fault,omitempty"` // the fault that served it
	Remote      string            `json:"remote"`          // the client's address
	UserAgent   string            `json:"user_agent,omitempty"`
}

// Sent is a message that the server accepted from a bot, whatever the bot was told about it.
type Sent struct {
	At        time.Time `json:"at"`
	BotID     int64     `json:"bot_id"`
	Method    string    `json:"method"`
	ChatID    int64     `json:"chat_id"`
	ThreadID  int64     `json:"message_thread_id,omitempty"`
	MessageID int64     `json:"message_id"`
	ReplyTo   int64     `json:"reply_to,omitempty"`
	Text      string    `json:"text"` // or the caption, as Telegram normalised it
	FileID    string    `json:"file_id,omitempty"`
}

// Duplicate is a text that one chat got more than once.
type Duplicate struct {
	ChatID     int64   `json:"chat_id"`
	Text       string  `json:"text"`
	MessageIDs []int64 `json:"message_ids"`
}

// Leak is a place outside the path where a token was seen.
type Leak struct {
	At     time.Time `json:"at"`
	Where  string    `json:"where"` // "query", "body", "header Referer", ...
	Method string    `json:"method"`
	Path   string    `json:"path"` // without the token
}

type recorder struct {
	calls  []Call
	counts map[string]int
	sent   []Sent
	leaks  []Leak
}

// record keeps a call that was served.
func (s *Server) record(c Call, start time.Time) {
	c.Duration = time.Since(start)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.rec
	if r.counts == nil {
		r.counts = map[string]int{}
	}
	r.counts[strings.ToLower(c.Method)]++
	if len(r.calls) == maxCalls {
		r.calls = append(r.calls[:0:0], r.calls[maxCalls/2:]...)
	}
	r.calls = append(r.calls, c)
	s.touch()
}

// Calls are the recorded calls of a method in the order of their ends, of all methods when it is "".
func (s *Server) Calls(method string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	if method == "" {
		return slices.Clone(s.rec.calls)
	}
	var out []Call
	for _, c := range s.rec.calls {
		if strings.EqualFold(c.Method, method) {
			out = append(out, c)
		}
	}
	return out
}

// Counts are the numbers of calls by method, in lower case, that have ended.
func (s *Server) Counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.rec.counts)
}

// Sent are the messages accepted from bots, oldest first.
func (s *Server) Sent() []Sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.rec.sent)
}

// WaitSent waits until at least n messages were accepted and returns them all, also with its error.
func (s *Server) WaitSent(n int, within time.Duration) ([]Sent, error) {
	err := s.WaitFor(within, func() bool { return len(s.Sent()) >= n })
	return s.Sent(), err
}

// Duplicates are the texts that a chat was sent more than once, in the order of their first copies.
func (s *Server) Duplicates() []Duplicate {
	type key struct {
		chat int64
		text string
	}
	byText := map[key][]int64{}
	var order []key
	for _, m := range s.Sent() {
		k := key{m.ChatID, m.Text}
		if byText[k] == nil {
			order = append(order, k)
		}
		byText[k] = append(byText[k], m.MessageID)
	}
	var out []Duplicate
	for _, k := range order {
		if ids := byText[k]; len(ids) > 1 {
			out = append(out, Duplicate{ChatID: k.chat, Text: k.text, MessageIDs: ids})
		}
	}
	return out
}

// Leaks are the places outside the path where a bot's token was seen. A correct bot has none.
func (s *Server) Leaks() []Leak {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.rec.leaks)
}

// Forget empties the recorder; chats and updates stay.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rec = recorder{}
	for _, b := range s.bots {
		b.stats = PollStats{}
	}
	s.touch()
}

// noteLeaks looks for tokens in everything of a request but its path. pathToken may be one that was never
// registered; its secret is looked for as well.
func (s *Server) noteLeaks(r *http.Request, body []byte, pathToken string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	secrets := []string{}
	note := func(token string) {
		if _, secret, ok := strings.Cut(token, ":"); ok && len(secret) >= 16 && !slices.Contains(secrets, secret) {
			secrets = append(secrets, secret)
		}
	}
	note(pathToken)
	for _, b := range s.bots {
		for token := range b.tokens {
			note(token)
		}
	}
	_, method, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/bot"), "/")
	found := func(where string) {
		path := r.URL.Path
		for _, secret := range secrets {
			path = strings.ReplaceAll(path, secret, "[secret]")
		}
		if len(s.rec.leaks) < maxCalls {
			s.rec.leaks = append(s.rec.leaks, Leak{At: s.now(), Where: where, Method: method, Path: path})
		}
	}
	for _, secret := range secrets {
		if strings.Contains(r.URL.RawQuery, secret) {
			found("query")
		}
		if bytes.Contains(body, []byte(secret)) {
			found("body")
		}
		for name, values := range r.Header {
			if strings.Contains(strings.Join(values, "\n"), secret) {
				found("header " + name)
			}
		}
	}
}

// tokenName is the part of a token that may be shown.
func tokenName(token string) string {
	number, _, ok := strings.Cut(token, ":")
	if !ok || !digits(number) {
		return "malformed"
	}
	return number
}
