package main

import (
	"fmt"
	"os"

	"tandem/internal/exitcode"
	"tandem/internal/supervise"
)

// A panic in init must not end it at once, because the kernel would kill both processes with it. Each goroutine
// recovers: the loop by Loop.Run, actors by world.guard, others by caught; a test looks for those that do not. Then
// both processes get their signal and their time, and init ends with 70. What Go's runtime ends the program for without
// a panic (no memory, no thread, a stack overflow, a race on a map) cannot be caught.

// caught is deferred by a goroutine that is no actor.
func (w *world) caught(name string) {
	if r := recover(); r != nil {
		w.fault(name, r)
	}
}

func (w *world) fault(name string, r any) {
	w.post(supervise.Request{Event: supervise.Fault{Reason: fmt.Sprintf("panic in %s: %v", name, r)}})
}

// after does what is left to do once both processes have ended: a panic there changes nothing but the status.
func (w *world) after(name string, code int, f func()) (status int) {
	defer func() {
		if r := recover(); r != nil {
			w.log.Error("init failed", "reason", fmt.Sprintf("panic in %s: %v", name, r))
			status = exitcode.Software
		}
	}()
	f()
	return code
}

// before is for what runs while there is no process yet, and for init as a client.
func before(f func() int) (status int) {
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(os.Stderr, "init: failed: panic: %v\n", r)
			status = exitcode.Software
		}
	}()
	return f()
}

// catchFailed ends init, which has no process yet, when its signals cannot be caught.
func catchFailed(r any) { os.Exit(fail(exitcode.Software, fmt.Sprint("failed: panic: ", r))) }
