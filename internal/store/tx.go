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
