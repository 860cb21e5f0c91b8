package driver

import (
	"fmt"
	"strings"
)

// Dialect is the statements, or parts of them, for which another database may want other words.
//
// Every other statement of the store is one text for all. Beside plain SQL such a text has placeholders that are bound
// by their number ($1, more than once and in any order), BOOLEAN with TRUE and FALSE, OCTET_LENGTH, LIKE with
// ESCAPE '\', COUNT(*) OVER (), CAST to BIGINT, SAVEPOINT, and columns with the name key.
type Dialect interface {
	// LockCounters reads last_event and last_message of the row of counters, and keeps every other writer out until
	// the commit.
	LockCounters() string
	// Notify tells other processes of a commit. It is "" where they find out without.
	Notify() string
	// InsertOrKeep is the INSERT given, for a row that may be there already: then it changes nothing, and no row is
	// affected.
	InsertOrKeep(insert string) string
	// InsertOrReplace adds a row with these columns, $1 being the key. If there is a row with that key it gets the
	// other columns.
	InsertOrReplace(table, key string, others ...string) string
	// DeleteSome deletes rows that the condition on $1 finds, no more than $2. key is the primary key of the table.
	DeleteSome(table, key, condition string) string
}

// Common is what SQLite and PostgreSQL say alike of a Dialect.
type Common struct{}

func (Common) InsertOrKeep(insert string) string { return insert + ` ON CONFLICT DO NOTHING` }

func (Common) InsertOrReplace(table, key string, others ...string) string {
	columns, places, set := key, "$1", make([]string, len(others))
	for i, column := range others {
		columns += ", " + column
		places += fmt.Sprintf(", $%d", i+2)
		set[i] = column + " = excluded." + column
	}
	return fmt.Sprintf(`INSERT INTO %s (%s) VALUES (%s) ON CONFLICT (%s) DO UPDATE SET %s`,
		table, columns, places, key, strings.Join(set, ", "))
}

func (Common) DeleteSome(table, key, condition string) string {
	return fmt.Sprintf(`DELETE FROM %s WHERE (%s) IN (SELECT %s FROM %s WHERE %s LIMIT $2)`,
		table, key, key, table, condition)
}
