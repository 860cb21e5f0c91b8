package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"tandem/internal/backoff"
)

const (
	// memoryCheckEvery is how long nothing was collected when a crowd counts as gone.
	memoryCheckEvery = 20 * time.Second
	// minReturnBytes is how much more than at its least a process has for it to be returned.
	minReturnBytes = 8 << 20
)

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
