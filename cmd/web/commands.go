package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"tandem/internal/config"
	"tandem/internal/exitcode"
	"tandem/internal/store"
)

const usageLine = "usage: web | web healthcheck | web operator add NAME | web operator list | " +
	"web operator sign-out NAME | web operator remove NAME | web token create NAME | web token list | " +
	"web token revoke NAME | web backup [FILE] | web restore [FILE] | web restored | web -version | web -help"

// allSettings are what -help prints, and what the documents are compared with.
var allSettings = []config.Setting{
	{Name: "DATABASE_URL", Secret: true,
		Says: "postgres://USER:PASSWORD@HOST/DATABASE or sqlite:PATH. Without it, or with one that " +
			"cannot be used, web stays up and says so"},
	{Name: "WEB_ADDR", Default: ":8080", Says: "the page and the API"},
	{Name: "WEB_OPS_ADDR", Default: ":9090",
		Says: "/metrics (Prometheus), /status (JSON) and /readyz with the whole reason, so " +
			"not for strangers; off switches it off. If it is taken, that is a warning"},
	{Name: "KEEP_FILES", Default: "forever",
		Says: "files of customers that were stored longer ago are removed, like 2160h; their messages stay"},
	{Name: "WEB_DRAIN", Default: "0s",
		Says: "how long it serves on when it is asked to stop, with /readyz at 503, for a load " +
			"balancer to notice; shorter than STOP_TIMEOUT of init, and an hour at most"},
	{Name: "WEB_BASE_URL", Unset: "http://localhost and the port of WEB_ADDR",
		Says: "where browsers find the inbox, for sign-in links; https makes cookies Secure"},
	{Name: "RUN_DIR", Unset: config.RunDirs, Says: "where init keeps status.json, to say why the bot is down"},
	config.LogLevel,
	config.LogFormat,
	{Name: "NOTIFY_SOCKET", By: "init or systemd", Says: "where web says that it is ready or stops"},
}

// help is made when somebody asks for it: a process that serves does without.
func help() string {
	return `web serves Tandem's inbox: the page, the API and live events.

usage:
  web                     serve until SIGTERM, SIGINT or SIGQUIT
  web healthcheck         ask the own /healthz: 0 when it answers, else 1
  web operator add NAME   print a one-time sign-in link, valid for 24 hours. Asked again for the same name
                          it prints a new one, and the old one is void. Using it signs the operator out everywhere
                          else, unless the box for it is unticked
  web operator list       print the operators: name, id, since when, and in how many browsers each is signed in
  web operator sign-out NAME
                          end the sessions of an operator at once, live pages included, and void his unused link:
                          for a lost device. "web operator add NAME" gives a new link
  web operator remove NAME
                          do that and remove the operator. What he wrote keeps his name. Added again he is another
  web token create NAME   print a token for the API, and nothing else on standard output. It may do all that the API
                          can, until it is revoked
  web token list          print the tokens: name, id, since when. What a token was printed as is stored nowhere
  web token revoke NAME   make it useless at once, in open streams too
  web backup [FILE]       copy the SQLite database, as of one moment and while it is in use, into a new file or, without
                          FILE, to standard output. PostgreSQL has pg_dump
  web restore [FILE]      put such a copy, or what standard input gives, in the place of the database. web and bot must
                          be stopped. What was there is kept beside it
  web restored            say that a database was put back by other means (pg_restore): answers that waited to be sent
                          in it may have been sent since, and say so from then on
  web -version | -help

settings (environment variables; an empty one counts as not set):
` + config.Help(allSettings) + `
exit codes:
   0  done, or stopped by a signal
   1  failed; the message says why
  64  the command line is wrong
  78  the settings are wrong; all that is wrong with them is said at once
`
}

func usage(format string, args ...any) error {
	return exitcode.With(exitcode.Usage, fmt.Errorf(format+"\n"+usageLine, args...))
}

// healthcheck is for HEALTHCHECK in an image without a shell.
func healthcheck(ctx context.Context, args, environ []string) error {
	if len(args) != 0 {
		return usage("healthcheck takes no arguments")
	}
	env := config.New(environ)
	host, port, err := net.SplitHostPort(env.Address("WEB_ADDR", ":8080", false))
	if err := errors.Join(err, env.Err()); err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/healthz", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("health check: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("health check: %s", response.Status)
	}
	return nil
}

// withStore does one thing with the database and ends.
func withStore(ctx context.Context, environ []string, do func(*store.Store, settings) error) error {
	// What the store logs on its way is for a server; here its errors say it all.
	s, log, err := readSettings(environ, io.Discard)
	if err != nil {
		return exitcode.With(exitcode.Config, err)
	}
	if s.databaseErr != nil {
		return exitcode.With(exitcode.Config, s.databaseErr)
	}
	db := store.Open(s.database, log)
	defer db.Close()
	if err := db.Connect(ctx); err != nil {
		return err
	}
	return do(db, s)
}
