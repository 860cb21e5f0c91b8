package control

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// accept waits for the next client.
func accept(socket *os.File) (*os.File, error) {
	conn, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var acceptErr error
	err = conn.Read(func(s uintptr) bool {
		fd, _, acceptErr = syscall.Accept4(int(s), syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK)
		return acceptErr != syscall.EAGAIN
	})
	if err == nil {
		err = acceptErr
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "client"), nil
}

// send sends all of b, or what the client takes before the deadline. When the client has left it raises no SIGPIPE.
func send(f *os.File, b []byte) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	for len(b) > 0 {
		var n int
		var sendErr error
		err := conn.Write(func(fd uintptr) bool {
			n, sendErr = unix.SendmsgN(int(fd), b, nil, nil, unix.MSG_NOSIGNAL)
			return sendErr != syscall.EAGAIN
		})
		switch {
		case sendErr == syscall.EINTR:
		case err != nil || sendErr != nil:
			return
		default:
			b = b[n:]
		}
	}
}

// pacer bounds how much work somebody can make who floods a socket. It costs others nothing.
type pacer struct {
	since time.Time
	count int
}

const (
	maxBurst        = 16                    // at once
	pauseAfterBurst = 10 * time.Millisecond // after a burst that took no longer
)

// wait is called after each piece of work.
func (p *pacer) wait(done <-chan struct{}) {
	now := time.Now()
	if now.Sub(p.since) > pauseAfterBurst {
		p.since, p.count = now, 0
	}
	if p.count++; p.count < maxBurst {
		return
	}
	over := time.NewTimer(pauseAfterBurst)
	defer over.Stop()
	select {
	case <-over.C:
	case <-done:
	}
}
