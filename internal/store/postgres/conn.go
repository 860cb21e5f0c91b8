package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tandem/internal/store/driver"
)

// conn is a pool or a connection as a driver.Conn, for one goroutine.
type conn struct {
	q interface {
		Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
		Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
		SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	}
	waiting pgx.Batch                 // what Later was given
	got     []func(driver.Rows) error // for each of it, nil where nothing is read
}

func (c *conn) Query(ctx context.Context, sql string, args ...any) (driver.Rows, error) {
	if c.waiting.Len() == 0 {
		r, err := c.q.Query(ctx, sql, args...)
		if err != nil {
			return nil, err
		}
		return rows{r, nil}, nil
	}
	results, err := c.send(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	r, err := results.Query()
	if err != nil {
		results.Close()
		return nil, err
	}
	return rows{r, results}, nil
}

func (c *conn) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	tag, err := c.exec(ctx, sql, args...)
	return tag.RowsAffected(), err
}

func (c *conn) exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if c.waiting.Len() == 0 {
		return c.q.Exec(ctx, sql, args...)
	}
	results, err := c.send(ctx, sql, args...)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	tag, err := results.Exec()
	return tag, errors.Join(err, results.Close())
}

func (c *conn) Insert(ctx context.Context, sql string, args ...any) (id int64, err error) {
	found, err := driver.Row(ctx, c, []any{&id}, sql+` RETURNING id`, args...)
	if err == nil && !found {
		err = pgx.ErrNoRows
	}
	return id, err
}

func (c *conn) Later(_ context.Context, got func(driver.Rows) error, sql string, args ...any) error {
	c.later(got, sql, args...)
	return nil
}

func (c *conn) later(got func(driver.Rows) error, sql string, args ...any) {
	c.waiting.Queue(sql, args...)
	c.got = append(c.got, got)
}

func (c *conn) Flush(ctx context.Context) error {
	if c.waiting.Len() == 0 {
		return nil
	}
	results, err := c.send(ctx, "")
	if err != nil {
		return err
	}
	return results.Close()
}

// send sends what waits, and one more statement unless that is "", in one message. It gives the results of that one.
// The server does not begin with a statement if one before it failed.
func (c *conn) send(ctx context.Context, last string, args ...any) (pgx.BatchResults, error) {
	batch, got := c.waiting, c.got
	c.waiting, c.got = pgx.Batch{}, nil
	if last != "" {
		batch.Queue(last, args...)
	}
	results := c.q.SendBatch(ctx, &batch)
	for _, got := range got {
		if err := take(results, got); err != nil {
			results.Close()
			return nil, err
		}
	}
	return results, nil
}

// take gives the next result to got.
func take(results pgx.BatchResults, got func(driver.Rows) error) error {
	if got == nil {
		_, err := results.Exec()
		return err
	}
	r, err := results.Query()
	if err != nil {
		return err
	}
	defer r.Close()
	if err := got(rows{r, nil}); err != nil {
		return err
	}
	r.Close()
	return r.Err()
}

// commit runs what waits and commits, in one message. If anything of it failed there was no commit.
func (c *conn) commit(ctx context.Context) error {
	tag, err := c.exec(ctx, `commit`)
	if err == nil && tag.String() != "COMMIT" {
		err = pgx.ErrTxCommitRollback // a statement failed before, and its error was overlooked
	}
	return err
}

// rows are those of a query, and of a message that ends with it.
type rows struct {
	pgx.Rows
	results pgx.BatchResults // nil for a query alone
}

func (r rows) Close() error {
	r.Rows.Close()
	err := r.Rows.Err()
	if r.results != nil {
		err = errors.Join(err, r.results.Close())
	}
	return err
}
