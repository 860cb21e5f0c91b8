package store

import (
	"context"

	"tandem/internal/inbox"
)

// conn runs statements: a connection or a transaction of either database. Statements are the same text for
// both: $1 placeholders, ON CONFLICT and RETURNING, times as integers.
type conn interface {
	query(ctx context.Context, sql string, args ...any) (rows, error)
	exec(ctx context.Context, sql string, args ...any) (affected int64, err error)
}

// rows is what *sql.Rows and pgx.Rows have in common.
type rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
	Close() error
}

// database is one of the two databases, connected. Its methods may be called from any goroutine.
type database interface {
	// lane is where to wait for a connection for that way, before read or write.
	lane(w way) *lane
	// read runs f outside of a writing transaction; each statement sees what was committed when it began.
	read(ctx context.Context, w way, f func(conn) error) error
	// write runs f in a transaction and commits it if f returned nil.
	write(ctx context.Context, f func(conn) error) error
	// lockCounters is the statement that reads the counters and keeps every other writer out until the commit.
	lockCounters() string
	// notify is the statement that tells other processes of a commit, "" where they find out without.
	notify() string

	// migrate brings the schema to what this program knows, whoever else does the same at the same moment.
	migrate(ctx context.Context) error
	// check is nil if the database can be used. After a trouble it tries harder than otherwise.
	check(ctx context.Context, after *trouble) error
	// watch calls hint whenever something may have been committed by anybody, and broken when its own connection
	// has failed, which may be the first sign of a trouble; until ctx ends.
	watch(ctx context.Context, hint, broken func())
	// diagnose says what an error means for the use of the database, nil if it says nothing about that.
	diagnose(err error) *trouble

	pollLock(ctx context.Context, botID int64, instance string, waiting func(holder string)) (inbox.PollLock, error)
	close()
}

// trouble is why a database cannot be used now.
type trouble struct {
	kind    inbox.Kind // what of it may be told to anybody; "" is inbox.Unavailable
	reason  string     // plain words, without secrets, for whoever runs this
	reading bool       // reading is possible all the same
	fresh   bool       // only new connections can see that it is over: a session keeps what it began with
	mends   remedy
}

// remedy is what ends a trouble.
type remedy int

const (
	byItself  remedy = iota // it may be over at any time, and is looked for
	nextCall                // it says nothing about the next call
	inTime                  // nor does it: the statement ran out of its time
	byRestart               // only a restart of the process
	byPerson                // who mends the configuration, at the first connection or at a schema too new (exit code 78)
)

// tx is a conn and the context of everything done on it.
type tx struct {
	ctx context.Context
	c   conn
}

func (t tx) exec(sql string, args ...any) (affected int64, err error) {
	return t.c.exec(t.ctx, sql, args...)
}

// row reads the first row into dest; false when there is none.
func (t tx) row(dest []any, sql string, args ...any) (bool, error) {
	r, err := t.c.query(t.ctx, sql, args...)
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

// one is row where a missing row is ErrNotFound.
func (t tx) one(dest []any, sql string, args ...any) error {
	found, err := t.row(dest, sql, args...)
	if err == nil && !found {
		err = inbox.ErrNotFound
	}
	return err
}

// all reads every row with scan; never nil without an error.
func all[T any](t tx, scan func(scan func(dest ...any) error) (T, error), sql string, args ...any) ([]T, error) {
	r, err := t.c.query(t.ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	list := []T{}
	for r.Next() {
		item, err := scan(r.Scan)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, r.Err()
}

// to makes the list of where a row goes.
func to(dest ...any) []any { return dest }
