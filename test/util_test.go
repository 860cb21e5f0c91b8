package test

import (
	"strconv"
	"syscall"
	"testing"

	"tandem/internal/proctest"
)

func itoa(n int) string { return strconv.Itoa(n) }

var signals = map[string]syscall.Signal{
	"KILL": syscall.SIGKILL, "SEGV": syscall.SIGSEGV, "TERM": syscall.SIGTERM, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT,
}

func kill(t testing.TB, pid int, name string) {
	t.Helper()
	if err := syscall.Kill(pid, signals[name]); err != nil && err != syscall.ESRCH {
		t.Fatalf("kill -%s %d: %v", name, pid, err)
	}
}

var helpers = proctest.Helpers{}
