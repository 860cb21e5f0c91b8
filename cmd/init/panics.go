package main

import (
	"fmt"
	"os"

	"tandem/internal/exitcode"
	"tandem/internal/supervise"
)

// A panic must not end PID 1 at once, because the kernel would then kill both processes. So every goroutine recovers:
// the loop in Loop.Run, an actor in guard, any other by deferring panicToLoop. A test looks for those that do not. The
// loop then gives both processes their signal and their time, and init ends with 70. For some reasons Go's runtime ends
// a program without a panic: no memory, no thread, a stack overflow, a race on a map. These cannot be caught.

// panicToLoop is deferred by a goroutine that is no actor. It makes the goroutine's panic a failure of init.
func (x *executor) panicToLoop(name string) {
	if r := recover(); r != nil {
		x.reportPanic(name, r)
	}
}

// guard makes an actor for the group. The actor's panic is a failure of init. The actor returns when init is done and
// not before, because the first one to return ends the others.
func (x *executor) guard(name string, actor func(done <-chan struct{})) func() error {
	return func() error {
		defer func() { <-x.done }()
		defer x.panicToLoop(name)
		actor(x.done)
		return nil
	}
}

// reportPanic tells the loop of a panic.
func (x *executor) reportPanic(name string, r any) {
	x.post(supervise.Request{Event: supervise.Fault{Reason: fmt.Sprintf("panic in %s: %v", name, r)}})
}

// whileNothingRuns runs f, in which no process has been started yet, and returns its status. A panic is a line and 70.
func whileNothingRuns(f func() int) (status int) {
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(os.Stderr, "init: failed: panic: %v\n", r)
			status = exitcode.Software
		}
	}()
	return f()
}

// afterTheLoop runs f, when both processes have ended, and returns code. A panic is a line of the log and 70.
func (x *executor) afterTheLoop(name string, code int, f func()) (status int) {
	defer func() {
		if r := recover(); r != nil {
			x.log.Error("init failed", "reason", fmt.Sprintf("panic in %s: %v", name, r))
			status = exitcode.Software
		}
	}()
	f()
	return code
}

// signalsFailed ends init, which has no process yet, because its signals cannot be caught.
func signalsFailed(r any) { os.Exit(fail(exitcode.Software, fmt.Sprint("failed: panic: ", r))) }
