package sdnotify

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Variables of sd_notify(3). init sets the first two for a process that it listens to. Without WATCHDOG_PID
// sd_watchdog_enabled(3) takes the interval for its own.
const (
	SocketVariable      = "NOTIFY_SOCKET"
	WatchdogVariable    = "WATCHDOG_USEC"
	WatchdogPIDVariable = "WATCHDOG_PID"
)

// Sender tells the supervisor of this process about it. The nil Sender tells nobody.
type Sender struct {
	socket string
	// Interval is the time within which WATCHDOG=1 is wanted, 0 for never.
	Interval time.Duration
}

// New makes a Sender out of the environment, whose values variable gives. It is nil if nobody listens.
func New(variable func(name string) string) *Sender {
	socket := variable(SocketVariable)
	if socket == "" || socket[0] != '/' && socket[0] != '@' {
		return nil
	}
	s := &Sender{socket: socket}
	us, err := strconv.ParseInt(variable(WatchdogVariable), 10, 64)
	if pid := variable(WatchdogPIDVariable); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return s // another process is watched
	}
	if err == nil && us > 0 && us < int64(maxExtendBy/time.Microsecond) {
		s.Interval = time.Duration(us) * time.Microsecond
	}
	return s
}

// sendTimeout is how long Send waits while the supervisor's queue is full.
const sendTimeout = time.Second

// Send sends lines NAME=VALUE as one datagram. What cannot be sent is lost: nobody listening is no reason to fail.
func (s *Sender) Send(lines ...string) {
	if s == nil {
		return
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	limit := unix.NsecToTimeval(int64(sendTimeout))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	for {
		err := unix.Sendto(fd, []byte(strings.Join(lines, "\n")), unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: s.socket})
		if err != unix.EINTR {
			return
		}
	}
}

// Status is the line that tells people what the process is doing. It must have no secret in it.
func Status(text string) string { return "STATUS=" + strings.ReplaceAll(text, "\n", " ") }
