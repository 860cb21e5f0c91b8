package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/oklog/run"
	"golang.org/x/sys/unix"

	"tandem/internal/cgroup"
	"tandem/internal/confine"
	"tandem/internal/exitcode"
	"tandem/internal/logging"
	"tandem/internal/reap"
	"tandem/internal/signals"
	"tandem/internal/status"
	"tandem/internal/supervise"
)

// supervised runs web and bot, or one of them, and returns the status that init ends with.
func supervised(m mode) int {
	caught := signals.Catch(nil, catchFailed)
	score := confine.OpenOOMScore()
	// Before web exists: what init was given, the bot's token included, is then not in a /proc file that web,
	// which has the same user, can read.
	prctlErr := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	reap.DropInherited()

	s, err := readSettings(m, os.Environ())
	log, lines := logging.NewAsync(2, s.log, "init")
	defer lines.Flush(lastLines)
	if err != nil {
		reason := err.Error()
		if s.botProblem != "" { // all at once
			reason += "; " + s.botProblem
		}
		log.Error("settings are wrong: nothing was started", "reason", reason)
		status.WriteLastWords(s.terminationLog,
			fmt.Sprintf("init ended with %d: settings are wrong: nothing was started: %s", exitcode.Usage, reason))
		return exitcode.Usage
	}
	if s.botProblem != "" && s.policy.Disabled != "" { // otherwise the policy says it
		log.Error("the bot's settings are wrong: it is disabled", "reason", s.botProblem)
	}
	if prctlErr != nil {
		log.Warn("init cannot close its own /proc files", "reason", prctlErr.Error())
	}
	if err := reap.Adopt(); err != nil {
		log.Warn("init cannot collect orphans", "reason", err.Error())
	}

	memory, processes := cgroup.Own()
	s.shareMemory(memory.Limit())
	w := newWorld(s, log, lines.Failed())
	w.oom, w.oomScore, w.processesLeft = cgroup.NewOOMWatch(memory.OOMKills), score, processes.Left
	if err := os.Chdir("/"); err != nil { // so that init pins no mount
		log.Warn("init cannot leave its working directory", "reason", err.Error())
	}
	w.claimRunDir()
	return runGroup(w, caught)
}

// lastLines is how long init's end waits for a log that nobody takes.
const lastLines = 200 * time.Millisecond

// runGroup runs the loop, which alone starts, kills and waits, and beside it a group of
// actors that only bring it requests. No actor stands for a child: the first one to return ends the group, and
// the bot's end must end nothing.
func runGroup(w *world, caught *signals.Caught) int {
	var g run.Group
	add := func(name string, actor func(done <-chan struct{})) {
		g.Add(w.guard(name, actor), func(error) {})
	}
	add("log", w.watchLog)
	add("status", w.status.Run)
	add("control", w.control.Serve)
	add("notices", w.listen)
	if w.lock != nil {
		add("lock", w.lock.run)
	}
	group := make(chan struct{})
	w.begin = sync.OnceFunc(func() {
		go func() {
			defer close(group)
			defer w.caught("group")
			_ = g.Run()
		}()
		time.AfterFunc(reserveAfter, w.reserveThreads)
	})
	if w.settings.policy.Names[supervise.Web] == "" {
		w.begin()
	}

	<-caught.Deadly
	code := (&supervise.Loop{
		Config: &w.settings.policy, World: w, Requests: w.requests,
		Children: caught.Children, Stop: caught.Stop, Others: caught.Others,
		Elsewhere: !dieWithParent(w.settings.mode),
	}).Run()

	code = w.after("last words", code, func() { w.lastWords(code) })
	close(w.done)
	select {
	case <-group:
	case <-time.After(300 * time.Millisecond): // a file system that hangs must not keep init
	}
	return w.after("end", code, w.owned.Release)
}
