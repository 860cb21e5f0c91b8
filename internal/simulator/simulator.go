// Package simulator is a local Telegram: a Bot API server for the tests and for `make demo`.
//
// It promises to behave as the real server does wherever a bot can get hurt: long polls that wait, an offset
// that confirms, two polls of which the newer displaces the waiting one with a 409, updates that expire,
// texts that are normalised and refused, and errors in Telegram's words. docs/telegram.md has these rules and
// where they come from, docs/adr/0030 what was not checked.
//
// Beside the Bot API it has a control API under /control/ to play the customers, to break things (see Fault) and
// to ask what happened, so that tests in this process, other processes and containers can all drive it. Every
// call is recorded: what was sent, what was delivered twice, and whether a token was seen outside the path.
//
// It leaves the chat page to cmd/simulator, and to tests the helpers of package simtest. It does not deliver
// webhooks and knows no encryption: it is for loopback and for test networks.
package simulator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options of a server. The zero value is Telegram's own behaviour, with random update ids and no state file.
type Options struct {
	// Now is the clock for dates, expiry and rate limits; time.Now when nil. Timers run in real time.
	Now func() time.Time
	// Seed makes the ids reproducible when it is not 0.
	Seed uint64
	// ConflictHold is for how long a 409 is held back when the last one was sent less than that ago, 3 s when 0.
	ConflictHold time.Duration
	// RepeatHold is for how long a short poll is held that repeats its offset within that time, 3 s when 0.
	RepeatHold time.Duration
	// GoneGrace is for how long a displaced poll is watched for a client that has hung up already, 200 ms when 0:
	// a process that was killed is no second poller, though its connection may be noticed as closed a moment late.
	GoneGrace time.Duration
	// ChatRate and BotRate are messages a second that one chat and one bot may send; 0 is no limit.
	ChatRate, BotRate float64
	// FilesDir makes it a server of one's own with --local: getFile has no limit, puts the file below this folder and
	// gives its path there. "" for Telegram's own.
	FilesDir string
	// StateFile keeps bots, chats and pending updates over a restart; none when "".
	StateFile string
	// OnStateError is told when the state file could not be written; nil ignores it.
	OnStateError func(error)
}

// Server is a Bot API server and its control API. It is safe for concurrent use.
type Server struct {
	opts    Options
	now     func() time.Time
	mu      sync.Mutex // guards everything below
	rng     *rand.Rand
	bots    []*bot
	faults  []*activeFault
	nextID  int64 // of faults
	changed chan struct{}
	version uint64
	closed  chan struct{}
	saver   *saver
	// batching is above 0 while several updates are queued that a waiting poll shall get as one.
	batching int
	rec      recorder
	control  http.Handler
}

// New makes a server without bots, or with those of the state file. It fails only when there is a state file
// that cannot be read.
func New(o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.ConflictHold = cmp.Or(o.ConflictHold, 3*time.Second)
	o.RepeatHold = cmp.Or(o.RepeatHold, 3*time.Second)
	o.GoneGrace = cmp.Or(o.GoneGrace, 200*time.Millisecond)
	seed := cmp.Or(o.Seed, rand.Uint64())
	s := &Server{
		opts:    o,
		now:     o.Now,
		rng:     rand.New(rand.NewPCG(seed, 0)),
		changed: make(chan struct{}),
		closed:  make(chan struct{}),
	}
	s.control = s.controlRoutes()
	if o.StateFile != "" {
		if err := s.load(o.StateFile); err != nil {
			return nil, err
		}
		s.saver = startSaver(s, o.StateFile)
	}
	return s, nil
}

// Close writes the state file, ends every waiting and hanging request and refuses further ones.
func (s *Server) Close() error {
	s.mu.Lock()
	select {
	case <-s.closed:
		s.mu.Unlock()
		return nil
	default:
		close(s.closed)
	}
	s.mu.Unlock()
	if s.saver == nil {
		return nil
	}
	return s.saver.stop()
}

// Bot is a bot as its owner sees it.
type Bot struct {
	ID       int64  `json:"id"`
	Username string `json:"username"`
}

// AddBot makes token a valid one. The bot's id is the number before the colon; a second token of the same id
// is another token of the same bot. A malformed token is a mistake in the test and panics.
func (s *Server) AddBot(token string) Bot {
	id, err := tokenBotID(token)
	if err != nil {
		panic("simulator: AddBot: " + err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.botByID(id)
	if b == nil {
		b = s.newBot(id)
		s.bots = append(s.bots, b)
	}
	b.tokens[token] = true
	s.touch()
	return Bot{ID: b.ID, Username: b.Username}
}

// RevokeToken makes the token unknown, as BotFather does: a waiting poll and every call from now on get 401.
func (s *Server) RevokeToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.bots {
		if !b.tokens[token] {
			continue
		}
		delete(b.tokens, token)
		if b.waiting != nil {
			b.waiting.finish(failure(http.StatusUnauthorized, "Unauthorized"))
			b.waiting = nil
		}
	}
	s.touch()
}

// CheckToken says what is wrong with a token's form; nil when AddBot takes it.
func CheckToken(token string) error {
	_, err := tokenBotID(token)
	return err
}

// tokenBotID takes the bot's id from a token.
func tokenBotID(token string) (int64, error) {
	number, secret, ok := strings.Cut(token, ":")
	if !ok || secret == "" {
		return 0, errors.New("want a token of the form 123456789:secret")
	}
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil || id < 1 || id >= 1<<54 || number[0] == '0' {
		return 0, fmt.Errorf("the number before the colon is no bot id")
	}
	if len(token) > 80 || strings.ContainsAny(token, "/ ") {
		return 0, errors.New("the token is too long or has a slash or a space")
	}
	return id, nil
}

// botByID finds a bot; nil when there is none. With id 0 it is the first one. The lock is held.
func (s *Server) botByID(id int64) *bot {
	for _, b := range s.bots {
		if b.ID == id || id == 0 {
			return b
		}
	}
	return nil
}

func (s *Server) botByToken(token string) *bot {
	for _, b := range s.bots {
		if b.tokens[token] {
			return b
		}
	}
	return nil
}

// touch says that something changed: those who wait look again and the state is saved. The lock is held.
func (s *Server) touch() {
	s.version++
	close(s.changed)
	s.changed = make(chan struct{})
	if s.saver != nil {
		s.saver.dirty()
	}
}

// WaitFor returns nil once ok, asked again after every change, is true. ok may use the server. The error
// after the deadline says only that; the caller knows what it waited for.
func (s *Server) WaitFor(within time.Duration, ok func() bool) error {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if ok() {
			return nil
		}
		select {
		case <-changed:
		case <-s.closed:
			return errors.New("the simulator was closed")
		case <-deadline.C:
			return fmt.Errorf("nothing came for %v: %w", within, context.DeadlineExceeded)
		}
	}
}

// ServeHTTP serves the Bot API under /bot and /file/bot, and the control API under /control/.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/control/"):
		s.control.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, "/file/bot"):
		s.serveFile(w, r)
	case strings.HasPrefix(r.URL.Path, "/bot"):
		s.serveBotAPI(w, r)
	default:
		s.noteLeaks(r, nil, "")
		failure(http.StatusNotFound, "Not Found").write(w)
	}
}
