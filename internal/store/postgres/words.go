package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"unicode/utf8"

	"tandem/internal/store/driver"
	"tandem/internal/words"
)

const (
	// blockBits : the pieces of so many ids have keys of their own. So a search reads of the index what belongs to the
	// ids that it has come to, and a word that was frequent long ago costs no more than others.
	blockBits = 16
	// look is how many ids are looked at one by one before the index is asked: a word that is frequent now is among them.
	look = 500
)

func (p *DB) LockWords() string {
	return `SELECT messages_from, names_from FROM words_state WHERE id = 1 FOR UPDATE SKIP LOCKED`
}

// flushBytes is after how many bytes of texts their statements are sent, as they take many times that.
const flushBytes = 64 << 10

func (p *DB) PutWords(ctx context.Context, c driver.Conn, table driver.WordTable, list []driver.WordsOf) error {
	waiting := 0
	for _, w := range list {
		var err error
		if pieces := w.Pieces(); len(pieces) == 0 {
			err = c.Later(ctx, nil, fmt.Sprintf(`DELETE FROM %s WHERE id = $1`, table), w.ID)
		} else {
			err = c.Later(ctx, nil, fmt.Sprintf(`INSERT INTO %s (id, keys, words) VALUES ($1, $2, $3)
				ON CONFLICT (id) DO UPDATE SET keys = excluded.keys, words = excluded.words`, table),
				w.ID, keys(w.ID>>blockBits, pieces), w.Folded)
		}
		if waiting += len(w.Folded); err == nil && waiting > flushBytes {
			err, waiting = c.Flush(ctx), 0
		}
		if err != nil {
			return err
		}
	}
	return c.Flush(ctx)
}

func (p *DB) FindWords(
	ctx context.Context, c driver.Conn, table driver.WordTable, q driver.Question, from, below int64, limit int,
) (ids []int64, err error) {
	var top *int64
	_, err = driver.Row(ctx, c, []any{&top}, fmt.Sprintf(`SELECT MAX(id) FROM %s`, table))
	if err != nil || top == nil {
		return nil, err
	}
	below = min(below, *top+1)
	first := max(below-look, from)
	for below > from && len(ids) < limit {
		block := (below - 1) >> blockBits
		low := max(block<<blockBits, from)
		// Without a column alone there, nothing but the index of the keys can be used.
		column := "id + 0"
		if below > first {
			low, column = max(low, first), "id"
		}
		found, err := findIn(ctx, c, table, column, q, block, low, below, limit-len(ids))
		if err != nil {
			return nil, err
		}
		ids, below = append(ids, found...), low
	}
	return ids, nil
}

// findIn finds the ids of a part of a block.
func findIn(
	ctx context.Context, c driver.Conn, table driver.WordTable, column string, q driver.Question, block, low, below int64,
	limit int,
) (ids []int64, err error) {
	args := []any{low, below, limit}
	var where strings.Builder
	for _, either := range q {
		var list []string
		for _, term := range either {
			args = append(args, keys(block, term.Pieces))
			has := fmt.Sprintf(`keys @> $%d`, len(args))
			if utf8.RuneCountInString(term.Text) >= words.Long { // one piece is found by itself
				args = append(args, term.Text)
				has += fmt.Sprintf(` AND POSITION($%d IN words) > 0`, len(args))
			}
			list = append(list, has)
		}
		where.WriteString(` AND (` + strings.Join(list, ` OR `) + `)`)
	}
	r, err := c.Query(ctx, fmt.Sprintf(`SELECT id FROM %s WHERE %s >= $1 AND %s < $2%s ORDER BY %s DESC LIMIT $3`,
		table, column, column, where.String(), column), args...)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for r.Next() {
		var id int64
		if err := r.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, r.Err()
}

// keys are the numbers under which a block has pieces. Two pieces that have one number find too much, as rarely as two
// of some ten thousand are the same of four thousand million.
func keys(block int64, pieces []string) []int32 {
	list := make([]int32, 0, len(pieces))
	h := fnv.New32a()
	for _, piece := range pieces {
		h.Reset()
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], uint64(block))
		h.Write(b[:])
		h.Write([]byte(piece))
		list = append(list, int32(h.Sum32()))
	}
	slices.Sort(list)
	return slices.Compact(list)
}
