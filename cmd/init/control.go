package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/logline"
	"tandem/internal/supervise"
)

// The control protocol: a client connects, sends one line "VERB NAME\n" in one write, and gets one line back:
// "ok" once it is done, or "refused REASON". Nothing that a client does or leaves undone reaches PID 1's loop but
// such a line. It is made of system calls because net would add a tenth to the executable, and because a write
// to a client that left must not raise SIGPIPE, which init would pass on to web.
const (
	maxLine    = 256              // bytes of a request
	maxClients = 4                // at once; the others wait to be accepted
	patience   = 2 * time.Second  // for a client to say what it wants
	maxWait    = 10 * time.Minute // for what it asked for to be done
)

type controlServer struct {
	log *logline.Logger
	ask func(supervise.Request)
	fd  int // 0 while there is no socket
}

// listen makes the socket at path, in place of a stale one.
func (c *controlServer) listen(path string) error {
	if len(path) > 107 { // sun_path of unix(7)
		return fmt.Errorf("the path of the socket is longer than the 107 bytes that the kernel takes: %s", path)
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_ = os.Remove(path)
	err = syscall.Fchmod(fd, 0o600) // bind makes the file with the socket's mode: there is no moment with another
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = syscall.Listen(fd, 16)
	}
	if err != nil {
		syscall.Close(fd)
		return fmt.Errorf("control socket %s: %w", path, err)
	}
	c.fd = fd
	return nil
}

// serve is the actor.
func (c *controlServer) serve(done <-chan struct{}) {
	if c.fd == 0 {
		<-done
		return
	}
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		c.accept()
	}()
	<-done
	_ = syscall.Shutdown(c.fd, syscall.SHUT_RDWR) // wakes accept
	<-accepting
	_ = syscall.Close(c.fd)
}

func (c *controlServer) accept() {
	slots := make(chan struct{}, maxClients)
	defer func() {
		if r := recover(); r != nil {
			c.ask(supervise.Request{Event: supervise.Fault{Reason: fmt.Sprint("panic in control: ", r)}})
		}
	}()
	for {
		slots <- struct{}{}
		fd, _, err := syscall.Accept4(c.fd, syscall.SOCK_CLOEXEC)
		switch {
		case err == nil:
			go func() {
				defer func() { <-slots }()
				defer syscall.Close(fd)
				defer func() {
					if r := recover(); r != nil {
						c.ask(supervise.Request{Event: supervise.Fault{Reason: fmt.Sprint("panic in control: ", r)}})
					}
				}()
				c.client(fd)
			}()
			continue
		case errors.Is(err, syscall.EINVAL): // shut down
			return
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.ENOBUFS):
			time.Sleep(100 * time.Millisecond)
		}
		<-slots
	}
}

func (c *controlServer) client(fd int) {
	timeouts(fd, patience)
	buf := make([]byte, maxLine)
	n, err := syscall.Read(fd, buf)
	if err != nil || n <= 0 {
		return
	}
	verb, id, problem := parseRequest(string(buf[:n]))
	if problem != "" {
		reply(fd, "refused "+problem)
		return
	}
	answer := make(chan string, 1)
	c.ask(supervise.Request{Event: supervise.Ask{Verb: verb, ID: id}, Reply: func(refused string) { answer <- refused }})
	select {
	case refused := <-answer:
		if refused != "" {
			reply(fd, "refused "+refused)
		} else {
			reply(fd, "ok")
		}
	case <-time.After(maxWait):
	}
}

// parseRequest reads a line of the protocol.
func parseRequest(line string) (verb string, id supervise.ID, problem string) {
	body, whole := strings.CutSuffix(line, "\n")
	verb, name, _ := strings.Cut(body, " ")
	switch {
	case !whole:
		return "", 0, "want one line of at most 255 bytes"
	case verb != "start" && verb != "stop" && verb != "restart":
		return "", 0, "want start, stop or restart"
	case name == "web":
		return verb, supervise.Web, ""
	case name == "bot":
		return verb, supervise.Bot, ""
	}
	return "", 0, "there is no such process: want web or bot"
}

func reply(fd int, line string) {
	_ = unix.Sendto(fd, []byte(line+"\n"), unix.MSG_NOSIGNAL, nil)
}

func timeouts(fd int, d time.Duration) {
	tv := syscall.NsecToTimeval(int64(d))
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &tv)
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &tv)
}
