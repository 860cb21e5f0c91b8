package proctest

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo-terminal; see pty(7). A machine without skips nothing: Linux has them.
func openTerminal(t testing.TB) (screen, line *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		screen.Close()
		t.Fatal(err)
	}
	line, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		screen.Close()
		t.Fatal(err)
	}
	return screen, line
}

// Foreground is the process group that the terminal listens to, as the test sees it.
func (p *Process) Foreground() int {
	p.t.Helper()
	group, err := unix.IoctlGetInt(int(p.screen.Fd()), unix.TIOCGPGRP)
	if err != nil {
		p.t.Fatal(err)
	}
	return group
}

// Type has somebody type text at the terminal; "\x03" is Ctrl-C, "\x1a" Ctrl-Z.
func (p *Process) Type(text string) {
	p.t.Helper()
	if _, err := p.screen.WriteString(text); err != nil {
		p.t.Fatalf("type %q: %v", text, err)
	}
}
