package reap

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxRoom is how many processes Room tries at most.
const maxRoom = 16

// Room is how many of n more processes this user may have now. That is tried: as many are made as can be. They end at
// once, and count until they are collected. They send no SIGCHLD, and no other call of this package tells of them.
func Room(n int) int {
	var pids [maxRoom]uintptr
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	runtime.LockOSThread() // the mask is a thread's
	defer runtime.UnlockOSThread()
	all, mask := ^uint64(0), uint64(0)
	_ = setSignalMask(&all, &mask) // no handler of Go's may run in them, nor this goroutine lose its thread
	made := room(min(n, maxRoom), &pids)
	_ = setSignalMask(&mask, nil)
	return made
}

// room does it without a moment in which the scheduler could have another goroutine run.
//
//go:norace
//go:nosplit
func room(n int, pids *[maxRoom]uintptr) (made int) {
	for made < n {
		pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, 0, 0, 0, 0, 0, 0)
		if errno != 0 {
			break
		}
		if pid == 0 {
			for {
				syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
			}
		}
		pids[made] = pid
		made++
	}
	for i := 0; i < made; {
		if _, _, errno := syscall.RawSyscall6(syscall.SYS_WAIT4, pids[i], 0, unix.WCLONE, 0, 0, 0); errno != syscall.EINTR {
			i++
		}
	}
	return made
}

// Threads is how many processes and threads this process's user has, as far as /proc shows them.
func Threads() (n int) {
	dir, err := os.Open("/proc")
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	user := strconv.Itoa(os.Getuid())
	for _, name := range names {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		b, _ := os.ReadFile("/proc/" + name + "/status")
		ours, threads := false, 1 // of one that has ended and is not collected
		for line := range strings.Lines(string(b)) {
			switch f := strings.Fields(line); {
			case len(f) < 2:
			case f[0] == "Uid:":
				ours = f[1] == user
			case f[0] == "Threads:":
				threads, _ = strconv.Atoi(f[1])
			}
		}
		if ours {
			n += threads
		}
	}
	return n
}
