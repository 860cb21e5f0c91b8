// Package pgtest gives a test a real PostgreSQL. It promises that nothing is left when the test process has
// ended, in whatever way it ended: a watchdog process outside of it stops the server and removes its files.
// What a test stores there, and how it connects, is the test's own affair.
//
// Servers of this package listen on a loopback port, ask for the password, and give the test an ordinary
// role that owns its database and is no superuser: what most users of PostgreSQL have.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tandem/internal/testenv"
)

// URL returns the address (postgres://...) of a new empty database, which is dropped when the test ends.
//
// With TANDEM_TEST_POSTGRES, the URL of a server where it may create databases, it is made there. Else it is
// made on one server for the whole test process, started at the first call and tuned for speed (fsync off).
// Where there is no PostgreSQL the test is skipped, or fails where everything must be there (see testenv).
func URL(t testing.TB) string {
	t.Helper()
	return database(t, "")
}

// Encoded is URL for a database in another encoding than the server's, such as SQL_ASCII or LATIN1.
func Encoded(t testing.TB, encoding string) string {
	t.Helper()
	return database(t, " ENCODING '"+encoding+"' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
}

// database makes one, with options for CREATE DATABASE.
func database(t testing.TB, options string) string {
	t.Helper()
	admin := os.Getenv("TANDEM_TEST_POSTGRES")
	owner := ""
	if admin == "" {
		s, err := shared()
		if err != nil {
			missingOrFatal(t, err)
		}
		admin, owner = s.adminURL(), role
	}
	name := "tandem_test_" + rand.Text()[:12]
	quoted := pgx.Identifier{name}.Sanitize()
	create := "CREATE DATABASE " + quoted + options
	if owner != "" {
		create += " OWNER " + owner
	}
	if err := execute(admin, create); err != nil {
		t.Fatalf("pgtest: create a database for this test: %v", err)
	}
	t.Cleanup(func() {
		if err := execute(admin, "DROP DATABASE IF EXISTS "+quoted+" WITH (FORCE)"); err != nil {
			t.Errorf("pgtest: drop this test's database: %v", err)
		}
	})
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal("pgtest: TANDEM_TEST_POSTGRES is not a URL like postgres://user:password@host:5432/postgres")
	}
	if owner != "" {
		u.User = url.UserPassword(role, password)
	}
	u.Path = "/" + name
	return u.String()
}

var shared = sync.OnceValues(func() (*Instance, error) {
	s, err := newInstance(nil)
	if err != nil {
		return nil, err
	}
	return s, s.start()
})

// Server starts a server for this test alone, which the test may stop, kill and start again on the same
// port. Settings are lines of postgresql.conf, such as "fsync=on" (it is off by default) or
// "max_connections=5". Skips like URL; TANDEM_TEST_POSTGRES does not matter here.
func Server(t testing.TB, settings ...string) *Instance {
	t.Helper()
	s, err := Standalone(settings...)
	if err != nil {
		missingOrFatal(t, err)
	}
	s.t = t
	t.Cleanup(s.Remove)
	return s
}

// Standalone is Server for a program that is no test, such as a benchmark. The program calls Remove in the end. What
// needs a test to fail (Start, Stop, Kill, replicas) is not for it.
func Standalone(settings ...string) (*Instance, error) {
	s, err := newInstance(settings)
	if err != nil {
		return nil, err
	}
	if err = s.start(); err == nil {
		if err = execute(s.adminURL(), "CREATE DATABASE "+role+" OWNER "+role); err == nil {
			return s, nil
		}
		err = fmt.Errorf("create the database of this server: %w", err)
	}
	s.Remove()
	return nil, err
}

// URL returns the address of the server's one database for tests, empty at first. It stays the same when the
// server is started again.
func (s *Instance) URL() string { return s.url(role, role) }

// Start starts the server that was stopped and returns when it accepts connections.
func (s *Instance) Start() {
	s.t.Helper()
	if err := s.start(); err != nil {
		s.t.Fatalf("pgtest: %v", err)
	}
}

// Stop ends the server as an administrator does: open sessions are ended, what was committed is kept.
func (s *Instance) Stop() {
	s.t.Helper()
	if err := s.control("stop", "--mode=fast"); err != nil {
		s.t.Fatalf("pgtest: %v", err)
	}
}

// Kill ends every process of the server with SIGKILL, as a crash of the machine's memory killer would, and
// returns when they have ended. What was committed is there after the next Start.
func (s *Instance) Kill() {
	s.t.Helper()
	if err := s.kill(); err != nil {
		s.t.Fatalf("pgtest: kill the server: %v", err)
	}
}

func missingOrFatal(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, ErrNotInstalled) {
		testenv.Missing(t, err.Error())
	}
	t.Fatalf("pgtest: %v", err)
}

func execute(url, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}
