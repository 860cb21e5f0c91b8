package reap

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DropInherited keeps what this process was started with from the processes that it will start: the open files but the
// first three, and two signals that are ignored. Go's runtime has already reset the others.
func DropInherited() {
	unignoreSignals()
	closeInherited()
}

// HandedDown are n descriptors from 3 on that this process was started with. It is false if one of them is not there.
// What this process has opened itself is closed by exec, and so does not count; it must be called before DropInherited.
func HandedDown(n int) (fds []uintptr, ok bool) {
	for fd := uintptr(3); len(fds) < n; fd++ {
		if flags, err := unix.FcntlInt(fd, unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
			return nil, false
		}
		fds = append(fds, fd)
	}
	return fds, true
}

// unignoreSignals gives the two signals that glibc keeps for itself their default action, which no library call
// does. GNU make starts every program with them ignored, and so would each process of ours be.
func unignoreSignals() {
	var byDefault [4]uint64 // the kernel's struct sigaction: all zero is SIG_DFL
	for _, sig := range []uintptr{32, 33} {
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&byDefault)), 0, 8, 0, 0)
	}
}

// closeInherited keeps the descriptors that init was started with, apart from the first three, from its processes. It
// sets close-on-exec and does not close them, because Go's runtime may own some by now.
func closeInherited() {
	if _, _, errno := syscall.Syscall(unix.SYS_CLOSE_RANGE, 3, ^uintptr(0)>>32, unix.CLOSE_RANGE_CLOEXEC); errno == 0 {
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
