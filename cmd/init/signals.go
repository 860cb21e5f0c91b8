package main

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"tandem/internal/exitcode"
)

// signalChannels are what init receives. Each kind has its own channel, because a full one drops: a burst of
// others must not cost a SIGTERM, and of SIGCHLD one is as good as many.
type signalChannels struct {
	children chan os.Signal
	stop     chan os.Signal
	others   chan os.Signal
	caught   chan struct{} // closed once those are caught that would end init or be missed: no process is started before
	all      chan struct{} // closed once all are
}

// Not to be caught: KILL and STOP cannot be, and URG and PROF are what Go's runtime sends itself (golang/go#37942).
// 32 to 34 belong to C libraries.
var uncaught = map[syscall.Signal]bool{
	syscall.SIGKILL: true, syscall.SIGSTOP: true, syscall.SIGURG: true, syscall.SIGPROF: true,
}

// deadly are the signals that end a Go program which does not catch them. Others that come before they are caught are lost, as they
// would be on a web that has not begun to listen.
var deadly = map[syscall.Signal]bool{
	syscall.SIGHUP: true, syscall.SIGINT: true, syscall.SIGQUIT: true, syscall.SIGILL: true, syscall.SIGTRAP: true, syscall.SIGABRT: true,
	syscall.SIGBUS: true, syscall.SIGFPE: true, syscall.SIGSEGV: true, syscall.SIGTERM: true, syscall.SIGSTKFLT: true, syscall.SIGSYS: true,
	syscall.SIGPIPE: true, // where standard output or error is a pipe that nobody reads
}

const firstRealtime, lastRealtime = 35, 64

// notify begins to catch every signal but those in keep, which stay ignored. It does so beside the caller: for each
// signal Go's runtime has two threads answer each other, and if one of them were the locked main thread, that would
// be half the time from init's start to web's.
func notify(keep []os.Signal) *signalChannels {
	c := &signalChannels{make(chan os.Signal, 1), make(chan os.Signal, 8), make(chan os.Signal, 64), make(chan struct{}), make(chan struct{})}
	go func() {
		defer func() {
			if r := recover(); r != nil {
				os.Exit(fail(exitcode.Software, fmt.Sprint("failed: panic: ", r))) // there is no process yet
			}
		}()
		c.catch(keep)
	}()
	return c
}

func (c *signalChannels) catch(keep []os.Signal) {
	signal.Notify(c.children, syscall.SIGCHLD)
	for n := syscall.Signal(1); n <= syscall.SIGSYS; n++ {
		if deadly[n] {
			c.add(n, keep)
		}
	}
	close(c.caught)
	for n := syscall.Signal(1); n <= lastRealtime; n++ {
		if !deadly[n] {
			c.add(n, keep)
		}
	}
	close(c.all)
}

func (c *signalChannels) add(n syscall.Signal, keep []os.Signal) {
	switch {
	case n == syscall.SIGCHLD || uncaught[n] || n > 31 && n < firstRealtime || slices.Contains(keep, os.Signal(n)):
	case n == syscall.SIGTERM || n == syscall.SIGINT || n == syscall.SIGQUIT:
		signal.Notify(c.stop, n)
	default:
		signal.Notify(c.others, n)
	}
}

// unignoreSignals gives the two signals that glibc keeps for itself their default action, which no library call
// does. GNU make starts every program with them ignored, and so would each process of ours be.
func unignoreSignals() {
	var byDefault [4]uint64 // the kernel's struct sigaction: all zero is SIG_DFL
	for _, sig := range []uintptr{32, 33} {
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&byDefault)), 0, 8, 0, 0)
	}
}

// closeInherited keeps descriptors that init was started with, apart from the first three, out of its
// processes. It sets close-on-exec rather than closing them: Go's runtime may own some by now.
func closeInherited() {
	const closeRangeCloexec = 4
	if _, _, errno := syscall.Syscall(unix.SYS_CLOSE_RANGE, 3, ^uintptr(0)>>32, closeRangeCloexec); errno == 0 {
		return
	}
	limit := uint64(1 << 16) // kernels before 5.9
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) == nil {
		limit = min(limit, r.Cur)
	}
	for fd := 3; fd < int(limit); fd++ {
		syscall.CloseOnExec(fd)
	}
}
