package supervise

import (
	"errors"
	"strconv"
	"strings"
	"syscall"
)

// The real-time signals as a C library with NPTL counts them, and so kill(1) and docker do: it keeps 32 and 33.
const (
	firstRealtime syscall.Signal = 34
	lastRealtime  syscall.Signal = 64
)

// SignalName is the name of a signal as people and status.json write it, like "SIGTERM" or "SIGRTMIN+3".
func SignalName(sig syscall.Signal) string {
	if name, ok := signalNames[sig]; ok {
		return name
	}
	switch up, down := sig-firstRealtime, lastRealtime-sig; {
	case up == 0:
		return "SIGRTMIN"
	case down == 0:
		return "SIGRTMAX"
	case up > 0 && up <= 15:
		return "SIGRTMIN+" + itoa(int(up))
	case up > 0 && down > 0:
		return "SIGRTMAX-" + itoa(int(down))
	}
	return "signal " + itoa(int(sig))
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
	for sig, known := range signalNames {
		if known[3:] == name {
			return sig, nil
		}
	}
	switch name { // their other names
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

var signalNames = map[syscall.Signal]string{
	syscall.SIGHUP: "SIGHUP", syscall.SIGINT: "SIGINT", syscall.SIGQUIT: "SIGQUIT", syscall.SIGILL: "SIGILL",
	syscall.SIGTRAP: "SIGTRAP", syscall.SIGABRT: "SIGABRT", syscall.SIGBUS: "SIGBUS", syscall.SIGFPE: "SIGFPE",
	syscall.SIGKILL: "SIGKILL", syscall.SIGUSR1: "SIGUSR1", syscall.SIGSEGV: "SIGSEGV", syscall.SIGUSR2: "SIGUSR2",
	syscall.SIGPIPE: "SIGPIPE", syscall.SIGALRM: "SIGALRM", syscall.SIGTERM: "SIGTERM", syscall.SIGSTKFLT: "SIGSTKFLT",
	syscall.SIGCHLD: "SIGCHLD", syscall.SIGCONT: "SIGCONT", syscall.SIGSTOP: "SIGSTOP", syscall.SIGTSTP: "SIGTSTP",
	syscall.SIGTTIN: "SIGTTIN", syscall.SIGTTOU: "SIGTTOU", syscall.SIGURG: "SIGURG", syscall.SIGXCPU: "SIGXCPU",
	syscall.SIGXFSZ: "SIGXFSZ", syscall.SIGVTALRM: "SIGVTALRM", syscall.SIGPROF: "SIGPROF", syscall.SIGWINCH: "SIGWINCH",
	syscall.SIGIO: "SIGIO", syscall.SIGPWR: "SIGPWR", syscall.SIGSYS: "SIGSYS",
}
