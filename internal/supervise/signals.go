package supervise

import (
	"errors"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The real-time signals as a C library with NPTL counts them, and so kill(1) and docker do: it keeps 32 and 33.
const (
	firstRealtime syscall.Signal = 34
	lastRealtime  syscall.Signal = 64
)

// SignalName is the name of a signal as people and status.json write it, like "SIGTERM" or "SIGRTMIN+3".
func SignalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	switch up, down := sig-firstRealtime, lastRealtime-sig; {
	case up == 0:
		return "SIGRTMIN"
	case down == 0:
		return "SIGRTMAX"
	case up > 0 && up <= 15:
		return "SIGRTMIN+" + strconv.Itoa(int(up))
	case up > 0 && down > 0:
		return "SIGRTMAX-" + strconv.Itoa(int(down))
	}
	return "signal " + strconv.Itoa(int(sig))
}

// ParseSignal reads a signal as people write it: its number, or its name in any case, with or without SIG, real-time
// ones as RTMIN, RTMIN+3, RTMAX or RTMAX-1. What belongs to the C library, 32 and 33, is no signal to anybody else.
func ParseSignal(s string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if sig := syscall.Signal(n); sig >= 1 && sig <= lastRealtime && (sig < 32 || sig >= firstRealtime) {
			return sig, nil
		}
		return 0, errors.New("want a signal from 1 to 31 or 34 to 64")
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if sig := unix.SignalNum("SIG" + name); sig != 0 {
		return sig, nil
	}
	switch name { // other names of theirs, which unix does not know
	case "IOT":
		return syscall.SIGABRT, nil
	case "CLD":
		return syscall.SIGCHLD, nil
	case "POLL":
		return syscall.SIGIO, nil
	}
	for prefix, base := range map[string]syscall.Signal{"RTMIN": firstRealtime, "RTMAX": lastRealtime} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && (rest == "" || rest[0] == '+' || rest[0] == '-') {
			n, err := strconv.Atoi(rest)
			if sig := base + syscall.Signal(n); (err == nil || rest == "") && sig >= firstRealtime && sig <= lastRealtime {
				return sig, nil
			}
		}
	}
	return 0, errors.New("want the name or the number of a signal, like TERM, SIGQUIT, RTMIN+3 or 15")
}
