package tcp

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAClosedConnectionSendsNothingMore: what the kernel still has when a connection is closed never arrives.
func TestAClosedConnectionSendsNothingMore(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := DialAndDrop(t.Context(), Dialer(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	raw, _ := c.(*net.TCPConn).SyscallConn()
	_ = raw.Control(func(fd uintptr) {
		ms, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		if err == nil && ms != int(Silence.Milliseconds()) {
			t.Errorf("data may go %d ms without an acknowledgement, want %v", ms, Silence)
		}
	})

	_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // until nothing fits in any more: the peer does not read
	for block := make([]byte, 1<<20); ; {
		if _, err := c.Write(block); errors.Is(err, os.ErrDeadlineExceeded) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	_ = peer.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := io.Copy(io.Discard, peer); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the peer read %d bytes to %v, want a reset", n, err)
	}
}
