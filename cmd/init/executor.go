package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"tandem/internal/buildinfo"
	"tandem/internal/cgroup"
	"tandem/internal/confine"
	"tandem/internal/control"
	"tandem/internal/exitcode"
	"tandem/internal/logging"
	"tandem/internal/reap"
	"tandem/internal/sdnotify"
	"tandem/internal/status"
	"tandem/internal/stdio"
	"tandem/internal/supervise"
	"tandem/internal/tty"
)

// executor carries out what the policy decides. The loop calls its methods. What runs beside the loop is in actors.go,
// panics.go and threads.go.
type executor struct {
	settings  settings
	log       *slog.Logger
	startLog  func()                 // starts the log's writer
	logFailed <-chan any             // has its panic
	requests  chan supervise.Request // to the loop
	done      chan struct{}          // closed when the loop has ended

	// What runs beside the loop. startGroup starts it all, once web is started: web waits for none of it.
	startGroup func()
	status     *status.Writer
	control    *control.Server
	notices    *sdnotify.Listener
	lock       *lockKeeper // nil where no bot is supervised

	runDir  ownDir
	outer   *outer
	tty     *tty.Terminal // nil but for `init -- COMMAND` on a terminal
	devNull int           // the processes' standard input; 0 for init's own

	startedAt  time.Time
	leaders    [2]int // numbers of web and bot, for Emergency
	saidShared string // why standard output or error is handed on, as the log has it
	lastKilled int    // what init itself sent SIGKILL last: a process, -n for a group, -1 for all
	failure    string // why init itself failed, if it did

	oomWatch *cgroup.OOMWatch
	oomScore *confine.OOMScore
	// processesLeft is how many more the container may have; false where there is no limit.
	processesLeft func() (int, bool)
}

func newExecutor(s settings, log *slog.Logger, lines *logging.Async) *executor {
	x := &executor{
		settings: s, log: log, startLog: lines.Start, logFailed: lines.Failed(), startedAt: time.Now(),
		requests: make(chan supervise.Request, 16), done: make(chan struct{}),
		status:        status.NewWriter(log),
		oomWatch:      cgroup.NewOOMWatch(func() int { return 0 }),
		processesLeft: func() (int, bool) { return 0, false },
	}
	x.control = &control.Server{
		Do: x.askLoop, Turn: x.turnLoop, Status: x.status.JSON, DoTimeout: s.policy.StopTimeout + time.Minute,
		Failed: func(r any) { x.reportPanic("control", r) },
	}
	x.outer = &outer{}
	if s.mode != commandOnly {
		x.outer = newOuter(s.mode, x.turnLoop)
		x.status.Before = func() { x.mendRunDir(x.status.Forget) }
	}
	x.notices = sdnotify.NewListener(func(r any) { x.reportPanic("notices", r) })
	if s.policy.Names[supervise.Bot] != "" && s.lockFile != "" {
		tell := func(e supervise.Event) { x.post(supervise.Request{Event: e}) }
		x.lock = newLockKeeper(s.lockFile, s.reserved, log, tell)
		x.lock.botGroup = s.botGroup()
		x.lock.before = func() error {
			x.mendRunDir(x.status.Again)
			return x.runDirProblem(s.lockFile)
		}
	}
	// By system call: package os would start Go's poller for it, and web's start waits for this.
	if fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err == nil {
		x.devNull = fd
	} else { // an image without /dev
		log.Warn("the processes inherit init's standard input", "reason", err.Error())
	}
	return x
}

func (x *executor) Start(id supervise.ID) supervise.Event {
	x.expectNotices(id)
	c := reap.Command{
		Args: x.settings.args[id], Env: x.settings.env[id], Dir: x.settings.dir,
		DieWithParent: dieWithParent(x.settings.mode), Limits: x.settings.limits[id],
		Foreground: x.tty.Foreground(), Ignored: x.settings.ignored, Handed: numbered(),
		Shell: x.settings.mode == commandOnly, Session: x.settings.mode != commandOnly,
	}
	if x.settings.mode != commandOnly {
		out := stdio.Anew()
		defer out.Close()
		x.sayShared(out.Shared)
		c.Stdin, c.Out = uintptr(x.devNull), out.FDs
	}
	if id == supervise.Web {
		c.Extra = x.settings.handed
	}
	if id == supervise.Bot {
		file := x.lock.file()
		if file == nil {
			return supervise.StartFailed{
				ID: id, Code: exitcode.Software, Temporary: true, Reason: "the polling lock is gone",
			}
		}
		c.Extra = []uintptr{file.Fd()}
		x.setOOMScore(x.oomScore.Raise)
		defer x.setOOMScore(x.oomScore.Lower)
	}
	pid, err := x.notices.Started(int(id), func() (int, error) { return reap.Start(c) })
	x.startGroup()
	if err != nil {
		f := supervise.StartFailed{ID: id, Code: exitcode.NotExecutable, Reason: err.Error()}
		var e *reap.StartError
		if errors.As(err, &e) {
			f.Code, f.Temporary = e.Code, e.Temporary
		}
		return f
	}
	x.leaders[id], x.lastKilled = pid, 0
	return supervise.Started{ID: id, PID: pid}
}

