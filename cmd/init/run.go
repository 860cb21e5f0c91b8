package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/oklog/run"
	"golang.org/x/sys/unix"

	"tandem/internal/cgroup"
	"tandem/internal/config"
	"tandem/internal/confine"
	"tandem/internal/exitcode"
	"tandem/internal/logging"
	"tandem/internal/reap"
	"tandem/internal/signals"
	"tandem/internal/status"
	"tandem/internal/stdio"
	"tandem/internal/supervise"
)

const (
	flushTimeout = 200 * time.Millisecond // for a log that nobody takes, at init's end
	groupTimeout = 300 * time.Millisecond // for the actors, at init's end: a file system that hangs must not keep init
)

// runSupervised runs web and bot, or one of them, and returns the status that init ends with.
func runSupervised(m mode) int {
	caught := signals.Catch(nil, signalsFailed)
	oomScore := confine.OpenOOMScore()
	// Before web exists: what init was given, the bot's token included, is then not in a /proc file that web,
	// which has the same user, can read.
	procErr := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	handed := takeHanded(config.New(os.Environ()))
	reap.DropInherited()

	stdio.Append(2)

	s, err := readSettings(m, os.Environ())
	log, logWriter := logging.NewAsync(2, s.log, "init")
	defer logWriter.Flush(flushTimeout)
	if err != nil {
		return settingsAreWrong(s, err, log)
	}
	if s.botProblem != "" && s.policy.Disabled != "" { // otherwise the policy says it
		log.Error("the bot's settings are wrong: it is disabled", "reason", s.botProblem)
	}
	if procErr != nil {
		log.Warn("init cannot close its own /proc files", "reason", procErr.Error())
	}
	if err := reap.Adopt(); err != nil {
		log.Warn("init cannot collect orphans", "reason", err.Error())
	}

	s.handOn(handed, log)
	memory, processes := cgroup.Own()
	s.shareMemory(memory.Limit())
	x := newExecutor(s, log, logWriter)
	x.oomWatch, x.oomScore, x.processesLeft = cgroup.NewOOMWatch(memory.OOMKills), oomScore, processes.Left
	s.leaveDirectory(log)
	s.shareOutput()
	x.claimRunDir()
	return runLoop(x, caught)
}

// settingsAreWrong says all at once what is wrong with the settings.
func settingsAreWrong(s settings, err error, log *slog.Logger) int {
	reason := err.Error()
	if s.botProblem != "" {
		reason += "; " + s.botProblem
	}
	log.Error("settings are wrong: nothing was started", "reason", reason)
	status.WriteTerminationMessage(s.terminationLog,
		fmt.Sprintf("init ended with %d: settings are wrong: nothing was started: %s", exitcode.Usage, reason))
	return exitcode.Usage
}

// leaveDirectory goes to /, so that init pins no mount. A directory that was deleted it keeps: there is no other way to
// hand it to a process.
func (s *settings) leaveDirectory(log *slog.Logger) {
	if s.dir == "" {
		return
	}
	if err := os.Chdir("/"); err != nil {
		log.Warn("init cannot leave its working directory", "reason", err.Error())
	}
}

// runLoop runs the loop until init is to end, and returns the status for it. The loop alone starts, signals and
// collects processes. Beside it runs a group of actors, which only bring it requests.
func runLoop(x *executor, caught *signals.Caught) int {
	groupEnded := x.prepareGroup()
	if x.settings.policy.Names[supervise.Web] == "" {
		x.startGroup() // else web's start does
	}
	<-caught.Deadly
	loop := supervise.Loop{
		Config: &x.settings.policy, Executor: x, Requests: x.requests,
		Children: caught.Children, Stop: caught.Stop, Others: caught.Others,
		OwnGoroutine: !dieWithParent(x.settings.mode),
	}
	code := loop.Run()
	reap.NoMore() // a trial for room is a process of init's, which must not outlive it

	code = x.afterTheLoop("last words", code, func() { x.terminationMessage(code) })
	close(x.done)
	select {
	case <-groupEnded:
	case <-time.After(groupTimeout):
	}
	return x.afterTheLoop("end", code, x.leaveRunDir)
}

// prepareGroup makes startGroup, which starts the actors. No actor stands for a process: the first actor to return ends
// the group, and the bot's end must end nothing.
func (x *executor) prepareGroup() (ended <-chan struct{}) {
	var g run.Group
	add := func(name string, actor func(done <-chan struct{})) {
		g.Add(x.guard(name, actor), func(error) {})
	}
	add("log", x.watchLog)
	add("status", x.status.Run)
	if x.settings.mode != commandOnly {
		add("RUN_DIR", x.keepRunDir)
	}
	if x.outer.sender != nil {
		add("outer", x.outer.run)
	}
	add("control", x.control.Serve)
	add("notices", x.listen)
	if x.lock != nil {
		add("lock", x.lock.run)
	}
	end := make(chan struct{})
	x.startGroup = sync.OnceFunc(func() {
		go func() {
			defer close(end)
			defer x.panicToLoop("group")
			x.warnOfShell(os.Environ())
			_ = g.Run()
		}()
		time.AfterFunc(reserveThreadsAfter, x.reserveThreads)
	})
	return end
}

// terminationMessage writes what `kubectl describe pod` shows of init's end.
func (x *executor) terminationMessage(code int) {
	s := x.status.Status()
	if s == nil {
		return
	}
	var text strings.Builder
	fmt.Fprintf(&text, "init ended with %d.", code)
	if x.failure != "" {
		fmt.Fprintf(&text, " %s.", x.failure)
	}
	for _, p := range s.Processes {
		fmt.Fprintf(&text, " %s: %s", p.Name, p.State)
		if p.Reason != "" {
			fmt.Fprintf(&text, " (%s)", p.Reason)
		}
		if p.LastEnd != nil {
			fmt.Fprintf(&text, ", ended %s with %d: %s", p.LastEnd.At.Format(time.RFC3339), p.LastEnd.Code, p.LastEnd.Reason)
		}
		fmt.Fprintf(&text, ", %d restarts.", p.Restarts)
	}
	status.WriteTerminationMessage(x.settings.terminationLog, text.String())
}
