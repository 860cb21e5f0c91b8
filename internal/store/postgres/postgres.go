// Package postgres is the store's driver for PostgreSQL, with pgx. It has a pool of connections for each way, one
// connection that listens for commits, and one that holds the polling lock. It finds out for itself whether a pooler
// stands before the server.
package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"tandem/internal/backoff"
	"tandem/internal/inbox"
	"tandem/internal/store/driver"
	"tandem/internal/tcp"
)

const (
	// lockClass is the first half of every advisory lock of this program; the second says what is locked.
	lockClass    = 0x74616e64 // "tand"
	migrateLock  = 0          // no bot has the id 0
	poolSize     = 10
	notifyName   = "tandem_events"
	listenEvery  = 2 * time.Second        // how long a notification that was missed can stay unnoticed
	pooledEvery  = 200 * time.Millisecond // the same where a pooler is in between, which passes none on
	pingDeadline = 3 * time.Second
	goodbye      = 500 * time.Millisecond
)

// limits are those of a writing transaction. They go along with its begin and are for this transaction only, so that it
// works through a pooler too. A client that vanished must not keep the row of counters, on which everybody waits: the
// kernel's keepalive would take two hours to notice.
const limits = `SELECT set_config('lock_timeout', '10s', true), set_config('statement_timeout', '30s', true),
	set_config('idle_in_transaction_session_timeout', '10s', true)`

//go:embed migrations
var migrations embed.FS

// Migrations are those of the schema for PostgreSQL.
var Migrations = driver.Folder(migrations, "migrations")

// DB is a PostgreSQL server.
type DB struct {
	driver.Common

	setting string // the one that has the address
	config  *pgxpool.Config
	lanes   [driver.Ways]*driver.Lane
	pools   [driver.Ways]*pgxpool.Pool // those with one lane are one
	pooler  pooler

	lock      *pgx.ConnConfig // for the polling lock, which needs a server and no pooler
	lockApart bool            // it has an address of its own
}

// ErrOwnTools : there is no file that could be copied or put back.
var ErrOwnTools = errors.New("DATABASE_URL names PostgreSQL, which has its own tools for this: " +
	"pg_dump and pg_restore (docs/operations.md)")

// Is says whether url names a PostgreSQL server.
func Is(url string) bool {
	_, a := driver.CutScheme(url, "postgres://")
	_, b := driver.CutScheme(url, "postgresql://")
	return a || b
}

// New makes the driver for url, without any input or output.
func New(url string) (*DB, error) {
	config, err := parse(url)
	if err != nil {
		return nil, err
	}
	c := config.ConnConfig
	if !strings.Contains(url, "pool_max_conns") {
		config.MaxConns = poolSize
	}
	config.HealthCheckPeriod = 30 * time.Second
	// Closing says goodbye and waits for the answer, 15 s on a line that went dead. Meanwhile the connection counts: the
	// pool would be full of such connections, and the process would not end.
	config.BeforeClose = func(c *pgx.Conn) { c.PgConn().Conn().SetDeadline(time.Now().Add(goodbye)) }
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "tandem"
	}
	p := &DB{setting: "DATABASE_URL", config: config, lock: c.Copy()}
	config.BeforeConnect = p.adapt
	p.lanes = driver.Share(int(config.MaxConns))
	byLane := map[*driver.Lane]*pgxpool.Pool{}
	for w, l := range p.lanes {
		if byLane[l] == nil {
			if byLane[l], err = p.newPool(driver.Way(w), l); err != nil {
				p.Close()
				return nil, &driver.BadURL{Rule: driver.Rule}
			}
		}
		p.pools[w] = byLane[l]
	}
	return p, nil
}

// newPool makes a pool that connects when it is first used.
func (p *DB) newPool(w driver.Way, l *driver.Lane) (*pgxpool.Pool, error) {
	config := p.config.Copy()
	config.MaxConns = int32(l.Size())
	if w != driver.Pages {
		config.MinConns, config.MinIdleConns = 0, 0 // what a URL asks for is for all together
	}
	config.MinConns, config.MinIdleConns = min(config.MinConns, config.MaxConns), min(config.MinIdleConns, config.MaxConns)
	return pgxpool.NewWithConfig(context.Background(), config)
}

// each calls f once for each pool.
func (p *DB) each(f func(*pgxpool.Pool)) {
	seen := map[*pgxpool.Pool]bool{nil: true}
	for _, pool := range p.pools {
		if !seen[pool] {
			seen[pool] = true
			f(pool)
		}
	}
}

