// Package tcp dials so that a peer which vanished without a word is noticed within seconds.
//
// By hand: it is a net.Dialer with TCP_USER_TIMEOUT, which package net has no field for, and two lines of
// golang.org/x/sys/unix that set it.
package tcp

import (
	"context"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Silence is how long data may go without an acknowledgement. The kernel's own limit is 15 minutes, and hours for a
// line on which nothing is said (tcp(7): tcp_retries2, tcp_keepalive_time).
const Silence = 10 * time.Second

// Dialer makes connections that break after Silence: no FIN or RST has to come.
func Dialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control: func(network, _ string, raw syscall.RawConn) error {
			if !strings.HasPrefix(network, "tcp") {
				return nil
			}
			// Not every kernel that claims to be Linux has it (gVisor): then the deadlines of calls have to do.
			return raw.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(Silence.Milliseconds()))
			})
		},
	}
}

// DialAndDrop is DialContext for connections of which nothing stays behind in the kernel when they are closed, also by
// the end of this process: what had not been sent by then is dropped instead of being sent later, on behalf of nobody
// (socket(7), SO_LINGER).
func DialAndDrop(ctx context.Context, d *net.Dialer, network, address string) (net.Conn, error) {
	c, err := d.DialContext(ctx, network, address)
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	return c, err
}
