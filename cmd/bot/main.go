// Command bot is the Telegram side of Tandem: it takes customers' messages into the inbox and delivers the
// operators' answers. `bot -help` tells its settings and exit codes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/oklog/run"

	"tandem/internal/buildinfo"
	"tandem/internal/config"
	"tandem/internal/exitcode"
	"tandem/internal/inbox"
	"tandem/internal/logging"
	"tandem/internal/ops"
	"tandem/internal/status"
	"tandem/internal/store"
	"tandem/internal/telegram"
)

func main() {
	if len(os.Args) > 1 {
		os.Exit(explain(os.Args[1:], os.Stdout, os.Stderr))
	}
	// Before anything else: a stop that comes while the bot is starting is a stop, too.
	ctx, release := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	context.AfterFunc(ctx, release) // a second signal ends it at once
	env := config.New(os.Environ())
	cfg := readSettings(env)
	log := logging.New(os.Stderr, cfg.log, "bot", cfg.secrets...)
	slog.SetDefault(log)
	err := env.Err()
	if err != nil {
		err = exitcode.With(exitcode.Config, err)
	} else {
		err = serve(ctx, cfg, log)
	}
	lastWords(log, err)
	leaveWords(env.String("RUN_DIR", ""), err, cfg.secrets)
	os.Exit(exitcode.Of(err))
}

// serve runs the bot until a signal or an error ends it. The order of the actors is the order in which they
// are stopped: the bot has work to finish, for which it needs the database.
func serve(ctx context.Context, cfg settings, log *slog.Logger) error {
	db := store.Open(cfg.database, slog.New(atMostWarn{log.Handler()}))
	defer db.Close()
	if cfg.lockURL != "" {
		if err := db.LockThrough(cfg.lockURL); err != nil {
			return exitcode.With(exitcode.Config, err)
		}
	}
	lock, err := openLock(cfg, log)
	if err != nil {
		return err
	}
	defer lock.Close()
	tell := newTeller(cfg.supervisor, log)
	bot := telegram.New(telegram.Options{
		Token: cfg.token, APIURL: cfg.apiURL, Proxy: cfg.proxy, Instance: instance(), Store: db, Guard: lock.Replaced,
		Limits: cfg.limits, Files: cfg.files,
		Log: log, Changed: tell.changed,
	})

	var g run.Group
	locked, finished := make(chan struct{}), make(chan struct{})
	botCtx, stopBot := context.WithCancel(context.Background())
	g.Add(func() error {
		defer close(finished)
		if err := take(botCtx, lock, bot.StandBy, log); err != nil {
			return err
		}
		close(locked)
		tell.changed(telegram.Condition{State: inbox.BotStarting, Reason: "waiting for the database"})
		if err := db.WaitReady(botCtx); err != nil {
			return err
		}
		return bot.Run(botCtx)
	}, func(error) { tell.stopping(); stopBot() })

	g.Add(run.ContextHandler(ctx))

	dbCtx, stopDB := context.WithCancel(context.Background())
	g.Add(func() error {
		select { // one that stands by leaves the database alone
		case <-locked:
			return db.Run(dbCtx)
		case <-finished:
			return nil
		}
	}, func(error) { <-finished; stopDB() })

	opsCtx, stopOps := context.WithCancel(context.Background())
	g.Add(func() error { ops.Serve(opsCtx, cfg.opsAddr, routes(bot, db), log); return nil }, func(error) { stopOps() })

	watchCtx, stopWatch := context.WithCancel(context.Background())
	g.Add(func() error { tell.alive(watchCtx, bot.Alive); return nil }, func(error) { stopWatch() })

	err = g.Run()
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		log.Info("stopped", "reason", context.Cause(ctx).Error())
		return nil
	}
	return err
}

// lastWords says in one line why the bot ends and what to do about it.
func lastWords(log *slog.Logger, err error) {
	switch exitcode.Of(err) {
	case exitcode.OK:
	case exitcode.Config:
		log.Error("cannot run as configured", "reason", err.Error(), "code", exitcode.Config)
	case exitcode.TempFail:
		log.Error("cannot run now", "reason", err.Error(), "code", exitcode.TempFail)
	default:
		log.Error("ended by an error", "reason", err.Error(), "code", exitcode.Of(err))
	}
}

// leaveWords puts why the bot ends where web and init look for it. A bot with wrong settings has no database to say
// it in. Without init, who sets RUN_DIR, nobody would look.
func leaveWords(dir string, err error, secrets []string) {
	if err == nil || dir == "" {
		return
	}
	reason := err.Error()
	for _, s := range secrets {
		if s != "" {
			reason = strings.ReplaceAll(reason, s, "[secret]")
		}
	}
	// The log has them too, and a bot that ends has no better use for an error.
	_ = status.WriteWords(dir, "bot", status.Words{At: time.Now(), Code: exitcode.Of(err), Reason: reason})
}

// explain answers the command line, which has nothing but questions: settings come from the environment.
func explain(args []string, out, errs io.Writer) int {
	switch args[0] {
	case "-version", "--version":
		fmt.Fprintln(out, "bot", buildinfo.String())
		return exitcode.OK
	case "-help", "--help", "-h", "help":
		fmt.Fprint(out, help())
		return exitcode.OK
	}
	fmt.Fprintf(errs, "bot: there is no argument %q: it takes -version and -help, settings come from the environment\n",
		args[0])
	return exitcode.Usage
}

// atMostWarn takes the store's errors down to warnings: what ends the bot is one error line, its last.
type atMostWarn struct{ slog.Handler }

func (h atMostWarn) Handle(ctx context.Context, r slog.Record) error {
	r.Level = min(r.Level, slog.LevelWarn)
	return h.Handler.Handle(ctx, r)
}

func (h atMostWarn) WithAttrs(attrs []slog.Attr) slog.Handler {
	return atMostWarn{h.Handler.WithAttrs(attrs)}
}
func (h atMostWarn) WithGroup(name string) slog.Handler { return atMostWarn{h.Handler.WithGroup(name)} }

func instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s:%d", host, os.Getpid())
}
