package main

import (
	"tandem/internal/control"
	"tandem/internal/sdnotify"
	"tandem/internal/supervise"
)

// What is beside the loop brings it requests, and here is how. The actors themselves are status.Writer, control.Server,
// sdnotify.Listener and lockKeeper.

// post brings a request to the loop. After the loop's end it does nothing.
func (x *executor) post(r supervise.Request) {
	select {
	case x.requests <- r:
	case <-x.done:
	}
}

// askLoop has the loop carry out what an operator asks for.
func (x *executor) askLoop(verb, name string, done func(control.Outcome)) {
	id := supervise.Web
	if name == "bot" {
		id = supervise.Bot
	}
	x.post(supervise.Request{
		Event: supervise.Ask{Verb: verb, ID: id},
		Reply: func(o supervise.Outcome) { done(control.Outcome(o)) },
	})
}

// turnLoop has the loop turn once.
func (x *executor) turnLoop(done func()) {
	x.post(supervise.Request{Event: supervise.Tick{}, Reply: func(supervise.Outcome) { done() }})
}

// watchLog is the actor that makes a panic of the log's writer a failure of init. It starts the writer, which may not
// get its thread any more once a bot has taken all that the container may have.
func (x *executor) watchLog(done <-chan struct{}) {
	x.startLog()
	select {
	case r := <-x.logFailed:
		x.reportPanic("log", r)
		<-done
	case <-done:
	}
}

// listen is the actor that brings to the loop what the processes say of themselves.
func (x *executor) listen(done <-chan struct{}) {
	x.notices.Run(done, func(id, pid int, n sdnotify.Notice) {
		x.post(supervise.Request{Event: supervise.Noticed{ID: supervise.ID(id), PID: pid, Notice: n}})
	})
}
