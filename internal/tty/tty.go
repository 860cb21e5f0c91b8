// Package tty hands a terminal from init to the one command that it runs, and takes it back.
//
// It promises that the command's process group is in the foreground of the terminal whenever init's own would be. So
// Ctrl-C, Ctrl-Z and a shell's job control go to the command. When the command is stopped, init stops with it, if there
// is a shell that can say fg to both. What is done to a command between fork and exec is left to package reap.
package tty

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"tandem/internal/reap"
)

// Terminal is the terminal that init has as standard input. The nil Terminal is none.
type Terminal struct {
	own       int  // init's process group, which is the job that the shell knows
	suspended bool // init has stopped with the command, and no SIGCONT has come since
}

// Open is nil unless standard input is the terminal that controls init's session.
func Open() *Terminal {
	if _, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err != nil {
		return nil
	}
	return &Terminal{own: syscall.Getpgrp()}
}

// Foreground says whether the terminal is init's to hand on.
func (t *Terminal) Foreground() bool {
	if t == nil {
		return false
	}
	group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	return err == nil && group == t.own
}

// HandOver gives the terminal to the group pgid, if it is init's: the shell said fg.
func (t *Terminal) HandOver(pgid int) {
	if t.Foreground() {
		_ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, pgid)
	}
	if t != nil {
		t.suspended = false
	}
}

// TakeBack takes the terminal back after the group pgid has ended. init is in the background then, and the kernel
// answers this call of a background process with SIGTTOU, unless the signal is blocked or ignored.
func (t *Terminal) TakeBack(pgid int) {
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

// Follow stops init when the command pid was stopped, by Ctrl-Z or for reading in the background. So the shell that
// init was started from sees its job stop, and says fg later. A container has no such shell, nor has the leader of a
// session.
func (t *Terminal) Follow(pid int) {
	if t == nil || pid == 0 {
		return
	}
	if by, changed := reap.Suspended(pid); !changed || by == 0 || t.suspended {
		return
	}
	if session, err := unix.Getsid(0); err == nil && session != os.Getpid() {
		t.Suspend()
	}
}

// Suspend stops init until somebody sends SIGCONT.
func (t *Terminal) Suspend() {
	if t != nil {
		t.suspended = true
	}
	if self := os.Getpid(); self != 1 {
		_ = syscall.Kill(self, syscall.SIGSTOP)
	}
}
