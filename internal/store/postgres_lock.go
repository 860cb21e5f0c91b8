package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tandem/internal/exitcode"
	"tandem/internal/inbox"
)

const (
	lockEvery = 500 * time.Millisecond
	// parkFor and pingDeadline add up to the longest time until a holder knows of a line that went dead. That
	// must be far below the 25 s after which the server gives such a holder's lock away; see lockSettings.
	parkFor = 4 * time.Second
)

// lockSettings are for the session that holds the lock: the server notices within about 25 s that its host
// has vanished (by default after two hours), and never ends it for being idle. They are set by statements,
// as PgBouncer refuses them in the start of a connection. On a Unix socket the first four have no effect.
var lockSettings = []string{
	`SET tcp_keepalives_idle = 10`,
	`SET tcp_keepalives_interval = 5`,
	`SET tcp_keepalives_count = 3`,
	`SET tcp_user_timeout = 20000`,
	`SET idle_session_timeout = 0`,
}

var errPooled = errors.New("DATABASE_URL: a connection pooler (PgBouncer or the like) stands before PostgreSQL, through which the polling lock cannot be held: give the address of PostgreSQL itself")

// pollLock takes the session's advisory lock of the bot on a connection of its own: one from the pool would be
// closed when it gets old. It tries now and then instead of waiting in the server, where a wait could not be
// told from a line that went dead.
func (p *postgres) pollLock(ctx context.Context, botID int64, instance string, waiting func(holder string)) (inbox.PollLock, error) {
	var told string
	for {
		l, err := p.tryPollLock(ctx, botID, instance, waiting, &told)
		if l != nil {
			return l, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, errPooled) {
			return nil, exitcode.With(exitcode.Config, err)
		}
		if err := pause(ctx, retryBack); err != nil {
			return nil, err
		}
	}
}

// tryPollLock tries on one connection until it has the lock, the connection breaks or ctx ends.
func (p *postgres) tryPollLock(ctx context.Context, botID int64, instance string, waiting func(string), told *string) (*advisoryLock, error) {
	config := p.lock.Copy()
	config.RuntimeParams["application_name"] = applicationName(botID, instance)
	open, cancel := context.WithTimeout(ctx, openTimeout)
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
	if pooled, err := isPooled(open, c); err != nil {
		return nil, err
	} else if pooled {
		return nil, errPooled
	}
	for _, set := range lockSettings {
		// Older servers do not know each of them: they are a precaution, the epoch is the guard.
		if _, err := c.Exec(open, set); err != nil && sqlState(err) == "" {
			return nil, err
		}
	}
	for {
		got, holder, err := tryAdvisory(ctx, c, botID)
		if err != nil {
			return nil, err
		}
		if got {
			kept = true
			return holdAdvisory(c), nil
		}
		if holder != *told {
			*told = holder
			waiting(holder)
		}
		if err := pause(ctx, lockEvery); err != nil {
			return nil, err
		}
	}
}

func tryAdvisory(ctx context.Context, c *pgx.Conn, botID int64) (got bool, holder string, err error) {
	ctx, cancel := context.WithTimeout(ctx, pingDeadline)
	defer cancel()
	key := lockKey(botID)
	if err := c.QueryRow(ctx, `SELECT pg_try_advisory_lock($1::int, $2::int)`, lockClass, key).Scan(&got); err != nil || got {
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

// lockKey is the second half of a bot's advisory lock. Ids have 54 bits: folded, two bots that share one would
// wait for each other, which is one chance in four thousand million.
func lockKey(botID int64) int32 {
	h := uint64(botID) * 0x9e3779b97f4a7c15 // Fibonacci hashing: the high bits depend on all of the id
	key := int32(h >> 32)
	if key == migrateLock {
		key = 1
	}
	return key
}

// applicationName says in pg_stat_activity, and to who waits, who holds the lock. The server cuts it at 63
// bytes and replaces what is not printable ASCII.
func applicationName(botID int64, instance string) string {
	name := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, fmt.Sprintf("tandem bot %d on %s", botID, instance))
	return name[:min(len(name), 63)]
}

func pause(ctx context.Context, d time.Duration) error {
	d = d*3/4 + rand.N(d/2)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// advisoryLock is held as long as its connection lives.
type advisoryLock struct {
	conn   *pgx.Conn
	lost   chan struct{}
	cancel context.CancelFunc
	done   sync.WaitGroup
	once   sync.Once
}

func holdAdvisory(c *pgx.Conn) *advisoryLock {
	ctx, cancel := context.WithCancel(context.Background())
	l := &advisoryLock{conn: c, lost: make(chan struct{}), cancel: cancel}
	l.done.Go(func() { l.guard(ctx) })
	return l
}

// guard reads from the connection, which tells within a millisecond that the server has ended it, and between
// reads asks whether the server answers, which tells of a line that went dead.
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
			ping, cancel := context.WithTimeout(ctx, pingDeadline)
			err = l.conn.Ping(ping)
			cancel()
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				continue
			}
		}
		close(l.lost)
		return
	}
}

// Lost is closed when the connection that holds the lock is known to be broken.
func (l *advisoryLock) Lost() <-chan struct{} { return l.lost }

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
