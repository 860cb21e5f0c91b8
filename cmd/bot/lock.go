package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"tandem/internal/exitcode"
	"tandem/internal/lockfile"
	"tandem/internal/status"
)

// pollLock is the polling lock on a file, as this process has it: handed down by init, or to be taken.
type pollLock struct {
	*lockfile.Lock
	path string
	held bool
	// covered says that init holds the lock for this process, whose launcher closed the descriptor for it.
	covered bool
}

// openLock gets hold of the lock file. What cannot be locked safely keeps the bot from running, with the reason. Two
// bots that poll with one token lose each other's messages.
func openLock(cfg settings, log *slog.Logger) (*pollLock, error) {
	if reason := lockfile.GuardsNothing(cfg.lockFile); reason != "" {
		log.Warn("the polling lock guards this container only", "reason", reason)
	}
	if cfg.lockFD >= 0 {
		lock, err := lockfile.Inherited(cfg.lockFD, cfg.lockFile)
		if err == nil {
			return &pollLock{Lock: lock, path: cfg.lockFile, held: true}, nil
		}
		if !errors.Is(err, syscall.EBADF) {
			return nil, exitcode.With(exitcode.Config,
				fmt.Errorf("POLL_LOCK_FD=%d is not the polling lock: %w", cfg.lockFD, err))
		}
	}
	reserved := append(lockfile.OfDatabase(cfg.database), lockfile.OfRunDir(cfg.runDir, status.Names())...)
	lock, err := lockfile.Open(cfg.lockFile, reserved...)
	if err != nil {
		return nil, exitcode.With(exitcode.Config, err)
	}
	return &pollLock{Lock: lock, path: cfg.lockFile, covered: cfg.lockFD >= 0}, nil
}

// take waits until this process may poll on this host. standBy is told who holds the lock, if it must wait.
func take(ctx context.Context, l *pollLock, standBy func(holder string), log *slog.Logger) error {
	if l.held {
		return nil
	}
	ok, err := l.TryLock()
	if err != nil {
		return exitcode.With(exitcode.Config, err)
	}
	if !ok && l.covered {
		log.Warn("the descriptor of the polling lock was closed on the way from init to here; "+
			"going on, since init holds the lock until this process has ended", "path", l.path)
		return nil
	}
	if !ok {
		holder := lockfile.Holder(l.path)
		standBy(holder) // before the line: whoever reads it finds the bot ready
		log.Info("standing by: another process holds the polling lock", "path", l.path, "holder", holder)
		if err := l.Lock.Lock(ctx); ctx.Err() != nil {
			return nil
		} else if err != nil {
			return exitcode.With(exitcode.Config, err)
		}
	}
	l.held = true
	if err := l.SetHolder(fmt.Sprintf("bot %s since %s", instance(), time.Now().UTC().Format(time.RFC3339))); err != nil {
		log.Debug("the lock file cannot say who holds it", "error", err)
	}
	return nil
}
