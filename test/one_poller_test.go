package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tandem/internal/pgtest"
	"tandem/internal/proctest"
	"tandem/internal/simulator/simtest"
	"tandem/internal/status"
)

// neverTwo fails the test if two polls of live programs ever were open at once, or a 409 was sent.
func neverTwo(t *testing.T, tg *simtest.Telegram) {
	t.Helper()
	if p := tg.Polls(0); p.MaxOpen > 1 || p.Conflicts > 0 {
		t.Errorf("%d polls were open at once and %d conflicts were answered: %+v", p.MaxOpen, p.Conflicts, p)
	}
}

// twoRigs are two containers with one token, one database and one lock file.
func twoRigs(t *testing.T, database string) (first, second *rig) {
	t.Helper()
	tg := simtest.Start(t)
	shared := t.TempDir()
	if database == "sqlite" {
		database = "sqlite:" + filepath.Join(shared, "tandem.db")
	}
	lock := "POLL_LOCK_FILE=" + filepath.Join(shared, "bot.lock")
	first = newRigWith(t, tg, database, lock).start().waitWeb().waitPolling()
	second = newRigWith(t, tg, database, lock).start().waitWeb()
	second.bearer = first.bearer
	return first, second
}

func TestTheSecondContainerStandsBy(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		first, second := twoRigs(t, database)
		stays := second.webMustStay()
		p := second.waitBot(status.Standby)
		if p.PID != 0 {
			t.Errorf("a bot that stands by has the process %d", p.PID)
		}
		lock := second.status().Lock
		if lock == nil || lock.Held || lock.Holder == "" {
			t.Errorf("the lock of the one that stands by: %+v, want a holder", lock)
		}
		first.roundTrip(7, "to the first")
		first.stop()
		start := time.Now()
		second.waitBot(status.Running)
		t.Logf("started %s after the first container had ended", time.Since(start))
		second.bearer = first.bearer
		second.roundTrip(7, "to the second")
		neverTwo(t, first.tg)
		stays()
		second.stop()
	})
}

func TestTheStandbyTakesOverFromWhatWasKilled(t *testing.T) {
	for name, killInit := range map[string]bool{"the first init": true, "the first bot": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := twoRigs(t, "sqlite")
			stays := second.webMustStay()
			second.waitBot(status.Standby)
			first.roundTrip(7, "before")
			if killInit {
				first.Signal(9)
				first.Wait(soon)
			} else {
				bot, _ := first.Find(first.process("bot").PID)
				kill(t, bot.PID, syscall.SIGKILL)
			}
			second.waitBot(status.Running)
			second.bearer = first.bearer
			second.roundTrip(7, "after")
			if !killInit {
				first.waitBot(status.Standby)
				first.stop()
			}
			neverTwo(t, first.tg)
			stays()
			second.stop()
		})
	}
}

// TestABotOutlivesNoInit is about an init that is no PID 1: the kernel ends no namespace for it.
func TestABotOutlivesNoInit(t *testing.T) {
	t.Parallel()
	tg := simtest.Start(t)
	shared := t.TempDir()
	lock, db := "POLL_LOCK_FILE="+filepath.Join(shared, "bot.lock"), "sqlite:"+filepath.Join(shared, "tandem.db")
	first := newRigWith(t, tg, db, lock)
	first.under = proctest.Parent
	first.start().waitWeb().waitPolling()
	second := newRigWith(t, tg, db, lock).start().waitWeb()
	second.waitBot(status.Standby)
	first.Signal(9)
	second.waitBot(status.Running)
	second.roundTrip(7, "after")
	neverTwo(t, tg)
	second.stop()
}

func TestABotByHandStandsBy(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		r := newRig(t, database, "BOT_OPS_ADDR="+proctest.FreeAddr(t))
		web := proctest.Start(t, proctest.Options{Path: bin(t, "web"), Env: r.env})
		first := proctest.Start(t, proctest.Options{Path: bin(t, "bot"), Env: r.env})
		r.waitWeb().waitPolling()
		second := proctest.Start(t, proctest.Options{Path: bin(t, "bot"), Env: r.env})
		second.WaitLine(soon, `"level":"WARN"`, "operations port", setting(r.env, "BOT_OPS_ADDR="))
		host, _ := os.Hostname()
		second.WaitLine(soon, "standing by", "bot "+host) // and its number in a namespace of its own
		r.roundTrip(7, "to the first")
		first.Signal(9)
		r.tg.Customer(7, "to the second")
		r.tg.NeedConfirmed(soon)
		neverTwo(t, r.tg)
		second.Signal(15)
		web.Signal(15)
		if end := second.Wait(soon); end.Code != 0 {
			t.Errorf("the second bot ended with %d", end.Code)
		}
	})
}

