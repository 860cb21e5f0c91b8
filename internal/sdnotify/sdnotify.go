// Package sdnotify is how a process tells who supervises it that it is ready, alive or stopping: the datagrams of
// sd_notify(3), in both directions. Sender is what web and bot use, Listener what init does.
//
// It promises that a Sender never fails its process: without NOTIFY_SOCKET every call does nothing, and a supervisor
// that does not listen holds a call up for a second at most. Whatever bytes Parse is given, what comes out is small and
// printable, and is what the sender wrote last. A Listener hears on a process's socket nobody but root and that
// process's user. What a notice makes of a process is left to package supervise.
//
// By hand. github.com/coreos/go-systemd/v22/daemon was tried: it only sends, and without a time limit, so that a
// supervisor whose queue is full would hang the process.
package sdnotify

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxDatagram is how long a datagram may be, in bytes; a longer one is not read.
	MaxDatagram = 4096
	// MaxStatus is how much of a STATUS= is kept, in bytes.
	MaxStatus = 240
	// maxExtendBy bounds EXTEND_TIMEOUT_USEC=, which may name any number.
	maxExtendBy = 24 * time.Hour
)

// Notice is what one or more datagrams say. The zero value says nothing.
type Notice struct {
	Ready       bool          // READY=1
	Stopping    bool          // STOPPING=1
	Watchdog    bool          // WATCHDOG=1: the process is alive
	Trigger     bool          // WATCHDOG=trigger: the process asks to be taken for hung
	StandBy     bool          // X_STANDBY=1, our own: it is well and waits until it may work
	StandByOver bool          // X_STANDBY=0: it does not wait any more
	ExtendBy    time.Duration // EXTEND_TIMEOUT_USEC=: how much longer the start may take, from now; 0 for nothing said
	HasStatus   bool          // Status counts
	Status      string        // STATUS=, one line in printable UTF-8; "" takes back an earlier one
}

// Parse reads one datagram: lines NAME=VALUE. What it does not know is no error, since the protocol has more than init
// needs. In particular MAINPID= must not name another process. False says that there was nothing that it knows.
func Parse(datagram []byte) (Notice, bool) {
	var n Notice
	if len(datagram) > MaxDatagram {
		return n, false
	}
	for line := range strings.Lines(string(datagram)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch name {
		case "READY":
			n.Ready = n.Ready || value == "1"
		case "STOPPING":
			n.Stopping = n.Stopping || value == "1"
		case "WATCHDOG":
			n.Watchdog = n.Watchdog || value == "1"
			n.Trigger = n.Trigger || value == "trigger"
		case "X_STANDBY":
			if value == "1" || value == "0" {
				n.StandBy, n.StandByOver = value == "1", value == "0"
			}
		case "EXTEND_TIMEOUT_USEC":
			if us, err := strconv.ParseUint(value, 10, 64); err == nil {
				n.ExtendBy = time.Duration(min(us, uint64(maxExtendBy/time.Microsecond))) * time.Microsecond
			}
		case "STATUS":
			n.HasStatus, n.Status = true, clean(value)
		}
	}
	return n, n != Notice{}
}

// Merge is what n and then later say together.
func (n Notice) Merge(later Notice) Notice {
	n.Ready = n.Ready || later.Ready
	n.Stopping = n.Stopping || later.Stopping
	n.Watchdog = n.Watchdog || later.Watchdog
	n.Trigger = n.Trigger || later.Trigger
	if later.StandBy || later.StandByOver {
		n.StandBy, n.StandByOver = later.StandBy, later.StandByOver
	}
	if later.ExtendBy != 0 {
		n.ExtendBy = later.ExtendBy
	}
	if later.HasStatus {
		n.HasStatus, n.Status = true, later.Status
	}
	return n
}

// clean makes one line for a terminal out of what anybody may have written.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s))
	if len(s) <= MaxStatus {
		return s
	}
	end := MaxStatus
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return strings.TrimSpace(s[:end])
}
