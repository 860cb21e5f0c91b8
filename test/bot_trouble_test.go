package test

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/pgtest"
	"tandem/internal/proctest"
	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
	"tandem/internal/status"
)

// mustFailOnce waits for a bot that ended with 78 and sees that it was started once, said why once, and is left alone.
func (r *rig) mustFailOnce(words ...string) {
	r.t.Helper()
	stays := r.webMustStay()
	p := r.waitBot(status.Failed)
	if p.LastEnd == nil || p.LastEnd.Code != 78 || p.Restarts != 0 {
		r.t.Errorf("the bot: %+v (last end %+v), want one end with 78", p, p.LastEnd)
	}
	if n := r.Count(`"level":"ERROR"`, `"process":"bot"`); n != 1 {
		r.t.Errorf("the bot printed %d error lines, want 1", n)
	}
	r.WaitLine(soon, append([]string{`"level":"ERROR"`, `"process":"bot"`}, words...)...)
	r.mustSay(append(words, "bot", "kept")...) // why, and answers are kept until it is back
	// Left alone: nothing is due, and a bot that is given ten times its usual delay is not started again.
	time.Sleep(10 * 100 * time.Millisecond)
	if p := r.process("bot"); p.State != status.Failed || p.Restarts != 0 || p.NextStartAt != nil {
		r.t.Errorf("the bot was not left alone: %+v", p)
	}
	stays()
	r.stop()
}

func TestABotThatCannotRunAsConfiguredIsStartedOnce(t *testing.T) {
	for name, c := range map[string]struct {
		env   string
		fault *simulator.Fault
		words []string
	}{
		"token missing":   {env: "TELEGRAM_BOT_TOKEN=", words: []string{"TELEGRAM_BOT_TOKEN", "BotFather"}},
		"token malformed": {env: "TELEGRAM_BOT_TOKEN=hello", words: []string{"TELEGRAM_BOT_TOKEN"}},
		"token refused":   {fault: ptr(simulator.Unauthorized()), words: []string{"BotFather"}},
		"token not found": {fault: ptr(simulator.NotFound()), words: []string{"BotFather"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "sqlite", c.env)
			if c.fault != nil {
				r.tg.AddFault(*c.fault)
			}
			r.start().mustFailOnce(c.words...)
		})
	}
}

func ptr[T any](v T) *T { return &v }

func TestATokenThatIsRevokedWhileTheBotRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sqlite").start().waitWeb().waitPolling()
	r.roundTrip(7, "before")
	c := r.conversation(7)
	r.tg.RevokeToken(simtest.Token)
	p := r.waitBot(status.Failed)
	if p.LastEnd.Code != 78 {
		t.Errorf("the bot ended with %d, want 78", p.LastEnd.Code)
	}
	m := r.answer(c.ID, "kept")
	r.mustSay("token")
	if got := r.waitDelivery(m, "queued"); got.Error != "" {
		t.Errorf("an answer for a bot without a token: %+v", got)
	}
	r.stop()
}

