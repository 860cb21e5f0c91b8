package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"tandem/internal/backoff"
	"tandem/internal/exitcode"
	"tandem/internal/inbox"
	"tandem/internal/store/driver"
)

const (
	lockEvery = 600 * time.Millisecond // the longest wait; the shortest is half of it
	// parkFor and pingDeadline add up to the longest time until a holder knows of a line that went dead.
	parkFor = inbox.LockKnown - pingDeadline
)

// lockSettings are for the session that holds the lock. The first ends the session when its holder has asked nothing
// for LockLease: it is frozen, or gone behind something that keeps its connection open. The others tell the kernel of
// the server to give up a host that acknowledges nothing, which takes hours by default. They are set by statements, as
// PgBouncer refuses them at the start of a connection. On a Unix socket the last four have no effect. Before version
// 14 the first is not known.
var lockSettings = []string{
	fmt.Sprintf(`SET idle_session_timeout = %d`, inbox.LockLease.Milliseconds()),
	`SET tcp_keepalives_idle = 5`,
	`SET tcp_keepalives_interval = 3`,
	`SET tcp_keepalives_count = 3`,
	fmt.Sprintf(`SET tcp_user_timeout = %d`, inbox.LockGiven.Milliseconds()),
}

// PollLock takes the session's advisory lock of the bot on a connection of its own: one from the pool would be closed
// when it gets old. It tries now and then. A wait in the server could not be told from a line that went dead.
func (p *DB) PollLock(
	ctx context.Context, botID int64, instance string, waiting func(holder string),
) (inbox.PollLock, error) {
	var told string
	retry := backoff.Backoff{Min: driver.RetryMin, Max: driver.RetryMax}
	for {
		l, err := p.tryPollLock(ctx, botID, instance, waiting, &told)
		if l != nil {
			return l, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if exitcode.Of(err) == exitcode.Config {
			return nil, err
		}
		if p.lockApart && err != nil {
			return nil, p.diagnoseLock(err)
		}
		if !backoff.Sleep(ctx, retry.Next()) {
			return nil, ctx.Err()
		}
	}
}

// tryPollLock tries on one connection until it has the lock, the connection breaks or ctx ends.
func (p *DB) tryPollLock(
	ctx context.Context, botID int64, instance string, waiting func(string), told *string,
) (*advisoryLock, error) {
	config := p.lock.Copy()
	config.RuntimeParams["application_name"] = applicationName(botID, instance)
	open, cancel := context.WithTimeout(ctx, driver.OpenTimeout)
	defer cancel()
	c, err := pgx.ConnectConfig(open, config)
	if err != nil {
		return nil, err
	}
	kept := false
	defer func() {
		if !kept {
			closeSoon(c)
		}
	}()
	if err := p.mayHold(open, c); err != nil {
		return nil, err
	}
	for _, set := range lockSettings {
		// Older servers do not know each of them: they are a precaution, the epoch is the guard.
		if _, err := c.Exec(open, set); err != nil && sqlState(err) == "" {
			return nil, err
		}
	}
	retry := backoff.Backoff{Min: lockEvery, Max: lockEvery} // which spreads those that wait
	for {
		asked := time.Now()
		got, holder, err := tryAdvisory(ctx, c, botID)
		if err != nil {
			return nil, err
		}
		if got {
			kept = true
			return holdAdvisory(c, botID, asked), nil
		}
		if holder != *told {
			*told = holder
			waiting(holder)
		}
		if !backoff.Sleep(ctx, retry.Next()) {
			return nil, ctx.Err()
		}
	}
}

func tryAdvisory(ctx context.Context, c *pgx.Conn, botID int64) (got bool, holder string, err error) {
	ctx, cancel := context.WithTimeout(ctx, pingDeadline)
	defer cancel()
	key := lockKey(botID)
	err = c.QueryRow(ctx, `SELECT pg_try_advisory_lock($1::int, $2::int)`, lockClass, key).Scan(&got)
	if err != nil || got {
		return got, "", err
	}
	// A session may see another user's application_name only with pg_read_all_stats: then it is empty.
	var name, address *string
	err = c.QueryRow(ctx, `
		SELECT a.application_name, host(a.client_addr)
		FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
		WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
			AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND l.classid::bigint = $1 AND l.objid::bigint = $2`, int64(lockClass), int64(uint32(key))).Scan(&name, &address)
	switch {
	case errors.Is(err, pgx.ErrNoRows): // free again in the meantime
		return false, "", nil
	case err != nil:
		return false, "", err
	}
	holder = "another session of the database"
	if name != nil && *name != "" {
		holder = *name
	}
	if address != nil {
		holder += " at " + *address
	}
	return false, holder, nil
}

// lockKey is the second half of a bot's advisory lock. Ids have 54 bits and a key has 32. Two bots that share a key
// would wait for each other, which is one chance in four thousand million.
func lockKey(botID int64) int32 {
	h := uint64(botID) * 0x9e3779b97f4a7c15 // Fibonacci hashing: the high bits depend on all of the id
	key := int32(h >> 32)
	if key == migrateLock {
		key = 1
	}
	return key
}

// applicationName says in pg_stat_activity, and to those who wait, who holds the lock. The server cuts it at 63 bytes
// and replaces what is not printable ASCII.
func applicationName(botID int64, instance string) string {
	name := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, fmt.Sprintf("tandem bot %d on %s", botID, instance))
	return name[:min(len(name), 63)]
}

