package main

import (
	"fmt"
	"os"
	"syscall"

	"tandem/internal/status"
	"tandem/internal/supervise"
)

// What belongs to init and is of use to a process that runs as another user (docs/adr/0008). It needs the capability
// CHOWN; without it such a process goes without.

// otherUser is the user that id runs as, if that is not init's own.
func (s *settings) otherUser(id supervise.ID) (uid, gid int, other bool) {
	l := s.limits[id]
	if l == nil || l.User == nil || l.User.UID == os.Getuid() {
		return 0, 0, false
	}
	return l.User.UID, l.User.GID, true
}

// shareRunDir lets processes of other users pass through RUN_DIR, to the status file and to the file that the bot's last
// words are for, without letting them make or replace anything in it.
func (s *settings) shareRunDir(dir *status.Dir) error {
	_, _, web := s.otherUser(supervise.Web)
	uid, _, bot := s.otherUser(supervise.Bot)
	if !web && !bot {
		return nil
	}
	// Whoever owns the directory could put files of his own in the place of init's.
	if owner, _, err := dir.OwnedBy(); err != nil {
		return err
	} else if owner != os.Getuid() && s.runDir != "/run/tandem" { // which the image has, for nothing else
		return fmt.Errorf("%s belongs to user %d: with WEB_USER or BOT_USER init wants a RUN_DIR of its own", s.runDir, owner)
	}
	if err := dir.LetThrough(os.Getuid(), os.Getgid()); err != nil {
		return err
	}
	if bot {
		_ = dir.Give(status.WordsOf("bot"), uid) // without it the bot's exit code has to do
	}
	return nil
}

// shareLock lets a bot of another user lock the file itself, should its launcher close the one that it inherits. Web,
// which has another group, must not: whoever can open the file can keep every bot off.
func (k *lockKeeper) shareLock(f *os.File) {
	var st syscall.Stat_t
	if k.group == 0 || f == nil || syscall.Fstat(int(f.Fd()), &st) != nil || int(st.Uid) != os.Getuid() || int(st.Gid) == k.group {
		return
	}
	if f.Chown(-1, k.group) == nil {
		_ = f.Chmod(0o660)
	}
}
