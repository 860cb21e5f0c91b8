package main

import (
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"tandem/internal/supervise"
)

// otherUser is the user that a process runs as; other is false where that is init's own.
func (s *settings) otherUser(id supervise.ID) (uid, gid int, other bool) {
	l := s.limits[id]
	if l == nil || l.User == nil || l.User.UID == os.Getuid() {
		return 0, 0, false
	}
	return l.User.UID, l.User.GID, true
}

// botGroup is the group of a bot that runs as another user, if web is not in it; else 0.
func (s *settings) botGroup() int {
	_, gid, other := s.otherUser(supervise.Bot)
	if _, _, too := s.otherUser(supervise.Web); !other || too && s.isIn(supervise.Web, gid) {
		return 0
	}
	return gid
}

// isIn says whether a process that runs as another user is in the group gid.
func (s *settings) isIn(id supervise.ID, gid int) bool {
	u := s.limits[id].User
	return u.GID == gid || slices.Contains(u.Groups, gid)
}

// shareOutput lets processes of other users open init's standard output and error once more, as those do that write to
// /dev/stderr: a container's runtime makes a pipe for init's user alone. They may not read it. Files and terminals keep
// their modes, which are somebody's decision, and so does a FIFO.
func (s *settings) shareOutput() {
	for id := range s.limits {
		if _, _, other := s.otherUser(supervise.ID(id)); !other {
			continue
		}
		for fd := 1; fd <= 2; fd++ {
			var st syscall.Stat_t
			var fs syscall.Statfs_t
			if syscall.Fstat(fd, &st) != nil || syscall.Fstatfs(fd, &fs) != nil || fs.Type != unix.PIPEFS_MAGIC ||
				st.Mode&syscall.S_IFMT != syscall.S_IFIFO || int(st.Uid) != os.Getuid() {
				continue
			}
			write := uint32(0o002)
			if s.isIn(supervise.ID(id), int(st.Gid)) { // whose bits count then
				write = 0o020
			}
			_ = syscall.Fchmod(fd, st.Mode&0o7777|write)
		}
	}
}
