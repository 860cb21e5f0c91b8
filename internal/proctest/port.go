package proctest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
)

// Ports are given out one after the other, from a place that differs from process to process, so that two tests at
// once do not get the same before the first one listens.
const firstPort, endPort = 20000, 32000

var ports struct {
	sync.Mutex
	next int
}

// FreePort is a port of 127.0.0.1 that nobody has now. It lies below the range that the kernel takes the ports of
// outgoing connections from (32768 and up; see ip(7)), so that nobody takes it while a test's server is down.
func FreePort() (int, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 {
		ports.next = firstPort + os.Getpid()*131%(endPort-firstPort)
	}
	for range endPort - firstPort {
		port := ports.next
		if ports.next++; ports.next == endPort {
			ports.next = firstPort
		}
		if l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("there is no free port")
}

// FreeAddr is 127.0.0.1 with a FreePort.
func FreeAddr(t testing.TB) string {
	t.Helper()
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}
