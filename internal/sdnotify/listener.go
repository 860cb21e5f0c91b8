package sdnotify

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/unixsocket"
)

// Listener hears what processes say of themselves. Each process has a socket of its own: the address says who speaks,
// so that a helper is heard that has ended meanwhile, or that has left the process's group. The kernel says only of
// which user the sender is. It counts if that is root or the process's own; what others send is read and thrown away.
// What a process says at once is merged into one notice.
type Listener struct {
	failed func(panic any)

	mu    sync.Mutex
	procs map[int]*speaker            // by the caller's name of a process
	tell  func(id, pid int, n Notice) // nil while nobody is heard
	done  <-chan struct{}
}

// speaker is a process that is listened to.
type speaker struct {
	id, user int
	leader   int // its number, 0 while it does not run

	// sockets are the one that it was given at its start, to which it may have a connection, and the newest, if its file
	// had to be made anew meanwhile.
	sockets []*os.File
}

// NewListener makes a Listener that hears nobody yet. failed is told of a panic.
func NewListener(failed func(panic any)) *Listener {
	return &Listener{failed: failed, procs: map[int]*speaker{}}
}

// Listen makes the socket at path on which the process id speaks, which runs as user. Everybody may write to it,
// because a process may have a user of its own: what counts is the sender. Called again it makes a new file, and hears
// the socket before it as well until the process is started anew.
func (l *Listener) Listen(id int, path string, user int) error {
	socket, err := unixsocket.Datagrams(path, 0o666)
	if err != nil {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	l.mu.Lock()
	s := l.procs[id]
	if s == nil {
		s = &speaker{id: id}
		l.procs[id] = s
	}
	s.user = user
	var between []*os.File
	if len(s.sockets) > 1 {
		s.sockets, between = s.sockets[:1:1], s.sockets[1:]
	}
	s.sockets = append(s.sockets, socket)
	if l.tell != nil {
		go l.hear(s, socket, l.done, l.tell)
	}
	l.mu.Unlock()
	closeAll(between)
	return nil
}

// closeAll ends the reading of sockets. mu must not be locked: a reader may wait for it, and Close waits for the
// reader.
func closeAll(sockets []*os.File) {
	for _, socket := range sockets {
		socket.Close()
	}
}

// Hears says whether id has a socket to speak on.
func (l *Listener) Hears(id int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.procs[id] != nil
}

// Started runs start, and takes down the number of the process before anything that it says is looked at. What was said
// before that is nobody's.
func (l *Listener) Started(id int, start func() (pid int, err error)) (int, error) {
	var before []*os.File
	defer func() { closeAll(before) }()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.procs[id]
	if s == nil {
		return start()
	}
	newest := len(s.sockets) - 1
	before, s.sockets = s.sockets[:newest], s.sockets[newest:]
	forget(s.sockets[0])
	pid, err := start()
	if err == nil {
		s.leader = pid
	}
	return pid, err
}

// Ended forgets a process whose number is about to be given free.
func (l *Listener) Ended(pid int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.procs {
		if s.leader == pid {
			s.leader = 0
		}
	}
}

// speaks says whether a sender of that user may speak for s. mu is locked.
func (l *Listener) speaks(s *speaker, user int) bool {
	return s.leader != 0 && user >= 0 && (user == 0 || user == s.user || user == userOf(s.leader))
}

// userOf is the user that a process has by now: a launcher may have changed it. It is -1 where that cannot be known.
func userOf(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, b, _ = bytes.Cut(b, []byte("\nUid:"))
	if ids := bytes.Fields(b); len(ids) > 0 {
		if uid, err := strconv.Atoi(string(ids[0])); err == nil {
			return uid
		}
	}
	return -1
}

const (
	pauseBetweenReads  = 50 * time.Millisecond // of a socket on which much is said
	maxDatagramsAtOnce = 256                   // in one read: more than a queue holds
)

// Run tells what processes say, until done is closed.
func (l *Listener) Run(done <-chan struct{}, tell func(id, pid int, n Notice)) {
	l.mu.Lock()
	l.done, l.tell = done, tell
	for _, s := range l.procs {
		for _, socket := range s.sockets {
			go l.hear(s, socket, done, tell)
		}
	}
	l.mu.Unlock()
	<-done
	l.mu.Lock()
	l.tell = nil
	var all []*os.File
	for _, s := range l.procs {
		all = append(all, s.sockets...)
	}
	l.mu.Unlock()
	closeAll(all)
}

// hear tells what is said on one socket, until that is closed.
func (l *Listener) hear(s *speaker, socket *os.File, done <-chan struct{}, tell func(id, pid int, n Notice)) {
	defer func() {
		if r := recover(); r != nil {
			l.failed(r)
		}
	}()
	conn, err := socket.SyscallConn()
	if err != nil {
		return
	}
	r := newReceiver()
	last := time.Now()
	for {
		said, err := receive(conn, func(fd int) (heard, error) { return l.next(s, r, fd) })
		if err != nil {
			return
		}
		if said.notice != (Notice{}) {
			tell(s.id, said.leader, said.notice)
		}
		// Where much is said, it is heard less often. What is said now and then is heard at once.
		if now := time.Now(); now.Sub(last) < pauseBetweenReads {
			pause := time.NewTimer(pauseBetweenReads)
			select {
			case <-pause.C:
			case <-done:
			}
			pause.Stop()
		}
		last = time.Now()
	}
}

// next reads one datagram on a socket of s, without waiting. What does not count is nothing.
func (l *Listener) next(s *speaker, r *receiver, fd int) (heard, error) {
	l.mu.Lock() // from the reading on: no other process is started meanwhile
	defer l.mu.Unlock()
	datagram, user, err := r.one(fd)
	if err != nil || !l.speaks(s, user) {
		return heard{}, err
	}
	notice, _ := Parse(datagram)
	return heard{s.leader, notice}, nil
}

// forget reads what waits on a socket, which nobody is to hear any more.
func forget(socket *os.File) {
	conn, err := socket.SyscallConn()
	if err != nil {
		return
	}
	var none [1]byte
	_ = conn.Control(func(fd uintptr) {
		for range maxDatagramsAtOnce {
			if _, _, _, _, err := unix.Recvmsg(int(fd), none[:], nil, unix.MSG_DONTWAIT); err == unix.EAGAIN {
				return
			}
		}
	})
}

// receiver reads datagrams together with the user who sent them.
type receiver struct {
	data, control []byte
}

func newReceiver() *receiver {
	// The control buffer has room for credentials and for nothing more. So the kernel closes descriptors that somebody
	// sends along.
	return &receiver{make([]byte, MaxDatagram+1), make([]byte, unix.CmsgSpace(unix.SizeofUcred))}
}

// heard is what the process with the number leader has said.
type heard struct {
	leader int
	notice Notice
}

// receive waits for datagrams and merges all that are there. next reads one. An error says that the socket is closed.
func receive(conn syscall.RawConn, next func(fd int) (heard, error)) (said heard, err error) {
	err = conn.Read(func(fd uintptr) bool {
		for n := range maxDatagramsAtOnce {
			h, err := next(int(fd))
			switch {
			case err == unix.EAGAIN:
				return n > 0
			case err != nil || h.notice == (Notice{}):
			case h.leader == said.leader:
				said.notice = said.notice.Merge(h.notice)
			default: // the first, or another one was started meanwhile
				said = h
			}
		}
		return true
	})
	return said, err
}

// one reads one datagram without waiting. The sender's user is -1 where the kernel names none.
func (r *receiver) one(fd int) (datagram []byte, user int, err error) {
	user = -1
	size, controlSize, _, _, err := unix.Recvmsg(fd, r.data, r.control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, user, err
	}
	if messages, err := unix.ParseSocketControlMessage(r.control[:controlSize]); err == nil && len(messages) > 0 {
		if sender, err := unix.ParseUnixCredentials(&messages[0]); err == nil {
			user = int(sender.Uid)
		}
	}
	return r.data[:size], user, nil
}
