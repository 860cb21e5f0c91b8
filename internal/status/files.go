package status

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"tandem/internal/eintr"
)

// Files are the names of what one init has in RUN_DIR: the control socket, the sockets on which web and the bot speak,
// its status, and the lock that says who owns these.
type Files struct {
	Socket, Status, Lock string
	Notify               [2]string
}

// The files of an init that runs both processes, of one that runs only web, and of one that runs only the bot. The last
// two may share a directory.
var (
	OfPair = Files{"init.sock", "status.json", "init.lock", [2]string{"notify-web.sock", "notify-bot.sock"}}
	OfWeb  = Files{"web.sock", "web.json", "init-web.lock", [2]string{"web-notify.sock"}}
	OfBot  = Files{"bot.sock", "bot.json", "init-bot.lock", [2]string{1: "bot-notify.sock"}}
)

// PollLock is the name of the polling lock, where POLL_LOCK_FILE names no other file.
const PollLock = "bot.lock"

// WordsOf is the name of the file with the last words of a process.
func WordsOf(process string) string { return process + ".words" }

// Names are those of all that an init and its processes have in RUN_DIR, but the polling lock. Two inits may share it.
func Names() (names []string) {
	replaced := []string{WordsOf("web"), WordsOf("bot")}
	for _, f := range []Files{OfPair, OfWeb, OfBot} {
		replaced = append(replaced, f.Status)
		for _, name := range []string{f.Socket, f.Lock, f.Notify[0], f.Notify[1]} {
			if name != "" {
				names = append(names, name)
			}
		}
	}
	for _, name := range replaced {
		names = append(names, name, nextOf(name))
	}
	return names
}

// nextOf is the name of the file that is about to replace the one called name.
func nextOf(name string) string { return name + ".new" }

// maxFileBytes bounds what is read from a file in RUN_DIR and written to one, in bytes.
const maxFileBytes = 64 << 10

// Dir is RUN_DIR, opened. Whoever can write it can put anything under any name in it. So nothing in it is opened but a
// regular file, no link is followed, nothing waits, and no file that is there is written to. Everything is done in the
// directory that was opened, whatever has its name by then.
type Dir struct {
	fd   int
	path string
}

