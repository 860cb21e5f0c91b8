package store

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"tandem/internal/exitcode"
	"tandem/internal/store/storetest"
)

// migrateFurther does what later versions of this program would: all migrations known here, and more of them from
// testdata/next.
func migrateFurther(t *testing.T, address string, more ...string) {
	t.Helper()
	driver, folder, dialect, dsn := "pgx", "postgres", goose.DialectPostgres, address
	if path, _ := sqlitePath(address); path != "" {
		driver, folder, dialect, dsn = "sqlite", "sqlite", goose.DialectSQLite3, path
	}
	files := fstest.MapFS{}
	known := migrationsOf(folder)
	names, err := fs.Glob(known, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := fs.ReadFile(known, name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: b}
	}
	for i, name := range more {
		b, err := os.ReadFile("testdata/next/" + name + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		files[fmt.Sprintf("%05d_%s.sql", newestSchema+int64(i)+1, name)] = &fstest.MapFile{Data: b}
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if driver == "sqlite" {
		if _, err := db.ExecContext(t.Context(), `PRAGMA busy_timeout = 10000`); err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(1)
	}
	if err := migrateUp(t.Context(), db, dialect, files); err != nil {
		t.Fatal(err)
	}
}

// TestSuiteOnALaterSchema : in an update this version goes on beside the next one, on the schema of that.
func TestSuiteOnALaterSchema(t *testing.T) {
	t.Parallel()
	for name, make := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) func() storetest.Store {
				address := make(t)
				migrateFurther(t, address, "additive")
				return func() storetest.Store { return running(t, address) }
			})
		})
	}
}

// TestASchemaThatAsksForMore : found at the start, and while running when another version changes it.
func TestASchemaThatAsksForMore(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, address string) {
		s := Open(address, slog.New(slog.NewTextHandler(t.Output(), nil)))
		defer s.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		if err := s.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
		migrateFurther(t, address, "additive")
		select {
		case err := <-ended:
			t.Fatalf("ended by what it can live with: %v", err)
		case <-time.After(checkEvery + time.Second): // it has looked at least once
		}
		migrateFurther(t, address, "additive", "removing")
		words := fmt.Sprintf("it has version %d and asks for programs that know version 1000, this one knows up to %d", newestSchema+2, newestSchema)
		err := <-ended
		if exitcode.Of(err) != exitcode.Config || !strings.Contains(err.Error(), words) || !strings.Contains(fmt.Sprint(s.Ready()), words) {
			t.Errorf("ended with %v; it says %v", err, s.Ready())
		}
		wantConfigError(t, address, words)
		if err := s.Run(ctx); exitcode.Of(err) != exitcode.Config {
			t.Errorf("run again: %v", err)
		}
	})
}

// TestMigrationsOnlyAdd : what would break the version before says which one it still allows.
func TestMigrationsOnlyAdd(t *testing.T) {
	breaks := regexp.MustCompile(`(?i)\b(DROP\s+(TABLE|COLUMN)|RENAME|ALTER\s+COLUMN|SET\s+NOT\s+NULL)\b`)
	says := regexp.MustCompile(`(?i)UPDATE\s+schema_compat\s+SET\s+oldest`)
	for _, folder := range []string{"postgres", "sqlite"} {
		files := migrationsOf(folder)
		names, _ := fs.Glob(files, "*.sql")
		if len(names) != int(newestSchema) {
			t.Errorf("%s has %d migrations, the other %d", folder, len(names), newestSchema)
		}
		for _, name := range names[1:] {
			b, err := fs.ReadFile(files, name)
			if err != nil {
				t.Fatal(err)
			}
			if found := breaks.FindString(string(b)); found != "" && !says.Match(b) {
				t.Errorf("%s/%s: %q breaks programs that know the schema before it: raise schema_compat.oldest with it", folder, name, found)
			}
		}
	}
	b, err := os.ReadFile("testdata/next/removing.sql")
	if err != nil || !breaks.Match(b) || !says.Match(b) {
		t.Errorf("the rule does not see a column go: %v", err)
	}
}
