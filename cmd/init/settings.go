package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kballard/go-shellquote"

	"tandem/internal/config"
	"tandem/internal/confine"
	"tandem/internal/lockfile"
	"tandem/internal/logging"
	"tandem/internal/reap"
	"tandem/internal/sdnotify"
	"tandem/internal/status"
	"tandem/internal/supervise"
)

// mode is what an init runs.
type mode int

const (
	pair mode = iota // web and bot
	webOnly
	botOnly
	commandOnly // the one command of `init -- COMMAND`
)

// modeOf is the mode of an init that runs just the process called name.
func modeOf(name string) mode {
	if name == "web" {
		return webOnly
	}
	return botOnly
}

// settings are what init goes by.
type settings struct {
	mode           mode
	policy         supervise.Config
	args           [2][]string // of web, or the one command, and of the bot
	env            [2][]string
	limits         [2]*reap.Limits // nil for none
	dir            string          // where the processes run: the directory init was started in, "" for one deleted
	runDir         string          // "" where there is none
	runDirNamed    bool            // by a person, who may have one that others can write
	runDirProblem  error
	lockFile       string                     // "" where there is none
	reserved       func() []lockfile.Reserved // what the lock file must not be
	listens        [2]bool                    // whether web and the bot are to be listened to (sd_notify(3))
	terminationLog string
	log            logging.Settings
	ignored        []syscall.Signal // that init was started with, and the command is to be
	handed         []uintptr        // descriptors that are for web, from 3 on
	warnOnReap     bool             // each orphan is a line of the log
	botProblem     string           // what is wrong with the bot's settings; never a reason to stop web
}

// What a duration may be. A day is longer than anybody waits for a start or a stop. Whoever wants no limit says off,
// where that may be.
const (
	minDuration = time.Millisecond
	maxDuration = 24 * time.Hour
)

func stopTimeout(env *config.Env) time.Duration {
	return env.Duration("STOP_TIMEOUT", 8*time.Second, minDuration, maxDuration)
}

// readSettings reads the environment. The error has all that is wrong with the settings of init and web. What is wrong
// with the bot's is in botProblem.
func readSettings(m mode, environ []string) (settings, error) {
	environ = config.LastOfEach(environ)
	env := config.New(environ)
	s := settings{mode: m, log: logging.Read(env), terminationLog: env.String("TERMINATION_LOG", "/dev/termination-log")}
	s.dir = workingDirectory()
	s.policy = supervise.Config{
		StopTimeout: stopTimeout(env),
		Jitter:      rand.Float64,
	}
	if s.runDir, s.runDirProblem = env.RunDir(); s.runDir != "" {
		s.runDir = s.absolute(s.runDir)
	}
	s.runDirNamed = env.String("RUN_DIR", "") != ""
	// Whoever supervises init is not to hear from its processes. What it hands down only web gets; see handOn.
	shared := environ
	for _, name := range []string{
		sdnotify.SocketVariable, sdnotify.WatchdogVariable, sdnotify.WatchdogPIDVariable,
		listenPID, listenFDs, listenNames, listenPIDFDID,
	} {
		shared = config.Set(shared, name, "")
	}
	if s.runDir != "" {
		shared = config.Set(shared, "RUN_DIR", s.runDir)
	}
	if m != botOnly {
		s.policy.Names[supervise.Web] = "web"
		s.policy.SuccessExit = statuses(env, "WEB_SUCCESS_EXIT")
		s.args[supervise.Web] = commandLine(env, "WEB_COMMAND", "web")
		s.listens[supervise.Web] = env.Bool("WEB_NOTIFY", env.String("WEB_COMMAND", "") == "")
		s.env[supervise.Web] = config.Without(shared, botsOwn, names(env, "WEB_PASS_ENV"))
		s.confine(env, supervise.Web, "WEB_")
	}
	if m != webOnly {
		s.readBot(env.Again(), shared)
	}
	return s, env.Err()
}

func (s *settings) readBot(env *config.Env, shared []string) {
	p := &s.policy
	p.Names[supervise.Bot] = "bot"
	enabled := env.Bool("ENABLE_TELEGRAM_BOT", true)
	switchUnreadable := env.Err()
	p.RestartDelay = env.Duration("BOT_RESTART_DELAY", time.Second, minDuration, maxDuration)
	p.RestartDelayMax = env.Duration("BOT_RESTART_DELAY_MAX", max(time.Minute, p.RestartDelay), minDuration, maxDuration)
	if p.RestartDelayMax < p.RestartDelay {
		env.Reject("BOT_RESTART_DELAY_MAX", "want at least BOT_RESTART_DELAY, which is "+p.RestartDelay.String())
	}
	p.ConflictDelay = env.Duration("BOT_CONFLICT_DELAY", 30*time.Second, minDuration, maxDuration)
	s.args[supervise.Bot] = commandLine(env, "BOT_COMMAND", "bot")
	s.readNotify(env)
	pass := names(env, "BOT_PASS_ENV")
	switch lock := env.String("POLL_LOCK_FILE", ""); {
	case lock != "":
		s.lockFile = s.absolute(lock)
	case s.runDir != "":
		s.lockFile = filepath.Join(s.runDir, status.PollLock)
	default:
		p.Broken = "the polling lock cannot be had: " + s.runDirProblem.Error() + "; or set POLL_LOCK_FILE"
	}
	s.reserve(shared)
	s.env[supervise.Bot] = config.Set(config.Without(shared, websOwn, pass), "POLL_LOCK_FILE", s.lockFile)
	s.env[supervise.Bot] = config.Set(s.env[supervise.Bot], "POLL_LOCK_FD", strconv.Itoa(lockFD))
	s.confine(env, supervise.Bot, "BOT_")
	if err := env.Err(); err != nil {
		s.botProblem = err.Error()
	}
	switch {
	case switchUnreadable != nil:
		p.Disabled = switchUnreadable.Error()
	case !enabled:
		p.Disabled, s.botProblem = "ENABLE_TELEGRAM_BOT is "+env.String("ENABLE_TELEGRAM_BOT", ""), ""
	case s.botProblem != "":
		p.Broken = s.botProblem
	}
}

