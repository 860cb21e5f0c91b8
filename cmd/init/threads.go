package main

import (
	"runtime"
	"sync"
	"time"
)

// spareThreads is how many threads init has beside those that wait for signals. Its actors can block four at once in
// calls on a file system that hangs. Two are for the loop, the clients and the runtime itself.
const spareThreads = 6

// reserveThreadsAfter is how long web has the machine's processors for its own start first.
const reserveThreadsAfter = 20 * time.Millisecond

// minLeftForOthers is how many processes and threads a small pids.max must still have room for beside init's reserve:
// the bot, whoever asks for the status, and what either starts.
const minLeftForOthers = 3

// reserveThreads has Go's runtime make threads while it can. The runtime makes a thread when it needs one, and ends the
// program when it gets none, which nothing can catch. So a bot that fills the container's pids.max could end web.
func (x *executor) reserveThreads() {
	defer x.panicToLoop("threads")
	var all, free sync.WaitGroup
	release := make(chan struct{})
	spare := spareThreads
	if left, ok := x.processesLeft(); ok {
		spare = min(spare, left-minLeftForOthers)
	}
	for range spare {
		all.Add(1)
		free.Add(1)
		go func() {
			defer x.panicToLoop("threads")
			defer free.Done()
			runtime.LockOSThread() // a thread of its own, which the runtime keeps for later
			all.Done()
			<-release
			runtime.UnlockOSThread()
		}()
	}
	all.Wait()
	close(release)
	free.Wait()
	x.log.Debug("threads are in reserve", "threads", max(0, spare))
}
