package main

import (
	"os"
	"syscall"
	"time"
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

// pacer bounds what somebody who floods a socket can make init work, and costs others nothing.
type pacer struct {
	since time.Time
	count int
}

const (
	paceBurst = 16                    // at once
	paceBreak = 10 * time.Millisecond // after a burst that took no longer
)

// wait is called after each piece of work.
func (p *pacer) wait(done <-chan struct{}) {
	now := time.Now()
	if now.Sub(p.since) > paceBreak {
		p.since, p.count = now, 0
	}
	if p.count++; p.count < paceBurst {
		return
	}
	over := time.NewTimer(paceBreak)
	defer over.Stop()
	select {
	case <-over.C:
	case <-done:
	}
}