// reserve takes down which files the lock must not be: those of the database, and those that init and its processes
// have in RUN_DIR. Only the lock's actor calls reserved, because that may hang: DATABASE_URL may be in a file.
func (s *settings) reserve(environ []string) {
	absolute, own := s.absolute, lockfile.OfRunDir(s.runDir, status.Names())
	s.reserved = func() []lockfile.Reserved {
		list := lockfile.OfDatabase(config.New(environ).Secret("DATABASE_URL")) // others say what is wrong with it
		for i := range list {
			list[i].Path = absolute(list[i].Path)
		}
		return append(list, own...)
	}
}

// readNotify reads whether the bot is listened to, and what is expected of it then. Somebody else's program may well
// say that it is ready, but not that it is alive.
func (s *settings) readNotify(env *config.Env) {
	ours := env.String("BOT_COMMAND", "") == ""
	s.listens[supervise.Bot] = env.Bool("BOT_NOTIFY", ours)
	s.policy.StartTimeout = env.DurationOrOff("BOT_START_TIMEOUT", 2*time.Minute, minDuration, maxDuration)
	watchdog := 5 * time.Minute // for a bot that says nothing any more: one whose poll loop hangs says so itself
	if !ours {
		watchdog = 0
	}
	s.policy.Watchdog = env.DurationOrOff("BOT_WATCHDOG", watchdog, minDuration, maxDuration)
	limits := map[string]time.Duration{"BOT_START_TIMEOUT": s.policy.StartTimeout, "BOT_WATCHDOG": s.policy.Watchdog}
	for name, value := range limits {
		if !s.listens[supervise.Bot] && value > 0 && env.String(name, "") != "" {
			env.Reject(name, "needs BOT_NOTIFY=true, and a bot that speaks sd_notify(3)")
		}
	}
}

// confine reads what a process is confined to, and what stops it, from the settings that begin with prefix.
func (s *settings) confine(env *config.Env, id supervise.ID, prefix string) {
	s.policy.StopSignal[id] = stopSignal(env, prefix+"STOP_SIGNAL")
	var user map[string]string
	s.limits[id], user = confine.Read(env, prefix)
	for name, value := range user {
		s.env[id] = config.Set(s.env[id], name, value)
	}
}

// workingDirectory is where init was started, "" if that was deleted.
func workingDirectory() string {
	dir, err := os.Getwd()
	if err != nil { // init may have no right to look at it
		dir, _ = syscall.Getwd()
	}
	return dir
}

// absolute is path seen from where init was started. init itself leaves that directory.
func (s *settings) absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(s.dir, path)
}

// commandLine reads a command and splits it into words as a shell does. The default is a program beside init.
func commandLine(env *config.Env, name, beside string) []string {
	line := env.String(name, "")
	if line == "" {
		self, err := os.Executable()
		if err != nil { // no /proc
			self = os.Args[0]
		}
		return []string{filepath.Join(filepath.Dir(self), beside)}
	}
	words, err := shellquote.Split(line)
	switch {
	case err != nil:
		env.RejectSecret(name, "want words as a shell splits them: "+err.Error())
	case len(words) == 0 || words[0] == "":
		env.Reject(name, "want a command")
	}
	return words
}

// statuses reads a list of exit statuses.
func statuses(env *config.Env, name string) []int {
	var list []int
	for _, word := range env.List(name) {
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 || n > 255 {
			env.Reject(name, "want exit statuses from 0 to 255, separated by commas, like 143 or 130,143")
			return nil
		}
		list = append(list, n)
	}
	return list
}

// names reads a list of variables.
func names(env *config.Env, name string) []string {
	list := env.List(name)
	for _, v := range list {
		if strings.ContainsAny(v, "=*$\"'\\") {
			env.Reject(name, "want names of variables, separated by commas, like TELEGRAM_BOT_TOKEN")
			return nil
		}
	}
	return list
}

// stopSignal reads the signal that asks a process to end, 0 for the usual one.
func stopSignal(env *config.Env, name string) syscall.Signal {
	value := env.String(name, "")
	if value == "" {
		return 0
	}
	sig, err := supervise.ParseSignal(value)
	switch {
	case err != nil:
		env.Reject(name, err.Error())
	case sig == syscall.SIGKILL || sig == syscall.SIGSTOP:
		env.Reject(name, "no program can obey that one: want one that it ends at in order, like QUIT")
	}
	return sig
}

// Whose setting a variable is, by its name.
func botsOwn(name string) bool {
	return strings.HasPrefix(name, "TELEGRAM_") || strings.HasPrefix(name, "BOT_") || name == "POLL_LOCK_FD"
}
func websOwn(name string) bool { return strings.HasPrefix(name, "WEB_") || name == "POLL_LOCK_FD" }

func quote(s string) string {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return fmt.Sprintf("%q", s)
}
