package main

import (
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/reap"
)

// spareThreads is how many threads init has beside those that wait for signals. Its actors can block four at once in
// calls on a file system that hangs. Two are for the loop, the clients and the runtime itself.
const spareThreads = 6

// reserveThreadsAfter is how long web has the machine's processors for its own start first.
const reserveThreadsAfter = 20 * time.Millisecond

// minLeftForOthers is how many processes and threads a small pids.max must still have room for beside init's reserve:
// the bot, whoever asks for the status, and what either starts.
const minLeftForOthers = 3

// plenty is how many more processes a user may have, by what can be seen, where a try is not likely to fill the limit.
const plenty = 64

// reserveThreads has Go's runtime make threads while it can. The runtime makes a thread when it needs one, and ends the
// program when it gets none, which nothing can catch. So a bot that fills the container's pids.max could end web.
//
// A limit of the user (RLIMIT_NPROC) may count processes that init cannot see. So room is tried for before it is taken,
// and what others need stays free.
func (x *executor) reserveThreads() {
	defer x.panicToLoop("threads")
	wanted := spareThreads
	if left, ok := x.processesLeft(); ok {
		wanted = max(0, min(wanted, left-minLeftForOthers))
	}
	spare := wanted
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NPROC, &limit) == nil && limit.Cur < 1<<31 {
		// The most that may be free, by what can be seen: a try that fills the limit could take web's next thread.
		free := int(limit.Cur) - reap.Threads()
		if spare = min(spare, free-minLeftForOthers); spare > 0 {
			spare = min(spare, tryRoom(spare+minLeftForOthers, free < plenty)-minLeftForOthers)
		}
		spare = max(0, spare)
	}
	var all, free sync.WaitGroup
	release := make(chan struct{})
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
	x.log.Debug("threads are in reserve", "threads", spare)
	if spare < wanted {
		x.log.Warn("init has fewer threads in reserve than it wants: its user may have few processes more",
			"threads", spare, "wanted", wanted, "limit", limit.Cur, "next", "raise it: docker run --ulimit nproc=N")
	}
}

// tryRoom says for how many of n processes there is room. With alone no other goroutine runs meanwhile: it could need a
// thread, for which there may be no room in this moment. That costs 200 kB for good.
func tryRoom(n int, alone bool) int {
	if alone {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	}
	return reap.Room(n)
}
