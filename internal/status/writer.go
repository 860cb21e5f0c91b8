package status

import (
	"bytes"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

// Writer writes the newest status to a file, in a goroutine of its own. So a disk that is slow, full or gone never
// makes anybody wait who has something new to tell.
type Writer struct {
	// Before is called before each write, if it is not nil. It may call To and Forget.
	Before func()

	log  *slog.Logger
	wake chan struct{}

	mu   sync.Mutex
	show func() *Status
	then []func()

	file   sync.Mutex // held while the file is written
	dir    *Dir       // nil for none
	name   string
	mode   os.FileMode
	last   []byte
	writes int
	warned bool
}

// tryAgainAfter is how long a file that could not be written waits for the next try, where nothing has changed by then.
const tryAgainAfter = time.Second

// collectEvery is after how many writes garbage is collected. Nearly all of PID 1's garbage comes from them, and the
// clock does not collect it.
const collectEvery = 8

// NewWriter makes a Writer that has no file yet. When it cannot write it says so to log, once.
func NewWriter(log *slog.Logger) *Writer { return &Writer{log: log, wake: make(chan struct{}, 1)} }

// To names the file; dir is nil for none any more. Once it returns, the file before that is not written any more.
func (w *Writer) To(dir *Dir, name string, mode os.FileMode) {
	w.file.Lock()
	defer w.file.Unlock()
	w.dir, w.name, w.mode, w.last = dir, name, mode, nil
	w.again()
}

// Forget has the next write done even if nothing has changed by then.
func (w *Writer) Forget() {
	w.file.Lock()
	defer w.file.Unlock()
	w.last = nil
}

// Again has the file written even if nothing has changed. It is not for Before, which it would have called for ever
// where the file cannot be written.
func (w *Writer) Again() {
	w.Forget()
	w.again()
}

func (w *Writer) again() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Put hands over the state. Once it can be read, then is called, if it is not nil.
func (w *Writer) Put(show func() *Status, then func()) {
	w.mu.Lock()
	w.show = show
	if then != nil {
		w.then = append(w.then, then)
	}
	w.mu.Unlock()
	w.again()
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

// Run writes until done is closed. What cannot be written is tried again.
func (w *Writer) Run(done <-chan struct{}) {
	var tryAgain <-chan time.Time
	for {
		select {
		case <-w.wake:
		case <-tryAgain:
		case <-done:
			return
		}
		if w.Before != nil {
			w.Before()
		}
		w.mu.Lock()
		show, then := w.show, w.then
		w.then = nil
		w.mu.Unlock()
		if show == nil { // there is a file, and nothing to be told yet
			continue
		}
		tryAgain = nil
		if !w.write(show()) {
			tryAgain = time.After(tryAgainAfter)
		}
		for _, f := range then {
			f()
		}
	}
}

// write returns whether the file tells s, where there is one to be written.
func (w *Writer) write(s *Status) bool {
	w.file.Lock()
	defer w.file.Unlock()
	if w.dir == nil {
		return true
	}
	b := s.Marshal()
	if bytes.Equal(b, w.last) {
		return true
	}
	err := w.dir.Write(w.name, append(b, '\n'), w.mode)
	if err == nil {
		w.last = b
		if w.writes++; w.writes%collectEvery == 0 {
			debug.FreeOSMemory()
		}
		return true
	}
	// A reader must not take the old state for the present one.
	_ = w.dir.Remove(w.name)
	w.last = nil
	if !w.warned { // once: removing the old file makes room for the next, so that only every other one fails
		w.warned = true
		w.log.Warn("the status file cannot be written", "reason", err.Error())
	}
	return false
}
