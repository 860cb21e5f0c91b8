package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/status"
)

// The table of `init status` as a person sees it: of a pair that runs, of a bot that waits, failed or stands by.
func TestStatusTable(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 3, 20, 0, 0, time.UTC)
	at := func(ago time.Duration) *time.Time { then := now.Add(-ago); return &then }
	web := status.Process{Name: "web", State: status.Running, PID: 7,
		Since: at(3*time.Hour + 12*time.Minute + 9*time.Second)}
	of := func(bot status.Process, lock status.Lock) *status.Status {
		bot.Name, lock.Path = "bot", "/run/tandem/bot.lock"
		return &status.Status{Init: status.Init{PID: 1, StartedAt: *at(76 * time.Hour), Version: "v1.4.0"},
			Processes: []status.Process{web, bot}, Lock: &lock, OrphansReaped: 2}
	}
	const runs = `      STATE      FOR     PID     RESTARTS
web   running    3h12m   7       0
`
	const init = "init  v1.4.0, pid 1, up 3d4h, 2 orphans reaped\n"
	conflict := &status.End{At: *at(9 * time.Second), Code: 75, Reason: "75: cannot run now"}
	dir := t.TempDir() // what the bot said before it ended with 78
	if err := status.WriteWords(dir, "bot",
		status.Words{At: now.Add(-10 * time.Second), Code: 78, Reason: "TELEGRAM_BOT_TOKEN: not set"}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		s    *status.Status
		only string
		want string
	}{
		"runs": {of(status.Process{State: status.Running, PID: 4711, Since: at(250 * time.Second), Restarts: 1,
			LastEnd: &status.End{At: *at(251 * time.Second), Signal: "SIGKILL", Reason: "killed by SIGKILL", RanMS: 75_000}},
			status.Lock{Held: true}), "",
			runs + `bot   running    4m10s   4711    1
      last end   2026-11-24 03:15:49 UTC, 4m11s ago, after 1m15s: killed by SIGKILL
lock  /run/tandem/bot.lock: held by this bot
` + init},
		"waits": {of(status.Process{State: status.Waiting, Since: at(9 * time.Second), Reason: conflict.Reason,
			LastEnd: conflict, NextStartAt: at(-21 * time.Second)}, status.Lock{}), "",
			runs + `bot   waiting    9s      -       0
      why        75: cannot run now
      last end   2026-11-24 03:19:51 UTC, 9s ago
      next start 2026-11-24 03:20:21 UTC, in 21s
lock  /run/tandem/bot.lock: not held by this bot
` + init},
		"failed": {of(status.Process{State: status.Failed, Since: at(9 * time.Second),
			Reason:  "78: cannot run as configured; its own last lines in the log say why",
			LastEnd: &status.End{At: *at(9 * time.Second), Code: 78, Reason: "78: cannot run as configured", RanMS: 258}},
			status.Lock{}), "bot",
			`      STATE      FOR     PID     RESTARTS
bot   failed     9s      -       0
      why        TELEGRAM_BOT_TOKEN: not set
      last end   2026-11-24 03:19:51 UTC, 9s ago, after 258ms: 78: cannot run as configured
lock  /run/tandem/bot.lock: not held by this bot
`},
		"is overdue": {of(status.Process{State: status.Waiting, Reason: "crashed", NextStartAt: at(time.Second)},
			status.Lock{}), "",
			runs + `bot   waiting    -       -       0
      why        crashed
      next start 2026-11-24 03:19:59 UTC, in 0s
lock  /run/tandem/bot.lock: not held by this bot
` + init},
		"stands by": {of(status.Process{State: status.Standby, Since: at(90 * time.Minute),
			Reason: "the polling lock is held by pid 9"}, status.Lock{Holder: "pid 9"}), "bot",
			`      STATE      FOR     PID     RESTARTS
bot   standby    1h30m   -       0
      why        the polling lock is held by pid 9
lock  /run/tandem/bot.lock: not held by this bot but by pid 9
`},
		"starts": {of(status.Process{State: status.Starting, Since: at(3 * time.Second), PID: 12,
			StatusText: "waits for Telegram"}, status.Lock{Held: true}), "bot",
			`      STATE      FOR     PID     RESTARTS
bot   starting   3s      12      0
      says       waits for Telegram
lock  /run/tandem/bot.lock: held by this bot
`},
		"stands by for a lock of its own": {of(status.Process{State: status.Standby, Since: at(3 * time.Second), PID: 12,
			Reason: "bot a:7 has the database", StatusText: "bot a:7 has the database"}, status.Lock{Held: true}), "bot",
			`      STATE      FOR     PID     RESTARTS
bot   standby    3s      12      0
      why        bot a:7 has the database
lock  /run/tandem/bot.lock: kept for this bot, which waits for another lock
`},
		"is in a state that is new": {of(status.Process{State: "dreaming", Since: at(3 * time.Second), PID: 12,
			Reason: "two answers are under way"}, status.Lock{Held: true}), "bot",
			`      STATE      FOR     PID     RESTARTS
bot   dreaming   3s      12      0
      why        two answers are under way
lock  /run/tandem/bot.lock: held by this bot
`},
		"says what is not to be printed": {of(status.Process{State: status.Starting, PID: 12,
			StatusText: "\x1b[2Jtwo\nlines\u009b"}, status.Lock{Held: true}), "bot",
			`      STATE      FOR     PID     RESTARTS
bot   starting   -       12      0
      says       [2Jtwolines
lock  /run/tandem/bot.lock: held by this bot
`},
		"only web": {of(status.Process{}, status.Lock{}), "web", runs},
	} {
		if d := cmp.Diff(c.want, statusTable([]*status.Status{c.s}, c.only, dir, now)); d != "" {
			t.Errorf("%s (-want +have):\n%s", name, d)
		}
	}
}

