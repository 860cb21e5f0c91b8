package web

import (
	"cmp"
	"errors"

	"tandem/internal/inbox"
)

// While the database is away nobody can be recognised, so whoever asks gets the kind of the trouble and nothing that
// names a host, a path, a user or a database. The rest is where only those who run Tandem look.

// outages are the kinds of trouble as anybody may know them, each to follow "the database".
var outages = map[inbox.Kind]string{
	inbox.Unavailable: "cannot be used now",
	inbox.NotConfigured: "is not configured: " +
		"DATABASE_URL is missing, or names no database, or one that cannot be used as it is set up",
	inbox.Refused:      "refuses what DATABASE_URL says: the user, the password, the name of the database, or a right",
	inbox.NotConnected: "is not connected yet",
	inbox.Unreachable:  "cannot be reached",
	inbox.Unreadable:   "cannot be read: its file cannot be opened, or its disk fails",
	inbox.ReadOnly:     "can be read, but not written",
	inbox.Locked:       "is locked by another program",
	inbox.Full:         "has no room left on its disk",
	inbox.Damaged:      "is damaged, or is not one of Tandem",
	inbox.Replaced:     "was replaced or deleted while in use: all that use it must be restarted",
	inbox.TooNew:       "has a schema that is too new for this version of Tandem",
	inbox.TooOld:       "has a schema that is too old, and could not be brought up to date",
	inbox.Overloaded:   "is busy",
}

const whereToLook = "the log of web, /readyz on its operations port (WEB_OPS_ADDR) and init status say more"

// publicError is an inbox.ErrUnavailable as anybody may read it.
func publicError(err error) error {
	kind := inbox.Unavailable
	var e *inbox.Error
	if errors.As(err, &e) {
		kind = e.Kind
	}
	return errors.New("the database " + cmp.Or(outages[kind], outages[inbox.Unavailable]) + "; " + whereToLook)
}

// reason is what the store says to whoever runs it, "" if it says nothing.
func reason(err error) string {
	var e *inbox.Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}
