package logging

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// maxLineBytes is what a pipe takes in one piece (PIPE_BUF of pipe(7)). A longer line might be torn by another
// process's.
const maxLineBytes = 4096

// bounded writes lines of at most maxLineBytes. Where a line would be longer, its longest texts are shortened.
type bounded struct {
	lines slog.Handler // writes to line
	line  *bytes.Buffer
	mu    *sync.Mutex // of line
	w     io.Writer
}

// newBounded makes a logger for process whose lines go to w, each by one call of Write.
func newBounded(w io.Writer, s Settings, process string) *slog.Logger {
	line := &bytes.Buffer{}
	return slog.New(bounded{s.handler(line), line, &sync.Mutex{}, w}).With("process", process)
}

func (b bounded) Enabled(ctx context.Context, l slog.Level) bool { return b.lines.Enabled(ctx, l) }

func (b bounded) WithAttrs(facts []slog.Attr) slog.Handler {
	b.lines = b.lines.WithAttrs(facts)
	return b
}

func (b bounded) WithGroup(name string) slog.Handler {
	b.lines = b.lines.WithGroup(name)
	return b
}

func (b bounded) Handle(ctx context.Context, event slog.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.line.Reset()
	err := b.lines.Handle(ctx, event)
	for limit := maxLineBytes / 2; b.line.Len() > maxLineBytes && limit > 0; limit /= 2 {
		b.line.Reset()
		err = b.lines.Handle(ctx, shortened(event, limit))
	}
	if err == nil {
		_, err = b.w.Write(b.line.Bytes())
	}
	return err
}

// shortened is event with no text longer than limit bytes, and three dots to say so.
func shortened(event slog.Record, limit int) slog.Record {
	short := slog.NewRecord(event.Time, event.Level, event.Message, event.PC)
	event.Attrs(func(fact slog.Attr) bool {
		if text := fact.Value.String(); fact.Value.Kind() == slog.KindString && len(text) > limit {
			fact.Value = slog.StringValue(strings.ToValidUTF8(text[:limit], "") + "...")
		}
		short.AddAttrs(fact)
		return true
	})
	return short
}
