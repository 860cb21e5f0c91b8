package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"tandem/internal/config"
	"tandem/internal/rundir"
	"tandem/internal/sdnotify"
	"tandem/internal/status"
	"tandem/internal/supervise"
)

// files are the names of the files that an init of this mode has in RUN_DIR.
func (m mode) files() status.Files {
	switch m {
	case webOnly:
		return status.OfWeb
	case botOnly:
		return status.OfBot
	}
	return status.OfPair
}

// ownDir is what init has in RUN_DIR. Whatever of it somebody takes away is made anew.
type ownDir struct {
	mu      sync.Mutex // held while files are made, which may hang: the loop takes it only before web's start
	owned   *rundir.Owned
	watch   *rundir.Watch   // nil for none
	link    bool            // RUN_DIR is a link, as a person made it
	begun   bool            // a directory was claimed once
	over    bool            // nothing is made any more
	said    map[string]bool // what was said of what cannot be had
	nobody  bool            // it is another init's by now
	problem error           // why there is none now
}

// claimRunDir makes this init the owner of its files in RUN_DIR and makes what web needs there. Where that fails, init
// says so once, and runs without them.
func (x *executor) claimRunDir() {
	d := &x.runDir
	d.mu.Lock()
	defer d.mu.Unlock()
	if x.claim() {
		x.listenToOperators()
		x.listenTo(supervise.Web)
	}
}

// mendRunDir makes what is missing in RUN_DIR: at first what web does not need, later what somebody took away. The
// status file is written by its writer, which is told by writeAgain. It may hang with the file system.
func (x *executor) mendRunDir(writeAgain func()) (whole bool) {
	d := &x.runDir
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over || !x.claim() {
		return d.over
	}
	files := x.settings.mode.files()
	whole = x.listenToOperators()
	for id := range x.settings.listens {
		whole = x.listenTo(supervise.ID(id)) && whole
	}
	if d.owned.Look(files.Status) == (status.File{}) {
		writeAgain()
	}
	if x.lock != nil && filepath.Dir(x.settings.lockFile) == x.settings.runDir &&
		d.owned.Look(filepath.Base(x.settings.lockFile)) == (status.File{}) {
		x.lock.renew()
	}
	if whole {
		d.said = nil
	}
	return whole
}

// claim is true once the directory and the lock that says whose it is are this init's.
func (x *executor) claim() bool {
	d, s := &x.runDir, &x.settings
	if d.nobody {
		return false
	}
	if d.owned != nil && d.owned.IsThere() {
		d.problem = nil
		err := d.owned.Mend()
		if err != nil {
			x.cannotClaim(err)
		}
		return err == nil
	}
	err := s.runDirProblem
	if s.runDir != "" && (d.begun || err != nil) {
		err = config.MakeRunDir(s.runDir, s.runDirNamed)
	}
	var owned *rundir.Owned
	if err == nil {
		owned, err = rundir.Claim(x.wantOfRunDir(), x.log)
	}
	if d.problem = err; err != nil {
		x.cannotClaim(err)
		return false
	}
	if d.begun {
		x.log.Warn("RUN_DIR was taken away: it is made anew", "dir", s.runDir)
	}
	if info, err := os.Lstat(s.runDir); err == nil && !d.begun {
		d.link = info.Mode()&os.ModeSymlink != 0
	}
	before := d.owned
	d.owned, d.begun = owned, true
	mode := os.FileMode(0o600)
	if _, _, web := s.otherUser(supervise.Web); web {
		mode = 0o644
	}
	x.status.To(owned.Dir, s.mode.files().Status, mode)
	if d.watch != nil {
		x.watchRunDir()
	}
	before.Release() // of what was moved away with it
	return true
}

// runDirProblem is why file must not be opened: it would be in a RUN_DIR that is not there, or that somebody has put in
// the place of init's.
func (x *executor) runDirProblem(file string) error {
	d := &x.runDir
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.problem == nil || errors.Is(d.problem, rundir.ErrOwned) || filepath.Dir(file) != x.settings.runDir {
		return nil
	}
	if !d.begun {
		if _, err := os.Stat(x.settings.runDir); err == nil {
			return nil // it may be one that cannot be written, with a lock in it
		}
		return d.problem
	}
	return takenAway{d.problem}
}

// takenAway says that RUN_DIR, which was there, cannot be had now. It may be back later.
type takenAway struct{ error }

func (e takenAway) Unwrap() error { return e.error }

func (x *executor) wantOfRunDir() rundir.Want {
	d, s := &x.runDir, &x.settings
	_, _, web := s.otherUser(supervise.Web)
	botUser, _, bot := s.otherUser(supervise.Bot)
	if !bot {
		botUser = -1
	}
	return rundir.Want{
		Path: s.runDir, Files: s.mode.files(), Named: s.runDirNamed, Shared: web || bot, BotUser: botUser,
		BotGroup: s.botGroup(), NoLink: d.begun && !d.link,
	}
}

