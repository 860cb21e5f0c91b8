package status

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A file that cannot be written is there once it can be, also where nothing has changed by then.
func TestWriterTriesAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "status.json")
	inTheWay := filepath.Join(path, "a directory that is not empty")
	must(t, os.MkdirAll(inTheWay, 0o700))
	w := NewWriter(slog.New(slog.DiscardHandler))
	done, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); w.Run(done) }()
	defer func() { close(done); <-ended }()
	w.To(openDir(t, dir), "status.json", 0o600)
	tried := make(chan struct{})
	w.Put(func() *Status { return &Status{} }, func() { close(tried) })
	within(t, "the first try", func() { <-tried })
	must(t, os.RemoveAll(path))
	within(t, "the file is there", func() {
		for {
			if b, err := os.ReadFile(path); err == nil && len(b) > 0 {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}
