package test

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/proctest"
	"tandem/internal/simulator"
)

// three are hosts with one polling bot between them.
func three(t *testing.T) *lan {
	t.Helper()
	l := newLAN(t, 3)
	l.hosts[0].start().waitWeb()
	for _, h := range l.hosts[1:] {
		h.start().waitWeb()
		h.bearer = l.hosts[0].bearer
	}
	l.hosts[0].waitPolling()
	for _, h := range l.hosts {
		h.bearer = l.hosts[0].token()
	}
	return l
}

// token is the one API token of all hosts.
func (h *host) token() string {
	if h.bearer == "" {
		h.api("GET", "/conversations", nil, nil)
	}
	return h.bearer
}

func TestOfThreeHostsThatStartAtOnceOnePolls(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 3)
	l.hosts[0].startWeb().waitWeb()
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	for i := range rounds {
		var all sync.WaitGroup
		for _, h := range l.hosts {
			all.Go(func() { h.startBot() })
		}
		all.Wait()
		holder := l.poller(nil)
		for _, h := range l.hosts {
			if h != holder {
				h.standsBy(0)
			}
		}
		l.tg.Customer(7, fmt.Sprint("message ", i))
		l.tg.NeedConfirmed(soon)
		for _, h := range l.hosts {
			all.Go(func() { h.bot.Kill() })
		}
		all.Wait()
	}
	neverTwo(t, l.tg)
	c := l.hosts[0].conversation(7)
	if n := len(l.hosts[0].texts(c.ID, inbox.In)); n != rounds {
		t.Errorf("%d messages are stored, want %d", n, rounds)
	}
}

// TestAKilledHolderIsFollowed kills the bot, its init, and its container. The next bot polls within five seconds. The
// machine may have no time to give, so one of three tries has to be as quick.
func TestAKilledHolderIsFollowed(t *testing.T) {
	t.Parallel()
	l := three(t)
	for _, victim := range []struct {
		name string
		kill func(h *host)
	}{
		{"the bot", func(h *host) {
			if p, ok := h.botProcess(); ok {
				syscall.Kill(p.PID, syscall.SIGKILL)
			}
		}},
		{"its init", func(h *host) { h.bot.Signal(syscall.SIGKILL) }},
		{"its container", func(h *host) { h.signal(syscall.SIGSTOP); h.bot.Kill() }},
	} {
		var quickest time.Duration
		for try := range 3 {
			took := l.killed(fmt.Sprintf("%s, try %d", victim.name, try+1), victim.kill)
			t.Logf("%s killed: the next poll came after %v", victim.name, took)
			if quickest == 0 || took < quickest {
				quickest = took
			}
			if quickest < 5*time.Second {
				break
			}
		}
		if quickest >= 5*time.Second {
			t.Errorf("%s killed: the next poll came after %v", victim.name, quickest)
		}
	}
	neverTwo(t, l.tg)
	if d := l.tg.Duplicates(); len(d) > 0 {
		t.Errorf("sent twice: %+v", d)
	}
}

// killed kills the host that polls, and says how long it took until another did.
func (l *lan) killed(name string, kill func(h *host)) time.Duration {
	l.t.Helper()
	first := l.poller(nil)
	other := l.hosts[(first.n+1)%3]
	other.roundTrip(int64(100+first.n), "before "+name)
	polls := l.tg.Polls(0).Requests
	began := time.Now()
	kill(first)
	proctest.Eventually(l.t, soon, "the next poll", func() bool {
		p := l.tg.Polls(0)
		return p.Waiting == 1 && p.Requests > polls
	})
	took := time.Since(began)
	other.roundTrip(7, "after "+name)
	if !first.bot.Running() {
		first.startBot()
	}
	l.poller(nil)
	return took
}

// TestAHolderWithoutItsDatabase cuts the holder's line to the database. It stops before another begins, and stands by
// when the line is back.
func TestAHolderWithoutItsDatabase(t *testing.T) {
	t.Parallel()
	l := three(t)
	first := l.poller(nil)
	other := l.hosts[(first.n+1)%3]
	other.roundTrip(7, "before")
	lines := len(first.bot.Lines())
	began := time.Now()
	first.cut(dbCable)
	l.tg.Customer(7, "meanwhile")
	first.bot.WaitLineFrom(lines, soon, "stopped polling")
	knew := time.Since(began)
	next := l.poller(first)
	t.Logf("the holder stopped after %v, host %d polled after %v", knew, next.n, time.Since(began))
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the next one polled after %v", took)
	}
	next.roundTrip(7, "after")
	first.heal(dbCable)
	first.standsBy(lines)
	neverTwo(t, l.tg)
	c := next.conversation(7)
	if got := next.texts(c.ID, inbox.In); len(got) != 3 || count(got, "meanwhile") != 1 {
		t.Errorf("the inbox has %q", got)
	}
}

