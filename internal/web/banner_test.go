package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/status"
)

// What the banner says for what is known of the bot. begun is when init began, ended when the bot last ended.
func TestBanner(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	begun, ended, soon := now.Add(-time.Hour), now.Add(-10*time.Second), now.Add(30*time.Second)
	word := func(state inbox.BotState, reason string, silent time.Duration) *inbox.BotStatus {
		return &inbox.BotStatus{State: state, Reason: reason, HeartbeatAt: now.Add(-silent)}
	}
	bot := func(state status.State, reason string, end *status.End) *status.Process {
		p := &status.Process{Name: "bot", State: state, Reason: reason, LastEnd: end, StartedAt: &begun}
		if state == status.Waiting {
			p.NextStartAt = &soon
		}
		return p
	}
	end := func(code int, reason string) *status.End { return &status.End{At: ended, Code: code, Reason: reason} }
	for name, c := range map[string]struct {
		word *inbox.BotStatus
		init *status.Process
		want []string // nil: no banner
	}{
		"runs": {word(inbox.BotPolling, "", time.Second), bot(status.Running, "", nil), nil},
		"fetches no files": {&inbox.BotStatus{State: inbox.BotPolling, HeartbeatAt: now,
			FilesPaused: "less than 1024 MB of the disk is free (FILES_MIN_FREE)"}, nil,
			[]string{"Files of customers are not fetched", "Less than 1024 MB", "kept by Telegram"}},
		"runs elsewhere, no init": {word(inbox.BotPolling, "", time.Second), nil, nil},
		"runs elsewhere, standby": {word(inbox.BotPolling, "", time.Second),
			bot(status.Standby, "held by init 9 on host a", nil), nil},
		"runs elsewhere, disabled": {word(inbox.BotPolling, "", time.Second), bot(status.Disabled, "", nil), nil},
		"runs elsewhere, failed": {word(inbox.BotPolling, "", time.Second),
			bot(status.Failed, "", end(78, "token refused")), nil},
		"disabled": {nil, bot(status.Disabled, "ENABLE_TELEGRAM_BOT is no", nil),
			[]string{"switched off", "ENABLE_TELEGRAM_BOT is no.", "set that to true"}},
		"disabled, unreadable": {nil, bot(status.Disabled, `ENABLE_TELEGRAM_BOT="perhaps": want true or false`, nil),
			[]string{"switched off", "perhaps", "set that to true"}},
		"failed": {nil, bot(status.Failed, "", end(78, "exit status 78")),
			[]string{"cannot run as it is configured", "init start bot"}},
		"failed and said why": {word(inbox.BotFailed, "the token was refused", 11*time.Second),
			bot(status.Failed, "ended with 78", end(78, "ended with 78")), []string{"The token was refused", "ended with 78"}},
		"ended a moment ago": {word(inbox.BotPolling, "", 11*time.Second), bot(status.Waiting, "", end(1, "panic")),
			[]string{"started again", "Panic"}},
		"waiting after a conflict": {word(inbox.BotConflict, "another program polls with this token", 11*time.Second),
			bot(status.Waiting, "", end(75, "exit status 75")), []string{"Another program"}},
		"waiting after 75": {nil, bot(status.Waiting, "", end(75, "exit status 75")), []string{"cannot run now"}},
		"standby": {word(inbox.BotPolling, "", time.Hour),
			bot(status.Standby, "held by init 9 on host a", nil), []string{"stands by", "host a"}},
		"stopped by an operator": {word(inbox.BotStopped, "", 11*time.Second), bot(status.Stopped, "", end(0, "")),
			[]string{"was stopped", "init start bot"}},
		"finished":                    {nil, bot(status.Finished, "", end(0, "ended with 0")), []string{"has ended"}},
		"starting for the first time": {nil, bot(status.Running, "", nil), []string{"is starting"}},
		"starting, and says so": {word(inbox.BotStopped, "", time.Minute),
			&status.Process{Name: "bot", State: status.Starting, StatusText: "reads the book"},
			[]string{"is starting", "Reads the book"}},
		"starts again, runs already": {word(inbox.BotPolling, "", time.Second), bot(status.Starting, "", nil), nil},
		"starting":                   {word(inbox.BotStarting, "", time.Second), nil, []string{"is starting"}},
		"unreachable": {word(inbox.BotUnreachable, "api.telegram.org: no such host", time.Second),
			bot(status.Running, "", nil), []string{"cannot reach Telegram", "no such host", "keeps trying"}},
		"silent": {word(inbox.BotPolling, "", 10*time.Minute), nil,
			[]string{"silent", "10 minutes ago"}},
		"silent under init": {word(inbox.BotPolling, "", 10*time.Minute), bot(status.Running, "", nil),
			[]string{"silent"}},
		"conflict, no init": {word(inbox.BotConflict, "a webhook is set", time.Minute), nil,
			[]string{"Another program", "A webhook is set"}},
		"stopped, no init": {word(inbox.BotStopped, "", 3*time.Minute), nil,
			[]string{"not running", "3 minutes ago"}},
		"never": {nil, nil, []string{"No bot has ever run", "TELEGRAM_BOT_TOKEN"}},
	} {
		b := botView{now: now, word: c.word, init: c.init, since: begun}.banner()
		if (b == nil) != (c.want == nil) {
			t.Errorf("%s: %+v", name, b)
			continue
		}
		if b == nil {
			continue
		}
		b.waiting(2)
		said := b.Title + " " + b.Text + " " + b.Kept
		for _, w := range append(c.want, "kept", "2 messages") {
			if !strings.Contains(said, w) {
				t.Errorf("%s: %q does not say %q", name, said, w)
			}
		}
		if (b.Until != nil) != (c.init != nil && c.init.State == status.Waiting) {
			t.Errorf("%s: next try %v", name, b.Until)
		}
	}
}

