package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/config"
	"tandem/internal/exitcode"
	"tandem/internal/lockfile"
	"tandem/internal/smalljson"
	"tandem/internal/status"
)

// notRunning is the status of `init status` when there is nothing to tell of.
const notRunning = 1

// ask is `init start|stop|restart NAME`: it has a running init do it and waits until it is done.
func ask(verb string, args []string) int {
	if len(args) != 1 {
		return misuse("want: init " + verb + " web or bot")
	}
	if _, _, problem := parseRequest(verb + " " + args[0] + "\n"); problem != "" {
		return misuse(problem)
	}
	dir, err := config.New(os.Environ()).RunDir()
	if err != nil {
		return fail(exitcode.Failure, err.Error())
	}
	var first error
	for _, m := range []mode{pair, modeOf(args[0])} {
		socket, _, _ := m.fileNames()
		answer, err := request(filepath.Join(dir, socket), verb+" "+args[0]+"\n")
		switch {
		case err != nil:
			if first == nil || !errors.Is(err, fs.ErrNotExist) {
				first = err
			}
			continue
		case answer == "ok":
			return exitcode.OK
		case answer == "":
			return fail(exitcode.Failure, "init ended before it answered")
		}
		return fail(exitcode.Failure, strings.TrimPrefix(answer, "refused "))
	}
	return fail(exitcode.Failure, "no init can be reached: "+first.Error()+" (is it running, and is RUN_DIR the same?)")
}

func modeOf(name string) mode {
	if name == "web" {
		return webOnly
	}
	return botOnly
}

func request(socket, line string) (string, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer syscall.Close(fd)
	timeouts(fd, maxWait)
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket}); err != nil {
		return "", fmt.Errorf("%s: %w", socket, err)
	}
	if err := unix.Sendto(fd, []byte(line), unix.MSG_NOSIGNAL, nil); err != nil {
		return "", fmt.Errorf("%s: %w", socket, err)
	}
	buf := make([]byte, 4096)
	for {
		n, err := syscall.Read(fd, buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", socket, err)
		}
		return strings.TrimSpace(string(buf[:n])), nil
	}
}

// showStatus is `init status [NAME] [--json]`. It reads the status file, so it works without the socket.
func showStatus(args []string) int {
	name, asJSON := "", false
	for _, a := range args {
		switch {
		case a == "--json" || a == "-json":
			asJSON = true
		case name == "" && (a == "web" || a == "bot"):
			name = a
		default:
			return misuse("want: init status [web|bot] [--json]")
		}
	}
	dir, err := config.New(os.Environ()).RunDir()
	if err != nil && dir == "" {
		return fail(notRunning, err.Error())
	}
	s, err := liveStatus(dir, name)
	if err != nil {
		return fail(notRunning, err.Error())
	}
	if asJSON {
		if p, ok := s.Process(name); ok {
			s.Processes = []status.Process{p}
		}
		fmt.Println(string(smalljson.Indent(s.Marshal())))
		return exitcode.OK
	}
	fmt.Print(table(s, name, dir, time.Now()))
	return exitcode.OK
}

// liveStatus is the status that a running init wrote which has the process name, or any if it is "".
func liveStatus(dir, name string) (*status.Status, error) {
	for _, m := range []mode{pair, webOnly, botOnly} {
		_, file, lockName := m.fileNames()
		s, err := status.Read(filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the status: %w", err)
		}
		if _, has := s.Process(name); name != "" && !has || !owned(filepath.Join(dir, lockName)) {
			continue
		}
		return s, nil
	}
	return nil, fmt.Errorf("no init with a status file is running in %s (is RUN_DIR the same?)", dir)
}

// owned says whether an init holds the lock on its files: what one left that was killed is not its status.
func owned(path string) bool {
	lock, err := lockfile.Open(path)
	if err != nil {
		return true // cannot be told: the file then counts
	}
	defer lock.Close()
	free, err := lock.TryLock()
	return err != nil || !free
}