// TestAHolderWithoutTelegram cuts the holder's line to Telegram. It says so and goes on when the line is back. Nobody
// else is troubled.
func TestAHolderWithoutTelegram(t *testing.T) {
	t.Parallel()
	l := three(t)
	first := l.poller(nil)
	other := l.hosts[(first.n+1)%3]
	other.roundTrip(7, "before")
	first.cut(tgCable)
	l.tg.Customer(7, "meanwhile")
	c := other.conversation(7)
	m := other.answer(c.ID, "meanwhile")
	first.bot.WaitLine(2*soon, "Telegram does not answer as it should")
	if code, body := other.get("/readyz"); code != 200 {
		t.Errorf("another host's web: %d %s", code, body)
	}
	first.heal(tgCable)
	other.waitDelivery(m, inbox.Sent, inbox.Unknown)
	proctest.Eventually(t, 2*soon, "the message is in the inbox", func() bool {
		return count(other.texts(c.ID, inbox.In), "meanwhile") == 1
	})
	other.roundTrip(7, "after")
	if !first.polls() {
		t.Error("it gave polling away")
	}
	if d := l.tg.Duplicates(); len(d) > 0 {
		t.Errorf("sent twice: %+v", d)
	}
}

// TestAFrozenHolder freezes the holder with an update and an answer in its hands. The server ends its session. It is
// thawed after another has taken over. What it does late changes nothing, and it stands by.
func TestAFrozenHolder(t *testing.T) {
	for name, frozen := range map[string]time.Duration{"until another polls": 0, "for a minute": time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if frozen > 0 && testing.Short() {
				t.Skip("takes a minute")
			}
			aFrozenHolder(t, frozen)
		})
	}
}

func aFrozenHolder(t *testing.T, atLeast time.Duration) {
	l := three(t)
	first := l.poller(nil)
	other := l.hosts[(first.n+1)%3]
	other.roundTrip(7, "before")
	c := other.conversation(7)
	slow := fault(l.tg, simulator.Delay(60_000), func(f *simulator.Fault) {
		f.Method, f.Text, f.Times = "sendMessage", "in its hands", 1
	})
	inHand := other.answer(c.ID, "in its hands")
	other.waitDelivery(inHand, inbox.Sending)
	lines := len(first.bot.Lines())
	began := time.Now()
	first.signal(syscall.SIGSTOP)
	l.tg.ClearFault(slow)
	l.tg.Customer(7, "into the hands of the frozen one")
	m := other.answer(c.ID, "while it is frozen")
	next := l.poller(first)
	took := time.Since(began)
	t.Logf("host %d polled after %v", next.n, took)
	if took > 30*time.Second {
		t.Errorf("the next one polled after %v", took)
	}
	next.waitDelivery(inHand, inbox.Unknown)
	next.waitDelivery(m, inbox.Sent)
	next.roundTrip(7, "after")
	offset := l.tg.Polls(0).Confirmed
	time.Sleep(time.Until(began.Add(atLeast))) // the length of the freeze is the case
	first.signal(syscall.SIGCONT)
	first.standsBy(lines)
	first.bot.WaitLineFrom(lines, soon, "the outcome of a delivery was not written", "unknown")
	if p, ok := first.botProcess(); !ok {
		t.Errorf("the bot of the frozen host is gone: %+v", p)
	}
	next.roundTrip(7, "in the end")
	next.waitDelivery(inHand, inbox.Unknown)
	if n := sentTo(l.tg, 7, "in its hands"); n != 1 {
		t.Errorf("what the frozen one had in its hands arrived %d times", n)
	}
	if !next.polls() || l.tg.Polls(0).Confirmed < offset {
		t.Errorf("the one that was frozen took something from the other: %+v", l.tg.Polls(0))
	}
	if got := next.texts(c.ID, inbox.In); len(got) != 4 {
		t.Errorf("the inbox has %q", got)
	}
	if d := l.tg.Duplicates(); len(d) > 0 {
		t.Errorf("sent twice: %+v", d)
	}
}

// TestThreeHostsAndARestartedDatabase restarts the database. The hosts recover by themselves, and still one polls.
func TestThreeHostsAndARestartedDatabase(t *testing.T) {
	t.Parallel()
	l := three(t)
	l.hosts[0].roundTrip(7, "before")
	l.pg.Stop()
	l.tg.Customer(7, "meanwhile")
	l.pg.Start()
	for _, h := range l.hosts {
		h.waitReady()
	}
	l.hosts[1].roundTrip(7, "after")
	c := l.hosts[2].conversation(7)
	if got := l.hosts[2].texts(c.ID, inbox.In); len(got) != 3 {
		t.Errorf("the inbox has %q", got)
	}
	neverTwo(t, l.tg)
}
