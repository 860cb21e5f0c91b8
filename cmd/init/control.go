package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/supervise"
	"tandem/internal/unixsocket"
)

// The control protocol: a client connects, sends one line, "VERB NAME\n" or "status\n", and gets an answer: for a verb
// one line, "CODE TEXT", once it is carried out or has come to something else; for status the JSON of status.json, after the loop has
// turned once, so that it is also proof that init works. Nothing that a client does or leaves undone reaches PID 1's loop but
// such a line, and no client costs more than a goroutine that waits for a bounded time.
//
// It is made of system calls because net would add a tenth to the executable, and because a write to a client that left must not
// raise SIGPIPE, which init would pass on to web.
const (
	maxLine   = 256             // bytes of a request
	maxSilent = 32              // clients that have not said all they want; one more costs the one that has kept silent longest its place
	maxAsking = 16              // requests that are being carried out; one more is refused
	maxLooks  = 16              // of the status at once, likewise
	patience  = 2 * time.Second // for a client to say what it wants and to take the answer, and for the loop to turn
)

// tooMany is the answer to a request that was not looked at.
const tooMany = "1 too many requests are being carried out: try again\n"

type controlServer struct {
	ask    func(supervise.Request)
	show   func() []byte // the status as JSON
	limit  time.Duration // for what was asked for to be answered
	socket *os.File      // nil while there is none

	mu     sync.Mutex
	silent []*os.File // longest first
	asking int
	looks  int
}

// listen makes the socket at path, in place of a stale one.
func (c *controlServer) listen(path string) (err error) {
	if c.socket, err = unixsocket.Listen(path, 0o600, 64); err != nil {
		return fmt.Errorf("control socket %s: %w", path, err)
	}
	return nil
}

// serve is the actor.
func (c *controlServer) serve(done <-chan struct{}) {
	if c.socket == nil {
		<-done
		return
	}
	go func() {
		<-done
		c.socket.Close() // ends accept
	}()
	var pace pacer
	for {
		f, err := accept(c.socket)
		select {
		case <-done: // and not an error of its own: package os leaves that of a closed socket nameless here
			if err == nil {
				f.Close()
			}
			return
		default:
		}
		switch {
		case err == nil:
			go c.client(f)
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.ENOBUFS):
			time.Sleep(100 * time.Millisecond)
		}
		pace.wait(done)
	}
}

func (c *controlServer) client(f *os.File) {
	defer f.Close()
	defer func() {
		if r := recover(); r != nil {
			c.ask(supervise.Request{Event: supervise.Fault{Reason: fmt.Sprint("panic in control: ", r)}})
		}
	}()
	_ = f.SetDeadline(time.Now().Add(patience))
	line, ok := c.hear(f)
	if !ok {
		return
	}
	answer := c.answer(line)
	_ = f.SetDeadline(time.Now().Add(patience))
	send(f, answer)
}

// hear reads a line, or as much of one as a request may have; false if the client left or took too long.
func (c *controlServer) hear(f *os.File) (line string, ok bool) {
	c.mu.Lock()
	if len(c.silent) == maxSilent {
		c.silent[0].Close()
		c.silent = c.silent[1:]
	}
	c.silent = append(c.silent, f)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.silent = slices.DeleteFunc(c.silent, func(other *os.File) bool { return other == f })
		c.mu.Unlock()
	}()
	buf := make([]byte, maxLine)
	for n := 0; n < len(buf); {
		more, err := f.Read(buf[n:])
		if err != nil {
			return "", false
		}
		if n += more; buf[n-1] == '\n' {
			return string(buf[:n]), true
		}
	}
	return string(buf), true
}

// answer has carried out what line asks for.
func (c *controlServer) answer(line string) []byte {
	say := func(o supervise.Outcome) []byte { return []byte(strconv.Itoa(o.Code) + " " + o.Text + "\n") }
	verb, id, problem := parseRequest(line)
	if problem != "" {
		return say(supervise.Outcome{Code: 1, Text: problem})
	}
	under, most := &c.asking, maxAsking
	if verb == "status" { // counted apart: a probe must not fail because much is being carried out
		under, most = &c.looks, maxLooks
	}
	c.mu.Lock()
	free := *under < most
	if free {
		*under++
	}
	c.mu.Unlock()
	if !free {
		return []byte(tooMany)
	}
	defer func() {
		c.mu.Lock()
		*under--
		c.mu.Unlock()
	}()
	if verb == "status" {
		if _, ok := c.put(supervise.Tick{}, patience); !ok {
			return nil
		}
		return append(c.show(), '\n')
	}
	o, ok := c.put(supervise.Ask{Verb: verb, ID: id}, c.limit)
	if !ok {
		o = supervise.Outcome{Code: 1, Text: "no answer within " + c.limit.String()}
	}
	return say(o)
}

// put puts an event to the loop and waits for what comes of it.
func (c *controlServer) put(e supervise.Event, limit time.Duration) (supervise.Outcome, bool) {
	answer := make(chan supervise.Outcome, 1)
	c.ask(supervise.Request{Event: e, Reply: func(o supervise.Outcome) { answer <- o }})
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case o := <-answer:
		return o, true
	case <-late.C:
		return supervise.Outcome{}, false
	}
}

// parseRequest reads a line of the protocol.
func parseRequest(line string) (verb string, id supervise.ID, problem string) {
	body, whole := strings.CutSuffix(line, "\n")
	verb, name, _ := strings.Cut(body, " ")
	switch {
	case !whole:
		return "", 0, "want one line of at most 255 bytes"
	case body == "status":
		return verb, 0, ""
	case verb != "start" && verb != "stop" && verb != "restart":
		return "", 0, "want status, start, stop or restart"
	case name == "web":
		return verb, supervise.Web, ""
	case name == "bot":
		return verb, supervise.Bot, ""
	}
	return "", 0, "there is no such process: want web or bot"
}

// send sends all of b, or what the other side takes before the deadline.
func send(f *os.File, b []byte) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	for len(b) > 0 {
		var n int
		var sendErr error
		err := conn.Write(func(fd uintptr) bool {
			n, sendErr = unix.SendmsgN(int(fd), b, nil, nil, unix.MSG_NOSIGNAL)
			return sendErr != syscall.EAGAIN
		})
		switch {
		case sendErr == syscall.EINTR:
		case err != nil || sendErr != nil:
			return
		default:
			b = b[n:]
		}
	}
}
