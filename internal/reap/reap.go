// Package reap is the only caller of wait(2) and of fork(2) in init. It starts processes, tells how each child ended,
// and collects orphans.
//
// It promises that an end is told (Peek) while the dead child's number cannot be given to another process yet, which is
// until Collect. So a signal for its group cannot reach a stranger. It promises that no end is lost or mistaken,
// however many come at once. It leaves the order of things to its caller, which must make all calls from one goroutine.
// A process that is to die with its parent must be started from the main thread: a parent-death signal comes at the end
// of the thread that forked. Nothing else in the program may wait for children, so os/exec must not be used beside it.
package reap

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"tandem/internal/exitcode"
)

// Child is one child that has ended.
type Child struct {
	PID    int
	Code   int            // exit status, or 128+n for signal n
	Signal syscall.Signal // 0 for an ordinary end
	Core   bool           // it left a core dump
}

// siginfo is siginfo_t of waitid(2) on 64-bit Linux.
type siginfo struct {
	signo, errno, code, _ int32
	pid                   int32
	uid                   uint32
	status                int32
	_                     [100]byte
}

// See the CLD_ codes in waitid(2).
const (
	cldKilled  = 2
	cldDumped  = 3
	cldStopped = 5
)

// Peek tells of one child that has ended and leaves it uncollected; found is false when none has. childless says
// that there is no child at all, alive or dead. The same child is told again until it is collected.
func Peek() (c Child, found, childless bool) {
	var info siginfo
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&info)),
			unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 || info.pid == 0 {
			return Child{}, false, errno == syscall.ECHILD
		}
		break
	}
	c = Child{PID: int(info.pid), Code: int(info.status)}
	if info.code == cldKilled || info.code == cldDumped {
		c.Signal, c.Core = syscall.Signal(info.status), info.code == cldDumped
		c.Code = exitcode.Signal + int(info.status)
	}
	return c, true, false
}

// Collect lets the ended child pid go.
func Collect(pid int) {
	for {
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != syscall.EINTR {
			return
		}
	}
}

// Suspended says which signal has stopped the child pid, or that SIGCONT has woken it, which is 0. changed is false
// when neither has happened since this was asked last.
func Suspended(pid int) (by syscall.Signal, changed bool) {
	for {
		var info siginfo
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, unix.P_PID, uintptr(pid), uintptr(unsafe.Pointer(&info)),
			unix.WSTOPPED|unix.WCONTINUED|unix.WNOHANG, 0, 0)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno != 0 || info.pid == 0:
			return by, changed
		}
		if by, changed = 0, true; info.code == cldStopped {
			by = syscall.Signal(info.status)
		}
	}
}

// GroupEmpty says whether nobody is left in the group pgid, whose leader has ended and was collected. A zombie
// that another process has not collected counts as somebody.
func GroupEmpty(pgid int) bool {
	// While the group has a member the kernel gives its number to no process. If a process has it, the group is gone, and
	// a group of that number is a stranger's.
	return syscall.Kill(-pgid, 0) == syscall.ESRCH || syscall.Kill(pgid, 0) != syscall.ESRCH
}

// Adopt makes orphaned descendants children of this process. PID 1 needs no asking.
func Adopt() error {
	if os.Getpid() == 1 {
		return nil
	}
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// Process is one descendant, as /proc shows it.
type Process struct {
	PID, Parent, Group int
	Name               string // as it has it itself, which may be anything
	Ended              bool   // and is not collected
}

// Descendants are all processes below this one, as far as /proc shows them. An error says that it shows none, or those
// of another namespace, whose numbers must not be signalled.
func Descendants() ([]Process, error) {
	self := os.Getpid()
	if name, err := os.Readlink("/proc/self"); err != nil || name != strconv.Itoa(self) {
		return nil, errors.New("/proc is not that of this PID namespace")
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	children := map[int][]Process{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, ok := look(pid); ok {
			children[p.Parent] = append(children[p.Parent], p)
		}
	}
	found := children[self]
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].PID]...)
	}
	return found, nil
}

// look reads /proc/PID/stat. Its second field, a name in parentheses, may contain anything.
func look(pid int) (Process, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Process{}, false
	}
	stat := string(b)
	begin, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[end+1:])
	if begin < 0 || end < begin || len(fields) < 3 {
		return Process{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return Process{}, false
	}
	group, _ := strconv.Atoi(fields[2])
	return Process{
		PID: pid, Parent: parent, Group: group, Name: stat[begin+1 : end], Ended: fields[0] == "Z" || fields[0] == "X",
	}, true
}
