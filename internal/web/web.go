// Package web is the inbox over HTTP: the page, the API under /api/v1, live events, and what the operations
// port shows.
//
// It promises that every route is in one table with who may use it; that a page works without JavaScript for
// reading and answering; that each stream has each event once, in the order of commits; and that it answers,
// in words, when the database is not there. Whoever runs it brings the store, the listeners and the lifecycle:
// Run must be running for streams to have events, and StopStreams comes before the HTTP server's Shutdown,
// which would wait for them.
package web

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/mux"

	"tandem/internal/backoff"
	"tandem/internal/inbox"
)

// Config is what a Server needs. Only Store and Log are required.
type Config struct {
	Store inbox.OperatorStore
	Log   *slog.Logger
	// BaseURL is where browsers find the inbox; https makes cookies Secure. nil: wherever a request says.
	BaseURL *url.URL
	// RunDir is where init keeps its status, and Parent the process that must have written it to be believed: the parent
	// of this one. "" when there is none.
	RunDir string
	Parent int

	// KeepFiles is for how long the bytes of files are kept; 0 is for ever.
	KeepFiles time.Duration
	// MaxStreams and MaxStreamsEach bound the open streams in all and of one operator or token; 0 is the usual.
	MaxStreams, MaxStreamsEach int
	// HeartbeatEvery is the pause between the comments of a silent stream; 0 is the usual.
	HeartbeatEvery time.Duration
	// RecheckEvery is the pause between checks that the readers of streams may still read, in case a hint was lost that
	// one may not; 0 is the usual.
	RecheckEvery time.Duration
	// MaxRightAge is how old a right may be when the body of its request ends. An older one is looked at again; 0 is the
	// usual.
	MaxRightAge time.Duration
}

// Server serves the inbox. Make it with New.
type Server struct {
	store    inbox.OperatorStore
	log      *slog.Logger
	config   Config
	sessions *scs.SessionManager
	hub      *hub
	streams  *streamLimit
	cache    responseCache
	ahead    map[string]route // those of readAhead, by method and path
	inFlight *inFlight
	metrics  *metrics
	router   *mux.Router
	handler  http.Handler
	started  time.Time

	refusedAt atomic.Int64 // when a request of another site was last told of in the log
	wanted    chan []int64 // messages whose files nobody has asked for

	draining    atomic.Bool
	stopping    context.Context
	stopStreams context.CancelFunc
}

// New makes a Server. It does no input or output.
func New(c Config) *Server {
	c.MaxStreams = cmp.Or(c.MaxStreams, 512)
	c.MaxStreamsEach = cmp.Or(c.MaxStreamsEach, 32)
	c.HeartbeatEvery = cmp.Or(c.HeartbeatEvery, 15*time.Second)
	c.RecheckEvery = cmp.Or(c.RecheckEvery, 30*time.Second)
	c.MaxRightAge = cmp.Or(c.MaxRightAge, 500*time.Millisecond)
	s := &Server{store: newFairStore(c.Store), log: c.Log, config: c, started: time.Now()}
	s.stopping, s.stopStreams = context.WithCancel(context.Background())
	s.hub = newHub(c.Store, c.Log, c.RecheckEvery)
	s.streams = newStreamLimit(c.MaxStreams, c.MaxStreamsEach)
	s.inFlight = newInFlight()
	s.sessions = newSessions(s.store, s.https())
	s.wanted = make(chan []int64, wantsWaiting)
	s.metrics = newMetrics(s)
	s.ahead = readingAhead(s.routes())
	s.router = s.newRouter()
	s.handler = s.protect(s.router)
	return s
}

func (s *Server) https() bool { return s.config.BaseURL != nil && s.config.BaseURL.Scheme == "https" }

// ServeHTTP serves the page and the API.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.handler.ServeHTTP(w, s.readAhead(w, r))
}

// Run reads events for the streams, asks for files of older messages and does what is due, until ctx ends.
func (s *Server) Run(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() { s.askForFiles(ctx) })
	asking.Go(func() { s.keepTimes(ctx) })
	s.hub.run(ctx)
}

// Drain prepares a stop behind a load balancer. From now on /readyz says 503, and each response asks for its connection
// to be closed. So none is left on which the next request could be on its way when the server ends. All else goes on.
func (s *Server) Drain() { s.draining.Store(true) }

// ready is what /readyz says on the operations port.
func (s *Server) ready() error {
	if s.draining.Load() {
		return errors.New("this web is about to stop: send requests to another")
	}
	return s.store.Ready()
}

// readyForAll is what /readyz says to anybody.
func (s *Server) readyForAll() error {
	err := s.ready()
	if err != nil && !s.draining.Load() {
		return publicError(err)
	}
	return err
}

// StopStreams ends all streams at once and refuses new ones; other requests go on.
func (s *Server) StopStreams() { s.stopStreams() }

// Janitor prunes the store now and every hour until ctx ends.
func (s *Server) Janitor(ctx context.Context) {
	for pause := time.Duration(0); backoff.Sleep(ctx, pause); {
		pause = time.Hour
		if s.store.Ready() != nil {
			pause = 10 * time.Second
		} else if err := s.store.Prune(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("pruning failed, trying again later", "error", err)
			pause = time.Minute
		} else if err := s.pruneFiles(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("files cannot be removed, trying again later", "error", err)
			pause = time.Minute
		} else if s.config.KeepFiles > 0 {
			pause = min(pause, max(s.config.KeepFiles/10, time.Minute))
		}
	}
}

func (s *Server) pruneFiles(ctx context.Context) error {
	var before time.Time
	if s.config.KeepFiles > 0 {
		before = time.Now().Add(-s.config.KeepFiles)
	}
	return s.store.PruneFiles(ctx, before)
}
