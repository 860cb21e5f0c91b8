package door

import (
	"math"
	"syscall"
)

// RaiseFileLimit says how the limit of open files is raised, for the log.
const RaiseFileLimit = "raise the limit of open files: " +
	"WEB_NOFILE or BOT_NOFILE under init, docker run --ulimit nofile=N, or ulimit -n N"

// MaxFiles is how many files this process may have open, connections among them.
func MaxFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(limit.Cur)
}
