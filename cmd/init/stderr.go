package main

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/logline"
)

// lineWriter writes init's log without ever making the loop wait: a log driver that stands still, a full disk or
// a closed descriptor costs lines, which are counted, and nothing else.
type lineWriter struct {
	fd      int
	lines   chan entry
	dropped atomic.Int64
	direct  *logline.Logger // for the writer's own line
}

// entry is a line, or the wish to know that all lines before it are out.
type entry struct {
	line []byte
	done chan struct{}
}

// maxLines is how many lines wait for a log that stands still.
const maxLines = 256

// newLog makes init's log on the descriptor fd; flush waits until what was logged is out, but only so long.
func newLog(fd int, s logline.Settings) (log *logline.Logger, flush func()) {
	w := &lineWriter{fd: fd, lines: make(chan entry, maxLines)}
	w.direct = logline.New(directWriter{w}, s, "init")
	go func() {
		for w.run() {
		}
	}()
	return logline.New(w, s, "init"), func() { w.flush(200 * time.Millisecond) }
}

// Write takes one line. It always succeeds.
func (w *lineWriter) Write(line []byte) (int, error) {
	select {
	case w.lines <- entry{line: append([]byte(nil), line...)}:
	default:
		w.dropped.Add(1)
	}
	return len(line), nil
}

// run has a thread of its own that blocks SIGPIPE: one that its own write causes must not be taken for one that
// somebody sent, which would be passed on to web. It writes by system call, because os.Stderr raises the signal
// itself.
//
// True says that it failed and is to go on: its panic is told to watchLog.
func (w *lineWriter) run() (failed bool) {
	defer func() {
		if r := recover(); r != nil {
			failed = true
			select {
			case logFailed <- r:
			default:
			}
		}
	}()
	runtime.LockOSThread()
	blockSIGPIPE()
	for e := range w.lines {
		if e.done != nil {
			close(e.done)
			continue
		}
		w.write(e.line)
		if n := w.dropped.Swap(0); n > 0 {
			w.direct.Warn("lines of this log were lost: nobody took them", "lines", n)
		}
	}
	return false
}

// logFailed has the first panic of the log's writer, which is there before there is anybody to tell it to.
var logFailed = make(chan any, 1)

// watchLog is the actor that makes it init's failure.
func (w *world) watchLog(done <-chan struct{}) {
	select {
	case r := <-logFailed:
		w.fault("log", r)
		<-done
	case <-done:
	}
}

func (w *lineWriter) write(line []byte) {
	for len(line) > 0 {
		n, err := syscall.Write(w.fd, line)
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLOUT}}, -1)
		case err != nil || n <= 0:
			return
		default:
			line = line[n:]
		}
	}
}

func (w *lineWriter) flush(limit time.Duration) {
	end := time.After(limit)
	done := make(chan struct{})
	select {
	case w.lines <- entry{done: done}:
	case <-end:
		return
	}
	select {
	case <-done:
	case <-end:
	}
}

type directWriter struct{ w *lineWriter }

func (d directWriter) Write(line []byte) (int, error) {
	d.w.write(line)
	return len(line), nil
}

func blockSIGPIPE() {
	var set unix.Sigset_t
	set.Val[0] = 1 << (uint(syscall.SIGPIPE) - 1)
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil)
}
