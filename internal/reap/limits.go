package reap

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Limits are what a process is confined to. The zero value leaves all as this process has it.
type Limits struct {
	User         *User
	NoFile       uint64  // soft and hard RLIMIT_NOFILE; 0 for what this process was started with
	NoNewPrivs   bool    // see PR_SET_NO_NEW_PRIVS in prctl(2)
	Capabilities *uint64 // the only ones it keeps, bit n for capability n of capabilities(7); nil for no change
}

// User is who a process runs as. Groups are the supplementary ones.
type User struct {
	UID, GID int
	Groups   []int
}

// call is one system call of a child between fork and exec.
type call struct {
	number  uintptr
	args    [5]uintptr
	want    uintptr // what it must return, if not 0
	unless  int     // the call before it with this number, from 1 on, makes it needless by its success; 0 for none
	done    bool    // with success
	mayFail bool    // its failure does not matter
	what    string  // for people
}

// startLimited is Start for what syscall.ForkExec cannot do. no_new_privs, capabilities and limits of resources have to
// be set between fork and exec, in an order of their own. A terminal's foreground has to be set with SIGTTOU blocked.
//
// The parent writes down the system calls that the child has to make. The child makes them one by one, because after a
// fork it has no Go runtime to rely on. There is no second program in between: one that confines itself and then
// executes the real one could be read by its own user meanwhile; see docs/adr/0008.
func startLimited(path string, c Command) (int, error) {
	restoreNoFile()
	s, err := newScript(path, c)
	if err != nil {
		return 0, err
	}
	pid, err := s.run()
	runtime.KeepAlive(s)
	return pid, err
}

// restoreNoFile gives this process the RLIMIT_NOFILE that it was started with. Go's runtime raises that before main,
// and tells nobody what it was. syscall.Exec puts it back, and returns because there is no such program.
func restoreNoFile() { _ = syscall.Exec("", nil, nil) }

// script is what a child does between fork and exec, with everything that its calls point to.
type script struct {
	calls  []call
	keep   []any
	opened []int    // copies of descriptors
	failed [2]int32 // which call, and its errno
	report int      // the descriptor that tells the parent; closed by exec
	result int      // the parent's end of it
	child  int32    // the kernel writes its number here, in the child's memory
	mask   uint64   // this thread's signal mask
	all    uint64   // a mask of all signals

	numbers []*[maxDigits]byte // where the child writes its own number
}

// maxDigits is room for the decimal digits of a process's number and a zero byte.
const maxDigits = 12

func newScript(path string, c Command) (_ *script, err error) {
	s := &script{all: ^uint64(0)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if errno := setSignalMask(nil, &s.mask); errno != 0 {
		return nil, errno
	}
	if c.Session {
		s.add("session", syscall.SYS_SETSID)
	} else {
		s.add("process group", syscall.SYS_SETPGID, 0, 0)
	}
	if err := s.descriptors(c.files()); err != nil {
		return nil, err
	}
	user := c.Limits != nil && c.Limits.User != nil
	entered := 0
	if c.Dir != "" {
		s.add("working directory "+c.Dir, syscall.SYS_CHDIR, s.text(c.Dir)).mayFail = user
		entered = len(s.calls)
	}
	if c.Foreground { // while every signal is blocked, or SIGTTOU would stop it; a terminal may have gone
		s.add("terminal", syscall.SYS_IOCTL, 0, unix.TIOCSPGRP, uintptr(unsafe.Pointer(&s.child))).mayFail = true
	}
	if c.Limits != nil {
		s.limits(c.Limits)
	}
	if c.Dir != "" && user { // who may enter a directory that init, as root without privileges, may not
		s.add("working directory "+c.Dir, syscall.SYS_CHDIR, s.text(c.Dir)).unless = entered
	}
	if c.DieWithParent { // after the change of user, which clears it
		s.add("parent-death signal", syscall.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL))
		s.add("parent", syscall.SYS_GETPPID).want = uintptr(os.Getpid())
	}
	s.signals(c.Ignored)
	s.add("", syscall.SYS_EXECVE, s.text(path), s.list(c.Args), s.environment(c))
	return s, nil
}

// environment is the list of c's Env. Where a variable is to have the child's number it leaves room for that.
func (s *script) environment(c Command) uintptr {
	list := make([]uintptr, len(c.Env)+1)
	for i, line := range c.Env {
		if !c.namesThisProcess(line) {
			list[i] = s.text(line)
			continue
		}
		begin := strings.IndexByte(line, '=') + 1
		text := make([]byte, begin+maxDigits)
		copy(text, line[:begin])
		s.keep, s.numbers = append(s.keep, text), append(s.numbers, (*[maxDigits]byte)(text[begin:]))
		list[i] = uintptr(unsafe.Pointer(&text[0]))
	}
	s.keep = append(s.keep, list)
	return uintptr(unsafe.Pointer(&list[0]))
}

