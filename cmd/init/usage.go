package main

import (
	"os"

	"tandem/internal/buildinfo"
	"tandem/internal/config"
	"tandem/internal/exitcode"
)

// allSettings are what -help prints, and what the documents are compared with. They too are made when somebody asks.
func allSettings() []config.Setting {
	return []config.Setting{
		{Name: "WEB_COMMAND, BOT_COMMAND", Unset: "web and bot beside the init executable",
			Says: "what to run, split into words as a shell does, without a shell and without expansion"},
		{Name: "ENABLE_TELEGRAM_BOT", Default: "true", Says: "false, 0, no or off: the bot is not started"},
		{Name: "STOP_TIMEOUT", Default: "8s", Says: "from a stop's request to SIGKILL for all that is left"},
		{Name: "BOT_RESTART_DELAY", Default: "1s",
			Says: "first delay after a crash; it doubles, and starts anew after a run of 60 s"},
		{Name: "BOT_RESTART_DELAY_MAX", Default: "1m", Says: "largest delay after a crash"},
		{Name: "BOT_CONFLICT_DELAY", Default: "30s", Says: "delay after an end with 75; it doubles up to 5 min"},
		{Name: "POLL_LOCK_FILE", Unset: "$RUN_DIR/bot.lock", Says: "a lock on this file is held while the bot runs"},
		{Name: "RUN_DIR", Unset: config.RunDirs, Says: "for init.sock, status.json and locks"},
		{Name: "WEB_NOTIFY, BOT_NOTIFY", Unset: "true for web and bot beside init, false for another command",
			Says: `it says by sd_notify(3) when it is ready, and is "starting" until then`},
		{Name: "BOT_START_TIMEOUT", Default: "2m",
			Says: "a bot that has not said READY=1 by then has hung; off: it may take for ever"},
		{Name: "BOT_WATCHDOG", Default: "5m", Unset: "for another command off",
			Says: "a bot that says no WATCHDOG=1 for so long has hung; off: it may be silent"},
		{Name: "WEB_SUCCESS_EXIT", Says: "statuses of web that count as 0, like 143"},
		{Name: "WEB_PASS_ENV, BOT_PASS_ENV", Says: "settings of the other that a process gets after all"},
		{Name: "WEB_USER, BOT_USER", Says: "whom a process runs as, if init is root: USER or USER:GROUP, names or " +
			"numbers; it then has no capabilities and gains none"},
		{Name: "WEB_CAPABILITIES, BOT_CAPABILITIES", Says: "the only ones that it keeps, like NET_BIND_SERVICE, or none"},
		{Name: "WEB_NO_NEW_PRIVS, BOT_NO_NEW_PRIVS", Unset: "true with a user or capabilities, else as init",
			Says: "true: no program that it executes gives it privileges"},
		{Name: "WEB_NOFILE, BOT_NOFILE", Unset: "as init was given", Says: "how many files it may have open"},
		{Name: "WEB_STOP_SIGNAL, BOT_STOP_SIGNAL", Unset: "TERM; for web QUIT where SIGQUIT asked for the stop",
			Says: "what asks it to end"},
		{Name: "GOMEMLIMIT", Unset: "50 % of a container's memory limit for web, 40 % for the bot, 90 % for one alone",
			Says: "how much memory a Go program uses before it collects garbage at any price"},
		{Name: "TERMINATION_LOG", Default: "/dev/termination-log", Says: "file for the last words, if it is there"},
		config.LogLevel,
		config.LogFormat,
	}
}

// help is made when somebody asks for it: a process that serves does without.
func help() string {
	return `init runs a web process and a bot process side by side as PID 1 of a container: web's end is init's end, the
bot's end never touches web.

usage:
  init                          run web and bot: the container's entrypoint
  init web | init bot           run just that one with the same care; init bot stays alive when the bot cannot run
  init [FLAGS] -- COMMAND [ARG...]
                                run one command as a plain PID 1, as tini and dumb-init do
  init status [NAME] [--json]   what runs, since when, restarts, last end, next start, the polling lock
  init start|stop|restart NAME  NAME is web or bot; web can only be restarted
  init -version | -help

settings (environment; a duration is written like 500ms, 8s or 5m; a day at most):
` + config.Help(allSettings()) + `
init status ends with 0 while init lives and reports, whatever the state of the process: it is a Pod's probe. Without
NAME it shows every init with this RUN_DIR. --json then has the processes of all, and the status of each in "inits".
init start, stop and restart end with 0 if what was asked for is so, 75 if it is not yet (standby, or waiting for its
next start), 78 if the bot cannot run as configured, else 1.

TELEGRAM_* and BOT_* reach only the bot, WEB_* only web. The bot gets the lock as an open file; POLL_LOCK_FD is its
number.

what the bot's exit status makes init do:
  0     done: it is not started again
  75    cannot run now: it is started again after BOT_CONFLICT_DELAY
  78    cannot run as configured: it is not started again until "init start bot" or a new container
  else  crashed: it is started again after BOT_RESTART_DELAY

init ends with web's status, 128+n if signal n ended it (init bot: 0), and with
  64    init itself was misused: arguments, or settings of init or web
  70    init itself failed
  126   web cannot be executed
  127   web was not found

SIGTERM, SIGINT and SIGQUIT stop both; a second one, 250 ms later or more, kills at once. Other signals go to web.
They are told to stop by SIGTERM, web by SIGQUIT where that came.

With "init --" no signal has a meaning to init: each goes to the command's process group. STOP_TIMEOUT begins with the
command's end, and not with a signal; it is for the others in that group. On a terminal the command is in the
foreground. It starts with no signal blocked, where tini hands on the caller's mask. The environment is the command's;
of the settings only STOP_TIMEOUT and LOG_... count. Flags end at the first word that is none:
  -c, --single-child            signals go to the command alone, and init ends when it ends, without a word to others
                                (-g, to its group, is what happens without)
  -r, --rewrite FROM:TO         passes TO on for FROM, names or numbers, 0 for nothing; may be given again
  -e, --success-exit CODE       this status of the command becomes 0; may be given again
  -p, --pdeathsig SIGNAL        the end of init's parent sends init this signal
  -s, --subreaper               orphans come to init, or it does not start (without: if that can be, always to PID 1)
  -w, --warn-on-reap            logs each orphan that was collected
  -v, --verbose                 LOG_LEVEL=debug
Short flags may be bundled as with getopt(3): -gs, -e143, -wsge 143. -h, -V and -l print help, version and license.
`
}

func printHelp() int {
	_, err := os.Stdout.WriteString(help())
	return exitcode.Of(err)
}

func printVersion() int {
	_, err := os.Stdout.WriteString("init " + buildinfo.String() + "\n")
	return exitcode.Of(err)
}

func printLicense() int {
	_, err := os.Stdout.WriteString("init is part of Tandem, under the Apache License 2.0: " +
		"https://www.apache.org/licenses/LICENSE-2.0\n")
	return exitcode.Of(err)
}

// misuse says what is wrong with the command line.
func misuse(problem string) int { return fail(exitcode.Usage, problem+" (init -help tells all)") }

func fail(code int, problem string) int {
	_, _ = os.Stderr.WriteString("init: " + problem + "\n")
	return code
}
