package proctest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
)

// Ports are given out one after the other, from a place that differs from process to process.
const firstPort, endPort = 20000, 32000

var ports struct {
	sync.Mutex
	next  int
	taken []net.Listener
}

// FreePort is a port of 127.0.0.1 that nobody has now, and that is given to no other test until this process ends. An
// abstract socket with its number in its name says that it is taken, before somebody listens and while a test's server
// is down. It lies below the range from which the kernel takes the ports of outgoing connections (32768 and up; see
// ip(7)).
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
		taken, err := net.Listen("unix", fmt.Sprintf("@tandem-test-port-%d", port))
		if err != nil {
			continue
		}
		if l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			ports.taken = append(ports.taken, taken)
			return port, l.Close()
		}
		taken.Close()
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
