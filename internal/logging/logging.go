// Package logging makes the loggers of init, web and bot: log/slog to standard error, one event a line, with
// process=init|web|bot.
//
// For web and bot it promises that the process's secrets are in no line. That is a second net under code that should
// not log them in the first place. For init, which is PID 1, it promises that a log which nobody takes never makes init
// wait (Async), and that no line of another process tears a line of init's. What is logged is left to the callers.
package logging

import (
	"bytes"
	"io"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"tandem/internal/config"
)

// Settings are LOG_LEVEL and LOG_FORMAT.
type Settings struct {
	Level slog.Level
	JSON  bool
}

// Read reads the settings. The format is text when standard error is a terminal, and else JSON.
func Read(env *config.Env) Settings {
	var s Settings
	switch env.OneOf("LOG_LEVEL", "info", "debug", "warn", "error") {
	case "debug":
		s.Level = slog.LevelDebug
	case "warn":
		s.Level = slog.LevelWarn
	case "error":
		s.Level = slog.LevelError
	}
	formats := []string{"json", "text"}
	if _, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS); err == nil { // the question of isatty(3)
		formats = []string{"text", "json"}
	}
	s.JSON = env.OneOf("LOG_FORMAT", formats...) == "json"
	return s
}

// handler is log/slog's own for the settings.
func (s Settings) handler(w io.Writer) slog.Handler {
	options := &slog.HandlerOptions{Level: s.Level}
	if s.JSON {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

// New makes a logger for process that writes each event to w with one write(2).
// Every occurrence of a secret is replaced by "[secret]".
func New(w io.Writer, s Settings, process string, secrets ...string) *slog.Logger {
	for _, secret := range secrets {
		if secret != "" {
			w = &redactor{next: w, secret: []byte(secret)}
		}
	}
	return slog.New(s.handler(w)).With("process", process)
}

type redactor struct {
	next   io.Writer
	secret []byte
}

func (r *redactor) Write(line []byte) (int, error) {
	if !bytes.Contains(line, r.secret) {
		return r.next.Write(line)
	}
	if _, err := r.next.Write(bytes.ReplaceAll(line, r.secret, []byte("[secret]"))); err != nil {
		return 0, err
	}
	return len(line), nil
}
