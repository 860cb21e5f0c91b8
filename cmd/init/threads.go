package main

import (
	"runtime"
	"sync"
)

// spareThreads is how many threads init has in reserve: as many as its actors can block at once in calls on a file system
// that hangs, and one for the runtime.
const spareThreads = 4

// reserveThreads has the runtime make threads while it can. Without it a bot that fills the container's pids.max takes web
// along: Go's runtime makes a thread when it needs one, and ends the program when it gets none, which nothing can catch.
func (w *world) reserveThreads() {
	defer w.caught("threads")
	var all sync.WaitGroup
	release := make(chan struct{})
	for range spareThreads {
		all.Add(1)
		go func() {
			defer w.caught("threads")
			runtime.LockOSThread() // a thread of its own, which is idle and kept after that
			all.Done()
			<-release
			runtime.UnlockOSThread()
		}()
	}
	all.Wait()
	close(release)
}
