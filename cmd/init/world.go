package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"syscall"
	"time"

	"tandem/internal/buildinfo"
	"tandem/internal/cgroup"
	"tandem/internal/confine"
	"tandem/internal/control"
	"tandem/internal/exitcode"
	"tandem/internal/reap"
	"tandem/internal/rundir"
	"tandem/internal/sdnotify"
	"tandem/internal/status"
	"tandem/internal/supervise"
	"tandem/internal/tty"
)

// world carries out what the policy decides. All its methods but guard and post are called by the loop only.
type world struct {
	settings  settings
	log       *slog.Logger
	logFailed <-chan any // has what the log's writer failed of
	requests  chan supervise.Request
	done      chan struct{}
	lock      *lockKeeper // nil where no bot is supervised
	status    *status.Writer
	control   *control.Server
	processes *sdnotify.Listener // nil for nobody to be listened to
	tty       *tty.Terminal      // nil but for `init -- COMMAND` on a terminal

	startedAt time.Time
	devNull   *os.File
	pids      [2]int // leaders, for Emergency
	oom       *cgroup.OOMWatch
	// processesLeft is how many the container may have more; false where there is no limit.
	processesLeft func() (int, bool)
	oomScore      *confine.OOMScore
	begin         func()        // starts everything beside the loop, after web: web waits for none of it
	failure       string        // why init itself failed, if it did
	killed        int           // what init itself sent SIGKILL last: a process, -n for a group, -1 for all
	owned         *rundir.Owned // nil for none
}

func newWorld(s settings, log *slog.Logger, logFailed <-chan any) *world {
	w := &world{
		settings: s, log: log, logFailed: logFailed, startedAt: time.Now(), oom: cgroup.NewOOMWatch(func() int { return 0 }),
		processesLeft: func() (int, bool) { return 0, false },
		requests:      make(chan supervise.Request, 16), done: make(chan struct{}),
		status: status.NewWriter(log),
	}
	w.control = &control.Server{
		Do: w.do, Turn: func(done func()) { w.put(supervise.Tick{}, func(supervise.Outcome) { done() }) },
		Status: w.status.JSON, Limit: s.policy.StopTimeout + time.Minute,
		Failed: func(r any) { w.fault("control", r) },
	}
	if s.policy.Names[supervise.Bot] != "" && s.lockFile != "" {
		w.lock = newLockKeeper(s.lockFile, s.reserved, log, func(e supervise.Event) { w.post(supervise.Request{Event: e}) })
		_, w.lock.group, _ = s.otherUser(supervise.Bot)
	}
	if f, err := os.Open(os.DevNull); err == nil {
		w.devNull = f
	} else { // an image without /dev: the processes get what init got
		log.Warn("the processes inherit init's standard input", "reason", err.Error())
	}
	return w
}

// post brings a request to the loop; after the loop's end it does nothing.
func (w *world) post(r supervise.Request) {
	select {
	case w.requests <- r:
	case <-w.done:
	}
}

// put brings an event to the loop; reply is called with what comes of it.
func (w *world) put(e supervise.Event, reply func(supervise.Outcome)) {
	w.post(supervise.Request{Event: e, Reply: reply})
}

// do has the loop carry out what an operator asks for.
func (w *world) do(verb, name string, done func(control.Outcome)) {
	id := supervise.Web
	if name == "bot" {
		id = supervise.Bot
	}
	w.put(supervise.Ask{Verb: verb, ID: id}, func(o supervise.Outcome) { done(control.Outcome(o)) })
}

// watchLog is the actor that makes a failure of the log's writer init's.
func (w *world) watchLog(done <-chan struct{}) {
	select {
	case r := <-w.logFailed:
		w.fault("log", r)
		<-done
	case <-done:
	}
}

// listen is the actor that brings to the loop what the processes say of themselves.
func (w *world) listen(done <-chan struct{}) {
	w.processes.Run(done, func(id, pid int, n sdnotify.Notice) {
		w.post(supervise.Request{Event: supervise.Noticed{ID: supervise.ID(id), PID: pid, Notice: n}})
	})
}