// cannotClaim says why the directory cannot be had. One that is another init's by now is left to it for good.
func (x *executor) cannotClaim(err error) {
	x.sayOnce("init runs without status file and control socket", err)
	if d := &x.runDir; errors.Is(err, rundir.ErrOwned) {
		d.nobody = true
		x.status.To(nil, "", 0)
	}
}

// sayOnce says what cannot be had, until all can be had again.
func (x *executor) sayOnce(what string, err error) {
	if d := &x.runDir; !d.said[what+err.Error()] {
		if len(d.said) == 0 || len(d.said) > 20 {
			d.said = map[string]bool{}
		}
		d.said[what+err.Error()] = true
		x.log.Warn(what, "reason", err.Error())
	}
}

// listenToOperators makes the control socket, if there is none.
func (x *executor) listenToOperators() bool {
	err := x.runDir.owned.Make(x.settings.mode.files().Socket, x.control.Listen)
	if err != nil {
		x.sayOnce("init runs without control socket", err)
	}
	return err == nil
}

// listenTo makes the socket on which a process speaks, if it is to be listened to and has none.
func (x *executor) listenTo(id supervise.ID) bool {
	s := &x.settings
	if !s.listens[id] {
		return true
	}
	user := os.Getuid()
	if uid, _, other := s.otherUser(id); other {
		user = uid
	}
	err := x.runDir.owned.Make(s.mode.files().Notify[id], func(path string) error {
		return x.notices.Listen(int(id), path, user)
	})
	if err != nil {
		x.sayOnce("init cannot hear whether "+s.policy.Names[id]+" is ready and alive", err)
	}
	return err == nil
}

// expectNotices tells a process that is about to start where to speak, if it has a socket. Without one it is not
// listened to.
func (x *executor) expectNotices(id supervise.ID) {
	s := &x.settings
	if s.policy.Notify[id] || !x.notices.Hears(int(id)) {
		return
	}
	s.policy.Notify[id] = true
	s.env[id] = config.Set(s.env[id], sdnotify.SocketVariable, filepath.Join(s.runDir, s.mode.files().Notify[id]))
	if id == supervise.Bot && s.policy.Watchdog > 0 {
		interval := strconv.FormatInt(s.policy.Watchdog.Microseconds(), 10)
		s.env[id] = config.Set(s.env[id], sdnotify.WatchdogVariable, interval)
	}
}

const (
	settleTime  = 200 * time.Millisecond // from the first removal until it is made good: the sweep is over by then
	mendRetries = 3                      // while a sweep goes on; later the next change has it tried again
)

// keepRunDir is the actor that makes anew what is taken away.
func (x *executor) keepRunDir(done <-chan struct{}) {
	watch, err := rundir.NewWatch()
	if err != nil {
		x.log.Warn("init does not notice at once if something in RUN_DIR is taken away", "reason", err.Error())
		x.mendRunDir(x.status.Again)
		<-done
		return
	}
	x.runDir.mu.Lock()
	x.runDir.watch = watch
	x.watchRunDir()
	x.runDir.mu.Unlock()
	go func() {
		<-done
		watch.Close() // ends Wait
	}()
	ours := map[string]bool{}
	files := x.settings.mode.files()
	for _, name := range []string{files.Socket, files.Status, files.Lock, files.Notify[0], files.Notify[1],
		status.WordsOf("bot"), filepath.Base(x.settings.lockFile)} {
		ours[name] = true
	}
	x.mendRunDir(x.status.Again)
	for watch.Wait(func(name string) bool { return ours[name] }) {
		for range mendRetries {
			select {
			case <-time.After(settleTime):
			case <-done:
				return
			}
			if x.mendRunDir(x.status.Again) {
				break
			}
		}
	}
}

// watchRunDir watches the directory that init has.
func (x *executor) watchRunDir() {
	d := &x.runDir
	if d.owned == nil {
		return
	}
	if err := d.watch.On(d.owned.Dir); err != nil {
		x.log.Warn("init does not notice at once if something in RUN_DIR is taken away", "reason", err.Error())
	}
}

// leaveTimeout is for removing what would look like a living init: a file system that hangs must not keep init.
const leaveTimeout = 200 * time.Millisecond

// leaveRunDir removes what would look like a living init. On a busy machine an actor may still be at work on it: that
// is waited for, and the status is not written any more after it.
func (x *executor) leaveRunDir() {
	left := make(chan any, 1)
	go func() {
		defer func() { left <- recover() }()
		d := &x.runDir
		d.mu.Lock()
		defer d.mu.Unlock()
		d.over = true
		x.status.To(nil, "", 0)
		d.owned.Release()
	}()
	select {
	case failed := <-left:
		if failed != nil {
			panic(failed)
		}
	case <-time.After(leaveTimeout):
	}
}
