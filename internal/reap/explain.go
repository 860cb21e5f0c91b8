package reap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"tandem/internal/exitcode"
)

// explain says why c, of which path was found, could not be started, and what to do about it.
func explain(c Command, path string, err error) *StartError {
	e := &StartError{Code: exitcode.NotExecutable, Err: fmt.Errorf("%q: %w", c.Args[0], err)}
	var limit *limitError
	switch {
	case errors.As(err, &limit):
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		e.Code = exitcode.NotFound
		e.Err = errors.New(notFound(c, path))
	case errors.Is(err, fs.ErrPermission):
		e.Err = errors.New(notAllowed(c, path))
	case errors.Is(err, syscall.ENOEXEC):
		e.Err = errors.New(wrongFormat(c, path))
	}
	for _, temporary := range []error{
		syscall.EAGAIN, syscall.ENOMEM, syscall.ENOSPC, syscall.EMFILE, syscall.ENFILE, syscall.ETXTBSY, syscall.EIO,
	} {
		if errors.Is(err, temporary) {
			e.Temporary = true
		}
	}
	return e
}

func notFound(c Command, path string) string {
	name := c.Args[0]
	switch variable, _, assigns := strings.Cut(name, "="); {
	case assigns && !strings.Contains(variable, "/"): // and what it assigns may be secret
		return fmt.Sprintf("%q is no program: no shell is at work here that would set a variable (sh -c '...' is one)",
			variable+"=...")
	case path == "":
		return fmt.Sprintf("%q is not in PATH", name)
	}
	seen := path // by the process
	if !filepath.IsAbs(path) {
		seen = filepath.Join(c.Dir, path)
	}
	if info, err := os.Stat(seen); err != nil || info.IsDir() {
		return fmt.Sprintf("there is no program %q", path)
	}
	if c.Dir != "" {
		if info, err := os.Stat(c.Dir); err != nil || !info.IsDir() {
			return fmt.Sprintf("%q is there, but not its working directory %q", path, c.Dir)
		}
	}
	start := head(seen)
	switch interpreter, isScript := interpreterOf(start); {
	case strings.HasSuffix(interpreter, "\r"):
		return fmt.Sprintf("%q has lines that end as on Windows, so that its interpreter is taken to be %q: "+
			"save it with Unix line ends (dos2unix)", path, interpreter)
	case isScript:
		return fmt.Sprintf("%q is there, but not the interpreter %q that its first line names", path, interpreter)
	case loaderOf(start) != "":
		return fmt.Sprintf("%q is there, but not the loader %q that it needs: it is built for another C library",
			path, loaderOf(start))
	}
	return fmt.Sprintf("%q is there, but not the interpreter or loader that it names", path)
}

func notAllowed(c Command, path string) string {
	user, groups := os.Getuid(), []int{os.Getgid()}
	if c.Limits != nil && c.Limits.User != nil {
		user, groups = c.Limits.User.UID, append([]int{c.Limits.User.GID}, c.Limits.User.Groups...)
	} else if more, err := os.Getgroups(); err == nil {
		groups = append(groups, more...)
	}
	if path == "" {
		return fmt.Sprintf("user %d may not execute %q as PATH has it (chmod +x?)", user, c.Args[0])
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.Dir, path)
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && !mayExecute(info, user, groups) {
			return fmt.Sprintf("user %d may not execute %q: it may not enter %q (chmod o+x)", user, path, dir)
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	info, err := os.Stat(path)
	var mount unix.Statfs_t
	switch {
	case err != nil:
	case info.IsDir():
		return fmt.Sprintf("user %d may not execute %q: it is a directory", user, path)
	case !info.Mode().IsRegular():
		return fmt.Sprintf("user %d may not execute %q: it is no regular file", user, path)
	case !mayExecute(info, user, groups):
		return fmt.Sprintf("user %d may not execute %q (chmod +x)", user, path)
	case unix.Statfs(path, &mount) == nil && mount.Flags&unix.ST_NOEXEC != 0:
		return fmt.Sprintf("%q is on a mount from which nothing may be executed (noexec)", path)
	}
	if interpreter, isScript := interpreterOf(head(path)); isScript {
		return fmt.Sprintf("user %d may not execute %q, or its interpreter %q", user, path, interpreter)
	}
	return fmt.Sprintf("user %d may not execute %q", user, path)
}

// mayExecute says whether the mode of a file lets a user execute it, or enter it.
func mayExecute(info os.FileInfo, user int, groups []int) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	mode := st.Mode
	switch {
	case user == 0:
		return info.IsDir() || mode&0o111 != 0
	case int(st.Uid) == user:
		return mode&0o100 != 0
	}
	for _, g := range groups {
		if int(st.Gid) == g {
			return mode&0o010 != 0
		}
	}
	return mode&0o001 != 0
}