func TestADatabaseThatCannotBeUsedAsConfigured(t *testing.T) {
	cases := map[string]func(t *testing.T) (string, []string){
		"missing":    func(*testing.T) (string, []string) { return "", []string{"DATABASE_URL"} },
		"bad scheme": func(*testing.T) (string, []string) { return "mysql://localhost/x", []string{"DATABASE_URL"} },
		"no such directory": func(t *testing.T) (string, []string) {
			return "sqlite:" + t.TempDir() + "/none/tandem.db", []string{"none"}
		},
		"wrong password": func(t *testing.T) (string, []string) {
			return replacePassword(t, pgtest.URL(t)), []string{"password"}
		},
		"no such database": func(t *testing.T) (string, []string) {
			u, err := url.Parse(pgtest.URL(t))
			if err != nil {
				t.Fatal(err)
			}
			u.Path += "_none"
			return u.String(), []string{"database"}
		},
		"not in UTF-8": func(t *testing.T) (string, []string) {
			return pgtest.Encoded(t, "SQL_ASCII"), []string{"createdb -E UTF8 -T template0"}
		},
		"letters of Europe": func(t *testing.T) (string, []string) {
			return pgtest.Encoded(t, "LATIN1"), []string{"createdb -E UTF8 -T template0"}
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database, words := c(t)
			r := newRig(t, database, "WEB_OPS_ADDR="+proctest.FreeAddr(t)).start().waitWeb()
			stays := r.webMustStay()
			p := r.waitBot(status.Failed)
			if p.LastEnd == nil || p.LastEnd.Code != 78 {
				t.Errorf("the bot's last end: %+v, want 78", p.LastEnd)
			}
			line := r.WaitLine(soon, append([]string{`"level":"ERROR"`, `"process":"bot"`}, words...)...)
			if strings.Contains(line, "not-the-password") {
				t.Errorf("the password is in %s", line)
			}
			var body string
			proctest.Eventually(t, soon, "/readyz on the operations port says 503 with the reason", func() bool {
				code, b := r.readiness()
				body = b
				return code == 503 && strings.Contains(strings.ToLower(b), strings.ToLower(words[0]))
			})
			if strings.Contains(body, "not-the-password") {
				t.Errorf("the password is in %s", body)
			}
			proctest.Eventually(t, soon, "init status has web's reason", func() bool {
				says := r.process("web").StatusText
				return strings.Contains(says, "the database is not available: DATABASE_URL") &&
					!strings.Contains(says, "not-the-password")
			})
			r.bearer = "tandem_of-any-kind" // that it is none, nobody can know now
			if code, b := r.api("GET", "/conversations", nil, nil); code != 503 || strings.Contains(b, "not-the-password") {
				t.Errorf("the API answers %d %s, want 503", code, b)
			}
			stays()
			r.stop()
		})
	}
}

func replacePassword(t *testing.T, database string) string {
	t.Helper()
	at := strings.LastIndex(database, "@")
	colon := strings.LastIndex(database[:at], ":")
	return database[:colon+1] + "not-the-password" + database[at:]
}

func TestTelegramInTrouble(t *testing.T) {
	for name, f := range map[string]simulator.Fault{
		"resets connections":   simulator.Cut(),
		"answers 502 in HTML":  simulator.BadGateway(),
		"answers 500":          simulator.Restart(),
		"a captive portal":     simulator.CaptivePortal(),
		"empty answers":        simulator.Empty(),
		"truncated answers":    simulator.Truncated(),
		"too many requests":    simulator.Flood(1),
		"redirects":            simulator.Redirect("http://127.0.0.1:1/"),
		"flood without number": simulator.FloodMissing(),
		"answers slowly":       simulator.Delay(700),
		"dribbles":             simulator.Dribble(700),
		"hangs":                interrupting(simulator.Stall()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "sqlite").start().waitWeb().waitPolling()
			stays := r.webMustStay()
			r.roundTrip(7, "before")
			f.Interrupt, f.Times, f.Method = true, 0, "getUpdates"
			before := len(r.tg.Calls("getUpdates"))
			id := r.tg.AddFault(f)
			// Three seconds of trouble: with a backoff from half a second that is a handful of requests.
			time.Sleep(3 * time.Second)
			if n := len(r.tg.Calls("getUpdates")) - before; n > 12 {
				t.Errorf("%d polls in three seconds of trouble, want a few", n)
			}
			proctest.Eventually(t, soon, "it polls in trouble, too", func() bool {
				return len(r.tg.Calls("getUpdates")) > before
			})
			r.botMustRun()
			r.tg.ClearFault(id)
			r.roundTrip(7, "after")
			stays()
			r.stop()
		})
	}
}

func interrupting(f simulator.Fault) simulator.Fault { f.Interrupt = true; return f }

// botMustRun waits until init has the bot as running, and wants it to be the first one. init may know of it later than
// the page or Telegram.
func (r *rig) botMustRun() {
	r.t.Helper()
	if p := r.waitBot(status.Running); p.Restarts != 0 {
		r.t.Errorf("the bot: %+v, want the same one", p)
	}
}