// setSignalMask sets this thread's signal mask to mask, and puts the one that it had into before. Either may be nil.
// Go's scheduler must not get a chance in it.
//
//go:nosplit
func setSignalMask(mask, before *uint64) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK,
		uintptr(unsafe.Pointer(mask)), uintptr(unsafe.Pointer(before)), 8, 0, 0)
	return errno
}

func (s *script) add(what string, number uintptr, args ...uintptr) *call {
	k := call{number: number, what: what}
	copy(k.args[:], args)
	s.calls = append(s.calls, k)
	return &s.calls[len(s.calls)-1]
}

// text, list and data are what a call points to. The heap does not move, so that an address stays good.
func (s *script) text(v string) uintptr {
	b, err := syscall.BytePtrFromString(v)
	if err != nil { // a zero byte, which no environment and no argument can have
		b = new(byte)
	}
	s.keep = append(s.keep, b)
	return uintptr(unsafe.Pointer(b))
}

func (s *script) list(words []string) uintptr {
	list := make([]uintptr, len(words)+1)
	for i, w := range words {
		list[i] = s.text(w)
	}
	s.keep = append(s.keep, list)
	return uintptr(unsafe.Pointer(&list[0]))
}

func data[T any](s *script, v T) uintptr {
	p := new(T)
	*p = v
	s.keep = append(s.keep, p)
	return uintptr(unsafe.Pointer(p))
}

// descriptors gives the child files as 0, 1, 2 and on. They are copied out of the way first, so that none is
// overwritten before it is used.
func (s *script) descriptors(files []uintptr) error {
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return err
	}
	s.result, s.opened = ends[0], append(s.opened, ends[1])
	report, err := unix.FcntlInt(uintptr(ends[1]), unix.F_DUPFD_CLOEXEC, len(files))
	if err != nil {
		return err
	}
	s.report, s.opened = report, append(s.opened, report)
	for i, file := range files {
		fd, err := unix.FcntlInt(file, unix.F_DUPFD_CLOEXEC, len(files))
		if err != nil {
			return fmt.Errorf("descriptor %d: %w", i, err)
		}
		s.opened = append(s.opened, fd)
		s.add("descriptor", syscall.SYS_DUP3, uintptr(fd), uintptr(i), 0)
	}
	return nil
}

func (s *script) limits(l *Limits) {
	if l.NoFile != 0 { // while there may be the privilege to raise it
		limit := data(s, unix.Rlimit{Cur: l.NoFile, Max: l.NoFile})
		s.add("limit of open files", syscall.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, limit)
	}
	if l.Capabilities != nil {
		s.add("capabilities", syscall.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1) // until exec
		for n := uintptr(0); ; n++ {
			if set, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, n, 0, 0, 0); err != nil {
				break // the last one that this kernel knows
			} else if set == 0 || *l.Capabilities&(1<<n) != 0 {
				continue
			}
			// Only an executable that gives privileges could bring one back, and no_new_privs keeps it from that.
			s.add("capabilities", syscall.SYS_PRCTL, unix.PR_CAPBSET_DROP, n).mayFail = l.NoNewPrivs
		}
	}
	if u := l.User; u != nil {
		groups := make([]uint32, len(u.Groups)+1)
		for i, g := range u.Groups {
			groups[i] = uint32(g)
		}
		s.keep = append(s.keep, groups)
		s.add("supplementary groups", syscall.SYS_SETGROUPS, uintptr(len(u.Groups)), uintptr(unsafe.Pointer(&groups[0])))
		s.add("group", syscall.SYS_SETRESGID, uintptr(u.GID), uintptr(u.GID), uintptr(u.GID))
		s.add("user", syscall.SYS_SETRESUID, uintptr(u.UID), uintptr(u.UID), uintptr(u.UID))
	}
	if l.Capabilities != nil {
		s.capabilities(*l.Capabilities)
	}
	if l.NoNewPrivs {
		s.add("no_new_privs", syscall.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
}

// capabilities makes kept the only ones of all sets. A user other than root takes them over exec in the ambient set.
func (s *script) capabilities(kept uint64) {
	low, high := uint32(kept), uint32(kept>>32)
	header := data(s, unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3})
	sets := data(s, [2]unix.CapUserData{
		{Effective: low, Permitted: low, Inheritable: low}, {Effective: high, Permitted: high, Inheritable: high},
	})
	s.add("capabilities", syscall.SYS_CAPSET, header, sets)
	s.add("capabilities", syscall.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	for n := uintptr(0); n < 64; n++ {
		if kept&(1<<n) != 0 {
			s.add("capabilities", syscall.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, n, 0, 0)
		}
	}
}

// signals takes away this process's handlers, and then unblocks signals. exec would do the first too, but no handler of
// this process may run in the child.
func (s *script) signals(ignored []syscall.Signal) {
	byDefault := data(s, [4]uint64{})
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if sig != syscall.SIGKILL && sig != syscall.SIGSTOP && !slices.Contains(ignored, sig) {
			s.add("signals", syscall.SYS_RT_SIGACTION, uintptr(sig), byDefault, 0, 8)
		}
	}
	s.add("signals", syscall.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&s.mask)), 0, 8)
}

