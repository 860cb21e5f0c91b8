package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"tandem/internal/exitcode"
	"tandem/internal/inbox"
	"tandem/internal/status"
)

// banner says on top of the page what does not work, why, and what becomes of answers meanwhile.
type banner struct {
	Level string // warning or info
	Title string
	Text  string // why, and what to do about it
	Kept  string // what becomes of answers
	// Until is when something will happen by itself, nil when nothing will.
	Until *time.Time
}

// botView is all that this process knows of the bot.
type botView struct {
	now   time.Time
	word  *inbox.BotStatus // its own newest word in the database, nil when none ever ran
	init  *status.Process  // what init says of it, nil when init is not our parent
	last  string           // what it said itself of the end that init knows, "" when it said nothing
	since time.Time        // when init was started
}

func (s *Server) botView(ctx context.Context) (botView, error) {
	v := botView{now: time.Now()}
	bots, err := s.store.Bots(ctx)
	if err != nil {
		return v, err
	}
	if len(bots) > 0 {
		v.word = &bots[0]
	}
	v.init, v.since = s.initSays()
	if v.init != nil {
		v.last = v.init.Words(s.config.RunDir)
	}
	return v, nil
}

// initSays reads what init wrote about the bot, and only an init that is our parent is asked: the file of another one
// may lie in the same place. If ours is an `init web`, then the `init bot` with the same directory: the two containers
// of a Pod share it.
func (s *Server) initSays() (*status.Process, time.Time) {
	st := s.parentSays(status.OfPair)
	if st == nil && s.parentSays(status.OfWeb) != nil {
		st, _ = status.Read(filepath.Join(s.config.RunDir, status.OfBot.Status))
	}
	if st == nil {
		return nil, time.Time{}
	}
	if p, ok := st.Process("bot"); ok {
		return &p, st.Init.StartedAt
	}
	return nil, time.Time{}
}

// parentSays is the status of an init with these files, nil if it is not our parent.
func (s *Server) parentSays(files status.Files) *status.Status {
	if s.config.RunDir == "" {
		return nil
	}
	st, err := status.Read(filepath.Join(s.config.RunDir, files.Status))
	if err != nil || st.Init.PID != s.config.Parent {
		return nil
	}
	return st
}

// alive says whether a bot works on this database now. Of two words the newer one counts: a bot that ended was alive
// in the database a moment ago, and one that init does not run may run elsewhere.
func (v botView) alive() bool {
	if v.word == nil || !v.word.Alive(v.now) {
		return false
	}
	if v.init == nil || v.init.State.Lives() {
		return true
	}
	known := v.since
	if v.init.LastEnd != nil {
		known = v.init.LastEnd.At
	}
	return v.word.HeartbeatAt.After(known)
}

// banner says what is wrong with the bot, nil if nothing is.
func (v botView) banner() *banner {
	var b *banner
	switch {
	case v.alive():
		b = aliveBanner(*v.word)
	case v.init != nil && v.init.State != status.Running:
		b = v.initBanner()
	case v.word != nil:
		b = v.wordBanner()
	case v.init != nil:
		b = &banner{Level: "info", Title: "The bot is starting", Text: "It has not reported yet."}
	default:
		b = &banner{Title: "No bot has ever run on this database",
			Text: "Start the bot executable with TELEGRAM_BOT_TOKEN and the same DATABASE_URL."}
	}
	if b == nil && v.word != nil && v.word.FilesPaused != "" {
		b = &banner{Title: "Files of customers are not fetched", Text: v.word.FilesPaused,
			Kept: "They are kept by Telegram, and fetched when this is over. Messages go both ways all the same."}
	}
	if b == nil {
		return nil
	}
	b.Level = cmp.Or(b.Level, "warning")
	b.Text = sentence(b.Text)
	b.Kept = cmp.Or(b.Kept, "Answers are kept until it is back.")
	return b
}

// waiting says how many messages wait to be sent.
func (b *banner) waiting(n int64) {
	switch {
	case n == 1:
		b.Kept += " One message waits to be sent."
	case n > 1:
		b.Kept += fmt.Sprintf(" %d messages wait to be sent.", n)
	}
}

func aliveBanner(w inbox.BotStatus) *banner {
	switch w.State {
	case inbox.BotStarting:
		return &banner{Level: "info", Title: "The bot is starting", Text: w.Reason}
	case inbox.BotUnreachable:
		if w.RetryAt != nil {
			return &banner{Title: "Telegram asks the bot for a pause", Text: w.Reason, Until: w.RetryAt,
				Kept: "What customers write meanwhile is kept by Telegram, for a day. Answers are sent all the same."}
		}
		return &banner{Title: "The bot cannot reach Telegram", Text: sentence(w.Reason) + " It keeps trying."}
	}
	if w.SendsAt != nil {
		return &banner{Title: "Telegram asks the bot for a pause",
			Text: "It asked for one in several chats at once, so nothing is sent until then. " +
				"One message tries then whether the pause is over.",
			Until: w.SendsAt,
			Kept:  "What customers write arrives all the same. Answers are kept until they can be sent."}
	}
	return nil
}

