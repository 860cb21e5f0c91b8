package main

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"tandem/internal/reap"
)

// terminal is the terminal that `init -- COMMAND` has as standard input: wherever init's own process group would be in
// its foreground the command's group is, so that Ctrl-C, Ctrl-Z and a shell's job control are the command's. nil is none.
type terminal struct {
	own       int  // init's process group: the job, for the shell that init was started from
	suspended bool // init has followed the command into a stop, and no SIGCONT has come since
}

// openTerminal is nil unless standard input is the terminal that controls init's session.
func openTerminal() *terminal {
	if _, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err != nil {
		return nil
	}
	return &terminal{own: syscall.Getpgrp()}
}

// foreground says whether the terminal is init's to hand on.
func (t *terminal) foreground() bool {
	if t == nil {
		return false
	}
	group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	return err == nil && group == t.own
}

// handOver gives the terminal to the group pgid, if it is init's: the shell said fg.
func (t *terminal) handOver(pgid int) {
	if t.foreground() {
		_ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, pgid)
	}
	if t != nil {
		t.suspended = false
	}
}

// takeBack gives the terminal back after the group pgid has ended. SIGTTOU, which the kernel answers that with
// from the background, is caught and not obeyed; it has to be blocked for the call to be carried out.
func (t *terminal) takeBack(pgid int) {
	if t == nil {
		return
	}
	if fg, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err != nil || fg != pgid {
		return
	}
	runtime.LockOSThread() // the mask is a thread's
	defer runtime.UnlockOSThread()
	var set, old unix.Sigset_t
	set.Val[0] = 1 << (uint(syscall.SIGTTOU) - 1)
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old)
	_ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, t.own)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
}

// follow stops init when the command pid was stopped, by Ctrl-Z or for reading in the background: the shell that init was
// started from sees its job stop, and says fg later. A container has no such shell, nor has the leader of a session.
func (t *terminal) follow(pid int) {
	if t == nil || pid == 0 || !reap.Stopped(pid) || t.suspended {
		return
	}
	if session, err := unix.Getsid(0); err == nil && session != os.Getpid() {
		t.suspend()
	}
}

// suspend stops init until somebody sends SIGCONT.
func (t *terminal) suspend() {
	if t != nil {
		t.suspended = true
	}
	if self := os.Getpid(); self != 1 {
		_ = syscall.Kill(self, syscall.SIGSTOP)
	}
}
