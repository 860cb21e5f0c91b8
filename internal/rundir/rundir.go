// Package rundir makes one init the owner of its files in RUN_DIR.
//
// It promises that two inits never write the same file, that what an init left that was killed is not taken for a
// living one's, and that a process of another user can pass through the directory and make or replace nothing in it.
// What the files say is left to packages status, control and sdnotify.
package rundir

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/lockfile"
	"tandem/internal/status"
)

// Want is what an init wants of a directory.
type Want struct {
	Path    string
	Files   status.Files
	Named   bool // by a person: it may be one that others can write
	Shared  bool // with processes of other users
	BotUser int  // who is to leave the bot's last words, where that is not init's user; -1 for nobody
	// BotGroup is that user's, 0 where web has it, too. What the bot may write without the capability CHOWN is its
	// group's.
	BotGroup int
	// NoLink says that the path must not be a link itself: it was none before, and somebody took the directory away.
	NoLink bool
}

// Owned is RUN_DIR, where this init owns its files.
type Owned struct {
	*status.Dir
	lock *lockfile.Lock
	want Want
	made map[string]status.File // the sockets, by name
}

// ErrOwned says that the directory is another init's.
var ErrOwned = errors.New("another init owns it")

// ownedError is ErrOwned with who that is.
type ownedError string

func (e ownedError) Error() string        { return string(e) }
func (e ownedError) Is(target error) bool { return target == ErrOwned }

// Claim opens the directory and takes the lock that says whose its files are. What a person should know of the
// directory goes to log.
func Claim(want Want, log *slog.Logger) (*Owned, error) {
	open := status.OpenDir
	if want.NoLink {
		open = status.OpenDirItself
	}
	dir, err := open(want.Path)
	if err != nil {
		return nil, err
	}
	o := &Owned{Dir: dir, want: want, made: map[string]status.File{}}
	if err := o.claim(log); err != nil {
		dir.Close()
		return nil, err
	}
	o.clear() // of what an earlier init left
	return o, nil
}

func (o *Owned) claim(log *slog.Logger) error {
	if owner, othersWrite, err := o.OwnedBy(); err != nil {
		return err
	} else if o.want.Named && (othersWrite || owner != os.Getuid() && owner != 0) {
		log.Warn("others can write RUN_DIR", "dir", o.want.Path, "reason",
			"whoever can may put a false status there, or keep the bot off by its lock: "+
				"name a directory that is this user's alone")
	}
	if err := o.share(); err != nil {
		return err
	}
	return o.takeLock()
}

// takeLock takes the lock on the file that has its name now.
func (o *Owned) takeLock() error {
	path := o.Path(o.want.Files.Lock)
	lock, err := lockfile.Open(path)
	if err != nil {
		return err
	}
	free, err := lock.TryLock()
	for range 3 { // `init status` holds it for a moment to see whether it is free
		if free || err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
		free, err = lock.TryLock()
	}
	if err == nil && !free {
		err = ownedError(fmt.Sprintf("another init (%s) owns %s; give this one a RUN_DIR of its own",
			lockfile.Holder(path), o.want.Path))
	}
	if err != nil {
		lock.Close()
		return err
	}
	_ = lock.SetHolder(fmt.Sprintf("pid %d", os.Getpid()))
	if o.lock != nil {
		_ = o.lock.Close()
	}
	o.lock = lock
	return nil
}

// Mend makes anew what init alone needs of what is missing, the lock and the file for the bot's last words. An error
// says that the directory is not this init's any more.
func (o *Owned) Mend() error {
	if o.lock.Replaced() != nil {
		if err := o.takeLock(); err != nil {
			return err
		}
	}
	if o.want.Shared && o.want.BotUser >= 0 && o.Look(status.WordsOf("bot")) == (status.File{}) {
		o.giveWords()
	}
	return nil
}

// Make makes the socket called name by make, which is given its path, unless the one is there that was made before.
func (o *Owned) Make(name string, make func(path string) error) error {
	if have := o.Look(name); have != (status.File{}) && have == o.made[name] {
		return nil
	}
	if err := make(o.Path(name)); err != nil {
		return err
	}
	o.made[name] = o.Look(name)
	return nil
}

// share lets processes of other users pass through the directory, to the status file and to the file that the bot's
// last words are for, without letting them make or replace anything in it.
func (o *Owned) share() error {
	if !o.want.Shared {
		return nil
	}
	// Whoever owns the directory could put files of his own in the place of init's.
	if owner, _, err := o.OwnedBy(); err != nil {
		return err
	} else if owner != os.Getuid() && o.want.Path != "/run/tandem" { // which the image has, for nothing else
		return fmt.Errorf("%s belongs to user %d: with WEB_USER or BOT_USER init wants a RUN_DIR of its own",
			o.want.Path, owner)
	}
	if err := o.LetThrough(os.Getuid(), os.Getgid(), o.want.Named); err != nil {
		return err
	}
	if o.want.BotUser >= 0 {
		o.giveWords()
	}
	return nil
}

// giveWords makes the file for the bot's last words. Without it the bot's exit code has to do.
func (o *Owned) giveWords() {
	name := status.WordsOf("bot")
	if o.Give(name, o.want.BotUser) != nil && o.want.BotGroup > 0 {
		InGroup(o.want.BotGroup, func() { _ = o.GiveGroup(name, o.want.BotGroup) })
	}
}

// InGroup runs f, which may give files of ours to the group gid. The capability SETGID, which it takes to start a
// process of another user, is enough for that: the owner of a file may give it to a group that he is in.
func InGroup(gid int, f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	before, _ := unix.SetfsgidRetGid(gid) // of this thread
	f()
	_, _ = unix.SetfsgidRetGid(before)
	if err == nil { // the kernel has set this anew
		_ = unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(dumpable), 0, 0, 0)
	}
}

// Path is where name is in the directory.
func (o *Owned) Path(name string) string { return filepath.Join(o.want.Path, name) }

func (o *Owned) clear() {
	f := &o.want.Files
	for _, name := range []string{f.Status, f.Socket, f.Notify[0], f.Notify[1]} {
		if name != "" {
			_ = o.Remove(name)
		}
	}
}

// Release removes what would look like a living init, and gives up the lock.
func (o *Owned) Release() {
	if o == nil {
		return
	}
	o.clear()
	_ = o.lock.Close()
	o.Close()
}
