package store

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"tandem/internal/exitcode"
	"tandem/internal/store/driver"
	"tandem/internal/store/storetest"
)

// migrateFurther does what later versions of this program would: all migrations known here, and more of them from
// testdata/next.
func migrateFurther(t *testing.T, kind database, url string, more ...string) {
	t.Helper()
	files := fstest.MapFS{}
	for _, name := range migrationNames(t, kind) {
		b, err := fs.ReadFile(kind.migrations, name)
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
		files[fmt.Sprintf("%05d_%s.sql", driver.NewestSchema+i+1, name)] = &fstest.MapFile{Data: b}
	}
	db := kind.open(t, url)
	defer db.Close()
	if err := driver.MigrateUp(t.Context(), db, kind.goose, files); err != nil {
		t.Fatal(err)
	}
}

func migrationNames(t *testing.T, kind database) []string {
	t.Helper()
	names, err := fs.Glob(kind.migrations, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestMigrationsOfTheSameVersions : each database has the same ones, and the newest is the one that programs ask for.
func TestMigrationsOfTheSameVersions(t *testing.T) {
	for name, kind := range databases {
		have := migrationNames(t, kind)
		if len(have) != driver.NewestSchema {
			t.Errorf("%s has %d migrations, and driver.NewestSchema is %d", name, len(have), driver.NewestSchema)
		}
		for i, file := range have {
			if !strings.HasPrefix(file, fmt.Sprintf("%05d_", i+1)) {
				t.Errorf("%s: migration %d is %s", name, i+1, file)
			}
		}
		if first := migrationNames(t, databases["sqlite"]); !slices.Equal(have, first) {
			t.Errorf("%s has %q, sqlite has %q", name, have, first)
		}
	}
}

// TestSuiteOnALaterSchema : in an update this version goes on beside the next one, on the schema of that.
func TestSuiteOnALaterSchema(t *testing.T) {
	t.Parallel()
	for name, kind := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) func() storetest.Store {
				address := kind.url(t)
				migrateFurther(t, kind, address, "additive")
				return func() storetest.Store { return running(t, address) }
			})
		})
	}
}

// TestASchemaThatAsksForMore : found at the start, and while running when another version changes it.
func TestASchemaThatAsksForMore(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, kind database, address string) {
		s := Open(address, slog.New(slog.NewTextHandler(t.Output(), nil)))
		defer s.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		if err := s.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
		migrateFurther(t, kind, address, "additive")
		select {
		case err := <-ended:
			t.Fatalf("ended by what it can live with: %v", err)
		case <-time.After(checkEvery + time.Second): // it has looked at least once
		}
		migrateFurther(t, kind, address, "additive", "removing")
		words := fmt.Sprintf("it has version %d and asks for programs that know version 1000, this one knows up to %d",
			driver.NewestSchema+2, driver.NewestSchema)
		err := <-ended
		if exitcode.Of(err) != exitcode.Config || !strings.Contains(err.Error(), words) ||
			!strings.Contains(fmt.Sprint(s.Ready()), words) {
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
	for kind, db := range databases {
		for _, name := range migrationNames(t, db)[1:] {
			b, err := fs.ReadFile(db.migrations, name)
			if err != nil {
				t.Fatal(err)
			}
			// How a value is kept is no matter to a program.
			b = regexp.MustCompile(`(?i)\bALTER\s+COLUMN\s+\w+\s+SET\s+STORAGE\b`).ReplaceAll(b, nil)
			if found := breaks.FindString(string(b)); found != "" && !says.Match(b) {
				t.Errorf("%s/%s: %q breaks programs that know the schema before it: "+
					"raise schema_compat.oldest with it", kind, name, found)
			}
		}
	}
	b, err := os.ReadFile("testdata/next/removing.sql")
	if err != nil || !breaks.Match(b) || !says.Match(b) {
		t.Errorf("the rule does not see a column go: %v", err)
	}
}
