package main

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"tandem/internal/backoff"
)

const (
	// memoryCheckEvery is how long nothing was collected when a crowd counts as gone.
	memoryCheckEvery = 20 * time.Second
	// minReturnBytes is how much more than at its least a process has for it to be returned.
	minReturnBytes = 8 << 20
)

// usualMemoryLimit is the GOMEMLIMIT where none is given. Garbage is collected sooner when web comes near it, as when
// dozens of the longest pages are drawn at once. What is in use is far less (docs/adr/0070).
const usualMemoryLimit = 110 << 20

// limitMemory has the collector keep to a limit, unless there is one.
func limitMemory() {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(usualMemoryLimit)
	}
}

// returnMemory returns to the system what a crowd has left behind, until ctx ends. The runtime by itself collects every
// two minutes when nothing happens, and needs two collections to empty the pools of net/http (docs/adr/0066).
func returnMemory(ctx context.Context) {
	before := readMemory()
	least := before.bytes
	for backoff.Sleep(ctx, memoryCheckEvery) {
		now := readMemory()
		least = min(least, now.bytes)
		if now.collections == before.collections && now.bytes > least+minReturnBytes {
			runtime.GC() // the first one only marks what lies in pools
			debug.FreeOSMemory()
			now = readMemory()
			least = now.bytes // the rest is in use
		}
		before = now
	}
}

// memory is what the runtime has.
type memory struct {
	bytes       uint64
	collections uint64 // since the start
}

func readMemory() memory {
	s := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(s)
	return memory{s[0].Value.Uint64() - s[1].Value.Uint64(), s[2].Value.Uint64()}
}

const (
	// maxCrowdBytes is what connections and the garbage beside them may cost. The rest of 64 MB is what the heap loses by
	// being in pieces, and what the runtime keeps about it.
	maxCrowdBytes = 42 << 20
	// bytesPerConn is what a connection costs that waits for the rest of its first request: 10 kB are buffers of net/http
	// and 4 kB the stack.
	bytesPerConn = 19 << 10
	// minGCPercent keeps a crowd of any size from having garbage collected all the time.
	minGCPercent = 10
)

// crowd has garbage collected the sooner the more connections there are (docs/adr/0070). The runtime by itself waits
// until there is as much of it as of what is in use.
type crowd struct {
	usual int // GOGC, as it was when web began
	most  int // connections that there have been since half of them had gone; for changed
	want  atomic.Int64
	wake  chan struct{}
}

func newCrowd() *crowd {
	usual := debug.SetGCPercent(100)
	debug.SetGCPercent(usual)
	c := &crowd{usual: usual, wake: make(chan struct{}, 1)}
	c.want.Store(int64(usual))
	return c
}

// changed takes note of how many connections there are. It is the door's Changed.
func (c *crowd) changed(conns int) {
	if conns <= c.most && conns >= c.most/2 {
		return
	}
	c.most = conns
	want := int64(gcPercent(conns, c.usual))
	if c.want.Swap(want) == want {
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// collect sets GOGC as the crowd wants it, until ctx ends. It may wait for a collection, which the door must not.
func (c *crowd) collect(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
			debug.SetGCPercent(int(c.want.Load()))
		}
	}
}

// gcPercent is the GOGC with which so many connections keep within maxCrowdBytes, in tens. It is never above the usual,
// nor where that is to collect only at GOMEMLIMIT.
func gcPercent(conns, usual int) int {
	percent := 100*maxCrowdBytes/(max(conns, 1)*bytesPerConn) - 100
	if usual < 0 {
		return usual
	}
	return min(usual, max(minGCPercent, percent/10*10))
}
