package store

import (
	"context"
	"fmt"

	"tandem/internal/inbox"
)

const cannedColumns = `id, name, folder, text, shared, owner_id, then_do`

// isSeen is which canned answers operator $1 sees.
const isSeen = `(shared OR owner_id = $1 AND owner_id > 0)`

func scanCanned(scan func(...any) error) (c inbox.Canned, err error) {
	var then string
	err = scan(&c.ID, &c.Name, &c.Folder, &c.Text, &c.Shared, &c.Owner, &then)
	c.Then = inbox.DecodeThen(then)
	return c, err
}

// Canned lists canned answers; see inbox.OperatorCanned.
func (s *Store) Canned(ctx context.Context, operator int64) ([]inbox.Canned, error) {
	var list []inbox.Canned
	err := s.read(ctx, "list canned answers", func(t tx) (err error) {
		list, err = all(t, scanCanned, `SELECT `+cannedColumns+` FROM canned WHERE `+isSeen+`
			ORDER BY folder, name, id LIMIT $2`, operator, 2*inbox.MaxCanned)
		return err
	})
	return list, err
}

// AddCanned stores one; see inbox.OperatorCanned.
func (s *Store) AddCanned(ctx context.Context, c inbox.Canned) (inbox.Canned, error) {
	err := s.write(ctx, "add a canned answer", func(t tx) (err error) {
		if err := roomForCanned(t, c); err != nil {
			return err
		}
		c.ID, err = t.insert(`INSERT INTO canned (name, folder, text, shared, owner_id, then_do)
			VALUES ($1, $2, $3, $4, $5, $6)`, c.Name, c.Folder, c.Text, c.Shared, c.Owner, c.Then.Encode())
		return err
	})
	if err != nil {
		return inbox.Canned{}, err
	}
	return c, nil
}

// roomForCanned says whether there may be one more where c is to be.
func roomForCanned(t tx, c inbox.Canned) error {
	var n int64
	err := t.one(to(&n), `SELECT COUNT(*) FROM canned WHERE shared AND $1 OR NOT shared AND NOT $1 AND owner_id = $2`,
		c.Shared, c.Owner)
	if err == nil && n >= inbox.MaxCanned {
		err = conflict("there are %d canned answers already: remove one first", inbox.MaxCanned)
	}
	return err
}

// ChangeCanned changes one; see inbox.OperatorCanned.
func (s *Store) ChangeCanned(ctx context.Context, operator, id int64, ch inbox.CannedChange) (inbox.Canned, error) {
	var c inbox.Canned
	err := s.write(ctx, "change a canned answer", func(t tx) error {
		list, err := all(t, scanCanned, `SELECT `+cannedColumns+` FROM canned WHERE `+isSeen+` AND id = $2`, operator, id)
		if err == nil && len(list) == 0 {
			err = inbox.ErrNotFound
		}
		if err != nil {
			return err
		}
		c = list[0]
		for _, field := range []struct{ to, from *string }{{&c.Name, ch.Name}, {&c.Folder, ch.Folder}, {&c.Text, ch.Text}} {
			if field.from != nil {
				*field.to = *field.from
			}
		}
		if ch.Then != nil {
			c.Then = *ch.Then
		}
		if ch.Shared != nil && *ch.Shared != c.Shared {
			if c.Shared = *ch.Shared; !c.Shared {
				c.Owner = operator
			}
			if err := roomForCanned(t, c); err != nil {
				return err
			}
		}
		return t.later(`UPDATE canned SET name = $1, folder = $2, text = $3, shared = $4, owner_id = $5, then_do = $6
			WHERE id = $7`, c.Name, c.Folder, c.Text, c.Shared, c.Owner, c.Then.Encode(), id)
	})
	if err != nil {
		return inbox.Canned{}, err
	}
	return c, nil
}

// DeleteCanned removes one; see inbox.OperatorCanned.
func (s *Store) DeleteCanned(ctx context.Context, operator, id int64) error {
	return s.write(ctx, "remove a canned answer", func(t tx) error {
		n, err := t.exec(`DELETE FROM canned WHERE `+isSeen+` AND id = $2`, operator, id)
		if err == nil && n == 0 {
			err = fmt.Errorf("canned answer %d: %w", id, inbox.ErrNotFound)
		}
		return err
	})
}
