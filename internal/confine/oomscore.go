package confine

import (
	"strconv"
	"strings"
	"syscall"
)

// OOMScore is init's own /proc/self/oom_score_adj, opened before init closed its /proc files. A process that is forked
// gets the score that is there. nil is for a system that lets nobody write it.
type OOMScore struct {
	fd  int
	own int
}

// When memory runs out, the kernel kills the process with the highest score. One that has all of the memory counts
// 1000. So web would have to have half of the memory more than the bot to be chosen.
const (
	botScoreAbove = 500
	maxScore      = 1000
)

// OpenOOMScore opens it. It is nil where that fails.
func OpenOOMScore() *OOMScore {
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
	return &OOMScore{fd, own}
}

// Raise makes what is forked from now on the first to be killed. Lower ends that. Coming back to an earlier score needs
// no privilege.
func (o *OOMScore) Raise() error {
	if o == nil {
		return nil
	}
	return o.write(min(o.own+botScoreAbove, maxScore))
}

func (o *OOMScore) Lower() error {
	if o == nil {
		return nil
	}
	return o.write(o.own)
}

func (o *OOMScore) write(score int) error {
	_, err := syscall.Write(o.fd, []byte(strconv.Itoa(score)))
	return err
}
