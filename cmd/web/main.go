// Command web serves the support inbox: the page, the API and live events on WEB_ADDR, figures on WEB_OPS_ADDR.
// It also makes sign-in links for operators, tokens for programs, and backups of an SQLite database. `web -help` says
// all.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/oklog/run"

	"tandem/internal/buildinfo"
	"tandem/internal/door"
	"tandem/internal/exitcode"
	"tandem/internal/ops"
	"tandem/internal/sdnotify"
	"tandem/internal/web"
)

func main() {
	err := command(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, errSaid) {
		fmt.Fprintln(os.Stderr, "web:", err)
	}
	os.Exit(exitcode.Of(err))
}

// command does what the command line says.
func command(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return serve(ctx, environ, stderr)
	}
	switch args[0] {
	case "-help", "--help", "-h", "help":
		_, err := io.WriteString(stdout, help())
		return err
	case "-version", "--version", "version":
		_, err := fmt.Fprintln(stdout, "web", buildinfo.String())
		return err
	case "healthcheck":
		return healthcheck(ctx, args[1:], environ)
	case "operator":
		return operatorCommand(ctx, args[1:], environ, stdout, stderr)
	case "token":
		return tokenCommand(ctx, args[1:], environ, stdout, stderr)
	case "backup":
		return backupCommand(ctx, args[1:], environ, stdout, stderr)
	case "restore":
		return restoreCommand(ctx, args[1:], environ, os.Stdin, stderr)
	case "restored":
		return restoredCommand(ctx, args[1:], environ, stderr)
	}
	return usage("unknown command %q", args[0])
}

// serve runs until a signal asks it to stop. No trouble of the database ends it.
func serve(ctx context.Context, environ []string, stderr io.Writer) error {
	// Before anything else: a stop that comes while web is starting is a stop, too. A second signal ends it at once.
	ctx, release := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	defer release()
	defer context.AfterFunc(ctx, release)()
	settings, log, err := readSettings(environ, stderr)
	if err != nil {
		log.Error("web cannot run as configured", "error", err)
		return silent(exitcode.Config)
	}
	files := door.MaxFiles()
	if files < minFiles {
		log.Error("web cannot run as configured: too few files may be open",
			"limit", files, "needed", minFiles, "next", door.RaiseFileLimit)
		return silent(exitcode.Config)
	}
	listener, err := net.Listen("tcp", settings.addr)
	if err != nil {
		log.Error("web cannot listen",
			"addr", settings.addr, "error", err, "next", "stop the other program there or set WEB_ADDR")
		return silent(exitcode.Failure)
	}
	db := openDatabase(settings, log)
	defer db.Close()
	inbox := web.New(web.Config{Store: db, Log: log, BaseURL: settings.base, RunDir: settings.runDir, Parent: os.Getppid(),
		MaxStreams: maxStreams(files), KeepFiles: settings.keepFiles})

	limitMemory()
	crowd := newCrowd()

	// The interrupts run in this order, one after the other: requests get their answers before the database goes.
	var g run.Group
	g.Add(run.ContextHandler(ctx))
	g.Add(serveInbox(inbox, listener, files, settings.drainFor, crowd, log))
	g.Add(until(func(ctx context.Context) { ops.Serve(ctx, settings.opsAddr, inbox.OpsHandler(), log) }))
	g.Add(until(inbox.Janitor))
	g.Add(until(returnMemory))
	g.Add(until(crowd.collect))
	g.Add(until(inbox.Run))
	g.Add(until(db.KeepIndex))
	g.Add(until(func(ctx context.Context) { db.report(ctx, settings.supervisor, listener.Addr().String()) }))
	g.Add(until(db.run))

	settings.supervisor.Send("READY=1", sdnotify.Status("listens on "+listener.Addr().String()))
	defer context.AfterFunc(ctx, func() { settings.supervisor.Send("STOPPING=1") })()
	log.Info("ready", "addr", listener.Addr().String(), "version", buildinfo.String())
	err = g.Run()
	if ctx.Err() != nil {
		log.Info("stopped", "reason", context.Cause(ctx).Error())
		return nil
	}
	log.Error("web ended", "error", err)
	return silent(exitcode.Failure)
}

// until makes an actor of a function that runs until its context ends. That is not the one that a signal ends: the
// group's order would be lost.
func until(f func(context.Context)) (execute func() error, interrupt func(error)) {
	ctx, cancel := context.WithCancel(context.Background())
	return func() error {
		f(ctx)
		return ctx.Err()
	}, func(error) { cancel() }
}
