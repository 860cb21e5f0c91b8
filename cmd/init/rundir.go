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
		want := rundir.Want{Path: s.runDir, Files: files, Named: s.runDirNamed, Shared: web || bot, BotUser: botUser,
			BotGroup: s.botGroup()}
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
	for id := range s.listens {
		x.listenTo(supervise.ID(id))
	}
}

// listenTo opens the socket on which a process speaks, if it is to be listened to. Without the socket it is not.
func (x *executor) listenTo(id supervise.ID) {
	s := &x.settings
	if !s.listens[id] {
		return
	}
	user := os.Getuid()
	if uid, _, other := s.otherUser(id); other {
		user = uid
	}
	path := x.owned.Path(s.mode.files().Notify[id])
	if err := x.notices.Listen(int(id), path, user); err != nil {
		x.log.Warn("init cannot hear whether a process is ready and alive",
			"name", s.policy.Names[id], "reason", err.Error())
		return
	}
	s.policy.Notify[id] = true
	s.env[id] = config.Set(s.env[id], sdnotify.SocketVariable, path)
	if id == supervise.Bot && s.policy.Watchdog > 0 {
		interval := strconv.FormatInt(s.policy.Watchdog.Microseconds(), 10)
		s.env[id] = config.Set(s.env[id], sdnotify.WatchdogVariable, interval)
	}
}
