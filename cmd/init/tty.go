package main

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// terminal is the terminal that `init -- COMMAND` was started on: the command becomes its foreground process
// group, so that Ctrl-C and a shell's job control are the command's. nil is none.
type terminal struct{ own int }

// openTerminal is nil unless standard input is a terminal whose foreground is init itself.
func openTerminal() *terminal {
	fg, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	if own := syscall.Getpgrp(); err == nil && fg == own {
		return &terminal{own}
	}
	return nil
}

// handOver gives the terminal to the group pgid.
func (t *terminal) handOver(pgid int) {
	if t == nil {
		return
	}
	_ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, pgid)
	_ = syscall.Kill(-pgid, syscall.SIGCONT) // it may have read before, and been stopped for it
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
	var set, old unix.Sigset_t
	set.Val[0] = 1 << (uint(syscall.SIGTTOU) - 1)
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old)
	_ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, t.own)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
}
