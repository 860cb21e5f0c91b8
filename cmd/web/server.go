package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"tandem/internal/web"
)

const (
	// stopLimit is how long requests in flight may take at a stop; STOP_TIMEOUT of init is longer.
	stopLimit = 6 * time.Second
	// newLimit is how long a connection without a request may stay at a stop. A browser opens some in advance, and
	// Shutdown would wait five seconds for each.
	newLimit = 100 * time.Millisecond
)

// serveInbox is the actor of the HTTP server. Its interrupt returns when all requests have their answers.
func serveInbox(inbox *web.Server, listener net.Listener, drain time.Duration, log *slog.Logger) (execute func() error, interrupt func(error)) {
	fresh := &freshConns{conns: map[net.Conn]struct{}{}}
	server := &http.Server{
		Handler:           inbox,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ConnState:         fresh.track,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return func() error {
			err := server.Serve(listener)
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return err
		}, func(error) {
			if drain > 0 {
				log.Info("serving on until load balancers have seen that /readyz says 503", "for", drain)
				inbox.Drain()
				time.Sleep(drain)
			}
			inbox.StopStreams()
			ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
			defer cancel()
			closing := time.AfterFunc(newLimit, fresh.close)
			defer closing.Stop()
			if err := server.Shutdown(ctx); err != nil {
				log.Warn("requests were cut off by the stop", "after", stopLimit)
				server.Close()
			}
		}
}

// freshConns are the connections on which nothing was asked yet.
type freshConns struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func (f *freshConns) track(c net.Conn, state http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if state != http.StateNew {
		delete(f.conns, c)
		return
	}
	f.conns[c] = struct{}{}
}

func (f *freshConns) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		c.Close()
	}
}
