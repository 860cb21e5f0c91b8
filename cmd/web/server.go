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
	// stopLimit is how long requests in flight may take at a stop; STOP_TIMEOUT of init is longer.
	stopLimit = 6 * time.Second
	// newLimit is how long a connection without a request may stay at a stop. A browser opens some in advance, and
	// Shutdown would wait five seconds for each.
	newLimit = 100 * time.Millisecond
)

// serveInbox is the actor of the HTTP server. Its interrupt returns when all requests have their answers.
func serveInbox(inbox *web.Server, listener net.Listener, files int, drain time.Duration, log *slog.Logger) (execute func() error, interrupt func(error)) {
	entrance := door.New(listener, door.Limits{Conns: connections(files), Next: moreConnections(files)}, log)
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
			if drain > 0 {
				log.Info("serving on until load balancers have seen that /readyz says 503", "for", drain)
				inbox.Drain()
				time.Sleep(drain)
			}
			inbox.StopStreams()
			ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
			defer cancel()
			closing := time.AfterFunc(newLimit, entrance.CloseUnasked)
			defer closing.Stop()
			if err := server.Shutdown(ctx); err != nil {
				log.Warn("requests were cut off by the stop", "after", stopLimit)
				server.Close()
			}
		}
}

const (
	// mostConns keeps the memory of connections small where the limit of open files is a million.
	mostConns = 2048
	// leastFiles is how many files web needs for anybody to be served.
	leastFiles = 48
)

// connections is how many there may be of the page when so many files may be open. The others are kept for the database, the
// operations port and what the process itself has open, so that none of them ever comes to the end.
func connections(files int) int {
	kept := min(max(files/2, 40), 96+ops.Conns(files))
	return min(files-kept, mostConns)
}

// mostStreams leaves a third of the connections to those who ask for a page.
func mostStreams(files int) int { return min(connections(files)*2/3, 512) }

// moreConnections is what to do about too few of them.
func moreConnections(files int) string {
	if connections(files) < mostConns {
		return door.MoreFiles
	}
	return "one web has no more than this: have a proxy with limits of its own before it, or more replicas"
}
