package status

import (
	"bytes"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
)

// Writer writes the newest status to a file, in a goroutine of its own. So a disk that is slow, full or gone never
// makes anybody wait who has something new to tell.
type Writer struct {
	log  *slog.Logger
	wake chan struct{}

	dir  *Dir // nil for none
	name string
	mode os.FileMode

	mu   sync.Mutex
	show func() *Status
	then []func()

	last   []byte // Run's own
	writes int
	warned bool
}

// collectEvery is after how many writes garbage is collected. Nearly all of PID 1's garbage comes from them, and the
// clock does not collect it.
const collectEvery = 8

// NewWriter makes a Writer that has no file yet. When it cannot write it says so to log, once.
func NewWriter(log *slog.Logger) *Writer { return &Writer{log: log, wake: make(chan struct{}, 1)} }

// To names the file. It must be called before Run.
func (w *Writer) To(dir *Dir, name string, mode os.FileMode) { w.dir, w.name, w.mode = dir, name, mode }

// Put hands over the state. Once it can be read, then is called, if it is not nil.
func (w *Writer) Put(show func() *Status, then func()) {
	w.mu.Lock()
	w.show = show
	if then != nil {
		w.then = append(w.then, then)
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Status is the state that was handed over last, nil before the first.
func (w *Writer) Status() *Status {
	w.mu.Lock()
	show := w.show
	w.mu.Unlock()
	if show == nil {
		return nil
	}
	return show()
}

// JSON is the same as it is written.
func (w *Writer) JSON() []byte {
	if s := w.Status(); s != nil {
		return s.Marshal()
	}
	return nil
}

// Run writes until done is closed.
func (w *Writer) Run(done <-chan struct{}) {
	for {
		select {
		case <-w.wake:
		case <-done:
			return
		}
		w.mu.Lock()
		show, then := w.show, w.then
		w.then = nil
		w.mu.Unlock()
		if s := show(); w.dir != nil {
			w.write(s)
		}
		for _, f := range then {
			f()
		}
	}
}

func (w *Writer) write(s *Status) {
	b := s.Marshal()
	if bytes.Equal(b, w.last) {
		return
	}
	err := w.dir.Write(w.name, append(b, '\n'), w.mode)
	if err == nil {
		w.last = b
		if w.writes++; w.writes%collectEvery == 0 {
			debug.FreeOSMemory()
		}
		return
	}
	// A reader must not take the old state for the present one.
	_ = w.dir.Remove(w.name)
	w.last = nil
	if !w.warned { // once: removing the old file makes room for the next, so that only every other one fails
		w.warned = true
		w.log.Warn("the status file cannot be written", "reason", err.Error())
	}
}
