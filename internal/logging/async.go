package logging

import (
	"bytes"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Async writes lines to a descriptor, and never makes anybody wait who logs. A log driver that stands still, a full
// disk or a closed descriptor costs lines, which are counted, and nothing else.
type Async struct {
	fd      int
	started sync.Once
	lines   chan entry
	dropped atomic.Int64
	direct  *slog.Logger // for the writer's own line
	failed  chan any
}

// entry is a line, or the wish to know when all lines before it are out.
type entry struct {
	line []byte
	done chan struct{} // closed then; nil for a line
}

// maxWaitingLines is how many lines wait for a log that stands still.
const maxWaitingLines = 256

// NewAsync makes a logger for process on the descriptor fd, and the Async that writes its lines.
func NewAsync(fd int, s Settings, process string) (*slog.Logger, *Async) {
	a := newAsync(fd)
	a.direct = newBounded(directWriter{a}, s, process)
	return newBounded(a, s, process), a
}

func newAsync(fd int) *Async {
	return &Async{fd: fd, lines: make(chan entry, maxWaitingLines), failed: make(chan any, 1)}
}

// Start starts the goroutine that writes. The first line does so too. It is not done by NewAsync, because web's start
// would wait until the goroutine has its thread.
func (a *Async) Start() {
	a.started.Do(func() {
		go func() {
			for a.run() {
			}
		}()
	})
}

// Write takes one line. It always succeeds.
func (a *Async) Write(line []byte) (int, error) {
	a.Start()
	select {
	case a.lines <- entry{line: bytes.Clone(line)}:
	default:
		a.dropped.Add(1)
	}
	return len(line), nil
}

// Failed gives the first panic of the writer. It may come before there is anybody who could be told.
func (a *Async) Failed() <-chan any { return a.failed }

// run has a thread of its own that blocks SIGPIPE. A SIGPIPE that its own write causes must not be taken for one that
// somebody sent, which would be passed on to web. It writes by system call, because os.Stderr raises the signal itself.
//
// True says that it panicked and is to go on.
func (a *Async) run() (failed bool) {
	defer func() {
		if r := recover(); r != nil {
			failed = true
			select {
			case a.failed <- r:
			default:
			}
		}
	}()
	runtime.LockOSThread()
	blockSIGPIPE()
	for e := range a.lines {
		if e.done != nil {
			close(e.done)
			continue
		}
		a.write(e.line)
		if n := a.dropped.Swap(0); n > 0 {
			a.direct.Warn("lines of this log were lost: nobody took them", "lines", n)
		}
	}
	return false
}

func (a *Async) write(line []byte) {
	for len(line) > 0 {
		n, err := syscall.Write(a.fd, line)
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(a.fd), Events: unix.POLLOUT}}, -1)
		case err != nil || n <= 0:
			return
		default:
			line = line[n:]
		}
	}
}

// Flush waits until what was logged is out, but no longer than limit.
func (a *Async) Flush(limit time.Duration) {
	a.Start()
	end := time.After(limit)
	done := make(chan struct{})
	select {
	case a.lines <- entry{done: done}:
	case <-end:
		return
	}
	select {
	case <-done:
	case <-end:
	}
}

// directWriter writes at once.
type directWriter struct{ a *Async }

func (d directWriter) Write(line []byte) (int, error) {
	d.a.write(line)
	return len(line), nil
}

func blockSIGPIPE() {
	var set unix.Sigset_t
	set.Val[0] = 1 << (uint(syscall.SIGPIPE) - 1)
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil)
}
