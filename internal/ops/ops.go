// Package ops serves a process's operations port: health, readiness and metrics, for probes and Prometheus.
//
// It promises never to end the process: an address that is taken is a warning, and the process goes on without
// the port. What is served there is the caller's.
package ops

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"time"

	"tandem/internal/door"
)

// Serve listens on addr (host:port) and serves h until ctx ends; then requests have a second to end. With an
// empty addr, or one that cannot be listened on, it only waits for the end of ctx.
func Serve(ctx context.Context, addr string, h http.Handler, log *slog.Logger) {
	if addr == "" {
		<-ctx.Done()
		return
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		log.Warn("no operations port, going on without it", "addr", addr, "error", err)
		<-ctx.Done()
		return
	}
	log.Info("operations port", "addr", listener.Addr().String())
	limits := door.Limits{MaxConns: MaxConns(door.MaxFiles()), MaxMemory: 2 << 20, Advice: door.RaiseFileLimit}
	d := door.New(listener, limits, log)
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		last, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(last) != nil {
			server.Close()
		}
	})
	if err := d.Serve(server); err != http.ErrServerClosed {
		log.Warn("the operations port ended, going on without it", "error", err)
		<-ctx.Done()
	}
	if !stop() {
		<-stopped
	}
}

// MaxConns is how many connections the port has when so many files may be open.
func MaxConns(files int) int { return min(max(files/32, 4), 512) }

// Healthz answers 200 while the process can answer at all.
func Healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

// Readyz answers 200, or 503 with what ready says is in the way: {"ready":false,"reasons":["..."]}.
func Readyz(ready func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		response := struct {
			Ready   bool     `json:"ready"`
			Reasons []string `json:"reasons,omitempty"`
		}{Ready: true}
		status := http.StatusOK
		if err := ready(); err != nil {
			status = http.StatusServiceUnavailable
			response.Ready, response.Reasons = false, []string{err.Error()}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(response)
	}
}
