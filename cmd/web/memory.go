package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// calmFor is how long nothing was collected when a crowd counts as gone.
	calmFor = 20 * time.Second
	// worthIt is how much more than before a process has for it to be given back.
	worthIt = 8 << 20
)

// giveBack returns to the system what a crowd has left behind, until ctx ends. The runtime by itself collects every two
// minutes when nothing happens, and needs two of these to empty the pools of net/http (docs/adr/0066).
func giveBack(ctx context.Context) {
	before := look()
	least := before.held
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(calmFor):
		}
		now := look()
		least = min(least, now.held)
		if now.collections == before.collections && now.held > least+worthIt {
			runtime.GC() // the first one only marks what lies in pools
			debug.FreeOSMemory()
			now = look()
			least = now.held // the rest is in use
		}
		before = now
	}
}

// holding is what the runtime has.
type holding struct {
	held        uint64 // bytes
	collections uint64 // since the start
}

func look() holding {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(s)
	return holding{s[0].Value.Uint64() - s[1].Value.Uint64(), s[2].Value.Uint64()}
}