// TestTelegramWhereNothingListens is the other way of not being there: connections are refused.
func TestTelegramWhereNothingListens(t *testing.T) {
	t.Parallel()
	addr := proctest.FreeAddr(t)
	r := newRig(t, "sqlite", "TELEGRAM_API_URL=http://"+addr).start().waitWeb()
	stays := r.webMustStay()
	r.mustSay("cannot reach Telegram", "kept")
	r.botMustRun()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	telegram := &http.Server{Handler: r.tg.Server}
	go func() { _ = telegram.Serve(listener) }()
	t.Cleanup(func() { telegram.Close() })
	r.roundTrip(7, "hello")
	stays()
	r.stop()
}

func TestTelegramThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sqlite")
	id := r.tg.AddFault(simulator.Cut())
	r.start().waitWeb()
	stays := r.webMustStay()
	r.mustSay("telegram")
	r.botMustRun()
	r.tg.ClearFault(id)
	r.roundTrip(7, "hello")
	stays()
	r.stop()
}

func TestAnotherProgramPollsWithTheToken(t *testing.T) {
	for name, early := range map[string]bool{"at the first poll": true, "in the middle": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "sqlite")
			if !early {
				r.start().waitWeb().waitPolling()
				r.roundTrip(7, "before")
			}
			conflict := simulator.Conflict()
			conflict.Method, conflict.Times, conflict.Interrupt = "getUpdates", 0, true
			id := r.tg.AddFault(conflict)
			if early {
				r.start().waitWeb()
			}
			stays := r.webMustStay()
			p := r.waitBot(status.Waiting)
			if p.LastEnd == nil || p.LastEnd.Code != 75 || p.NextStartAt == nil {
				t.Fatalf("the bot: %+v (last end %+v), want 75 and a next start", p, p.LastEnd)
			}
			if wait := p.NextStartAt.Sub(p.LastEnd.At); wait < 450*time.Millisecond || wait > 6*time.Minute {
				t.Errorf("the next start is %s after the end, want BOT_CONFLICT_DELAY or a doubling of it", wait)
			}
			r.mustSay("another program")
			refused := 0
			for _, poll := range r.tg.Calls("getUpdates") {
				if poll.Status == 409 {
					refused++
				}
			}
			if starts := r.process("bot").Restarts + 1; refused == 0 || refused > starts {
				t.Errorf("%d polls got the conflict in %d runs of the bot, want one in each: it stops at once", refused, starts)
			}
			r.tg.ClearFault(id)
			r.waitPolling()
			r.roundTrip(7, "after")
			stays()
			r.stop()
		})
	}
}

func TestAWebhookIsSet(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sqlite")
	conflict := simulator.Refused(409, "Conflict: can't use getUpdates method while webhook is active; "+
		"use deleteWebhook to delete the webhook first")
	conflict.Method = "getUpdates"
	id := r.tg.AddFault(conflict)
	r.start().waitWeb()
	if p := r.waitBot(status.Waiting); p.LastEnd.Code != 75 {
		t.Errorf("the bot ended with %d, want 75", p.LastEnd.Code)
	}
	r.WaitLine(soon, `"process":"bot"`, "deleteWebhook")
	r.mustSay("webhook")
	r.tg.ClearFault(id)
	r.roundTrip(7, "after")
	r.stop()
}

func TestABotThatCrashesIsStartedAgain(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV} {
		r := newRig(t, "sqlite").start().waitWeb().waitPolling()
		stays := r.webMustStay()
		for i := range 3 {
			r.roundTrip(7, fmt.Sprintf("message %d", i))
			bot, ok := r.Find(r.process("bot").PID)
			if !ok {
				t.Fatal("the bot is not in /proc")
			}
			kill(t, bot.PID, signal)
			proctest.Eventually(t, soon, "the bot was started again", func() bool {
				p := r.process("bot")
				return p.Restarts == i+1 && p.State == status.Running
			})
		}
		r.roundTrip(7, "after")
		if end := r.process("bot").LastEnd; end == nil || end.Reason == "" {
			t.Errorf("the last end has no reason: %+v", end)
		}
		stays()
		r.stop()
	}
}
