package sdnotify

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/unixsocket"
)

// Listener hears what processes say of themselves on a socket. What a process says at once is merged into one notice. A
// datagram counts only if the kernel says that its sender is a process that Started told of, or a member of its group.
// What others send is read and thrown away. The nil Listener hears nobody.
type Listener struct {
	socket *os.File

	mu      sync.Mutex
	leaders map[int]int // the caller's name of a process to its number
}

// Listen makes the socket at path. Everybody may write to it, because a process may have a user of its own: what counts
// is the sender.
func Listen(path string) (*Listener, error) {
	socket, err := unixsocket.Datagrams(path, 0o666)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	return &Listener{socket: socket, leaders: map[int]int{}}, nil
}

// Started runs start, and takes down the number of the process before anything that it says is looked at.
func (l *Listener) Started(id int, start func() (pid int, err error)) (int, error) {
	if l == nil {
		return start()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	pid, err := start()
	if err == nil {
		l.leaders[id] = pid
	}
	return pid, err
}

// Ended forgets a process whose number is about to be given free.
func (l *Listener) Ended(pid int) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, leader := range l.leaders {
		if leader == pid {
			delete(l.leaders, id)
		}
	}
}

// heard is what a process has said: the caller's name of it, its number, and what.
type heard struct {
	id, leader int
	notice     Notice
}

// who says whose the sender pid is.
func (l *Listener) who(pid int) (id, leader int, ok bool) {
	if pid <= 0 { // the kernel cannot name it here
		return 0, 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	group, err := syscall.Getpgid(pid)
	for id, leader := range l.leaders {
		if leader == pid || err == nil && leader == group {
			return id, leader, true
		}
	}
	return 0, 0, false
}

const (
	pauseBetweenReads  = 50 * time.Millisecond // of a socket on which much is said
	maxDatagramsAtOnce = 256                   // in one read: more than a queue holds
)

// Run tells what processes say, until done is closed.
func (l *Listener) Run(done <-chan struct{}, tell func(id, pid int, n Notice)) {
	if l == nil {
		<-done
		return
	}
	go func() {
		<-done
		l.socket.Close() // ends receive
	}()
	conn, err := l.socket.SyscallConn()
	if err != nil {
		return
	}
	r := newReceiver()
	last := time.Now()
	for {
		said, err := r.receive(conn, l.who)
		if err != nil {
			return
		}
		for _, h := range said {
			if h.notice != (Notice{}) {
				tell(h.id, h.leader, h.notice)
			}
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

// receiver reads datagrams together with who sent them.
type receiver struct {
	data, control []byte
}

func newReceiver() *receiver {
	// The control buffer has room for credentials and for nothing more. So the kernel closes descriptors that somebody
	// sends along.
	return &receiver{make([]byte, MaxDatagram+1), make([]byte, unix.CmsgSpace(unix.SizeofUcred))}
}

// receive waits for datagrams and merges all that are there. An error says that the socket is closed.
func (r *receiver) receive(
	conn syscall.RawConn, who func(pid int) (id, leader int, ok bool),
) (said []heard, err error) {
	err = conn.Read(func(fd uintptr) bool {
		for n := range maxDatagramsAtOnce {
			datagram, pid, err := r.one(int(fd))
			switch {
			case err == unix.EAGAIN:
				return n > 0
			case err != nil:
				continue
			}
			notice, ok := Parse(datagram)
			if !ok {
				continue
			}
			if id, leader, ok := who(pid); ok {
				said = merge(said, heard{id, leader, notice})
			}
		}
		return true
	})
	return said, err
}

// merge adds h to what was heard before it.
func merge(said []heard, h heard) []heard {
	for i := range said {
		if said[i].id != h.id {
			continue
		}
		if said[i].leader == h.leader {
			h.notice = said[i].notice.Merge(h.notice)
		} // or another one was started meanwhile
		said[i] = h
		return said
	}
	return append(said, h)
}

// one reads one datagram without waiting. The sender is 0 where the kernel names none.
func (r *receiver) one(fd int) (datagram []byte, pid int, err error) {
	size, controlSize, _, _, err := unix.Recvmsg(fd, r.data, r.control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, 0, err
	}
	if messages, err := unix.ParseSocketControlMessage(r.control[:controlSize]); err == nil && len(messages) > 0 {
		if sender, err := unix.ParseUnixCredentials(&messages[0]); err == nil {
			pid = int(sender.Pid)
		}
	}
	return r.data[:size], pid, nil
}