// run forks and waits until the child has executed its program or given up.
func (s *script) run() (pid int, err error) {
	defer s.close()
	failed, calls := uintptr(unsafe.Pointer(&s.failed[0])), s.calls
	syscall.ForkLock.Lock()
	// With every signal blocked the child cannot run a handler of Go's, nor this goroutine lose its thread.
	_ = setSignalMask(&s.all, nil)
	child, errno := fork(calls, s.numbers, &s.failed, failed, uintptr(s.report), uintptr(unsafe.Pointer(&s.child)))
	_ = setSignalMask(&s.mask, nil)
	syscall.ForkLock.Unlock()
	if errno != 0 {
		return 0, errno
	}
	pid = int(child)
	s.closeCopies()
	var answer [8]byte
	n, err := syscall.Read(s.result, answer[:])
	for err == syscall.EINTR {
		n, err = syscall.Read(s.result, answer[:])
	}
	if n != len(answer) { // exec closed it, or a signal killed the child, whose end will be seen
		return pid, nil
	}
	Collect(pid)
	s.failed = *(*[2]int32)(unsafe.Pointer(&answer))
	which, errno := s.calls[s.failed[0]], syscall.Errno(s.failed[1])
	if which.what == "" {
		return 0, errno
	}
	return 0, &limitError{which.what, errno}
}

// fork is fork(2). The child makes the calls, of which the last one is exec, or reports which one failed and ends. The
// child must not allocate, grow its stack or touch anything of the runtime. childAt is given twice, because the place
// of clone(2)'s argument depends on the processor.
//
//go:norace
//go:nosplit
func fork(
	calls []call, numbers []*[maxDigits]byte, failed *[2]int32, failedAt, report, childAt uintptr,
) (pid uintptr, errno syscall.Errno) {
	const flags = uintptr(syscall.SIGCHLD) | syscall.CLONE_CHILD_SETTID
	pid, _, errno = syscall.RawSyscall6(syscall.SYS_CLONE, flags, 0, 0, childAt, childAt, 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	if len(numbers) > 0 {
		self, _, _ := syscall.RawSyscall6(syscall.SYS_GETPID, 0, 0, 0, 0, 0, 0)
		for _, text := range numbers {
			writeNumber(text, self)
		}
	}
	for i := range calls {
		c := &calls[i]
		if c.unless > 0 && calls[c.unless-1].done {
			continue
		}
		r, _, errno := syscall.RawSyscall6(c.number, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], 0)
		if errno == 0 && c.want != 0 && r != c.want {
			errno = syscall.ESRCH
		}
		if errno != 0 && !c.mayFail {
			failed[0], failed[1] = int32(i), int32(errno)
			_, _, _ = syscall.RawSyscall6(syscall.SYS_WRITE, report, failedAt, 8, 0, 0, 0)
			break
		}
		c.done = errno == 0
	}
	for {
		_, _, _ = syscall.RawSyscall6(syscall.SYS_EXIT_GROUP, 253, 0, 0, 0, 0, 0)
	}
}

// writeNumber writes n in decimal digits. What follows them is zero.
//
//go:norace
//go:nosplit
func writeNumber(text *[maxDigits]byte, n uintptr) {
	end := 1
	for rest := n; rest > 9; rest /= 10 {
		end++
	}
	for i := min(end, maxDigits-1) - 1; i >= 0; i-- {
		text[i] = '0' + byte(n%10)
		n /= 10
	}
}

func (s *script) closeCopies() {
	for _, fd := range s.opened {
		syscall.Close(fd)
	}
	s.opened = nil
}

func (s *script) close() {
	s.closeCopies()
	if s.result != 0 {
		syscall.Close(s.result)
		s.result = 0
	}
}

// limitError says which limit could not be set.
type limitError struct {
	what  string
	errno syscall.Errno
}

func (e *limitError) Error() string {
	hint := ""
	if errors.Is(e.errno, syscall.EPERM) {
		hint = " (init lacks the privilege)"
	}
	return "cannot set its " + e.what + ": " + e.errno.Error() + hint
}

func (e *limitError) Unwrap() error { return e.errno }