// A pause that Telegram asks for is not a Telegram that cannot be reached: it says what it holds back, and until when.
func TestBannerOfAPause(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	next := now.Add(40 * time.Minute)
	for name, c := range map[string]struct {
		word inbox.BotStatus
		want []string
	}{
		"in polling": {inbox.BotStatus{State: inbox.BotUnreachable,
			Reason: "Telegram asks for a pause in polling until 23 Dec 2026 12:00:00 UTC", RetryAt: &next},
			[]string{"Telegram asks the bot for a pause", "until 23 Dec 2026", "Answers are sent", "kept by Telegram"}},
		"in sending": {inbox.BotStatus{State: inbox.BotPolling, SendsAt: &next},
			[]string{"Telegram asks the bot for a pause", "nothing is sent", "Answers are kept", "2 messages"}},
	} {
		c.word.HeartbeatAt = now
		b := botView{now: now, word: &c.word}.banner()
		if b == nil || b.Until == nil || !b.Until.Equal(next) {
			t.Errorf("%s: %+v", name, b)
			continue
		}
		b.waiting(2)
		said := b.Title + " " + b.Text + " " + b.Kept
		for _, w := range c.want {
			if !strings.Contains(said, w) {
				t.Errorf("%s: %q does not say %q", name, said, w)
			}
		}
		if strings.Contains(said, "keeps trying") || strings.Contains(said, "cannot reach") {
			t.Errorf("%s: %q", name, said)
		}
	}
}

// What the bot said of its last end stands in the place of its exit code, and is not repeated from the database.
func TestBannerWithTheBotsLastWords(t *testing.T) {
	now := time.Now()
	end := &status.End{At: now, Code: 78, Reason: "78: cannot run as configured"}
	v := botView{now: now, since: now.Add(-time.Hour), last: "TELEGRAM_BOT_TOKEN: not set",
		word: &inbox.BotStatus{State: inbox.BotFailed, Reason: "an earlier reason", HeartbeatAt: now},
		init: &status.Process{Name: "bot", State: status.Failed,
			Reason: end.Reason + "; its own last lines in the log say why", LastEnd: end}}
	const want = "TELEGRAM_BOT_TOKEN: not set. Mend the setting and start a new container, or run: init start bot."
	if have := v.banner().Text; have != want {
		t.Errorf("%q, want %q", have, want)
	}
	v.init.Reason, v.init.ReasonSinceEnd = "the polling lock cannot be had: it is gone", true // what happened since
	const earlier = "An earlier reason (the polling lock cannot be had: it is gone)."
	if have := v.banner().Text; !strings.HasPrefix(have, earlier) {
		t.Errorf("%q", have)
	}
}