// parse reads an address of a server, or of a pooler before it.
func parse(url string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		var file *fs.PathError
		if errors.As(err, &file) {
			return nil, &driver.BadURL{Rule: "it names a file that cannot be read: " + file.Error(), File: file}
		}
		return nil, &driver.BadURL{Rule: driver.Rule} // other causes repeat the URL
	}
	c := config.ConnConfig
	if c.Host == "" || c.Database == "" && c.User == "" {
		return nil, &driver.BadURL{Rule: driver.Rule}
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	c.DialFunc = tcp.Dialer().DialContext
	c.RuntimeParams["client_encoding"] = "UTF8" // whatever a role, a database or PGCLIENTENCODING sets for others
	c.RuntimeParams["standard_conforming_strings"] = "on"
	if c.ValidateConnect == nil && severalHosts(c) {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	return config, nil
}

// lockSetting names the address of the server itself for the polling lock, where DATABASE_URL is a pooler's.
const lockSetting = "BOT_LOCK_DATABASE_URL"

func (p *DB) LockThrough(url string) error {
	const want = "want the direct address of the same database, like postgres://USER:PASSWORD@HOST/DATABASE"
	if !Is(url) {
		return errors.New(want)
	}
	config, err := parse(url)
	if err != nil {
		var file *fs.PathError
		if errors.As(err, &file) {
			return fmt.Errorf("it names a file that cannot be read: %w", file)
		}
		return errors.New(want)
	}
	p.lock, p.lockApart = config.ConnConfig, true
	return nil
}

// severalHosts tells true alternatives from the second try without TLS, which pgx lists as a fallback too.
func severalHosts(c *pgx.ConnConfig) bool {
	for _, f := range c.Fallbacks {
		if f.Host != c.Host || f.Port != c.Port {
			return true
		}
	}
	return false
}

func (p *DB) Lane(w driver.Way) *driver.Lane { return p.lanes[w] }

func (p *DB) Read(ctx context.Context, w driver.Way, f func(driver.Conn) error) error {
	if w != driver.Search {
		return f(&conn{q: p.pools[w]})
	}
	// The server itself ends a search, a little before we would. Through a pooler nobody else can. And the connection
	// lives on. A search is one process there. With workers beside it two searches keep six processors from everybody
	// else.
	limit := driver.Limits[driver.Search]
	if d, ok := ctx.Deadline(); ok {
		limit = time.Until(d)
	}
	begin := fmt.Sprintf(`begin read only; set local max_parallel_workers_per_gather = 0;
		set local statement_timeout = %d`, max(limit*9/10, time.Millisecond).Milliseconds())
	t, err := p.pools[w].BeginTx(ctx, pgx.TxOptions{BeginQuery: begin})
	if err != nil {
		return err
	}
	err = f(&conn{q: t})
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingDeadline)
	defer cancel()
	t.Rollback(end)
	return err
}

func (p *DB) Write(ctx context.Context, f func(driver.Conn) error) error {
	pooled, err := p.pools[driver.Writes].Acquire(ctx)
	if err != nil {
		return err
	}
	defer pooled.Release() // ends the connection where its transaction is not over, for a panic too
	c := &conn{q: pooled.Conn()}
	c.later(nil, `begin`)
	c.later(nil, limits)
	err = f(c)
	// Not with ctx: a commit that was begun is waited for, so that its outcome is known. And a rollback by closing the
	// connection would cost a new one.
	end, cancel := outlasting(ctx, pingDeadline)
	defer cancel()
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = c.commit(end)
	}
	if err != nil && pooled.Conn().PgConn().TxStatus() != 'I' && !pooled.Conn().IsClosed() {
		_, _ = pooled.Exec(end, `rollback`)
	}
	return err
}

// outlasting is a context that ends some time after ctx has ended.
func outlasting(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(driver.Limits[driver.Writes])
	}
	end, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline.Add(by))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(by, cancel) })
	return end, func() { stop(); cancel() }
}

func (p *DB) LockCounters() string {
	return `SELECT last_event, last_message FROM counters WHERE id = 1 FOR UPDATE`
}

func (p *DB) Notify() string { return `NOTIFY ` + notifyName }

func (p *DB) Migrate(ctx context.Context) error {
	var have int64
	leave, err := p.lanes[driver.Health].Enter(ctx, driver.Health)
	if err != nil {
		return err
	}
	err = p.pools[driver.Health].QueryRow(ctx, `SELECT COALESCE(MAX(version_id), 0)
		FROM `+driver.VersionTable+` WHERE is_applied`).Scan(&have)
	leave()
	if code := sqlState(err); err != nil && code != "42P01" {
		return fmt.Errorf("read the version of the schema: %w", err)
	}
	if have >= driver.NewestSchema {
		return nil
	}
	// The lock belongs to a transaction and not to a session, so that a pooler cannot keep it. It is taken before goose
	// makes its table: two that make one table at the same moment fail in spite of IF NOT EXISTS.
	config := p.config.ConnConfig.Copy()
	if err := p.adapt(ctx, config); err != nil {
		return err
	}
	locker, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer locker.Close(context.WithoutCancel(ctx))
	_, err = locker.Exec(ctx, `begin; set local idle_in_transaction_session_timeout = 0;
		set local statement_timeout = 0; set local lock_timeout = 0`)
	if err != nil {
		return err
	}
	if _, err := locker.Exec(ctx, `SELECT pg_advisory_xact_lock($1::int, $2::int)`, lockClass, migrateLock); err != nil {
		return err
	}
	db := stdlib.OpenDB(*p.config.ConnConfig.Copy(), stdlib.OptionBeforeConnect(p.adapt))
	defer db.Close()
	return driver.MigrateUp(ctx, db, goose.DialectPostgres, Migrations)
}

