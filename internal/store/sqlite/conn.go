package sqlite

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"fmt"
	"sync"
	"time"

	"tandem/internal/store/driver"
)

// writer is the one connection that writes. Its transactions are begun and ended by statements of ours and not by
// sql.Tx, because what is prepared on a connection cannot be used again in a Tx.
type writer struct {
	db *sql.DB // has one connection

	mu   sync.Mutex // held during a transaction
	conn *sql.Conn  // nil before the first transaction and after one that could not be ended
	used *statements
}

// rollbackLimit is for a ROLLBACK that nobody waits for any more.
const rollbackLimit = 5 * time.Second

func (w *writer) transaction(ctx context.Context, f func(driver.Conn) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn == nil {
		c, err := w.db.Conn(ctx)
		if err != nil {
			return err
		}
		w.conn, w.used = c, &statements{prepare: c.PrepareContext}
	}
	if _, err := w.conn.ExecContext(ctx, `BEGIN IMMEDIATE`); err != nil {
		// If ctx ends in that moment the driver says so although the transaction was begun. Then nobody could write any
		// more. If it was not begun there is nothing to roll back, which is as good.
		clean, cancel := context.WithTimeout(context.Background(), rollbackLimit)
		defer cancel()
		_, _ = w.conn.ExecContext(clean, `ROLLBACK`)
		return err
	}
	open := true
	defer func() { // also for a panic: a transaction left open would keep every other writer out
		if open {
			w.rollback()
		}
	}()
	if err := f(sqlConn{w.conn, w.used}); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// The COMMIT is not interrupted: nobody could tell then whether it was done.
	if _, err := w.conn.ExecContext(context.WithoutCancel(ctx), `COMMIT`); err != nil {
		return err
	}
	open = false
	return nil
}

// rollback ends a transaction that failed. After some errors, such as a full disk, SQLite has done so already. A
// connection on which neither is sure is given up.
func (w *writer) rollback() {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackLimit)
	defer cancel()
	if _, err := w.conn.ExecContext(ctx, `ROLLBACK`); err == nil {
		return
	}
	if _, err := w.conn.ExecContext(ctx, `BEGIN IMMEDIATE`); err == nil {
		if _, err := w.conn.ExecContext(ctx, `ROLLBACK`); err == nil {
			return
		}
	}
	w.drop()
}

func (w *writer) drop() {
	if w.conn == nil {
		return
	}
	w.used.close()
	_ = w.conn.Raw(func(any) error { return errDropped }) // a bad connection does not go back to the pool
	w.conn.Close()
	w.conn, w.used = nil, nil
}

var errDropped = fmt.Errorf("the transaction could not be ended: %w", sqldriver.ErrBadConn)

func (w *writer) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		w.used.close()
		w.conn.Close()
		w.conn, w.used = nil, nil
	}
	w.db.Close()
}

// statements are prepared once and used again: preparing takes SQLite longer than most of ours take to run.
type statements struct {
	prepare func(ctx context.Context, text string) (*sql.Stmt, error)

	mu    sync.Mutex
	known map[string]*sql.Stmt
}

// maxStatements bounds the texts that are kept. The code has about a hundred.
const maxStatements = 300

// get is the prepared statement, nil for a text that is not to be kept.
func (s *statements) get(ctx context.Context, text string) (*sql.Stmt, error) {
	s.mu.Lock()
	stmt, full := s.known[text], len(s.known) >= maxStatements
	s.mu.Unlock()
	if stmt != nil || full {
		return stmt, nil
	}
	stmt, err := s.prepare(ctx, text)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.known[text]; other != nil { // somebody else was faster
		stmt.Close()
		return other, nil
	}
	if s.known == nil {
		s.known = map[string]*sql.Stmt{}
	}
	s.known[text] = stmt
	return stmt, nil
}

func (s *statements) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stmt := range s.known {
		stmt.Close()
	}
	s.known = nil
}

// sqlConn is a connection, or a pool of them, as a Conn.
type sqlConn struct {
	q interface {
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	}
	prepared *statements
}

func (c sqlConn) Query(ctx context.Context, text string, args ...any) (driver.Rows, error) {
	stmt, err := c.prepared.get(ctx, text)
	if err != nil {
		return nil, err
	}
	var r *sql.Rows
	if stmt != nil {
		r, err = stmt.QueryContext(ctx, args...)
	} else {
		r, err = c.q.QueryContext(ctx, text, args...)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (c sqlConn) Exec(ctx context.Context, text string, args ...any) (int64, error) {
	r, err := c.run(ctx, text, args)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (c sqlConn) Insert(ctx context.Context, text string, args ...any) (int64, error) {
	r, err := c.run(ctx, text, args)
	if err != nil {
		return 0, err
	}
	return r.LastInsertId()
}

func (c sqlConn) run(ctx context.Context, text string, args []any) (sql.Result, error) {
	stmt, err := c.prepared.get(ctx, text)
	if err != nil {
		return nil, err
	}
	if stmt != nil {
		return stmt.ExecContext(ctx, args...)
	}
	return c.q.ExecContext(ctx, text, args...)
}

func (c sqlConn) Later(ctx context.Context, got func(driver.Rows) error, text string, args ...any) error {
	if got == nil {
		_, err := c.run(ctx, text, args)
		return err
	}
	r, err := c.Query(ctx, text, args...)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := got(r); err != nil {
		return err
	}
	return r.Close()
}

func (c sqlConn) Flush(context.Context) error { return nil }
