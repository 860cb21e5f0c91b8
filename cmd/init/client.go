package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/config"
	"tandem/internal/exitcode"
	"tandem/internal/lockfile"
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
		answer, err := request(filepath.Join(dir, m.files().Socket), verb+" "+args[0]+"\n", 0)
		if err != nil {
			if first == nil || !errors.Is(err, fs.ErrNotExist) {
				first = err
			}
			continue
		}
		number, text, _ := strings.Cut(answer, " ")
		code, err := strconv.Atoi(number)
		switch {
		case err != nil:
			return fail(exitcode.Failure, "init ended before it answered")
		case code != exitcode.OK:
			return fail(code, text)
		}
		fmt.Println(text)
		return exitcode.OK
	}
	return fail(exitcode.Failure, "no init can be reached: "+first.Error()+" (is it running, and is RUN_DIR the same?)")
}

func modeOf(name string) mode {
	if name == "web" {
		return webOnly
	}
	return botOnly
}

// request sends line to the init at socket and returns its answer; limit is how long that may take, 0 for any time. What was
// not even asked, because others crowd the socket, is asked again for a while: an operator's word has to get through.
func request(socket, line string, limit time.Duration) (answer string, err error) {
	for until := time.Now().Add(probeLimit); ; {
		answer, err = requestOnce(socket, line, limit)
		crowdedOut := errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || err == nil && answer == strings.TrimSpace(tooMany)
		if !crowdedOut || time.Now().After(until) {
			return answer, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// maxAnswer bounds what is taken of an answer, in bytes: whoever can write RUN_DIR can put a socket of his own there.
const maxAnswer = 64 << 10

func requestOnce(socket, line string, limit time.Duration) (string, error) {
	began := time.Now()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer syscall.Close(fd)
	timeout := syscall.NsecToTimeval(int64(limit))
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &timeout)
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &timeout)
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket}); err != nil {
		return "", fmt.Errorf("%s: %w", socket, err)
	}
	if err := unix.Sendto(fd, []byte(line), unix.MSG_NOSIGNAL, nil); err != nil {
		return "", fmt.Errorf("%s: %w", socket, err)
	}
	var answer []byte
	buf := make([]byte, 4096)
	for {
		n, err := syscall.Read(fd, buf)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return "", fmt.Errorf("%s: %w", socket, err)
		case n == 0:
			return strings.TrimSpace(string(answer)), nil
		case len(answer) > maxAnswer:
			return "", fmt.Errorf("%s: the answer has more than %d bytes", socket, maxAnswer)
		case limit > 0 && time.Since(began) > limit: // it says something now and then, and never all
			return "", fmt.Errorf("%s: %w", socket, syscall.EAGAIN)
		default:
			answer = append(answer, buf[:n]...)
		}
	}
}

// showStatus is `init status [NAME] [--json]`: 0 if an init that has the process NAME lives and reports, whatever the state of the process.
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
	found, err := liveStatus(dir, name)
	switch {
	case len(found) == 0:
		return fail(notRunning, err.Error())
	case !asJSON:
		fmt.Print(table(found, name, dir, time.Now()))
	default:
		if p, ok := found[0].Process(name); ok {
			found[0].Processes = []status.Process{p}
		}
		var out bytes.Buffer
		_ = json.Indent(&out, status.Together(found), "", "  ")
		fmt.Println(out.String())
	}
	if err != nil { // there is another one, which does not report
		return fail(notRunning, err.Error())
	}
	return exitcode.OK
}

// probeLimit is how long a living init may take to tell its status, and how long it may be too busy to be asked anything.
const probeLimit = 5 * time.Second

// liveStatus is the status of every init that runs with this RUN_DIR; with a name, of the one that has the process. It asks init
// itself, and believes the file only where init has no socket. The error says which one is there and does not report, or that
// there is none.
func liveStatus(dir, name string) (found []*status.Status, problem error) {
	modes := []mode{pair, webOnly, botOnly}
	if name != "" {
		modes = []mode{pair, modeOf(name)}
	}
	for _, m := range modes {
		files := m.files()
		s, err := askStatus(filepath.Join(dir, files.Socket))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			if s, err = status.Read(filepath.Join(dir, files.Status)); errors.Is(err, fs.ErrNotExist) || !lockfile.Held(filepath.Join(dir, files.Lock)) {
				continue
			}
		}
		if err != nil {
			problem = fmt.Errorf("init does not tell its status: %w", err)
			continue
		}
		if _, has := s.Process(name); has && name != "" {
			return []*status.Status{s}, nil
		}
		if name == "" {
			found = append(found, s)
		}
	}
	if problem == nil && len(found) == 0 {
		problem = fmt.Errorf("no init that has a status is running in %s (is RUN_DIR the same?)", dir)
	}
	return found, problem
}

func askStatus(socket string) (*status.Status, error) {
	answer, err := request(socket, "status\n", probeLimit)
	if errors.Is(err, syscall.EAGAIN) || err == nil && answer == "" {
		return nil, errors.New("it does not answer; it hangs, or it is too busy")
	}
	if err != nil {
		return nil, err
	}
	if words, refused := strings.CutPrefix(answer, "1 "); refused {
		return nil, errors.New(words)
	}
	return status.Parse([]byte(answer))
}
