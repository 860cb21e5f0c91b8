package main

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tandem/internal/sdnotify"
	"tandem/internal/supervise"
)

// notices hears what the processes say of themselves on NOTIFY_SOCKET and brings it to the loop, with all that comes at once merged into
// one event for each process. It counts only if the kernel says that the sender is the process that init started or a member of its
// group; whatever others send is read and thrown away.
type notices struct {
	tell   func(supervise.Event)
	socket *os.File // nil while there is none

	mu      sync.Mutex
	leaders [2]int // 0 for none
}

// listen makes the socket at path. Its mode does not matter, as it is the sender that counts: a process may have a user of its own.
func (n *notices) listen(path string) error {
	socket, err := bindSocket(path, syscall.SOCK_DGRAM, 0o666)
	if err != nil {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	n.socket = socket
	return nil
}

// started runs start and takes down the number of the process before anything that it says is looked at.
func (n *notices) started(id supervise.ID, start func() (int, error)) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	pid, err := start()
	if err == nil {
		n.leaders[id] = pid
	}
	return pid, err
}

// ended forgets a leader whose number is about to be given free.
func (n *notices) ended(pid int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, leader := range n.leaders {
		if leader == pid {
			n.leaders[id] = 0
		}
	}
}

// who says whose the sender pid is.
func (n *notices) who(pid int) (id supervise.ID, leader int, ok bool) {
	if pid <= 0 { // the kernel cannot name it here
		return 0, 0, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	group, err := syscall.Getpgid(pid)
	for id, leader := range n.leaders {
		if leader != 0 && (leader == pid || err == nil && leader == group) {
			return supervise.ID(id), leader, true
		}
	}
	return 0, 0, false
}

// run is the actor.
func (n *notices) run(done <-chan struct{}) {
	if n.socket == nil {
		<-done
		return
	}
	go func() {
		<-done
		n.socket.Close() // ends receive
	}()
	conn, err := n.socket.SyscallConn()
	if err != nil {
		return
	}
	r := newReceiver()
	last := time.Now()
	for {
		said, err := r.receive(conn, n.who)
		if err != nil {
			return
		}
		for id := range said {
			if said[id].Notice != (sdnotify.Notice{}) {
				said[id].ID = supervise.ID(id)
				n.tell(said[id])
			}
		}
		// Who says much is heard less often; who says something now and then is heard at once.
		if now := time.Now(); now.Sub(last) < heedBreak {
			heed := time.NewTimer(heedBreak)
			select {
			case <-heed.C:
			case <-done:
			}
			heed.Stop()
		}
		last = time.Now()
	}
}

const (
	heedBreak = 50 * time.Millisecond // between two looks at a socket on which much is said
	heedBatch = 256                   // datagrams read at one look: more than a queue holds
)

// receiver reads datagrams together with who sent them.
type receiver struct {
	data, control []byte
}

func newReceiver() *receiver {
	// The control buffer has room for credentials and for nothing more: descriptors that somebody sends along are closed by the kernel.
	return &receiver{make([]byte, sdnotify.MaxDatagram+1), make([]byte, unix.CmsgSpace(unix.SizeofUcred))}
}

// receive waits for datagrams and merges all that are there. An error says that the socket is closed.
func (r *receiver) receive(conn syscall.RawConn, who func(pid int) (supervise.ID, int, bool)) (said [2]supervise.Noticed, err error) {
	err = conn.Read(func(fd uintptr) bool {
		for n := range heedBatch {
			datagram, pid, err := r.one(int(fd))
			switch {
			case err == syscall.EAGAIN:
				return n > 0
			case err != nil:
				continue
			}
			notice, ok := sdnotify.Parse(datagram)
			if !ok {
				continue
			}
			if id, leader, ok := who(pid); ok {
				if said[id].PID != leader { // another one was started meanwhile
					said[id] = supervise.Noticed{PID: leader}
				}
				said[id].Notice = said[id].Notice.Then(notice)
			}
		}
		return true
	})
	return said, err
}

// one reads one datagram without waiting. The sender is 0 where the kernel names none.
func (r *receiver) one(fd int) (datagram []byte, pid int, err error) {
	iov := unix.Iovec{Base: &r.data[0]}
	iov.SetLen(len(r.data))
	header := unix.Msghdr{Iov: &iov, Iovlen: 1, Control: &r.control[0]}
	header.SetControllen(len(r.control))
	size, _, errno := syscall.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&header)), unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if errno != 0 {
		return nil, 0, errno
	}
	if c := (*unix.Cmsghdr)(unsafe.Pointer(&r.control[0])); header.Controllen >= uint64(len(r.control)) && c.Level == unix.SOL_SOCKET && c.Type == unix.SCM_CREDENTIALS {
		pid = int((*unix.Ucred)(unsafe.Pointer(&r.control[unix.CmsgLen(0)])).Pid)
	}
	return r.data[:size], pid, nil
}
