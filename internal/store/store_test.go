package store

import (
	"context"
	"database/sql"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"go.uber.org/goleak"

	"tandem/internal/pgtest"
	"tandem/internal/store/postgres"
	"tandem/internal/store/sqlite"
	"tandem/internal/store/storetest"
)

func TestMain(m *testing.M) {
	if job := os.Getenv("STORE_TEST_PROCESS"); job != "" {
		os.Exit(process(job))
	}
	goleak.VerifyTestMain(m)
}

// database is what the tests know of one kind of database.
type database struct {
	url        func(t *testing.T) string // of a new empty one
	migrations fs.FS
	goose      goose.Dialect
	open       func(t *testing.T, url string) *sql.DB // beside the store, for migrations
	slow       string                                 // a statement that goes on until it is ended
	active     string                                 // counts those that go on in the server; "" if there is none
	poison     string                                 // has messages refused that say "poison"
}

// databases are all that everything is tried on.
var databases = map[string]database{
	"sqlite": {
		url:        func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "tandem.db") },
		migrations: sqlite.Migrations,
		goose:      goose.DialectSQLite3,
		open:       openSQLite,
		slow:       `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n`,
		poison: `CREATE TRIGGER poison BEFORE INSERT ON messages WHEN NEW.text = 'poison'
			BEGIN SELECT RAISE(ABORT, 'poison'); END`,
	},
	"postgres": {
		url:        func(t *testing.T) string { return pgtest.URL(t) },
		migrations: postgres.Migrations,
		goose:      goose.DialectPostgres,
		open:       openPostgres,
		slow:       `SELECT COUNT(*) FROM generate_series(1, 20000000000)`,
		active: `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()
			AND state = 'active' AND query LIKE '%generate_series(1, 2%' AND pid <> pg_backend_pid()`,
		poison: `ALTER TABLE messages ADD CONSTRAINT poison CHECK (text <> 'poison')`,
	},
}

func openSQLite(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", strings.TrimPrefix(url, "sqlite:")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	return db
}

func openPostgres(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// onEach runs a test on a new empty database of each kind.
func onEach(t *testing.T, test func(t *testing.T, db database, url string)) {
	for name, db := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, db, db.url(t))
		})
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	for name, db := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) func() storetest.Store {
				url := db.url(t)
				return func() storetest.Store { return running(t, url) }
			})
		})
	}
}

// TestStatementsAreForAnyDatabase : no statement of the store itself has words that are one database's, or that some
// database would not take. Such words belong into a driver.Dialect.
func TestStatementsAreForAnyDatabase(t *testing.T) {
	words := regexp.MustCompile(
		`\b(RETURNING|ON CONFLICT|FOR UPDATE|NOTIFY|LISTEN|PRAGMA|pg_\w+|sqlite_\w+)\b|::\w|\bIN\s*\(SELECT[^()]*\bLIMIT\b`)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		read++
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range words.FindAllString(string(b), -1) {
			t.Errorf("%s: %q", file, found)
		}
	}
	if read < 5 {
		t.Errorf("only %d files were read", read)
	}
}

// running opens a store, runs it until the test ends and waits until it is ready.
func running(t *testing.T, url string) *Store {
	t.Helper()
	s := started(t, url)
	if err := s.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func started(t *testing.T, url string) *Store {
	t.Helper()
	s, _ := stoppable(t, url)
	return s
}

// stoppable is started with a function that ends it before the test does, as a process would: Run, then Close.
func stoppable(t *testing.T, url string) (s *Store, stop func()) {
	t.Helper()
	s = Open(url, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var index sync.WaitGroup
	index.Go(func() { s.KeepIndex(ctx) })
	stop = sync.OnceFunc(func() {
		cancel()
		index.Wait()
		if err := <-done; err != nil {
			t.Logf("Run ended with: %v", err)
		}
		s.Close()
	})
	t.Cleanup(stop)
	return s, stop
}
