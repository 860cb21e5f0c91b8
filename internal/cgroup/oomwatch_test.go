package cgroup

import (
	"testing"
	"time"
)

// An end is explained by the kernel's count of kills if it came by SIGKILL soon after that went up, and each
// kill explains one.
func TestOOMWatch(t *testing.T) {
	kills, now := 3, time.Now() // three before init
	o := NewOOMWatch(func() int { return kills })
	check := func(what string, want bool) {
		t.Helper()
		if have := o.Killed(now); have != want {
			t.Errorf("%s: %v", what, have)
		}
	}
	check("killed by somebody", false)
	kills++
	check("killed by the kernel", true)
	check("killed by somebody after that", false)
	kills += 2 // memory.oom.group
	check("the first of two", true)
	check("the second of two", true)
	check("a third", false)
	kills += 2
	check("one of two", true)
	now = now.Add(time.Minute) // the other one was no child of init
	check("much later", false)
	kills++
	check("and one more", true)
	check("which explains one end", false)
}