// sayShared says, when there is something new to say, why a process shares its standard output or error.
func (x *executor) sayShared(reason string) {
	if reason != "" && reason != x.saidShared {
		x.saidShared = reason
		x.log.Info("init's own standard output or error is handed on, and what one process sets on it holds for all",
			"reason", reason)
	}
}

// dieWithParent says whether the kernel is to end what init starts when init ends. PID 1 needs no such thing: the
// kernel ends all of its namespace with it.
func dieWithParent(m mode) bool { return os.Getpid() != 1 && m != commandOnly }

func (x *executor) setOOMScore(set func() error) {
	if err := set(); err != nil {
		x.log.Warn("the bot's oom_score_adj cannot be set apart from web's", "reason", err.Error())
	}
}

func (x *executor) Send(pid int, a supervise.Send) {
	x.log.Debug("signal sent", "name", x.settings.policy.Names[a.ID], "signal", supervise.SignalName(a.Signal))
	if a.Signal == syscall.SIGCONT && x.tty != nil { // Ctrl-Z stopped the whole group
		x.SendGroup(pid, supervise.SendGroup(a))
		return
	}
	x.kill(pid, a.Signal)
}

func (x *executor) SendGroup(pgid int, a supervise.SendGroup) {
	if a.Signal == syscall.SIGCONT {
		x.tty.HandOver(pgid)
	}
	x.kill(-pgid, a.Signal)
}

func (x *executor) Suspend() { x.tty.Suspend() }

func (x *executor) kill(pid int, signals ...syscall.Signal) {
	for _, sig := range signals {
		if sig == syscall.SIGKILL {
			x.lastKilled = pid
		}
		if err := syscall.Kill(pid, sig); err != nil && err != syscall.ESRCH {
			x.log.Warn("signal cannot be sent", "pid", pid, "signal", supervise.SignalName(sig), "reason", err.Error())
		}
	}
}

func (x *executor) SendStrays() { x.sendAll(syscall.SIGTERM, syscall.SIGCONT) }
func (x *executor) KillAll()    { x.sendAll(syscall.SIGKILL) }

// sendAll reaches every descendant, also one in a session of its own. PID 1 of a container may signal all processes but
// itself. Elsewhere that would be the whole machine.
func (x *executor) sendAll(signals ...syscall.Signal) {
	if _, _, childless := reap.Peek(); childless {
		return
	}
	kills := signals[0] == syscall.SIGKILL
	if os.Getpid() == 1 && kills {
		x.kill(-1, signals...)
		return
	}
	if kills {
		defer func() { x.lastKilled = -1 }()
	}
	left, err := reap.Descendants()
	if err != nil && os.Getpid() == 1 {
		x.kill(-1, signals...)
		return
	}
	for _, p := range left {
		x.kill(p.PID, signals...)
	}
	if err != nil {
		for _, pid := range x.leaders {
			if pid != 0 {
				x.kill(-pid, signals...)
			}
		}
	}
}

// maxNamed is how many processes a line of the log names.
const maxNamed = 10

func (x *executor) Name(pgid int, kills bool) {
	text, level := "the stop waits for processes", slog.LevelInfo
	if kills {
		text, level = "processes are killed", slog.LevelWarn
	}
	all, err := reap.Descendants()
	if err != nil {
		x.log.Log(context.Background(), level, text, "reason", "who they are cannot be seen: "+err.Error())
		return
	}
	var names []string
	more := 0
	for _, p := range all {
		switch {
		case p.Ended || pgid != 0 && p.Group != pgid:
		case len(names) < maxNamed:
			names = append(names, fmt.Sprintf("%d %q (group %d)", p.PID, p.Name, p.Group))
		default:
			more++
		}
	}
	if more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	if names != nil {
		x.log.Log(context.Background(), level, text, "processes", strings.Join(names, ", "))
	}
}

