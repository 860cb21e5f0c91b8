// Package logging makes the logger of web and of bot: slog to standard error, one event a line, with
// process=web|bot. It is told the process's secrets and keeps them out of every line, as a second net
// under the code that should not log them in the first place.
package logging

import (
	"bytes"
	"io"
	"log/slog"

	"tandem/internal/config"
	"tandem/internal/logline"
)

// Settings are LOG_LEVEL and LOG_FORMAT.
type Settings = logline.Settings

// Read takes the settings from env; the format is text when standard error is a terminal and else JSON.
func Read(env *config.Env) Settings { return logline.Read(env) }

// New makes a logger for process that writes each event to w with one write(2).
// Every occurrence of a secret is replaced by "[secret]".
func New(w io.Writer, s Settings, process string, secrets ...string) *slog.Logger {
	for _, secret := range secrets {
		if secret != "" {
			w = &redactor{next: w, secret: []byte(secret)}
		}
	}
	options := &slog.HandlerOptions{Level: slog.Level(s.Level)}
	var h slog.Handler = slog.NewTextHandler(w, options)
	if s.JSON {
		h = slog.NewJSONHandler(w, options)
	}
	return slog.New(h).With("process", process)
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
