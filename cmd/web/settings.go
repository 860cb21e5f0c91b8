package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"tandem/internal/backoff"
	"tandem/internal/config"
	"tandem/internal/exitcode"
	"tandem/internal/inbox"
	"tandem/internal/logging"
	"tandem/internal/sdnotify"
	"tandem/internal/store"
)

// settings of web, from the environment.
type settings struct {
	addr, opsAddr string
	drainFor      time.Duration // between the request to stop and the stop
	base          *url.URL      // nil when it is not set
	database      string
	databaseErr   error         // why database could not be read; it never ends web
	runDir        string        // of init, "" when there can be none
	keepFiles     time.Duration // 0 for ever
	supervisor    *sdnotify.Sender
}

// readSettings reads them all. The logger is usable whatever is wrong with the rest.
func readSettings(environ []string, stderr io.Writer) (settings, *slog.Logger, error) {
	env := config.New(environ)
	format := logging.Read(env)
	s := settings{
		addr:     env.Address("WEB_ADDR", ":8080", false),
		opsAddr:  env.Address("WEB_OPS_ADDR", ":9090", true),
		drainFor: env.Duration("WEB_DRAIN", 0, 0, time.Hour),
		base:     readBase(env),

		keepFiles: env.DurationOrForever("KEEP_FILES", time.Minute, 100*365*24*time.Hour),

		supervisor: sdnotify.New(func(name string) string { return env.String(name, "") }),
	}
	// Apart, because a database that is configured wrongly is said on the page and never ends web.
	database := config.New(environ)
	s.database = database.Secret("DATABASE_URL")
	if s.databaseErr = database.Err(); s.databaseErr == nil {
		s.databaseErr = store.Check(s.database)
	}
	s.runDir, _ = env.RunDir() // one that it may not write, an init of another user's, it can still read
	err := env.Err()
	if err != nil && s.databaseErr != nil { // all at once
		err = fmt.Errorf("%w; %w", err, s.databaseErr)
	}
	return s, logging.New(stderr, format, "web", store.Secrets(s.database)...), err
}

func readBase(env *config.Env) *url.URL {
	text := env.String("WEB_BASE_URL", "")
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		env.Reject("WEB_BASE_URL", `want http://HOST or https://HOST, with a port if need be and nothing after it, `+
			`like "https://inbox.example.org"`)
		return nil
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}
}

// links is where sign-in links lead: WEB_BASE_URL, else this machine.
func (s settings) links() *url.URL {
	if s.base != nil {
		return s.base
	}
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		port = "8080"
	}
	return &url.URL{Scheme: "http", Host: net.JoinHostPort("localhost", port)}
}

// databaseRetryAfter is the pause before a database is tried again that refused the user, the password or the like.
const databaseRetryAfter = 10 * time.Second

// database is the store, and what is wrong with its setting.
type database struct {
	*store.Store
	wrong error
	log   *slog.Logger
}

func openDatabase(s settings, log *slog.Logger) *database {
	if s.databaseErr != nil {
		return &database{store.Unusable(s.databaseErr, log), s.databaseErr, log}
	}
	return &database{store.Open(s.database, log), nil, log}
}

// run runs the store until ctx ends. A database that is configured wrongly may be mended on its side.
func (d *database) run(ctx context.Context) {
	if d.wrong != nil {
		d.log.Error("database cannot be used; web stays up without it", "reason", d.wrong)
		<-ctx.Done()
		return
	}
	for pause := time.Duration(0); backoff.Sleep(ctx, pause); pause = databaseRetryAfter {
		if err := d.Run(ctx); err != nil {
			d.log.Debug("no database; web stays up without it", "error", err, "next", databaseRetryAfter)
		}
	}
}

// report tells whoever started web how it is, for `init status`, until ctx ends.
func (d *database) report(ctx context.Context, to *sdnotify.Sender, addr string) {
	for said := ""; ; {
		changed, ready := d.Watch()
		status := "listens on " + addr
		var e *inbox.Error
		if errors.As(ready, &e) && e.Kind != inbox.NotConnected { // that it is only beginning is no news
			status += "; " + ready.Error()
		}
		if status != said {
			to.Send(sdnotify.Status(status))
			said = status
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// silent ends the process with code when the log has said why.
func silent(code int) error { return exitcode.With(code, errSaid) }

var errSaid = errors.New("see the log")
