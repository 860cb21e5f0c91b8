package test

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/simulator/simtest"
)

// TestAFailover kills the primary and promotes its replica. Two hosts go on, whose DATABASE_URL names both servers. One
// of them polls, and nothing that was committed is lost.
func TestAFailover(t *testing.T) {
	t.Parallel()
	primary := pgtest.Server(t, append([]string{"fsync=on"}, pgtest.ReplicaSettings...)...)
	replica := primary.Replica()
	address := bothOf(t, primary.URL(), replica.URL())
	tg := simtest.Start(t)
	first := newRigWith(t, tg, address).start().waitWeb().waitPolling()
	second := newRigWith(t, tg, address).start().waitWeb()
	second.WaitLine(soon, "standing by")
	first.roundTrip(7, "before")
	second.bearer = first.bearer
	c := first.conversation(7)

	texts := []string{"before"}
	for i := range 5 {
		texts = append(texts, fmt.Sprint("just before ", i))
		tg.Customer(7, texts[len(texts)-1])
	}
	m := first.answer(c.ID, "just before")
	primary.Kill()
	texts = append(texts, "without a primary")
	tg.Customer(7, "without a primary")
	replica.Promote()
	for _, r := range []*rig{first, second} {
		r.waitReady()
	}
	first.waitPolling()
	second.nothingLost(7, texts)
	second.waitDelivery(m, inbox.Sent, inbox.Unknown)
	second.roundTrip(7, "after")
	if d := tg.Duplicates(); len(d) > 0 {
		t.Errorf("sent twice: %+v", d)
	}
	neverTwo(t, tg)
	first.stop()
	second.stop()
}

// bothOf is one address of two servers, in the syntax of libpq.
func bothOf(t *testing.T, a, b string) string {
	t.Helper()
	var hosts []string
	for _, address := range []string{a, b} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, net.JoinHostPort(u.Hostname(), u.Port()))
	}
	return strings.Replace(a, hosts[0], strings.Join(hosts, ","), 1) + "&target_session_attrs=read-write"
}