func (x *executor) TakeLock(wish int) { x.lock.want(wish) }
func (x *executor) ReleaseLock()      { x.lock.want(0) }

func (x *executor) Say(s supervise.Say) {
	x.log.LogAttrs(context.Background(), s.Level, s.Text, s.Attrs...)
}

func (x *executor) Peek() (supervise.Child, bool) {
	c, found, _ := reap.Peek()
	if !found {
		x.tty.Follow(x.leaders[supervise.Web])
		return supervise.Child{}, false
	}
	e := supervise.LeaderEnded{Code: c.Code, Signal: c.Signal}
	switch {
	case c.Core:
		e.Detail = "it left a core dump"
	case c.Code != exitcode.Signal+int(syscall.SIGKILL):
	case x.lastKilled == -1, x.lastKilled == -c.PID: // init itself did it
	case !x.oomWatch.Killed(time.Now()):
	case c.Signal == 0: // a shell, and many a launcher, passes on so what became of its child
		e.Detail = "out of memory: the kernel killed a process of its; raise the container's memory limit"
	default:
		e.OOM, e.Detail = true, "out of memory: the kernel killed it; raise the container's memory limit"
	}
	return supervise.Child{PID: c.PID, LeaderEnded: e}, true
}

func (x *executor) Suspended(pid int) (by syscall.Signal, changed bool) {
	if x.settings.mode == commandOnly { // it has no status, and its terminal is told by Peek
		return 0, false
	}
	return reap.Suspended(pid)
}

func (x *executor) Collect(pid int) {
	x.notices.Ended(pid)
	reap.Collect(pid)
	x.tty.TakeBack(pid)
	switch {
	case pid == x.leaders[supervise.Web] && x.settings.mode == commandOnly:
		x.leaders[supervise.Web] = 0
	case x.settings.warnOnReap:
		x.log.Warn("collected an orphan", "pid", pid)
	}
}

func (x *executor) Childless() bool {
	_, _, childless := reap.Peek()
	return childless
}

func (x *executor) GroupEmpty(pgid int) bool { return reap.GroupEmpty(pgid) }

func (x *executor) Publish(s supervise.State, orphans int, then func()) {
	if s.Fault {
		x.failure = s.StopCause
	}
	view := x.view(s, orphans)
	x.outer.put(view, s.Stopping)
	x.status.Put(view, then)
}

func (x *executor) view(s supervise.State, orphans int) func() *status.Status {
	startedAt := x.startedAt.Round(0).UTC().Truncate(time.Microsecond)
	return func() *status.Status {
		v := &status.Status{
			Init:      status.Init{PID: os.Getpid(), StartedAt: startedAt, Version: buildinfo.Version},
			Processes: s.View(&x.settings.policy), OrphansReaped: orphans,
		}
		if x.lock != nil {
			v.Lock = &status.Lock{Path: x.settings.lockFile, Held: s.LockHeld}
			if p := s.Procs[supervise.Bot].Phase; s.LockHeld || p == supervise.Locking {
				v.Lock.Holder = x.lock.holder()
			}
		}
		return v
	}
}

// Emergency ends both processes when the policy has failed. It goes by their numbers and by what the kernel says of
// them, and not by the state of the policy.
func (x *executor) Emergency(reason string) int {
	x.failure = "init failed: " + reason
	x.log.Error("init failed: both processes are asked to end", "reason", reason)
	deadline := time.Now().Add(x.settings.policy.StopTimeout)
	for id, pid := range x.leaders {
		if pid != 0 {
			x.kill(pid, x.settings.policy.StopWith(supervise.ID(id)), syscall.SIGCONT)
		}
	}
	for now := time.Now(); now.Before(deadline.Add(500 * time.Millisecond)); now = time.Now() {
		c, found, childless := reap.Peek()
		switch {
		case childless:
			return exitcode.Software
		case found:
			for i, pid := range x.leaders {
				if pid == c.PID {
					x.kill(-pid, syscall.SIGTERM, syscall.SIGCONT)
					x.leaders[i] = 0
				}
			}
			reap.Collect(c.PID)
			continue
		case now.After(deadline):
			x.sendAll(syscall.SIGKILL)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return exitcode.Software
}
