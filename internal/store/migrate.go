package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// versionTable is ours alone, so that another program with goose in the same database does not meet it.
const versionTable = "tandem_schema"

// errNewer : the schema was made by a later version of this program, and this one cannot use it.
var errNewer = errors.New("the schema is newer than this program can use")

// errMigrate : the schema is older than this program needs, and stays so.
var errMigrate = errors.New("migrate")

// migrateUp brings the schema to the newest version in files and leaves a newer one alone. The caller keeps other
// processes out.
func migrateUp(ctx context.Context, db *sql.DB, dialect goose.Dialect, files fs.FS) error {
	provider, err := goose.NewProvider(dialect, db, files, goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	have, want, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the version of the schema: %w", err)
	}
	if have > want {
		return nil
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("%w: %w", errMigrate, err)
	}
	return nil
}

// migrationsOf are those for one kind of database.
func migrationsOf(folder string) fs.FS {
	files, err := fs.Sub(migrations, "migrations/"+folder)
	if err != nil {
		panic(err) // only for a name that is no path
	}
	return files
}

// newestSchema is the version that the embedded migrations lead to, on both databases.
var newestSchema = func() int64 {
	names, _ := fs.Glob(migrations, "migrations/postgres/*.sql")
	return int64(len(names))
}()

// fits is nil if this program may use the schema, which another version of it may have changed at any time.
func fits(ctx context.Context, db database) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	leave, err := db.lane(health).enter(ctx, health)
	if err != nil {
		return err
	}
	defer leave()
	var have, oldest int64
	err = db.read(ctx, health, func(c conn) error {
		t := tx{ctx, c}
		return t.one(to(&have, &oldest), `SELECT (SELECT COALESCE(MAX(version_id), 0) FROM `+versionTable+` WHERE is_applied), oldest FROM schema_compat WHERE id = 1`)
	})
	if err != nil {
		return err
	}
	return judge(have, oldest)
}

// judge is nil if this program may use a schema of version have that asks for one that knows oldest.
func judge(have, oldest int64) error {
	if oldest <= newestSchema {
		return nil
	}
	return fmt.Errorf("%w: it has version %d and asks for programs that know version %d, this one knows up to %d; run the version of Tandem that made it, or a later one",
		errNewer, have, oldest, newestSchema)
}