// Of two inits with one RUN_DIR, as in a Pod with a container for each process.
func TestStatusTableOfTwo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 3, 20, 0, 0, time.UTC)
	begun := now.Add(-time.Hour)
	web := &status.Status{Init: status.Init{PID: 1, StartedAt: begun, Version: "v1"}, OrphansReaped: 2,
		Processes: []status.Process{{Name: "web", State: status.Running, PID: 7, Since: &begun}}}
	bot := &status.Status{Init: status.Init{PID: 1, StartedAt: begun, Version: "v2"},
		Processes: []status.Process{{Name: "bot", State: status.Standby, PID: 8, Since: &begun,
			Reason: "the polling lock is held by b:7"}},
		Lock: &status.Lock{Path: "/run/tandem/bot.lock", Held: true}}
	want := `      STATE      FOR     PID     RESTARTS
web   running    1h0m    7       0
bot   standby    1h0m    8       0
      why        the polling lock is held by b:7
lock  /run/tandem/bot.lock: kept for this bot, which waits for another lock
init  v1, pid 1, up 1h0m, 2 orphans reaped (of web)
init  v2, pid 1, up 1h0m, 0 orphans reaped (of bot)
`
	if d := cmp.Diff(want, statusTable([]*status.Status{web, bot}, "", "", now)); d != "" {
		t.Errorf("(-want +have):\n%s", d)
	}
}

// The table goes by states, counts and whose reason it is: with every word replaced by another it has the same lines.
func TestStatusTableLooksIntoNoWords(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 3, 20, 0, 0, time.UTC)
	ended := now.Add(-9 * time.Second)
	show := func(reason, ofEnd, says, said string) string {
		var all strings.Builder
		for _, words := range []bool{false, true} {
			dir := t.TempDir()
			if words {
				if err := status.WriteWords(dir, "bot", status.Words{At: ended, Code: 1, Reason: said}); err != nil {
					t.Fatal(err)
				}
			}
			for _, p := range []status.Process{
				{State: status.Waiting, Reason: ofEnd, NextStartAt: &now},
				{State: status.Waiting, Reason: ofEnd, InARow: 7},
				{State: status.Waiting, Reason: reason, ReasonSinceEnd: true},
				{State: status.Failed, Reason: ofEnd},
				{State: status.Failed, Reason: reason, ReasonSinceEnd: true},
				{State: status.Standby, Reason: reason, ReasonSinceEnd: true},
				{State: status.Standby, Reason: says, StatusText: says, ReasonSinceEnd: true, PID: 7},
				{State: status.Starting, StatusText: says, PID: 7},
				{State: status.Stopped, Reason: reason, ReasonSinceEnd: true},
			} {
				p.Name, p.LastEnd = "bot", &status.End{At: ended, Code: 1, Reason: ofEnd}
				all.WriteString(statusTable([]*status.Status{{Processes: []status.Process{p}}}, "bot", dir, now))
			}
		}
		return all.String()
	}
	have := show("crashed with 1, since 5 in a row)", "crashed with 1", "crashed with 1",
		"crashed with 1 (crash loop: 9 in a row)")
	want := strings.NewReplacer("<since>", "crashed with 1, since 5 in a row)", "<end>", "crashed with 1", "<says>",
		"crashed with 1",
		"<said>", "crashed with 1 (crash loop: 9 in a row)").Replace(show("<since>", "<end>", "<says>", "<said>"))
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("words that look like others change what is shown (-want +have):\n%s", d)
	}
	if n := strings.Count(have, "crash loop: 7 in a row"); n != 1 { // the one with words of its own, by its count
		t.Errorf("the loop is told %d times:\n%s", n, have)
	}
}