// diagnoseLock says what keeps the lock's own connection from being made.
func (p *DB) diagnoseLock(err error) error {
	apart := &DB{setting: lockSetting, config: &pgxpool.Config{ConnConfig: p.lock}}
	t := apart.Diagnose(err)
	if t == nil {
		t = &driver.Trouble{Reason: err.Error()}
	}
	if t.Mends == driver.ByPerson {
		return exitcode.With(exitcode.Config, errors.New(t.Reason))
	}
	t.Reason = lockSetting + ": " + t.Reason
	return t.Err()
}

// mayHold refuses a connection on which the lock would guard nothing.
func (p *DB) mayHold(ctx context.Context, c *pgx.Conn) error {
	setting := "DATABASE_URL"
	if p.lockApart {
		setting = lockSetting
	}
	if pooled, err := isPooled(ctx, c); err != nil {
		return err
	} else if pooled {
		return exitcode.With(exitcode.Config, fmt.Errorf("%s: a connection pooler (PgBouncer or the like) stands before "+
			"PostgreSQL, through which the polling lock cannot be held: give the address of PostgreSQL itself in %s "+
			"(DATABASE_URL may stay as it is)", setting, lockSetting))
	}
	if !p.lockApart {
		return nil
	}
	// A replica has the identifier of its primary. So a failover, in which the two addresses lead to different servers
	// for a while, is told apart from a mistake. TakeOver looks whether the lock is where the data is.
	const which = `SELECT current_database(), system_identifier FROM pg_control_system()`
	var here, there struct {
		name string
		id   int64
	}
	if err := c.QueryRow(ctx, which).Scan(&here.name, &here.id); err != nil {
		return err
	}
	if err := p.pools[driver.Health].QueryRow(ctx, which).Scan(&there.name, &there.id); err != nil {
		return err
	}
	if here != there {
		return exitcode.With(exitcode.Config, fmt.Errorf("%s: it leads to database %q and DATABASE_URL to %q, or to two "+
			"servers that are no replicas of each other: the polling lock guards only in the database that has the "+
			"data, so give the direct address of that one", lockSetting, here.name, there.name))
	}
	return nil
}

// advisoryLock is held as long as its connection lives.
type advisoryLock struct {
	conn      *pgx.Conn
	pid       uint32 // of the session in the server
	botID     int64
	confirmed atomic.Pointer[time.Time] // when the last question began that the server answered
	lost      chan struct{}
	cancel    context.CancelFunc
	done      sync.WaitGroup
	once      sync.Once
}

func holdAdvisory(c *pgx.Conn, botID int64, asked time.Time) *advisoryLock {
	ctx, cancel := context.WithCancel(context.Background())
	l := &advisoryLock{conn: c, pid: c.PgConn().PID(), botID: botID, lost: make(chan struct{}), cancel: cancel}
	l.confirmed.Store(&asked)
	l.done.Go(func() { l.guard(ctx) })
	return l
}

// guard reads from the connection, which tells within a millisecond that the server has ended it. Between reads it asks
// whether the server answers, which tells of a line that went dead.
func (l *advisoryLock) guard(ctx context.Context) {
	for {
		park, cancel := context.WithTimeout(ctx, parkFor)
		_, err := l.conn.WaitForNotification(park)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue
		}
		if pgconn.Timeout(err) && !l.conn.IsClosed() {
			asked := time.Now()
			ping, cancel := context.WithTimeout(ctx, pingDeadline)
			err = l.conn.Ping(ping)
			cancel()
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				l.confirmed.Store(&asked)
				continue
			}
		}
		close(l.lost)
		return
	}
}

// Lost is closed when the connection that holds the lock is known to be broken.
func (l *advisoryLock) Lost() <-chan struct{} { return l.lost }

// Held is false once the lock is lost or was not confirmed for too long.
func (l *advisoryLock) Held() bool {
	select {
	case <-l.lost:
		return false
	default:
		return time.Since(*l.confirmed.Load()) < inbox.LockTrust
	}
}

// Holds looks in the database of c for the session that has the lock.
func (p *DB) Holds(ctx context.Context, c driver.Conn, lock inbox.PollLock) (bool, error) {
	l, ok := lock.(*advisoryLock)
	if !ok {
		return false, nil
	}
	var n int
	_, err := driver.Row(ctx, c, []any{&n}, `SELECT count(*) FROM pg_locks
		WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND pid = $1
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
		AND classid::bigint = $2 AND objid::bigint = $3`, int64(l.pid), int64(lockClass), int64(uint32(lockKey(l.botID))))
	return n > 0, err
}

// Release ends the session, and with it the lock.
func (l *advisoryLock) Release() {
	l.once.Do(func() {
		l.cancel()
		l.done.Wait()
		closeSoon(l.conn)
	})
}

func closeSoon(c *pgx.Conn) {
	end, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c.Close(end)
}
