package main

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"tandem/internal/config"
	"tandem/internal/exitcode"
	"tandem/internal/logging"
	"tandem/internal/reap"
	"tandem/internal/signals"
	"tandem/internal/supervise"
	"tandem/internal/tty"
)

// commandFlags are what the command line of `init [FLAGS] -- COMMAND [ARG...]` says.
type commandFlags struct {
	args        []string // the command
	singleChild bool
	rewrite     map[syscall.Signal]syscall.Signal
	success     []int
	parentDeath syscall.Signal // that init gets at its parent's end, 0 for none
	subreaper   bool           // init becomes one, or does not start
	warnOnReap  bool
	verbose     bool
	instead     func() int // what is asked for instead of a command, nil for nothing
}

// longFlags are the long names of flags.
var longFlags = map[string]byte{
	"single-child": 'c', "subreaper": 's', "warn-on-reap": 'w', "rewrite": 'r', "success-exit": 'e', "pdeathsig": 'p',
	"verbose": 'v', "help": 'h', "version": 'V',
}

// parseCommandFlags reads the words after init. Flags end at the first word that is not one. Short ones come in bundles
// as getopt(3) takes them: -gs is -g -s, and a value follows its letter at once or is the next word.
func parseCommandFlags(words []string) (p commandFlags, err error) {
	p.rewrite = map[syscall.Signal]syscall.Signal{}
	for len(words) > 0 && strings.HasPrefix(words[0], "-") && words[0] != "-" && p.instead == nil {
		word := words[0]
		words = words[1:]
		next := func() string {
			if len(words) == 0 {
				return ""
			}
			value := words[0]
			words = words[1:]
			return value
		}
		switch {
		case word == "--":
			return p.with(words)
		case word == "-version", word == "-help": // which are no bundles
			word = "-" + word
			fallthrough
		case strings.HasPrefix(word, "--"):
			flag, value, hasValue := strings.Cut(word, "=")
			letter := longFlags[flag[2:]]
			switch {
			case letter == 0:
				return p, errors.New("unknown flag " + quote(flag))
			case hasValue && !hasValueFlag(letter):
				return p, errors.New(flag + " takes no value")
			case !hasValue && hasValueFlag(letter):
				value = next()
			}
			err = p.add(letter, flag, value)
		default:
			err = p.addBundle(word[1:], next)
		}
		if err != nil {
			return p, err
		}
	}
	return p.with(words)
}

// with has args as the command.
func (p commandFlags) with(args []string) (commandFlags, error) {
	if p.args = args; len(args) == 0 && p.instead == nil {
		return p, errors.New("want a command after --")
	}
	return p, nil
}

func hasValueFlag(letter byte) bool { return letter == 'r' || letter == 'e' || letter == 'p' }

// addBundle reads letters, of which the last one may have a value.
func (p *commandFlags) addBundle(letters string, next func() string) error {
	for n := range len(letters) {
		letter, flag, rest := letters[n], "-"+letters[n:n+1], letters[n+1:]
		switch {
		case !hasValueFlag(letter) && strings.HasPrefix(rest, "="):
			return errors.New(flag + " takes no value")
		case !hasValueFlag(letter):
			if err := p.add(letter, flag, ""); err != nil {
				return err
			}
			continue
		case rest == "":
			rest = next()
		}
		return p.add(letter, flag, strings.TrimPrefix(rest, "="))
	}
	return nil
}