// TestTheSecondHostStandsBy is about a lock that only PostgreSQL guards. The second bot runs. It says itself that it
// stands by, and for whom.
func TestTheSecondHostStandsBy(t *testing.T) {
	t.Parallel()
	tg, database := simtest.Start(t), pgtest.URL(t)
	own := func() []string {
		return []string{"POLL_LOCK_FILE=" + filepath.Join(t.TempDir(), "bot.lock"), "BOT_NOTIFY=true", "WEB_NOTIFY=true"}
	}
	// Its next bot comes late enough for the second one to be first.
	late := append(own(), "BOT_RESTART_DELAY=8s", "BOT_RESTART_DELAY_MAX=8s")
	first := newRigWith(t, tg, database, late...).start().waitWeb().waitPolling()
	first.waitBot(status.Running)
	second := newRigWith(t, tg, database, own()...).start().waitWeb()
	p := second.waitBot(status.Standby)
	host, _ := os.Hostname()
	if p.PID == 0 || !strings.Contains(p.Reason, "the polling lock is held by") || !strings.Contains(p.Reason, host) {
		t.Errorf("have %+v, want a process that says who holds the lock", p)
	}
	bot, _ := first.Find(first.process("bot").PID)
	kill(t, bot.PID, syscall.SIGKILL)
	if p := second.waitBot(status.Running); p.Restarts != 0 || p.Reason != "" {
		t.Errorf("have %+v", p)
	}
	first.waitBot(status.Standby)
	second.bearer = first.bearer
	second.roundTrip(7, "to the second")
	neverTwo(t, tg)
	first.stop()
	second.stop()
}

// endLockHolder ends the session of whoever holds the polling lock, as a failover or an administrator does. It says
// false where nobody holds it.
const endLockHolder = `SELECT COALESCE(bool_or(pg_terminate_backend(pid)), false) FROM pg_locks
	WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()
	AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

// TestTwoHostsNeverPollAtOnce plays two hosts by two lock files: only PostgreSQL stands between them. The server
// ends the holder's session again and again.
func TestTwoHostsNeverPollAtOnce(t *testing.T) {
	t.Parallel()
	database := pgtest.URL(t)
	r := newRig(t, database)
	var bots []*proctest.Process
	for i := range 2 {
		lock := filepath.Join(t.TempDir(), fmt.Sprintf("host%d.lock", i))
		env := append(slices.Clone(r.env), "POLL_LOCK_FILE="+lock, "RUN_DIR="+t.TempDir())
		bots = append(bots, proctest.Start(t, proctest.Options{Path: bin(t, "bot"), Env: env}))
	}
	web := proctest.Start(t, proctest.Options{Path: bin(t, "web"), Env: r.env})
	r.waitWeb().waitPolling()
	host, _ := os.Hostname()
	proctest.Eventually(t, soon, "the one that stands by says who polls", func() bool {
		return bots[0].Count("standing by", `"holder"`, host)+bots[1].Count("standing by", `"holder"`, host) > 0
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	admin, err := pgx.Connect(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	rounds := 50
	if testing.Short() {
		rounds = 5
	}
	for i := range rounds {
		r.waitPolling()
		proctest.Eventually(t, soon, "somebody holds the advisory lock", func() bool { // nobody does between two holders
			var ended bool
			if err := admin.QueryRow(ctx, endLockHolder).Scan(&ended); err != nil {
				t.Fatal(err)
			}
			return ended
		})
		r.tg.Customer(int64(100+i%5), fmt.Sprintf("message %d", i))
		r.tg.NeedConfirmed(soon)
	}
	neverTwo(t, r.tg)
	stored := 0
	for i := range 5 {
		c := r.conversation(int64(100 + i))
		for _, text := range r.texts(c.ID, "in") {
			if strings.HasPrefix(text, "message ") {
				stored++
			}
		}
	}
	if stored != rounds {
		t.Errorf("%d messages are stored, want %d", stored, rounds)
	}
	for _, b := range bots {
		if !b.Running() {
			t.Errorf("a bot ended; a lost session is no reason to")
		}
		b.Signal(15)
	}
	web.Signal(15)
}