// OpenDir opens the directory path. The path itself may go through links: it is a person's, or was looked at.
func OpenDir(path string) (*Dir, error) {
	fd, err := eintr.Retry(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if errors.Is(err, unix.EACCES) { // one that may be entered and not listed is enough
		fd, err = eintr.Retry(func() (int, error) {
			return unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		})
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &Dir{fd, path}, nil
}

// OpenDirItself is OpenDir for a path that must not be a link itself.
func OpenDirItself(path string) (*Dir, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSymlink != 0 {
		return nil, &os.PathError{Op: "open", Path: path, Err: errors.New("it is a link now, and was none before")}
	}
	return OpenDir(path)
}

// IsThere says whether the directory still has its path.
func (d *Dir) IsThere() bool {
	var own, there unix.Stat_t
	return unix.Fstat(d.fd, &own) == nil && unix.Stat(d.path, &there) == nil && same(&own, &there)
}

func same(a, b *unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

// File is what tells one file from another.
type File struct{ dev, ino uint64 }

// Look says which file has that name; the zero File is none.
func (d *Dir) Look(name string) File {
	var st unix.Stat_t
	if unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return File{}
	}
	return File{uint64(st.Dev), st.Ino}
}

// Fd is the directory's descriptor. It stays the Dir's.
func (d *Dir) Fd() int { return d.fd }

// Close closes the directory.
func (d *Dir) Close() { unix.Close(d.fd) }

// OwnedBy is the user that the directory belongs to; othersWrite says whether somebody else can write it.
func (d *Dir) OwnedBy() (uid int, othersWrite bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return 0, false, d.failed("look at", "", err)
	}
	return int(st.Uid), st.Mode&0o022 != 0, nil
}

// LetThrough lets everybody pass through the directory to what is open to them in it. One that a person named keeps
// what else others may do there; any other may not be listed or written by them. If it belongs to another user, it gets
// the user and group given.
func (d *Dir) LetThrough(uid, gid int, named bool) error {
	var st unix.Stat_t
	err := unix.Fstat(d.fd, &st)
	if err == nil && int(st.Uid) != uid {
		err = unix.Fchown(d.fd, uid, gid)
	}
	mode := uint32(0o711)
	if named {
		mode = st.Mode&0o7777 | 0o111
	}
	if err == nil {
		err = unix.Fchmod(d.fd, mode)
	}
	if err != nil {
		return d.failed("share", "", err)
	}
	return nil
}

// Read reads the file called name, if it is a regular one of at most 64 kB.
func (d *Dir) Read(name string) ([]byte, error) {
	fd, err := d.open(name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var b []byte
	for buf := make([]byte, 4096); ; {
		n, err := eintr.Retry(func() (int, error) { return unix.Read(fd, buf) })
		if err != nil {
			return nil, d.failed("read", name, err)
		}
		if n == 0 {
			return b, nil
		}
		if b = append(b, buf[:n]...); len(b) > maxFileBytes { // it may grow while it is read
			return nil, d.failed("read", name, fmt.Errorf("it has more than %d bytes", maxFileBytes))
		}
	}
}

// open opens what is there under name, if it is a regular file.
func (d *Dir) open(name string, flags int) (fd int, err error) {
	var st unix.Stat_t
	regular := func(err error) error {
		if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
			err = errors.New("it is not a regular file")
		}
		return err
	}
	if strings.Contains(name, "/") { // a name may come from a file
		return -1, d.failed("open", name, errors.New("it is not in this directory"))
	}
	// Looked at first, because a device may do something when it is opened.
	if err = regular(unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)); err != nil {
		return -1, d.failed("open", name, err)
	}
	fd, err = eintr.Retry(func() (int, error) {
		return unix.Openat(d.fd, name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	})
	if err == nil {
		if err = regular(unix.Fstat(fd, &st)); err != nil { // another one by now
			unix.Close(fd)
		}
	}
	if err != nil {
		return -1, d.failed("open", name, err)
	}
	return fd, nil
}

// Write replaces the content of the file called name at one instant. It needs no fsync: after a power cut the file
// would tell of processes that are gone.
func (d *Dir) Write(name string, content []byte, mode os.FileMode) error {
	if len(content) > maxFileBytes {
		return d.failed("write", name, fmt.Errorf("%d bytes are more than are read of it", len(content)))
	}
	next := nextOf(name)
	if err := d.make(next, content, mode, -1, -1); err != nil {
		return err
	}
	if err := unix.Renameat(d.fd, next, d.fd, name); err != nil {
		_ = d.Remove(next)
		return d.failed("replace", name, err)
	}
	return nil
}

// Give makes an empty file called name, in place of what is there. It belongs to the user uid, and everybody may read
// it.
func (d *Dir) Give(name string, uid int) error { return d.make(name, nil, 0o644, uid, -1) }

// GiveGroup makes one that is ours and that the group gid may write.
func (d *Dir) GiveGroup(name string, gid int) error { return d.make(name, nil, 0o664, -1, gid) }

// make makes a new file called name. What has that name is removed, and never opened.
func (d *Dir) make(name string, content []byte, mode os.FileMode, uid, gid int) error {
	var fd int
	var err error
	for range 10 { // somebody may put one there again
		fd, err = eintr.Retry(func() (int, error) {
			return unix.Openat(d.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		})
		if err != unix.EEXIST {
			break
		}
		if removed := d.Remove(name); removed != nil {
			return removed
		}
	}
	if err != nil {
		return d.failed("make", name, err)
	}
	err = writeAll(fd, content)
	if mode != 0o600 && err == nil {
		err = unix.Fchmod(fd, uint32(mode))
	}
	if (uid >= 0 || gid >= 0) && err == nil {
		err = unix.Fchown(fd, uid, gid)
	}
	if e := unix.Close(fd); err == nil {
		err = e
	}
	if err != nil {
		_ = d.Remove(name)
		return d.failed("write", name, err)
	}
	return nil
}

// Overwrite writes into a file that is there and is our own, or the owner's of a directory that nobody else can write.
// It is for a directory in which we cannot make a file, whose owner made the file for us.
func (d *Dir) Overwrite(name string, content []byte) error {
	fd, err := d.open(name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && int(st.Uid) != os.Geteuid() {
		owner, othersWrite, e := d.OwnedBy()
		if err = e; err == nil && (owner != int(st.Uid) || othersWrite) {
			err = errors.New("it is not ours")
		}
	}
	if err == nil && st.Nlink != 1 {
		err = errors.New("it has another name, too")
	}
	if err == nil {
		err = unix.Ftruncate(fd, 0)
	}
	if err == nil {
		err = writeAll(fd, content)
	}
	if err != nil {
		return d.failed("write", name, err)
	}
	return nil
}

// Remove removes what has that name, if it is no directory with something in it. Nothing there is no error.
func (d *Dir) Remove(name string) error {
	err := unix.Unlinkat(d.fd, name, 0)
	if err == unix.EISDIR {
		err = unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR)
	}
	if err != nil && err != unix.ENOENT {
		return d.failed("remove", name, err)
	}
	return nil
}

func (d *Dir) failed(what, name string, err error) error {
	return &os.PathError{Op: what, Path: filepath.Join(d.path, name), Err: err}
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := eintr.Retry(func() (int, error) { return unix.Write(fd, b) })
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