// add takes in one flag. name is how it was written.
func (p *commandFlags) add(letter byte, name, value string) (err error) {
	switch letter {
	case 'g': // as tini's, and what init does anyway
	case 'c':
		p.singleChild = true
	case 's':
		p.subreaper = true
	case 'w':
		p.warnOnReap = true
	case 'v':
		p.verbose = true
	case 'r':
		err = p.addRewrite(value)
	case 'e':
		var code int
		if code, err = strconv.Atoi(value); err != nil || code < 0 || code > 255 {
			err = errors.New("want an exit status from 0 to 255")
		}
		p.success = append(p.success, code)
	case 'p':
		p.parentDeath, err = supervise.ParseSignal(value)
	case 'h':
		p.instead = printHelp
	case 'V':
		p.instead = printVersion
	case 'l':
		p.instead = printLicense
	default:
		return errors.New("unknown flag " + quote(name))
	}
	if err != nil {
		return errors.New(name + " " + quote(value) + ": " + err.Error())
	}
	return nil
}

// addRewrite reads FROM:TO.
func (p *commandFlags) addRewrite(rule string) error {
	from, to, ok := strings.Cut(rule, ":")
	if !ok {
		return errors.New("want FROM:TO, like TERM:QUIT, or HUP:0 to drop it")
	}
	sig, err := supervise.ParseSignal(from)
	if err != nil {
		return err
	}
	if !signals.Catchable(sig) {
		return errors.New(supervise.SignalName(sig) + " is none that init can pass on")
	}
	var as syscall.Signal
	if to != "0" {
		if as, err = supervise.ParseSignal(to); err != nil {
			return err
		}
	}
	p.rewrite[sig] = as
	return nil
}

// runCommand runs one program as a plain PID 1 would. See docs/adr/0005.
func runCommand(words []string) int {
	p, err := parseCommandFlags(words)
	if err != nil {
		return misuse(err.Error())
	}
	if p.instead != nil {
		return p.instead()
	}
	// A signal that the program is to find ignored must stay ignored here. Go's runtime keeps that of these two only.
	var keep []os.Signal
	var ignored []syscall.Signal
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(sig) {
			keep, ignored = append(keep, sig), append(ignored, sig)
		}
	}
	caught := signals.Catch(keep, signalsFailed)
	s, err := p.settings(os.Environ())
	s.ignored = ignored
	log, lines := logging.NewAsync(2, s.log, "init")
	defer lines.Flush(flushTimeout)
	if err != nil {
		log.Error("settings are wrong: nothing was started", "reason", err.Error())
		return exitcode.Usage
	}
	if p.parentDeath != 0 {
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(p.parentDeath), 0, 0, 0); err != nil {
			return fail(exitcode.Software, "the end of its parent cannot be made to signal init: "+err.Error())
		}
	}
	if err := p.adopt(); err != nil {
		if p.subreaper {
			return fail(exitcode.Software, "init cannot collect orphans: "+err.Error())
		}
		log.Warn("init cannot collect orphans", "reason", err.Error())
	}
	x := newExecutor(s, log, lines)
	x.tty = tty.Open()
	s.leaveDirectory(log)
	<-caught.All // from the command's first moment on every signal is the command's
	return runLoop(x, caught)
}

// adopt makes orphans come to init. PID 1 gets them anyway, but --subreaper asks for it there as well.
func (p *commandFlags) adopt() error {
	if p.subreaper {
		return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	return reap.Adopt()
}

// settings are those that count for one command. It gets the environment as it is, but for what names init.
func (p *commandFlags) settings(environ []string) (settings, error) {
	env := config.New(environ)
	if namesInit(env.String(listenPID, "")) {
		environ = config.Set(environ, listenPIDFDID, "")
	}
	s := settings{mode: commandOnly, log: logging.Read(env), warnOnReap: p.warnOnReap}
	s.dir = workingDirectory()
	if p.verbose {
		s.log.Level = slog.LevelDebug
	}
	s.policy = supervise.Config{
		StopTimeout: stopTimeout(env),
		SuccessExit: p.success,
		CommandOnly: true,
		SingleChild: p.singleChild,
		Rewrite:     p.rewrite,
		Jitter:      rand.Float64,
	}
	s.policy.Names[supervise.Web] = filepath.Base(p.args[0])
	s.args[supervise.Web], s.env[supervise.Web] = p.args, environ
	return s, env.Err()
}
