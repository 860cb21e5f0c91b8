package main

import (
	"strconv"

	"tandem/internal/config"
	"tandem/internal/supervise"
)

// How the container's memory is shared out, in percent of its limit. A tenth is left for init, for what Go does not
// count, such as the kernel's share, and for programs that are not written in Go.
const (
	percentAlone = 90
	percentOfWeb = 50
	percentOfBot = 40
)

// minSharedLimit is the smallest limit that is shared out. With less, a Go program would do little but collect garbage.
const minSharedLimit = 64 << 20

// shareMemory tells each process how much of the container's memory is its share, where nobody has told it. A program
// that is written in Go then collects garbage before the kernel has to kill somebody. Others ignore it. limit is in
// bytes, 0 for none.
func (s *settings) shareMemory(limit int64) {
	if limit < minSharedLimit {
		return
	}
	p := &s.policy
	runs := [2]bool{p.Names[supervise.Web] != "", p.Names[supervise.Bot] != "" && p.Disabled == "" && p.Broken == ""}
	for id, share := range [2]int64{percentOfWeb, percentOfBot} {
		if !runs[1-id] {
			share = percentAlone
		}
		if runs[id] && config.New(s.env[id]).String("GOMEMLIMIT", "") == "" {
			s.env[id] = config.Set(s.env[id], "GOMEMLIMIT", strconv.FormatInt(limit*share/100>>20, 10)+"MiB")
		}
	}
}
