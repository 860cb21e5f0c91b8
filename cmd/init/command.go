package main

import (
	"errors"
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
}

// parseCommandFlags reads the words after init. Flags end at the first word that is not one.
func parseCommandFlags(words []string) (commandFlags, error) {
	p := commandFlags{rewrite: map[syscall.Signal]syscall.Signal{}}
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		word := words[0]
		words = words[1:]
		if word == "--" {
			break
		}
		flag, value, hasValue := strings.Cut(word, "=")
		unused := hasValue
		next := func() string { // of those that have a value
			if !hasValue && len(words) > 0 {
				value, words = words[0], words[1:]
			}
			unused = false
			return value
		}
		var err error
		switch flag {
		case "-g": // as tini's, and what init does anyway
		case "-c", "--single-child":
			p.singleChild = true
		case "-s", "--subreaper":
			p.subreaper = true
		case "-w", "--warn-on-reap":
			p.warnOnReap = true
		case "-r", "--rewrite":
			err = p.addRewrite(next())
		case "-e", "--success-exit":
			var code int
			if code, err = strconv.Atoi(next()); err != nil || code < 0 || code > 255 {
				err = errors.New("want an exit status from 0 to 255")
			}
			p.success = append(p.success, code)
		case "-p", "--pdeathsig":
			p.parentDeath, err = supervise.ParseSignal(next())
		default:
			return p, errors.New("unknown flag " + quote(flag))
		}
		switch {
		case err != nil:
			return p, errors.New(flag + " " + quote(value) + ": " + err.Error())
		case unused:
			return p, errors.New(flag + " takes no value")
		}
	}
	if p.args = words; len(words) == 0 {
		return p, errors.New("want a command after --")
	}
	return p, nil
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

// settings are those that count for one command. It gets the environment as it is.
func (p *commandFlags) settings(environ []string) (settings, error) {
	env := config.New(environ)
	s := settings{mode: commandOnly, log: logging.Read(env), warnOnReap: p.warnOnReap}
	s.dir = workingDirectory()
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
