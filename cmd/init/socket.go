package main

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// bindSocket makes a Unix socket of the kind given at path, in place of a stale one.
func bindSocket(path string, kind int, mode uint32) (*os.File, error) {
	if len(path) > 107 { // sun_path of unix(7)
		return nil, fmt.Errorf("the path is longer than the 107 bytes that the kernel takes")
	}
	// Without blocking, so that Go's poller waits and no thread does.
	fd, err := syscall.Socket(syscall.AF_UNIX, kind|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	_ = os.Remove(path)
	if kind == syscall.SOCK_DGRAM { // the kernel says who sent what
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_PASSCRED, 1)
	}
	err = syscall.Fchmod(fd, mode) // bind makes the file with the socket's mode: there is no moment with another
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: path})
	}
	if err == nil && kind == syscall.SOCK_STREAM {
		err = syscall.Listen(fd, 64)
	}
	if err != nil {
		syscall.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

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
