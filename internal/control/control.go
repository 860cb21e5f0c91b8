// Package control is how an operator speaks to a running init: both ends of the protocol on its control socket.
//
// A client connects, sends one line, "VERB NAME\n" or "status\n", and gets a reply. To a verb the reply is one line,
// "CODE TEXT", once the verb is carried out or has come to something else. To status it is the JSON of status.json,
// after init's loop has turned once. So it is also proof that init works. What is refused gets a line with a code, to
// which status is no exception. Only the code is looked at; the text is for people.
//
// It promises that only such a line reaches the loop, whatever a client does or leaves undone. No client costs more
// than a goroutine that waits for a bounded time. A client reads a bounded reply. What a verb means is left to the
// loop.
package control

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

	"tandem/internal/unixsocket"
)

const (
	maxLineBytes      = 256 // of a request
	maxSilentClients  = 32  // that have not said all they want; for one more, the one that is silent longest has to go
	maxRequests       = 16  // that are being carried out at once; one more is refused
	maxStatusRequests = 16  // the same for the status
	backlog           = 64  // clients that wait to be heard

	// stepTimeout is for a client to say what it wants, for a client to take the answer, and for the loop to turn.
	stepTimeout = 2 * time.Second
)

// busy (EX_UNAVAILABLE) is the code of the reply to a request that was not looked at: too many are being carried out.
const busy = 69

// Outcome is what came of a request: the status that the client ends with, and a sentence.
type Outcome struct {
	Code int
	Text string
}

// Server is init's end.
type Server struct {
	// Do has the loop carry out verb for the process name. done is told what came of it. Do must not wait for that.
	Do func(verb, name string, done func(Outcome))
	// Turn has the loop turn once, and then call done. It must not wait for that either.
	Turn func(done func())
	// Status is the status as JSON.
	Status func() []byte
	// Failed is told of a panic.
	Failed func(panic any)
	// DoTimeout is how long a client waits for what comes of its request.
	DoTimeout time.Duration

	mu             sync.Mutex
	socket         *os.File      // nil while there is none
	over           bool          // nobody is served any more
	made           chan struct{} // where Serve waits for one
	silent         []*os.File    // longest first
	requests       int
	statusRequests int
}

// Listen makes the socket at path, in place of a stale one. Called again it makes a new one, and ends listening on the
// one before.
func (s *Server) Listen(path string) error {
	socket, err := unixsocket.Listen(path, 0o600, backlog)
	if err != nil {
		return fmt.Errorf("control socket %s: %w", path, err)
	}
	s.mu.Lock()
	before := s.socket
	if s.socket = socket; s.over {
		before = socket
	}
	if s.made != nil {
		close(s.made)
		s.made = nil
	}
	s.mu.Unlock()
	if before != nil {
		before.Close() // ends accept, which goes on with the new one
	}
	return nil
}

// listening is the socket, once there is one; nil when done is closed.
func (s *Server) listening(done <-chan struct{}) *os.File {
	s.mu.Lock()
	socket, made := s.socket, s.made
	if socket == nil && made == nil {
		made = make(chan struct{})
		s.made = made
	}
	s.mu.Unlock()
	if socket != nil {
		return socket
	}
	select {
	case <-made:
		return s.listening(done)
	case <-done:
		return nil
	}
}

// Serve answers clients until done is closed.
func (s *Server) Serve(done <-chan struct{}) {
	go s.endAfter(done)
	var pace pacer
	for {
		socket := s.listening(done)
		if socket == nil {
			return
		}
		f, err := accept(socket)
		select {
		case <-done: // asked for, because the error of a closed socket has no name in package os
			if err == nil {
				f.Close()
			}
			return
		default:
		}
		switch {
		case err == nil:
			go s.client(f)
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE),
			errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.ENOBUFS):
			time.Sleep(100 * time.Millisecond)
		}
		pace.wait(done)
	}
}

// endAfter ends accept once done is closed.
func (s *Server) endAfter(done <-chan struct{}) {
	defer func() {
		if r := recover(); r != nil {
			s.Failed(r)
		}
	}()
	<-done
	s.mu.Lock()
	socket := s.socket
	s.over = true
	s.mu.Unlock()
	if socket != nil {
		socket.Close()
	}
}

func (s *Server) client(f *os.File) {
	defer f.Close()
	defer func() {
		if r := recover(); r != nil {
			s.Failed(r)
		}
	}()
	_ = f.SetDeadline(time.Now().Add(stepTimeout))
	line, ok := s.hear(f)
	if !ok {
		return
	}
	reply := s.reply(line)
	_ = f.SetDeadline(time.Now().Add(stepTimeout))
	send(f, reply)
}

// hear reads a line, or as much of one as a request may have. It is false if the client left or took too long.
func (s *Server) hear(f *os.File) (line string, ok bool) {
	s.mu.Lock()
	if len(s.silent) == maxSilentClients {
		s.silent[0].Close()
		s.silent = s.silent[1:]
	}
	s.silent = append(s.silent, f)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.silent = slices.DeleteFunc(s.silent, func(other *os.File) bool { return other == f })
		s.mu.Unlock()
	}()
	buf := make([]byte, maxLineBytes)
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

// reply has what line asks for carried out.
func (s *Server) reply(line string) []byte {
	say := func(o Outcome) []byte { return []byte(strconv.Itoa(o.Code) + " " + o.Text + "\n") }
	verb, name, problem := Parse(line)
	if problem != "" {
		return say(Outcome{1, problem})
	}
	under, most := &s.requests, maxRequests
	if verb == "status" { // counted apart, so that no probe fails because much is being carried out
		under, most = &s.statusRequests, maxStatusRequests
	}
	s.mu.Lock()
	free := *under < most
	if free {
		*under++
	}
	s.mu.Unlock()
	if !free {
		return say(Outcome{busy, "too many requests are being carried out: try again"})
	}
	defer func() {
		s.mu.Lock()
		*under--
		s.mu.Unlock()
	}()
	if verb == "status" {
		if _, ok := within(stepTimeout, func(done func(Outcome)) { s.Turn(func() { done(Outcome{}) }) }); !ok {
			return nil
		}
		return append(s.Status(), '\n')
	}
	o, ok := within(s.DoTimeout, func(done func(Outcome)) { s.Do(verb, name, done) })
	if !ok {
		o = Outcome{1, "no answer within " + s.DoTimeout.String()}
	}
	return say(o)
}

// within waits for what comes of ask. It is false if nothing does within limit.
func within(limit time.Duration, ask func(done func(Outcome))) (Outcome, bool) {
	came := make(chan Outcome, 1)
	ask(func(o Outcome) { came <- o })
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case o := <-came:
		return o, true
	case <-late.C:
		return Outcome{}, false
	}
}

// Parse reads a line of the protocol.
func Parse(line string) (verb, name, problem string) {
	body, whole := strings.CutSuffix(line, "\n")
	verb, name, _ = strings.Cut(body, " ")
	switch {
	case !whole:
		return "", "", "want one line of at most 255 bytes"
	case body == "status":
		return verb, "", ""
	case verb != "start" && verb != "stop" && verb != "restart":
		return "", "", "want status, start, stop or restart"
	case name != "web" && name != "bot":
		return "", "", "there is no such process: want web or bot"
	}
	return verb, name, ""
}