func (p *DB) Check(ctx context.Context, after *driver.Trouble) error {
	if after != nil && (!after.Reading || after.Fresh) {
		// Connections from before are broken, and would be found out one failed call at a time.
		p.each((*pgxpool.Pool).Reset)
		p.pooler.forget()
	}
	leave, err := p.lanes[driver.Health].Enter(ctx, driver.Health)
	if err != nil {
		return err
	}
	defer leave()
	var standby, readOnly bool
	var encoding, schema, path string
	err = p.pools[driver.Health].QueryRow(ctx, `SELECT pg_is_in_recovery(), current_setting('server_encoding'),
		current_setting('transaction_read_only')::bool, COALESCE(current_schema()::text, ''),
		current_setting('search_path')`).Scan(&standby, &encoding, &readOnly, &schema, &path)
	switch {
	case err != nil:
		return err
	case encoding != "UTF8":
		return encodingError{encoding}
	case standby:
		return errStandby
	case schema == "":
		return schemaError{path}
	case readOnly:
		return errReadOnly
	}
	if after == nil || after.Kind != inbox.Full {
		return nil
	}
	return p.Write(ctx, func(c driver.Conn) error {
		_, err := c.Exec(ctx, `UPDATE counters SET probe = probe + 1 WHERE id = 1`)
		return err
	})
}

// encodingError : the database cannot hold what people write. SQL_ASCII takes any bytes for text, and the others lack
// letters.
type encodingError struct{ encoding string }

func (e encodingError) Error() string { return "the database has the encoding " + e.encoding }

// schemaError : no schema that the search path names is there and may be used. So no table is found, and none can be
// made.
type schemaError struct{ path string }

func (e schemaError) Error() string { return "no schema of the search path can be used: " + e.path }

// errReadOnly : sessions begin as those that only read, because somebody has set it so.
var errReadOnly = errors.New("default_transaction_read_only is on")

var errStandby = errors.New("the server is a standby, which can only be read")

// Watch listens, and asks for the newest event now and then in case a notification was missed.
func (p *DB) Watch(ctx context.Context, hint, broken func()) {
	retry := backoff.Backoff{Min: driver.RetryMin, Max: driver.RetryMax}
	for {
		began := time.Now()
		p.listen(ctx, hint)
		if ctx.Err() != nil {
			return
		}
		broken()
		if time.Since(began) > time.Minute {
			retry.Reset()
		}
		if !backoff.Sleep(ctx, retry.Next()) {
			return
		}
	}
}

// listen does so on one connection, until it breaks or ctx ends.
func (p *DB) listen(ctx context.Context, hint func()) {
	open, cancel := context.WithTimeout(ctx, driver.OpenTimeout)
	defer cancel()
	config := p.config.ConnConfig.Copy()
	if err := p.adapt(open, config); err != nil {
		return
	}
	c, err := pgx.ConnectConfig(open, config)
	if err != nil {
		return
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		c.Close(end)
	}()
	every := listenEvery
	if pooled, err := isPooled(open, c); err != nil {
		return
	} else if pooled {
		every = pooledEvery
	} else if _, err := c.Exec(open, `LISTEN `+notifyName); err != nil {
		return
	}
	hint() // for what was committed before
	var last [2]int64
	for {
		wait, cancel := context.WithTimeout(ctx, every)
		_, err := c.WaitForNotification(wait)
		cancel()
		if ctx.Err() != nil || err != nil && !pgconn.Timeout(err) {
			return
		}
		if err == nil {
			hint()
			continue
		}
		now, err := changes(ctx, c)
		if err != nil {
			return
		}
		if now != last {
			last = now
			hint()
		}
	}
}

// changes are two numbers. After each commit that somebody waits for one of them is another.
func changes(ctx context.Context, c *pgx.Conn) (n [2]int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, pingDeadline)
	defer cancel()
	err = c.QueryRow(ctx, `SELECT last_event, revocations FROM counters WHERE id = 1`).Scan(&n[0], &n[1])
	return n, err
}

// Close does not wait for connections on a line that went dead: pgx takes up to 15 s to give one up.
func (p *DB) Close() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		var all sync.WaitGroup
		p.each(func(pool *pgxpool.Pool) { all.Go(pool.Close) })
		all.Wait()
	}()
	select {
	case <-closed:
	case <-time.After(2 * goodbye):
	}
}
