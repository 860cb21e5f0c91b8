package store

import (
	"context"

	"tandem/internal/inbox"
	"tandem/internal/store/driver"
)

// tx is a connection or a transaction, and the context of everything done on it.
type tx struct {
	ctx context.Context
	c   driver.Conn
}

func (t tx) exec(sql string, args ...any) (affected int64, err error) {
	return t.c.Exec(t.ctx, sql, args...)
}

// insert adds one row and says which id the database gave it.
func (t tx) insert(sql string, args ...any) (id int64, err error) {
	return t.c.Insert(t.ctx, sql, args...)
}

// row reads the first row into dest; false when there is none.
func (t tx) row(dest []any, sql string, args ...any) (bool, error) {
	return driver.Row(t.ctx, t.c, dest, sql, args...)
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
	r, err := t.c.Query(t.ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return scanAll(r, scan)
}

func scanAll[T any](r driver.Rows, scan func(scan func(dest ...any) error) (T, error)) ([]T, error) {
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

// later has a statement run before the next one whose result is waited for, or with the commit. What it affects is not
// known.
func (t tx) later(sql string, args ...any) error { return t.c.Later(t.ctx, nil, sql, args...) }

// flush runs what later and the questions of ask were given.
func (t tx) flush() error { return t.c.Flush(t.ctx) }

// ask is row whose answer is there after flush, and goes to the database together with other questions. found may be
// nil.
func (t tx) ask(dest []any, found *bool, sql string, args ...any) error {
	return t.c.Later(t.ctx, func(r driver.Rows) error {
		there := r.Next()
		if found != nil {
			*found = there
		}
		if !there {
			return r.Err()
		}
		return r.Scan(dest...)
	}, sql, args...)
}

// askAll is all whose answer is there after flush.
func askAll[T any](t tx, list *[]T, scan func(scan func(dest ...any) error) (T, error), sql string, args ...any) error {
	return t.c.Later(t.ctx, func(r driver.Rows) (err error) {
		*list, err = scanAll(r, scan)
		return err
	}, sql, args...)
}

// to makes the list of where a row goes.
func to(dest ...any) []any { return dest }
