package config

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// RunDir finds the directory for sockets, status and locks: RUN_DIR, else the first of /run/tandem,
// $XDG_RUNTIME_DIR/tandem and /tmp/tandem-UID that belongs to this user and can be written; the latter two
// are made when missing. An error says which were tried; the directory is then "".
//
// All three executables must find the same one, which is why the rule stands here.
func (e *Env) RunDir() (string, error) {
	if dir := e.String("RUN_DIR", ""); dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", fmt.Errorf("RUN_DIR=%q cannot be used: %w", dir, err)
		}
		return dir, usable(dir, false)
	}
	candidates := []string{"/run/tandem"}
	if xdg := e.String("XDG_RUNTIME_DIR", ""); xdg != "" {
		candidates = append(candidates, filepath.Join(xdg, "tandem"))
	}
	candidates = append(candidates, fmt.Sprintf("/tmp/tandem-%d", os.Getuid()))
	var first error
	for i, dir := range candidates {
		if i > 0 {
			_ = os.Mkdir(dir, 0o700) // what is wrong with it, usable tells
		}
		// Nobody but root can make what lies in /run, so root trusts that one whoever it was made for.
		err := usable(dir, i > 0 || os.Getuid() != 0)
		if err == nil {
			return dir, nil
		}
		if first == nil {
			first = err
		}
	}
	return "", fmt.Errorf("no directory for the status and the lock: set RUN_DIR to one that user %d can write (%w)", os.Getuid(), first)
}

// usable says why dir cannot be ours. A directory of somebody else under a name that anybody can make
// (in /tmp) must not be trusted with a lock, so ownership is asked for unless the person named it.
func usable(dir string, owned bool) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if owned {
		st, ok := info.Sys().(*syscall.Stat_t)
		if !info.IsDir() || !ok || int(st.Uid) != os.Getuid() {
			return fmt.Errorf("%s is not a directory of user %d", dir, os.Getuid())
		}
	}
	const wOK, xOK = 2, 1
	if err := syscall.Access(dir, wOK|xOK); err != nil {
		return fmt.Errorf("%s: user %d may not write there: %w", dir, os.Getuid(), err)
	}
	return nil
}