func wrongFormat(c Command, path string) string {
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.Dir, path)
	}
	start := head(path)
	switch built := machineOf(start); {
	case len(start) == 0:
		return fmt.Sprintf("%q is empty", path)
	case bytes.HasPrefix(start, []byte("\xef\xbb\xbf#!")):
		return fmt.Sprintf("%q begins with a byte order mark, as editors on Windows write it, and not with #!: "+
			"save it as UTF-8 without that", path)
	case built != "" && built != runtime.GOARCH:
		return fmt.Sprintf("%q is built for %s, and this machine is %s", path, built, runtime.GOARCH)
	case bytes.HasPrefix(start, []byte("\x7fELF")):
		return fmt.Sprintf("%q has a format that this machine cannot execute", path)
	}
	return fmt.Sprintf("%q has a format that this machine cannot execute: if it is a script, its first line must name "+
		"its interpreter (#!/bin/sh), or say: sh %q", path, path)
}

// head is the beginning of a file, empty where it cannot be read. It does not wait for a pipe.
func head(path string) []byte {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd)
	b := make([]byte, 4096)
	n, _ := syscall.Read(fd, b)
	return b[:max(0, n)]
}

// interpreterOf is what the first line of a script names.
func interpreterOf(start []byte) (path string, isScript bool) {
	rest, isScript := bytes.CutPrefix(start, []byte("#!"))
	if !isScript {
		return "", false
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	if first, _, more := strings.Cut(strings.Trim(string(line), " \t"), " "); more {
		return first, true
	}
	return strings.Trim(string(line), " \t"), true
}

// elf64 says whether a file begins as an executable of 64-bit Linux, with the lowest byte first.
func elf64(start []byte) bool {
	return len(start) >= 64 && bytes.HasPrefix(start, []byte("\x7fELF")) && start[4] == 2 && start[5] == 1
}

// machineOf is the processor that an executable is built for, as Go names it; "" where that is not known.
func machineOf(start []byte) string {
	if len(start) < 20 || !bytes.HasPrefix(start, []byte("\x7fELF")) || start[5] != 1 {
		return ""
	}
	names := map[uint16]string{
		3: "386", 21: "ppc64le", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64", 258: "loong64",
	}
	return names[binary.LittleEndian.Uint16(start[18:])]
}

// loaderOf is the loader that an executable names, "" for none.
func loaderOf(start []byte) string {
	if !elf64(start) {
		return ""
	}
	at, size, n := binary.LittleEndian.Uint64(start[32:]), 56, int(binary.LittleEndian.Uint16(start[56:]))
	const interp = 3
	for i := range n {
		begin := at + uint64(i*size)
		if begin > uint64(len(start)-size) {
			return ""
		}
		header := start[begin:]
		if binary.LittleEndian.Uint32(header) != interp {
			continue
		}
		from, length := binary.LittleEndian.Uint64(header[8:]), binary.LittleEndian.Uint64(header[32:])
		if from > uint64(len(start)) || length > uint64(len(start))-from {
			return ""
		}
		return strings.TrimRight(string(start[from:from+length]), "\x00")
	}
	return ""
}
