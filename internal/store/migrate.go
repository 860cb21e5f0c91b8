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

// errNewer : the schema was made by a later version of this program.
var errNewer = errors.New("schema is newer than this program")

// migrateUp brings the schema to the newest version known here. The caller keeps other processes out.
func migrateUp(ctx context.Context, db *sql.DB, dialect goose.Dialect, folder string) error {
	files, err := fs.Sub(migrations, "migrations/"+folder)
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(dialect, db, files, goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	have, want, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the version of the schema: %w", err)
	}
	if have > want {
		return newerSchema(have, want)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

func newerSchema(have, want int64) error {
	return fmt.Errorf("%w: it has version %d, this program knows up to %d; run the version of Tandem that made it, or a later one", errNewer, have, want)
}

// newestSchema is the version that the embedded migrations lead to.
func newestSchema(folder string) int64 {
	names, _ := fs.Glob(migrations, "migrations/"+folder+"/*.sql")
	return int64(len(names))
}
