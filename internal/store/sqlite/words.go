package sqlite

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"tandem/internal/store/driver"
)

// LockWords need not lock: BEGIN IMMEDIATE has done so.
func (d *DB) LockWords() string {
	return `SELECT messages_from, names_from FROM words_state WHERE id = 1`
}

func (d *DB) PutWords(ctx context.Context, c driver.Conn, table driver.WordTable, list []driver.WordsOf) error {
	for _, w := range list {
		var err error
		if pieces := w.Pieces(); len(pieces) == 0 {
			_, err = c.Exec(ctx, fmt.Sprintf(`DELETE FROM %s WHERE rowid = $1`, table), w.ID)
		} else {
			_, err = c.Exec(ctx, fmt.Sprintf(`INSERT OR REPLACE INTO %s (rowid, pieces) VALUES ($1, $2)`, table),
				w.ID, tokens(pieces))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *DB) FindWords(
	ctx context.Context, c driver.Conn, table driver.WordTable, q driver.Question, from, below int64, limit int,
) ([]int64, error) {
	var match strings.Builder
	for i, either := range q {
		if i > 0 {
			match.WriteString(" AND ")
		}
		match.WriteString("(")
		for n, term := range either {
			if n > 0 {
				match.WriteString(" OR ")
			}
			match.WriteString(`"` + tokens(term.Pieces) + `"`)
		}
		match.WriteString(")")
	}
	// With the count all are found in the statement's first step, the only one that SQLite's driver can end.
	r, err := c.Query(ctx, fmt.Sprintf(`SELECT id + 0 * COUNT(*) OVER () FROM (SELECT rowid AS id FROM %s
			WHERE %s MATCH $1 AND rowid >= $2 AND rowid < $3 ORDER BY rowid DESC LIMIT $4) found ORDER BY id DESC`,
		table, table), match.String(), from, below, limit)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var ids []int64
	for r.Next() {
		var id int64
		if err := r.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, r.Err()
}

// signs is what is added to a sign of ASCII, of which FTS5's tokenizer would make white space.
const signs = 0xE000

// tokens are the pieces as FTS5's ascii tokenizer takes them: it leaves all beyond ASCII alone.
func tokens(pieces []string) string {
	var b strings.Builder
	for i, piece := range pieces {
		if i > 0 {
			b.WriteByte(' ')
		}
		for _, r := range piece {
			if r < utf8.RuneSelf && (r < '0' || r > '9') && (r < 'a' || r > 'z') {
				r += signs
			}
			b.WriteRune(r)
		}
	}
	return b.String()
}
