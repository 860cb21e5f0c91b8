package postgres

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// pooler remembers whether a connection pooler, like PgBouncer, stands before the server.
type pooler struct {
	mu    sync.Mutex
	known bool
	there bool
}

func (p *pooler) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known = false
}

// adapt makes one connection fit what it leads to. A pooler gives each transaction another session of the server. An
// older pooler does not know that a client has prepared a statement in the session before. So statements are sent as a
// whole each time.
func (p *DB) adapt(ctx context.Context, c *pgx.ConnConfig) error {
	k := &p.pooler
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.known {
		probe, err := pgx.ConnectConfig(ctx, c.Copy())
		if err != nil {
			return err
		}
		defer closeSoon(probe)
		if k.there, err = isPooled(ctx, probe); err != nil {
			return err
		}
		k.known = true
	}
	if !k.there {
		return nil
	}
	if c.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		c.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	// pgx dials a second time to ask the server to cancel a statement that was cut off. PgBouncer 1.18, which is
	// Debian 12's, ends at that with all its connections ("server in bad state").
	var connected atomic.Bool
	dialFirst := c.DialFunc
	c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if connected.Load() {
			return nil, errNoCancel
		}
		return dialFirst(ctx, network, address)
	}
	c.AfterConnect = func(context.Context, *pgconn.PgConn) error {
		connected.Store(true)
		return nil
	}
	return nil
}

var errNoCancel = errors.New("a pooler is not asked to cancel")

// isPooled says whether another program stands between: it tells a process id of its own.
func isPooled(ctx context.Context, c *pgx.Conn) (bool, error) {
	var pid uint32
	err := c.QueryRow(ctx, `SELECT pg_backend_pid()`, pgx.QueryExecModeSimpleProtocol).Scan(&pid)
	return err == nil && pid != c.PgConn().PID(), err
}
