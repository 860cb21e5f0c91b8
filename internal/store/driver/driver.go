// Package driver is the seam between the store and its databases: what a database must do (Database and Conn), what
// each says in words of its own (Dialect), and what all of them share. They share the lanes in which callers wait for a
// connection, the way in which migrations are run, and the shape of a trouble.
//
// It knows no database but by name, in words for people. Each has a package of its own beside this one, with its
// migrations. Only internal/store imports those packages, which a test in test/ keeps.
package driver

import (
	"context"
	"errors"
	"time"

	"tandem/internal/inbox"
)

const (
	// OpenTimeout is for making a connection and the first look at what is there.
	OpenTimeout = 10 * time.Second
	// CheckTimeout is for one health check.
	CheckTimeout = 3 * time.Second
	// MigrateLimit is for all migrations together.
	MigrateLimit = 10 * time.Minute

	// RetryMin and RetryMax are the first wait and the longest between two attempts to reach a database that was in
	// use. A server that was restarted is soon there again.
	RetryMin = 250 * time.Millisecond
	RetryMax = 1 * time.Second
)

// ErrNoLockThrough : a database without poolers has no use for LockThrough.
var ErrNoLockThrough = errors.New("only of use with PostgreSQL, behind a connection pooler: leave it out")

// Conn runs statements: a connection or a transaction. Statements have $1 placeholders, and times as integers.
type Conn interface {
	Query(ctx context.Context, sql string, args ...any) (Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (affected int64, err error)
	// Insert adds one row and says which id the database gave it.
	Insert(ctx context.Context, sql string, args ...any) (id int64, err error)
	// Later has a statement run before the next one of those above, by Flush or with the commit, whichever comes first.
	// Where each answer of the database takes a round trip, it goes along with that one. What fails of it fails there.
	// got, which may be nil, gets what it read, and asks nothing itself. A database without round trips does all this
	// at once.
	Later(ctx context.Context, got func(Rows) error, sql string, args ...any) error
	// Flush runs what Later was given.
	Flush(ctx context.Context) error
}

// Rows is what *sql.Rows and pgx.Rows have in common.
type Rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
	Close() error
}

// Row reads the first row into dest; false when there is none.
func Row(ctx context.Context, c Conn, dest []any, sql string, args ...any) (bool, error) {
	r, err := c.Query(ctx, sql, args...)
	if err != nil {
		return false, err
	}
	defer r.Close()
	if !r.Next() {
		return false, r.Err()
	}
	if err := r.Scan(dest...); err != nil {
		return false, err
	}
	return true, r.Close()
}

// Database is one database, wanted or connected. Its methods may be called from any goroutine.
type Database interface {
	Dialect
	Words

	// Lane is where to wait for a connection for that way, before Read or Write.
	Lane(w Way) *Lane
	// Read runs f outside of a writing transaction. Each statement sees what was committed when it began.
	Read(ctx context.Context, w Way, f func(Conn) error) error
	// Write runs f in a transaction and commits it if f returned nil.
	Write(ctx context.Context, f func(Conn) error) error

	// Migrate brings the schema to what this program knows, whoever else does the same at the same moment.
	Migrate(ctx context.Context) error
	// Check is nil if the database can be used. After a trouble it tries harder than otherwise.
	Check(ctx context.Context, after *Trouble) error
	// Watch calls hint whenever something may have been committed by anybody. It calls broken when its own connection
	// has failed, which may be the first sign of a trouble. It goes on until ctx ends.
	Watch(ctx context.Context, hint, broken func())
	// Diagnose says what an error means for the use of the database, nil if it says nothing about that.
	Diagnose(err error) *Trouble
	// Late says that a statement ran out of its time, and not the making of a connection.
	Late(err error) bool

	// PollLock is as in inbox.BotStore.
	PollLock(ctx context.Context, botID int64, instance string, waiting func(holder string)) (inbox.PollLock, error)
	// LockThrough has PollLock use a connection to url, before the first call of any other method. An error says what
	// is wrong with url.
	LockThrough(url string) error
	// Holds says whether the database of c is one in which a lock of PollLock is held now.
	Holds(ctx context.Context, c Conn, lock inbox.PollLock) (bool, error)

	// FreeRoom is how many bytes are free where the data is kept; not known where that is another host's.
	FreeRoom() (bytes int64, known bool)

	// Close ends all connections.
	Close()
}
