package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"tandem/internal/door"
	"tandem/internal/ops"
	"tandem/internal/web"
)

const (
	// shutdownTimeout is how long requests in flight may take at a stop; STOP_TIMEOUT of init is longer.
	shutdownTimeout = 6 * time.Second
	// unaskedTimeout is how long a connection without a request may stay at a stop. A browser opens some in advance, and
	// Shutdown would wait five seconds for each.
	unaskedTimeout = 100 * time.Millisecond
)

// serveInbox is the actor of the HTTP server. Its interrupt returns when all requests have their answers.
func serveInbox(
	inbox *web.Server, listener net.Listener, files int, drainFor time.Duration, crowd *crowd, log *slog.Logger,
) (execute func() error, interrupt func(error)) {
	entrance := door.New(listener, door.Limits{MaxConns: maxConns(files), Advice: connsAdvice(files)}, log)
	entrance.Changed = crowd.changed
	server := &http.Server{
		Handler:           inbox,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return func() error {
			err := entrance.Serve(server)
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return err
		}, func(error) {
			if drainFor > 0 {
				log.Info("serving on until load balancers have seen that /readyz says 503", "for", drainFor)
				inbox.Drain()
				time.Sleep(drainFor)
			}
			inbox.StopStreams()
			ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
			defer cancel()
			closing := time.AfterFunc(unaskedTimeout, entrance.CloseUnasked)
			defer closing.Stop()
			if err := server.Shutdown(ctx); err != nil {
				log.Warn("requests were cut off by the stop", "after", shutdownTimeout)
				server.Close()
			}
		}
}

const (
	// maxConnsEver keeps the memory of connections small where the limit of open files is a million.
	maxConnsEver = 2048
	// minFiles is how many files web needs for anybody to be served.
	minFiles = 48
)

// maxConns is how many connections the page may have when so many files may be open. The other files are kept for the
// database, the operations port and what the process itself has open, so that none of them ever runs out.
func maxConns(files int) int {
	kept := min(max(files/2, 40), 96+ops.MaxConns(files))
	return min(files-kept, maxConnsEver)
}

// maxStreams leaves a third of the connections to those who ask for a page.
func maxStreams(files int) int { return min(maxConns(files)*2/3, 512) }

// connsAdvice is what to do about too few connections.
func connsAdvice(files int) string {
	if maxConns(files) < maxConnsEver {
		return door.RaiseFileLimit
	}
	return "one web has no more than this: have a proxy with limits of its own before it, or more replicas"
}
