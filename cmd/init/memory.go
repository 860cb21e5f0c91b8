package main

import (
	"strconv"
	"strings"
	"syscall"
	"time"

	"tandem/internal/supervise"
)

// How the container's memory is shared out, in percent of its limit. A tenth is left for init, for what Go does not
// count, such as the kernel's share, and for programs that are not written in Go.
const (
	shareAlone = 90
	shareOfWeb = 50
	shareOfBot = 40
)

// minShared is the smallest limit that is shared out: below it a limit would keep a Go program collecting garbage
// rather than alive.
const minShared = 64 << 20

// shareMemory tells the processes how much of the container's memory is theirs, where they have not been told: those
// written in Go collect garbage before the kernel has to kill somebody, others ignore it. limit is in bytes, 0 for none.
func (s *settings) shareMemory(limit int64) {
	if limit < minShared {
		return
	}
	p := &s.policy
	runs := [2]bool{p.Names[supervise.Web] != "", p.Names[supervise.Bot] != "" && p.Disabled == "" && p.Broken == ""}
	for id, share := range [2]int64{shareOfWeb, shareOfBot} {
		if !runs[1-id] {
			share = shareAlone
		}
		if runs[id] && !hasVariable(s.env[id], "GOMEMLIMIT") {
			s.env[id] = set(s.env[id], "GOMEMLIMIT", strconv.FormatInt(limit*share/100>>20, 10)+"MiB")
		}
	}
}

func hasVariable(environ []string, name string) bool {
	for _, line := range environ {
		if v, ok := strings.CutPrefix(line, name+"="); ok && v != "" {
			return true
		}
	}
	return false
}

// oomWatch tells which ends are the kernel's doing for want of memory: those by SIGKILL at a time when the cgroup's
// count of such kills went up. Its methods are called by the loop only.
type oomWatch struct {
	kills     func() int // the kernel's count
	seen      int        // kills that were counted so far
	unclaimed int        // of those, the ones that no end was explained by
	noticed   time.Time  // when the last of them came
}

// claimable is how long after a kill was noticed an end may be explained by it: a process that is killed ends within
// that time, and one that a bot lost without ending itself must not explain another's end much later.
const claimable = 5 * time.Second

func newOOMWatch(kills func() int) *oomWatch { return &oomWatch{kills: kills, seen: kills()} }

// killed says whether a child's end by SIGKILL, which just came, was for want of memory.
func (o *oomWatch) killed(now time.Time) bool {
	if n := o.kills(); n > o.seen {
		if now.Sub(o.noticed) > claimable {
			o.unclaimed = 0
		}
		o.unclaimed += n - o.seen
		o.seen, o.noticed = n, now
	}
	if o.unclaimed == 0 || now.Sub(o.noticed) > claimable {
		return false
	}
	o.unclaimed--
	return true
}

// oomScore is init's own /proc/self/oom_score_adj, open since before init closed its /proc files. A process gets what it
// says while it is forked. nil is for a system that lets nobody write it.
type oomScore struct {
	fd  int
	own int
}

// botAbove is by how much the bot is the better one to kill when memory runs out. A process that has all of the
// memory counts 1000, so web would have to have half of it more than the bot to be chosen.
const (
	botAbove    = 500
	maxOOMScore = 1000
)

func openOOMScore() *oomScore {
	fd, err := syscall.Open("/proc/self/oom_score_adj", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	buf := make([]byte, 16)
	n, _ := syscall.Read(fd, buf)
	own, err := strconv.Atoi(strings.TrimSpace(string(buf[:max(0, n)])))
	if err != nil {
		syscall.Close(fd)
		return nil
	}
	return &oomScore{fd, own}
}

// raise makes what is forked from now on the first to be killed; lower ends that. No privilege is needed to come back to a
// score that one had.
func (o *oomScore) raise() error {
	if o == nil {
		return nil
	}
	return o.write(min(o.own+botAbove, maxOOMScore))
}

func (o *oomScore) lower() error {
	if o == nil {
		return nil
	}
	return o.write(o.own)
}

func (o *oomScore) write(score int) error {
	_, err := syscall.Write(o.fd, []byte(strconv.Itoa(score)))
	return err
}
