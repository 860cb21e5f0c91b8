package inbox

import "errors"

// Error is why a store did not do what it was asked for. A program acts on the Kind, which may be told to anybody. The
// Reason is for those who run this: it has no secrets in it, but may name a host, a path or a user.
type Error struct {
	Kind    Kind
	Reason  string
	Reading bool // only writing is impossible now
}

// Kind is the kind of an Error.
type Kind string

// The kinds of what one call came to, while the database can be used.
const (
	Conflict Kind = "conflict" // ErrConflict: the thing is in a state that does not allow this
	Unfit    Kind = "unfit"    // ErrUnfit: the words do not fit into what was sent
	Busy     Kind = "busy"     // the database is well, and had no time for this call
	TooLong  Kind = "too_long" // this question was given up; others are answered
)

// The kinds that say why the database cannot be used now. They are ErrUnavailable.
const (
	Unavailable   Kind = "unavailable"    // for a reason that is none of the following
	NotConfigured Kind = "not_configured" // DATABASE_URL is missing, or names no database that can be used as it is set up
	Refused       Kind = "refused"        // the server refuses the user, the password, the database's name, or a right
	NotConnected  Kind = "not_connected"  // nobody has tried yet, or this process ends
	Unreachable   Kind = "unreachable"    // it does not answer, or the connection broke
	Unreadable    Kind = "unreadable"     // its file cannot be opened, or its disk fails
	ReadOnly      Kind = "read_only"      // it can be read, but not written
	Locked        Kind = "locked"         // another program keeps it locked
	Full          Kind = "full"           // no room is left
	Damaged       Kind = "damaged"        // it is no database of ours
	Replaced      Kind = "replaced"       // its file is another one now: a restart is needed
	TooNew        Kind = "too_new"        // its schema is from a later version of this program
	TooOld        Kind = "too_old"        // its schema could not be brought up to date
	Overloaded    Kind = "overloaded"     // it works, but has no time or no connection for us
)

// Unavailables are the kinds that are ErrUnavailable.
var Unavailables = []Kind{Unavailable, NotConfigured, Refused, NotConnected, Unreachable, Unreadable, ReadOnly, Locked,
	Full, Damaged, Replaced, TooNew, TooOld, Overloaded}

// KindOf is the kind of the Error in err, "" where there is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

func (e *Error) Error() string {
	says := ErrUnavailable.Error()
	switch {
	case e.Kind == Conflict:
		says = ErrConflict.Error()
	case e.Kind == Unfit:
		says = ErrUnfit.Error()
	case e.Kind == Busy:
		says = "the database is busy"
	case e.Kind == TooLong:
		says = "this question took too long"
	case e.Reading:
		says = "the database can be read, but cannot store anything now"
	}
	if e.Reason == "" {
		return says
	}
	return says + ": " + e.Reason
}

// CanRead says of what a store's Ready returned whether reading is possible.
func CanRead(err error) bool {
	var e *Error
	return err == nil || errors.As(err, &e) && e.Reading
}

// Is makes errors.Is find ErrConflict or ErrUnavailable.
func (e *Error) Is(target error) bool {
	switch e.Kind {
	case Conflict:
		return target == ErrConflict
	case Unfit:
		return target == ErrUnfit
	case Busy, TooLong:
		return false
	}
	return target == ErrUnavailable
}
