package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// firstDir is the first directory that is tried where RUN_DIR names none.
const firstDir = "/run/tandem"

// RunDir finds the directory for sockets, status and locks. That is RUN_DIR, which is taken as it is, or else the first
// of /run/tandem, $XDG_RUNTIME_DIR/tandem and /tmp/tandem-UID that belongs to this user and can be written. The last
// two are made when they are missing. Others lose the right to write a directory that RUN_DIR did not name. An error
// says which were tried, and what is wrong with each. Then the directory is "", but for a RUN_DIR that cannot be
// written, and for one that only room is missing for.
//
// All three executables must find the same directory, which is why the rule stands here.
func (e *Env) RunDir() (string, error) {
	if dir := e.String("RUN_DIR", ""); dir != "" {
		dir = filepath.Clean(dir) // as the names of what is in it will have it
		err := MakeRunDir(dir, true)
		if errors.Is(err, errNotMade) && !IsShort(err) {
			dir = ""
		}
		return dir, err
	}
	candidates := []string{firstDir}
	if xdg := e.String("XDG_RUNTIME_DIR", ""); xdg != "" {
		candidates = append(candidates, filepath.Join(xdg, "tandem"))
	}
	candidates = append(candidates, fmt.Sprintf("/tmp/tandem-%d", os.Getuid()))
	return firstOf(candidates)
}

var errNotMade = errors.New("cannot be used")

// IsShort says whether err is for want of memory, descriptors or room on a disk: it may be gone later.
func IsShort(err error) bool {
	for _, short := range []error{
		syscall.ENOSPC, syscall.EDQUOT, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, syscall.EIO,
	} {
		if errors.Is(err, short) {
			return true
		}
	}
	return false
}

// MakeRunDir makes dir anew, which RunDir had found and somebody has taken away, by the same rules; named says that
// RUN_DIR named it. It is no error if dir is there.
func MakeRunDir(dir string, named bool) error {
	if named {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("RUN_DIR=%q %w: %w", dir, errNotMade, err)
		}
		return writable(dir)
	}
	_ = os.Mkdir(dir, 0o700) // if something is wrong with it, ours says so
	return usable(dir, dir == firstDir && os.Getuid() == 0)
}

// firstOf returns the first of the default directories that will do.
func firstOf(candidates []string) (string, error) {
	var problems []string
	var short error
	shortOf := ""
	for i, dir := range candidates {
		if i > 0 { // if something else is wrong with it, ours says so
			if err := os.Mkdir(dir, 0o700); IsShort(err) && short == nil {
				shortOf, short = dir, err
			}
		}
		// Nobody but root can make what lies in /run. So root trusts that one, whoever it was made for.
		err := usable(dir, i == 0 && os.Getuid() == 0)
		if err == nil {
			return dir, nil
		}
		problems = append(problems, err.Error())
	}
	if short != nil {
		return shortOf, fmt.Errorf("no directory for the status and the lock: %w", short)
	}
	return "", fmt.Errorf("no directory for the status and the lock: set RUN_DIR to one that user %d can write (%s)",
		os.Getuid(), strings.Join(problems, "; "))
}

// ours says why dir cannot be taken for ours, and takes away the right of others to write it. Anybody can make a
// directory or a link of such a name in /tmp, so it must not be trusted with a lock before that is known.
func ours(dir string, anyOwner bool) error {
	flags := syscall.O_RDONLY | syscall.O_DIRECTORY | syscall.O_CLOEXEC
	if !anyOwner {
		flags |= syscall.O_NOFOLLOW
	}
	fd, err := syscall.Open(dir, flags, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	if err != nil {
		return fmt.Errorf("%s is not a directory of user %d: %w", dir, os.Getuid(), err)
	}
	defer syscall.Close(fd)
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "look at", Path: dir, Err: err}
	}
	if !anyOwner && int(st.Uid) != os.Getuid() {
		return fmt.Errorf("%s is not a directory of user %d", dir, os.Getuid())
	}
	const othersWrite = 0o022
	if st.Mode&othersWrite == 0 {
		return nil
	}
	if err := syscall.Fchmod(fd, st.Mode&0o7777&^othersWrite); err != nil {
		return fmt.Errorf("%s: others may write there, and that cannot be taken from them: %w", dir, err)
	}
	return nil
}

// usable says why a default directory cannot be taken.
func usable(dir string, anyOwner bool) error {
	err := ours(dir, anyOwner)
	if err == nil {
		err = writable(dir)
	}
	if anyOwner && errors.Is(err, fs.ErrPermission) && remade(dir) {
		err = writable(dir)
	}
	return err
}

// remade puts a directory of ours in the place of an empty one of another user's, such as the image has for its own. It
// is for a root without the privilege to write there or to take it over.
func remade(dir string) bool {
	return syscall.Rmdir(dir) == nil && os.Mkdir(dir, 0o700) == nil
}

// writable says why this user cannot write dir.
func writable(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("%s: user %d may not write there: %w", dir, os.Getuid(), err)
	}
	return nil
}