// The file of an init that is not our parent says nothing about our bot.
func TestOnlyTheOwnInitIsBelieved(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "status.json")
	b, err := json.Marshal(status.Status{Init: status.Init{PID: 4711},
		Processes: []status.Process{{Name: "bot", State: status.Failed}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		content string
		parent  int
		believe bool
	}{{string(b), 4711, true}, {string(b), 4712, false}, {"{", 4711, false}, {"", 4711, false}} {
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		s := &Server{config: Config{RunDir: dir, Parent: c.parent}}
		if p, _ := s.initSays(); (p != nil) != c.believe {
			t.Errorf("%q with parent %d: %+v", c.content, c.parent, p)
		}
	}
	s := &Server{config: Config{RunDir: filepath.Join(dir, "none"), Parent: 4711}}
	if p, _ := s.initSays(); p != nil {
		t.Errorf("without a file: %+v", p)
	}
}

// In a Pod web's own init knows no bot, and the init of the other container writes into the same directory.
func TestInitBotIsBelievedBesideTheOwnInitWeb(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, pid int, process string) {
		t.Helper()
		b, err := json.Marshal(status.Status{Init: status.Init{PID: pid},
			Processes: []status.Process{{Name: process, State: status.Failed}}})
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s := &Server{config: Config{RunDir: dir, Parent: 1}}
	write("bot.json", 1, "bot")
	if p, _ := s.initSays(); p != nil {
		t.Errorf("without an init web of ours: %+v", p)
	}
	write("web.json", 2, "web")
	if p, _ := s.initSays(); p != nil {
		t.Errorf("with an init web that is not our parent: %+v", p)
	}
	write("web.json", 1, "web")
	if p, _ := s.initSays(); p == nil || p.State != status.Failed {
		t.Errorf("with both: %+v", p)
	}
}

// The banner goes by states and by whose reason it is: with every word replaced by another it says the same.
func TestTheBannerLooksIntoNoWords(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	show := func(reason, ofEnd, says, said, last string) []string {
		var all []string
		for _, state := range []status.State{status.Starting, status.Disabled, status.Failed, status.Waiting, status.Standby,
			status.Stopped,
			status.Stopping, status.Finished, "dreaming"} {
			for _, since := range []bool{false, true} {
				for _, words := range []string{"", last} {
					p := &status.Process{Name: "bot", State: state, Reason: ofEnd, ReasonSinceEnd: since, StatusText: says,
						LastEnd: &status.End{At: now.Add(-10 * time.Second), Code: 78, Reason: ofEnd}}
					if since {
						p.Reason = reason
					}
					for _, word := range []inbox.BotState{inbox.BotFailed, inbox.BotConflict, inbox.BotStopped} {
						v := botView{now: now, since: now.Add(-time.Hour), init: p, last: words,
							word: &inbox.BotStatus{State: word, Reason: said, HeartbeatAt: now.Add(-11 * time.Second)}}
						b := v.banner()
						all = append(all, fmt.Sprintf("%s %v %q %s: %s|%s|%s", state, since, words, word, b.Title, b.Text, b.Kept))
					}
				}
			}
		}
		return all
	}
	// Each begins with, or is in, another.
	have := show("Ended with 1, it is", "Ended", "Ended with 1", "Ended with", "Ended with 1, it")
	want := show("<Since>", "<End>", "<Says>", "<Said>", "<Last>")
	words := strings.NewReplacer("<Since>", "Ended with 1, it is", "<End>", "Ended", "<Says>", "Ended with 1",
		"<Said>", "Ended with", "<Last>", "Ended with 1, it")
	for i := range want {
		if want := words.Replace(want[i]); have[i] != want {
			t.Errorf("have %s\nwant %s", have[i], want)
		}
	}
}

// What a caller of the store is told goes by the kind of an error; the reason is shown, and nothing follows from it.
func TestAnErrorsKindDecides(t *testing.T) {
	for _, kind := range append(slices.Clone(inbox.Unavailables), inbox.Conflict, inbox.Busy, inbox.TooLong,
		"a kind that is new") {
		type outcome struct {
			status    int
			told      bool
			public    string
			level     string
			title     string
			later     bool
			canRead   bool
			available bool
		}
		look := func(reason string, reading bool) outcome {
			err := fmt.Errorf("do something: %w", &inbox.Error{Kind: kind, Reason: reason, Reading: reading})
			p, told := problemOf(err)
			o := outcome{status: p.Status, told: told, public: p.Detail, later: inbox.TryLater(err),
				canRead: inbox.CanRead(err), available: errors.Is(err, inbox.ErrUnavailable)}
			switch kind {
			case inbox.Conflict, inbox.Busy, inbox.TooLong:
				o.public = strings.TrimSuffix(p.Detail, reason) + "<reason>" // which anybody may know
			}
			if b := busyBanner(err); b != nil {
				o.level, o.title = b.Level, b.Title
			}
			return o
		}
		for _, reading := range []bool{false, true} {
			want := look("some words", reading)
			for _, reason := range []string{"the database is busy", "conflict: not found",
				"the database can be read, but cannot store anything now", "DATABASE_URL: password refused"} {
				if have := look(reason, reading); have != want {
					t.Errorf("%s with the reason %q: %+v, want %+v", kind, reason, have, want)
				}
			}
		}
	}
}