func (v botView) initBanner() *banner {
	p := v.init
	why, ofEnd := p.Reason, p.OfEnd()
	if why == "" && p.LastEnd != nil {
		why, ofEnd = p.LastEnd.Reason, true
	}
	// The bot explains itself better than its exit code does, if what it said is from its last run.
	said := ""
	if v.last != "" && ofEnd {
		why = v.last // all that the code says, and more
	} else if v.word != nil && v.word.HeartbeatAt.After(v.since) &&
		(p.LastEnd == nil || v.word.HeartbeatAt.After(p.LastEnd.At.Add(-time.Minute))) {
		said = v.word.Reason
	}
	switch p.State {
	case status.Starting:
		return &banner{Level: "info", Title: "The bot is starting", Text: cmp.Or(p.StatusText, "It has not reported yet.")}
	case status.Disabled:
		return &banner{Level: "info", Title: "The bot is switched off",
			Text: sentence(cmp.Or(why, "ENABLE_TELEGRAM_BOT is false")) +
				" To switch it on, set that to true and start a new container."}
	case status.Failed:
		return &banner{Title: "The bot cannot run as it is configured",
			Text: both(said, why) + " Mend the setting and start a new container, or run: init start bot."}
	case status.Waiting:
		if p.LastEnd == nil { // it takes the polling lock
			return &banner{Level: "info", Title: "The bot is starting", Text: "It has not reported yet."}
		}
		title := "The bot ended and is started again"
		if p.LastEnd.Code == exitcode.TempFail {
			title = "The bot cannot run now and tries again"
			if v.word != nil && v.word.State == inbox.BotConflict {
				title = "Another program takes this bot's messages"
			}
		}
		return &banner{Title: title, Text: both(said, why), Until: p.NextStartAt}
	case status.Standby:
		return &banner{Title: "The bot stands by",
			Text: cmp.Or(why, "Another one holds the polling lock.") + " No bot reports to this database."}
	case status.Stopped:
		return &banner{Title: "The bot was stopped", Text: sentence(why) + " To start it, run: init start bot."}
	case status.Stopping:
		return &banner{Level: "info", Title: "The bot is stopping", Text: why}
	case status.Finished:
		return &banner{Title: "The bot has ended",
			Text: sentence(why) + " It is not started again by itself; to start it, run: init start bot."}
	}
	// A state that is new: whatever it is, it is told as it is.
	return &banner{Title: "The bot is " + string(p.State), Text: both(p.StatusText, p.Reason)}
}

// wordBanner is for what only the database tells of, the bot being in another container, perhaps.
func (v botView) wordBanner() *banner {
	w := v.word
	switch {
	case w.State == inbox.BotConflict:
		return &banner{Title: "Another program takes this bot's messages", Text: w.Reason}
	case w.State == inbox.BotFailed:
		return &banner{Title: "The bot cannot run as it is configured", Text: w.Reason}
	case w.State == inbox.BotStopped:
		return &banner{Title: "The bot is not running",
			Text: cmp.Or(w.Reason, "It was stopped "+ago(v.now.Sub(w.HeartbeatAt))+".")}
	case v.init != nil && v.init.StartedAt != nil && v.now.Sub(*v.init.StartedAt) < 3*inbox.HeartbeatEvery:
		return &banner{Level: "info", Title: "The bot is starting", Text: "It has not reported yet."}
	}
	return &banner{Title: "The bot is silent", Text: "It last reported " + ago(v.now.Sub(w.HeartbeatAt)) +
		". It may have been killed, or cannot reach the database. " + sentence(w.Reason)}
}

// databaseBanner is for a page that has nothing to show. why may be read by whoever gets the page.
func databaseBanner(why string) *banner {
	return &banner{Level: "warning", Title: "The database is not available", Text: sentence(why),
		Kept: "Nothing can be read or answered until it is back. " +
			"What was stored is safe, and what you type stays in this window."}
}

// storingBanner is for a database that can be read and not written.
func storingBanner(why string) *banner {
	return &banner{Level: "warning", Title: "Nothing can be stored now", Text: sentence(why),
		Kept: "Reading goes on. What you type stays in this window, " +
			"and what customers write waits at Telegram, until this is mended."}
}

// busyBanner is for what was given up although the database is well; nil for any other error.
func busyBanner(err error) *banner {
	switch {
	case inbox.KindOf(err) == inbox.TooLong:
		return &banner{Level: "warning", Title: "This took too long",
			Text: "It was given up. If it was a search, search for more letters or another word; else try again in a moment."}
	case inbox.KindOf(err) == inbox.Busy, errors.Is(err, errTooManyReads), errors.Is(err, context.DeadlineExceeded):
		return &banner{Level: "info", Title: "Much is going on: the database is busy",
			Text: "Nothing is wrong with it. Try again in a moment."}
	}
	return nil
}

// both joins what the bot said and what init says of it.
func both(said, why string) string {
	said, why = strings.TrimSpace(said), strings.TrimSpace(why)
	switch {
	case said == "":
		return sentence(why)
	case why == "":
		return sentence(said)
	}
	return strings.TrimSuffix(sentence(said), ".") + " (" + strings.TrimSuffix(why, ".") + ")."
}

// sentence makes words from a log line fit to stand on a page.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return ""
	}
	r := []rune(s)
	// An upper-case name of a setting or a lower-case command stays as it is.
	if first, _, _ := strings.Cut(s, " "); !strings.ContainsAny(first, "_=:/") {
		s = strings.ToUpper(string(r[:1])) + string(r[1:])
	}
	if !strings.ContainsAny(s[len(s)-1:], ".!?") {
		s += "."
	}
	return s
}

func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "less than a minute ago"
	case d < 2*time.Minute:
		return "a minute ago"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}
