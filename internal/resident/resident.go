// Package resident makes a process small that has started and now has little to do.
//
// A start touches far more of the executable than what comes after it, and the kernel maps 64 KiB around each page that is touched: two
// thirds of what an idle program in Go has resident are pages of its file that it does not need.
package resident

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// afterStart is when a server has started, and what the start has left behind can go.
const afterStart = 2 * time.Second

// AfterStart makes the process small once its start is over, garbage included. The function that it returns takes that back.
func AfterStart() (stop func() bool) {
	return time.AfterFunc(afterStart, func() {
		debug.FreeOSMemory()
		Release()
	}).Stop
}

// Release gives the pages of the executable back to the kernel's cache, from where a fault brings back 64 KiB in a microsecond or two.
// Only code and constants, and only where nobody has written: what a loader has relocated, or a debugger has changed, would be lost.
func Release() {
	smaps, err := os.ReadFile("/proc/self/smaps") // proc_pid_smaps(5)
	if err != nil {
		return
	}
	var from, to uint64
	for line := range strings.Lines(string(smaps)) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 6 && strings.Contains(f[0], "-"): // a mapping: addresses, permissions, offset, device, inode, path
			low, high, _ := strings.Cut(f[0], "-")
			from, _ = strconv.ParseUint(low, 16, 64)
			to, _ = strconv.ParseUint(high, 16, 64)
			if f[1] != "r-xp" && f[1] != "r--p" || f[4] == "0" {
				to = 0
			}
		case len(f) == 3 && f[0] == "Anonymous:" && f[1] == "0" && from < to:
			_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, uintptr(from), uintptr(to-from), syscall.MADV_DONTNEED)
		}
	}
}
