package cgroup

import "time"

// OOMWatch tells which ends were the kernel's doing for want of memory. Those are the ends by SIGKILL at a time when
// the cgroup's count of such kills went up. It is for one goroutine.
type OOMWatch struct {
	kills     func() int // the kernel's count
	seen      int        // kills so far
	unclaimed int        // kills that have explained no end yet
	noticed   time.Time  // when the last kill was seen
}

// claimableFor is how long after a kill was noticed it may explain an end. A process that is killed ends within that
// time. A kill that a bot outlived must not explain another end much later.
const claimableFor = 5 * time.Second

// NewOOMWatch makes a watch on the kernel's count of kills. Kills before now explain nothing.
func NewOOMWatch(kills func() int) *OOMWatch { return &OOMWatch{kills: kills, seen: kills()} }

// Killed says whether a child's end by SIGKILL, which just came, was for want of memory.
func (o *OOMWatch) Killed(now time.Time) bool {
	if n := o.kills(); n > o.seen {
		if now.Sub(o.noticed) > claimableFor {
			o.unclaimed = 0
		}
		o.unclaimed += n - o.seen
		o.seen, o.noticed = n, now
	}
	if o.unclaimed == 0 || now.Sub(o.noticed) > claimableFor {
		return false
	}
	o.unclaimed--
	return true
}
