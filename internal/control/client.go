package control

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ProbeTimeout is how long a living init may take to tell its status, and how long it may be too busy to be asked at
// all.
const ProbeTimeout = 5 * time.Second

// maxReplyBytes bounds what is taken of a reply, in bytes: whoever can write RUN_DIR can put a socket of his own there.
const maxReplyBytes = 64 << 10

var errMute = errors.New("it does not answer; it hangs, or it is too busy")

// Do has the init at socket carry out verb for the process name, and waits for as long as that takes. It asks only an
// init that tells its status. For one that hangs, or for a stranger's socket, it would wait for ever.
func Do(socket, verb, name string) (Outcome, error) {
	if _, err := Request(socket, "status\n", ProbeTimeout); errors.Is(err, syscall.EAGAIN) {
		return Outcome{}, errMute
	} else if err != nil {
		return Outcome{}, err
	}
	reply, err := Request(socket, verb+" "+name+"\n", 0)
	if err != nil {
		return Outcome{}, err
	}
	o, ok := parseReply(reply)
	switch {
	case !ok:
		return Outcome{Code: 1, Text: "init ended before it answered"}, nil
	case o.Code == busy:
		o.Code = 1
	}
	return o, nil
}

// parseReply reads a line "CODE TEXT". It is false for a reply that is none.
func parseReply(reply string) (o Outcome, ok bool) {
	number, text, _ := strings.Cut(reply, " ")
	code, err := strconv.Atoi(number)
	return Outcome{code, text}, err == nil
}

// Status is the status of the init at socket, as JSON.
func Status(socket string) ([]byte, error) {
	reply, err := Request(socket, "status\n", ProbeTimeout)
	if errors.Is(err, syscall.EAGAIN) || err == nil && reply == "" {
		return nil, errMute
	}
	if err != nil {
		return nil, err
	}
	if o, refused := parseReply(reply); refused {
		return nil, errors.New(o.Text)
	}
	return []byte(reply), nil
}

// Request sends line to the init at socket and returns its reply. timeout is how long that may take, 0 for any time. If
// others crowd the socket so that the line is not even read, it is sent again for a while: an operator has to be heard.
func Request(socket, line string, timeout time.Duration) (reply string, err error) {
	for until := time.Now().Add(ProbeTimeout); ; {
		reply, err = requestOnce(socket, line, timeout)
		o, refused := parseReply(reply)
		crowdedOut := errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) ||
			err == nil && refused && o.Code == busy
		if !crowdedOut || time.Now().After(until) {
			return reply, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func requestOnce(socket, line string, timeout time.Duration) (string, error) {
	began := time.Now()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer syscall.Close(fd)
	tv := syscall.NsecToTimeval(int64(timeout))
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &tv)
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &tv)
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket}); err != nil {
		return "", fmt.Errorf("%s: %w", socket, err)
	}
	if err := unix.Sendto(fd, []byte(line), unix.MSG_NOSIGNAL, nil); err != nil {
		return "", fmt.Errorf("%s: %w", socket, err)
	}
	var reply []byte
	buf := make([]byte, 4096)
	for {
		n, err := syscall.Read(fd, buf)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return "", fmt.Errorf("%s: %w", socket, err)
		case n == 0:
			return strings.TrimSpace(string(reply)), nil
		case len(reply) > maxReplyBytes:
			return "", fmt.Errorf("%s: the answer has more than %d bytes", socket, maxReplyBytes)
		case timeout > 0 && time.Since(began) > timeout: // it says something now and then, and never all
			return "", fmt.Errorf("%s: %w", socket, syscall.EAGAIN)
		default:
			reply = append(reply, buf[:n]...)
		}
	}
}
