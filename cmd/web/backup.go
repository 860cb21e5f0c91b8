package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"tandem/internal/exitcode"
	"tandem/internal/store"
)

// untilSignal is for what must not leave half a file behind: its context ends with a signal, and a reader of our output
// that has gone is an error of the write.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
}

func backupCommand(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	if len(args) > 1 {
		return usage("want: web backup > FILE, or web backup FILE")
	}
	url, err := databaseOf(environ)
	if err != nil {
		return err
	}
	ctx, stop := untilSignal(ctx)
	defer stop()
	if len(args) == 1 {
		if err := store.Backup(ctx, url, args[0]); err != nil {
			return fmt.Errorf("no backup was made: %w", err)
		}
		fmt.Fprintf(stderr, "%s is a checked copy of the database.\n", args[0])
		return nil
	}
	if isTerminal(stdout) {
		return usage("a backup is no text for a terminal: web backup > FILE")
	}
	if err := store.BackupTo(ctx, url, stdout); err != nil {
		return fmt.Errorf("no backup was made, what was written is none: %w", err)
	}
	return nil
}

func restoreCommand(ctx context.Context, args, environ []string, stdin io.Reader, stderr io.Writer) error {
	if len(args) > 1 {
		return usage("want: web restore < FILE, or web restore FILE")
	}
	url, err := databaseOf(environ)
	if err != nil {
		return err
	}
	from := stdin
	switch {
	case len(args) == 1:
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		from = f
	case isTerminal(stdin):
		return usage("a backup is no text that one types: web restore < FILE")
	}
	ctx, stop := untilSignal(ctx)
	defer stop()
	kept, err := store.Restore(ctx, url, from)
	if err != nil {
		return fmt.Errorf("nothing was restored, the database is as it was: %w", err)
	}
	if kept != "" {
		fmt.Fprintf(stderr, "The database that was there is kept as %s; remove it when all is well.\n", kept)
	}
	return restoredCommand(ctx, nil, environ, stderr)
}

// restoredCommand is for a database that was put back by other tools, and the end of restoreCommand.
func restoredCommand(ctx context.Context, args, environ []string, stderr io.Writer) error {
	if len(args) != 0 {
		return usage("restored takes no arguments")
	}
	return withStore(ctx, environ, func(db *store.Store, _ settings) error {
		n, err := db.Restored(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(stderr, "Restored. Messages that waited to be sent in it, "+
			"and now say that they may have been delivered: %d.\n", n)
		return nil
	})
}

func databaseOf(environ []string) (string, error) {
	s, _, err := readSettings(environ, io.Discard)
	if err := errors.Join(err, s.databaseErr); err != nil {
		return "", exitcode.With(exitcode.Config, err)
	}
	return s.database, nil
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
