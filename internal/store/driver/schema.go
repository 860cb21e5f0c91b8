package driver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

// NewestSchema is the version to which the migrations of each database lead.
const NewestSchema = 16

// VersionTable is ours alone, so that another program with goose in the same database does not meet it.
const VersionTable = "tandem_schema"

// ErrNewer : the schema was made by a later version of this program, and this one cannot use it.
var ErrNewer = errors.New("the schema is newer than this program can use")

// ErrMigrate : the schema is older than this program needs, and stays so.
var ErrMigrate = errors.New("migrate")

// Folder is one folder of files that are embedded.
func Folder(files fs.FS, name string) fs.FS {
	folder, err := fs.Sub(files, name)
	if err != nil {
		panic(err) // only for a name that is no path
	}
	return folder
}

// MigrateUp brings the schema to the newest version in files and leaves a newer one alone. The caller keeps other
// processes out.
func MigrateUp(ctx context.Context, db *sql.DB, dialect goose.Dialect, files fs.FS) error {
	provider, err := goose.NewProvider(dialect, db, files,
		goose.WithTableName(VersionTable), goose.WithDisableGlobalRegistry(true))
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
		return fmt.Errorf("%w: %w", ErrMigrate, err)
	}
	return nil
}

// Judge is nil if this program may use a schema of version have that asks for one that knows oldest.
func Judge(have, oldest int64) error {
	if oldest <= NewestSchema {
		return nil
	}
	return fmt.Errorf("%w: it has version %d and asks for programs that know version %d, this one knows up to %d; "+
		"run the version of Tandem that made it, or a later one", ErrNewer, have, oldest, NewestSchema)
}
