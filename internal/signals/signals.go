// Package signals catches the signals that are sent to PID 1.
//
// It promises that a burst of other signals costs neither a SIGTERM nor the news of a child's end, and that no signal
// that can be caught ends init. What a signal means is left to package supervise.
package signals

import (
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// Caught are the signals that init receives. Each kind has its own channel, because a full one drops: a burst of
// others must not cost a SIGTERM, and of SIGCHLD one is as good as many.
type Caught struct {
	Children chan os.Signal // SIGCHLD
	Stop     chan os.Signal // SIGTERM, SIGINT and SIGQUIT
	Others   chan os.Signal
	Deadly   chan struct{} // closed once SIGCHLD and all that would end init are caught: nothing is started before
	All      chan struct{} // closed once all are caught
}

// uncaught says whether sig is one that is not caught. KILL and STOP cannot be, and URG and PROF are what Go's runtime
// sends itself (golang/go#37942). 32 to 34 are not in this list, but belong to C libraries.
func uncaught(sig syscall.Signal) bool {
	switch sig {
	case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGURG, syscall.SIGPROF:
		return true
	}
	return false
}

// deadly says whether sig ends a Go program that does not catch it. Another signal that comes before it is caught is
// lost, as it would be on a web that has not begun to listen.
func deadly(sig syscall.Signal) bool {
	switch sig {
	case syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGABRT,
		syscall.SIGBUS, syscall.SIGFPE, syscall.SIGSEGV, syscall.SIGTERM, syscall.SIGSTKFLT, syscall.SIGSYS,
		syscall.SIGPIPE: // where standard output or error is a pipe that nobody reads
		return true
	}
	return false
}

// The real-time signals that a Go program can catch.
const firstRealtime, lastRealtime = 35, 64

// Catchable says whether sig is one that Catch tells of in Stop or Others.
func Catchable(sig syscall.Signal) bool {
	known := sig >= 1 && sig <= 31 || sig >= firstRealtime && sig <= lastRealtime
	return known && sig != syscall.SIGCHLD && !uncaught(sig)
}

// Catch begins to catch every signal but those in keep, which stay ignored. A panic goes to failed.
//
// It does so in a goroutine of its own. For each signal Go's runtime has two threads answer each other. If one of them
// were the locked main thread, that would be half the time from init's start to web's.
func Catch(keep []os.Signal, failed func(panic any)) *Caught {
	c := &Caught{
		Children: make(chan os.Signal, 1), Stop: make(chan os.Signal, 8), Others: make(chan os.Signal, 64),
		Deadly: make(chan struct{}), All: make(chan struct{}),
	}
	go func() {
		defer func() {
			if r := recover(); r != nil {
				failed(r)
			}
		}()
		c.catch(keep)
	}()
	return c
}

func (c *Caught) catch(keep []os.Signal) {
	signal.Notify(c.Children, syscall.SIGCHLD)
	for n := syscall.Signal(1); n <= syscall.SIGSYS; n++ {
		if deadly(n) {
			c.add(n, keep)
		}
	}
	close(c.Deadly)
	for n := syscall.Signal(1); n <= lastRealtime; n++ {
		if !deadly(n) {
			c.add(n, keep)
		}
	}
	close(c.All)
}

func (c *Caught) add(n syscall.Signal, keep []os.Signal) {
	switch {
	case !Catchable(n) || slices.Contains(keep, os.Signal(n)):
	case n == syscall.SIGTERM || n == syscall.SIGINT || n == syscall.SIGQUIT:
		signal.Notify(c.Stop, n)
	default:
		signal.Notify(c.Others, n)
	}
}
