package main

import (
	"os"
	"strconv"

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

// claimRunDir makes this init the owner of its files in RUN_DIR and opens the sockets there. Where that fails, init
// says so once, and runs without them.
func (x *executor) claimRunDir() {
	s := &x.settings
	files := s.mode.files()
	_, _, web := s.otherUser(supervise.Web)
	botUser, _, bot := s.otherUser(supervise.Bot)
	if !bot {
		botUser = -1
	}
	err := s.runDirProblem
	if err == nil {
		want := rundir.Want{Path: s.runDir, Files: files, Named: s.runDirNamed, Shared: web || bot, BotUser: botUser}
		x.owned, err = rundir.Claim(want, x.log)
	}
	if err != nil {
		x.log.Warn("init runs without status file and control socket", "reason", err.Error())
		return
	}
	mode := os.FileMode(0o600)
	if web {
		mode = 0o644
	}
	x.status.To(x.owned.Dir, files.Status, mode)
	if err := x.control.Listen(x.owned.Path(files.Socket)); err != nil {
		x.log.Warn("init runs without control socket", "reason", err.Error())
	}
	x.listenToProcesses(x.owned.Path(files.Notify))
}

// listenToProcesses opens the socket on which processes speak, and tells its path to those that are to be listened to.
// Without the socket nobody is listened to.
func (x *executor) listenToProcesses(path string) {
	s := &x.settings
	if s.listens == [2]bool{} {
		return
	}
	listener, err := sdnotify.Listen(path)
	if err != nil {
		x.log.Warn("init cannot hear whether its processes are ready and alive", "reason", err.Error())
		return
	}
	x.notices = listener
	for id, wanted := range s.listens {
		if wanted {
			s.policy.Notify[id] = true
			s.env[id] = config.Set(s.env[id], sdnotify.SocketVariable, path)
		}
	}
	if s.listens[supervise.Bot] && s.policy.Watchdog > 0 {
		interval := strconv.FormatInt(s.policy.Watchdog.Microseconds(), 10)
		s.env[supervise.Bot] = config.Set(s.env[supervise.Bot], sdnotify.WatchdogVariable, interval)
	}
}
