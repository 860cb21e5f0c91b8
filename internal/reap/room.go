package reap

import (
	"bytes"
	"os"
	"runtime"
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

// NoMore waits until a Room that is under way has no process any more. None is begun after it.
func NoMore() { syscall.ForkLock.RLock() }

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

// Threads is how many processes and threads this process's user has, as far as /proc shows them. It leaves next to no
// garbage, which an idle init would keep.
func Threads() (n int) {
	dir, err := os.Open("/proc")
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	buf := make([]byte, 2048)
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		fd, err := syscall.Open("/proc/"+name+"/status", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		size, _ := syscall.Read(fd, buf)
		syscall.Close(fd)
		text := buf[:max(0, size)]
		if user, ok := numberAfter(text, "\nUid:\t"); !ok || user != os.Getuid() {
			continue
		}
		threads, ok := numberAfter(text, "\nThreads:\t")
		if !ok { // it has ended and is not collected
			threads = 1
		}
		n += threads
	}
	return n
}

// numberAfter is the number that follows key in text.
func numberAfter(text []byte, key string) (n int, found bool) {
	_, rest, _ := bytes.Cut(text, []byte(key))
	for i, c := range rest {
		if c < '0' || c > '9' {
			return n, i > 0
		}
		n = 10*n + int(c-'0')
	}
	return n, len(rest) > 0
}
