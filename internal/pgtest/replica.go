package pgtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"tandem/internal/proctest"
)

// ReplicaSettings are what a server needs to have replicas.
var ReplicaSettings = []string{"wal_level=replica", "max_wal_senders=5", "hot_standby=on"}

// Replica makes a server that follows this one, which was made with ReplicaSettings. This one waits for it at each
// commit from now on, so what was committed is in both.
func (s *Instance) Replica() *Instance {
	s.t.Helper()
	port, err := proctest.FreePort()
	if err != nil {
		s.t.Fatalf("pgtest: %v", err)
	}
	return s.replica(port)
}

// ReplicaInPlaceOf is Replica on the port of a server that was killed, whose files go.
func (s *Instance) ReplicaInPlaceOf(dead *Instance) *Instance {
	s.t.Helper()
	dead.Remove()
	return s.replica(dead.port)
}

func (s *Instance) replica(port int) *Instance {
	s.t.Helper()
	dir, err := os.MkdirTemp("", "tandem-pgtest-")
	if err != nil {
		s.t.Fatalf("pgtest: %v", err)
	}
	r := &Instance{t: s.t, bin: s.bin, dir: dir, settings: s.settings, as: s.as, port: port}
	if r.as != nil {
		err = os.Chown(dir, int(r.as.Uid), int(r.as.Gid))
	}
	if err == nil {
		err = r.watch()
	}
	if err != nil {
		os.RemoveAll(dir)
		s.t.Fatalf("pgtest: %v", err)
	}
	s.t.Cleanup(r.Remove)
	err = r.run("pg_basebackup", "--pgdata="+filepath.Join(dir, "data"), "--dbname="+s.adminURL(),
		"--write-recovery-conf", "--checkpoint=fast", "--no-sync")
	if err != nil {
		s.t.Fatalf("pgtest: copy the server: %v", err)
	}
	r.Start()
	for _, sql := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		if err := execute(s.adminURL(), sql); err != nil {
			s.t.Fatalf("pgtest: wait for the replica at each commit: %v", err)
		}
	}
	proctest.Eventually(s.t, time.Minute, "the replica follows", func() bool { return s.followed() == nil })
	return r
}

func (s *Instance) followed() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, s.adminURL())
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	var n int
	err = c.QueryRow(ctx, `SELECT count(*) FROM pg_stat_replication
		WHERE state = 'streaming' AND sync_state = 'sync'`).Scan(&n)
	if err == nil && n == 0 {
		err = fmt.Errorf("no replica is in step")
	}
	return err
}

// Promote makes a replica a server that can be written to.
func (s *Instance) Promote() {
	s.t.Helper()
	if err := s.control("promote"); err != nil {
		s.t.Fatalf("pgtest: %v", err)
	}
}
