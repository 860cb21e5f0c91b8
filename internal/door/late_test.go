package door

import (
	"net"
	"testing"
	"time"

	"tandem/internal/proctest"
)

// TestWhoIsLate: of an answer it is the client who is late only while there is something that he has not taken.
func TestWhoIsLate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	raw, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	c := &conn{Conn: raw, phase: asking, phaseSince: time.Now().Add(soon)}
	late := func(what string, want bool) {
		t.Helper()
		proctest.Eventually(t, soon, what, func() bool { return c.serverIsLate() == want })
	}
	late("nothing was asked", false)
	c.phase = flushing
	late("all of the answer was taken", true)
	c.phase, c.waitingWrites = working, 1
	late("there is nothing to take", true)
	go func() { _, _ = raw.Write(make([]byte, 64<<20)) }()
	late("an answer waits to be taken", false)
	c.phase, c.waitingWrites = flushing, 0
	late("the rest of an answer waits to be taken", false)
	c.phaseSince = time.Now().Add(-2 * maxStill)
	late("what comes after an answer takes too long", false)
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	c.phase = asking
	late("what was sent is not read", true)
}