// guard makes an actor for the group: it returns when init is done and not before, because the first one to
// return ends the others; and its panic is init's failure, never a half-alive container.
func (w *world) guard(name string, actor func(done <-chan struct{})) func() error {
	return func() error {
		defer func() { <-w.done }()
		defer w.caught(name)
		actor(w.done)
		return nil
	}
}

func (w *world) Start(id supervise.ID) supervise.Event {
	c := reap.Command{
		Args: w.settings.args[id], Env: w.settings.env[id], Dir: w.settings.dir,
		DieWithParent: dieWithParent(w.settings.mode), Limits: w.settings.limits[id],
		Foreground: w.tty.Foreground(), Ignored: w.settings.ignored,
	}
	if w.devNull != nil && w.settings.mode != plainCommand {
		c.Stdin = w.devNull.Fd()
	}
	if id == supervise.Bot {
		file := w.lock.file()
		if file == nil {
			return supervise.StartFailed{ID: id, Code: exitcode.Software, Temporary: true, Reason: "the polling lock is gone"}
		}
		c.Extra = []uintptr{file.Fd()}
		w.setOOMScore(w.oomScore.Raise)
		defer w.setOOMScore(w.oomScore.Lower)
	}
	pid, err := w.processes.Started(int(id), func() (int, error) { return reap.Start(c) })
	w.begin()
	if err != nil {
		f := supervise.StartFailed{ID: id, Code: exitcode.NotExecutable, Reason: err.Error()}
		var e *reap.StartError
		if errors.As(err, &e) {
			f.Code, f.Temporary = e.Code, e.Temporary
		}
		return f
	}
	w.pids[id], w.killed = pid, 0
	return supervise.Started{ID: id, PID: pid}
}

// dieWithParent says whether the kernel is to end what init starts should init end: PID 1 takes its namespace along by
// itself.
func dieWithParent(m mode) bool { return os.Getpid() != 1 && m != plainCommand }

func (w *world) setOOMScore(set func() error) {
	if err := set(); err != nil {
		w.log.Warn("the bot's oom_score_adj cannot be set apart from web's", "reason", err.Error())
	}
}

func (w *world) Send(pid int, a supervise.Send) {
	w.log.Debug("signal sent", "name", w.settings.policy.Names[a.ID], "signal", supervise.SignalName(a.Signal))
	if a.Signal == syscall.SIGCONT && w.tty != nil { // it was the group that Ctrl-Z stopped
		w.SendGroup(pid, supervise.SendGroup(a))
		return
	}
	w.kill(pid, a.Signal)
}

func (w *world) SendGroup(pgid int, a supervise.SendGroup) {
	if a.Signal == syscall.SIGCONT {
		w.tty.HandOver(pgid)
	}
	w.kill(-pgid, a.Signal)
}

func (w *world) Suspend() { w.tty.Suspend() }

func (w *world) kill(pid int, sig syscall.Signal) {
	if sig == syscall.SIGKILL {
		w.killed = pid
	}
	if err := syscall.Kill(pid, sig); err != nil && err != syscall.ESRCH {
		w.log.Warn("signal cannot be sent", "pid", pid, "signal", supervise.SignalName(sig), "reason", err.Error())
	}
}

func (w *world) SendStrays() { w.sendAll(syscall.SIGTERM) }
func (w *world) KillAll()    { w.sendAll(syscall.SIGKILL) }

// sendAll reaches every descendant, those in sessions of their own too. PID 1 of a container may say "all but
// me"; elsewhere that would be the whole machine.
func (w *world) sendAll(sig syscall.Signal) {
	if _, _, childless := reap.Peek(); childless {
		return
	}
	if os.Getpid() == 1 && sig == syscall.SIGKILL {
		w.kill(-1, sig)
		return
	}
	if sig == syscall.SIGKILL {
		defer func() { w.killed = -1 }()
	}
	pids, err := reap.Descendants()
	if err != nil && os.Getpid() == 1 {
		w.kill(-1, sig)
		return
	}
	for _, pid := range pids {
		w.kill(pid, sig)
	}
	if err != nil {
		for _, pid := range w.pids {
			if pid != 0 {
				w.kill(-pid, sig)
			}
		}
	}
}

