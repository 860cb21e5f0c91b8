package driver

import (
	"cmp"

	"tandem/internal/inbox"
)

// Trouble is why a database cannot be used now.
type Trouble struct {
	Kind    inbox.Kind // what of it may be told to anybody; "" is inbox.Unavailable
	Reason  string     // plain words, without secrets, for whoever runs this
	Reading bool       // reading is possible all the same
	Fresh   bool       // only new connections can see that it is over: a session keeps what it began with
	Mends   Remedy
}

// Err is the trouble as a caller of the store gets it.
func (t *Trouble) Err() error {
	return &inbox.Error{Kind: cmp.Or(t.Kind, inbox.Unavailable), Reason: t.Reason, Reading: t.Reading}
}

// Remedy is what ends a trouble.
type Remedy int

const (
	ByItself  Remedy = iota // it may be over at any time, and is looked for
	NextCall                // it says nothing about the next call
	InTime                  // nor does it: the statement ran out of its time
	ByRestart               // only a restart of the process
	ByPerson                // who mends the configuration, at the first connection or at a schema too new (exit code 78)
)