func (w *world) TakeLock(wish int) { w.lock.want(wish) }
func (w *world) ReleaseLock()      { w.lock.want(0) }

func (w *world) Say(s supervise.Say) {
	w.log.LogAttrs(context.Background(), s.Level, s.Text, s.Attrs...)
}

func (w *world) Peek() (supervise.Child, bool) {
	c, found, _ := reap.Peek()
	if !found {
		w.tty.Follow(w.pids[supervise.Web])
		return supervise.Child{}, false
	}
	e := supervise.LeaderEnded{Code: c.Code, Signal: c.Signal}
	switch {
	case c.Core:
		e.Detail = "it left a core dump"
	case c.Code != exitcode.Signal+int(syscall.SIGKILL), w.killed == -1, w.killed == -c.PID: // the last two: init did it
	case !w.oom.Killed(time.Now()):
	case c.Signal == 0: // how a shell and many a launcher pass on what became of their child
		e.Detail = "out of memory: the kernel killed a process of its; raise the container's memory limit"
	default:
		e.OOM, e.Detail = true, "out of memory: the kernel killed it; raise the container's memory limit"
	}
	return supervise.Child{PID: c.PID, LeaderEnded: e}, true
}

func (w *world) Collect(pid int) {
	w.processes.Ended(pid)
	reap.Collect(pid)
	w.tty.TakeBack(pid)
	switch {
	case pid == w.pids[supervise.Web] && w.settings.mode == plainCommand:
		w.pids[supervise.Web] = 0
	case w.settings.warnOnReap:
		w.log.Warn("collected an orphan", "pid", pid)
	}
}

func (w *world) Childless() bool {
	_, _, childless := reap.Peek()
	return childless
}

func (w *world) GroupEmpty(pgid int) bool { return reap.GroupEmpty(pgid) }

func (w *world) Publish(s supervise.State, orphans int, then func()) {
	if s.Fault {
		w.failure = s.Cause
	}
	w.status.Put(w.view(s, orphans), then)
}

func (w *world) view(s supervise.State, orphans int) func() *status.Status {
	startedAt := w.startedAt.Round(0).UTC().Truncate(time.Microsecond)
	return func() *status.Status {
		v := &status.Status{
			Init:      status.Init{PID: os.Getpid(), StartedAt: startedAt, Version: buildinfo.Version},
			Processes: s.View(&w.settings.policy), OrphansReaped: orphans,
		}
		if w.lock != nil {
			v.Lock = &status.Lock{Path: w.settings.lockFile, Held: s.LockHeld}
			if p := s.Procs[supervise.Bot].Phase; s.LockHeld || p == supervise.Locking {
				v.Lock.Holder = w.lock.holder()
			}
		}
		return v
	}
}

// Emergency is for a policy that failed: it knows no state but the processes themselves.
func (w *world) Emergency(reason string) int {
	w.failure = "init failed: " + reason
	w.log.Error("init failed: both processes are asked to end", "reason", reason)
	deadline := time.Now().Add(w.settings.policy.StopTimeout)
	for id, pid := range w.pids {
		if pid != 0 {
			w.kill(pid, w.settings.policy.StopWith(supervise.ID(id)))
		}
	}
	for now := time.Now(); now.Before(deadline.Add(500 * time.Millisecond)); now = time.Now() {
		c, found, childless := reap.Peek()
		switch {
		case childless:
			return exitcode.Software
		case found:
			for i, pid := range w.pids {
				if pid == c.PID {
					w.kill(-pid, syscall.SIGTERM)
					w.pids[i] = 0
				}
			}
			reap.Collect(c.PID)
			continue
		case now.After(deadline):
			w.sendAll(syscall.SIGKILL)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return exitcode.Software
}
