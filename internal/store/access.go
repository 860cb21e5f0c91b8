package store

import (
	"context"
	"time"

	"tandem/internal/inbox"
)

// IssueSignIn makes a one-time link for the operator of that name; see inbox.OperatorStore.
func (s *Store) IssueSignIn(ctx context.Context, name string, hash []byte, expires time.Time) (inbox.Operator, error) {
	name = inbox.CleanText(name)
	var op inbox.Operator
	err := s.write(ctx, "issue a sign-in link", func(t tx) error {
		now := micros(time.Now())
		if _, err := t.exec(`INSERT INTO operators (name, created_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, now); err != nil {
			return err
		}
		var err error
		if op, err = oneOperator(t, `WHERE name = $1`, name); err != nil {
			return err
		}
		// Locks the operator's row where rows are locked: of two links issued at once one is left.
		if _, err := t.exec(`UPDATE operators SET name = name WHERE id = $1`, op.ID); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM signin_links WHERE operator_id = $1`, op.ID); err != nil {
			return err
		}
		_, err = t.exec(`INSERT INTO signin_links (hash, operator_id, created_at, expires_at) VALUES ($1, $2, $3, $4)`,
			hash, op.ID, now, micros(expires))
		return err
	})
	return op, err
}

// SignInOperator says whose unused link it is.
func (s *Store) SignInOperator(ctx context.Context, hash []byte) (inbox.Operator, error) {
	var op inbox.Operator
	err := s.lookUp(ctx, "look up a sign-in link", func(t tx) (err error) {
		op, err = oneOperator(t, `WHERE id = (SELECT operator_id FROM signin_links WHERE hash = $1 AND expires_at > $2)`,
			hash, micros(time.Now()))
		return err
	})
	return op, err
}

// RedeemSignIn uses a link up.
func (s *Store) RedeemSignIn(ctx context.Context, hash []byte) (inbox.Operator, error) {
	// Found first: who guesses at links does not hold up those who write.
	op, err := s.SignInOperator(ctx, hash)
	if err != nil {
		return op, err
	}
	err = s.write(ctx, "redeem a sign-in link", func(t tx) error {
		var id int64
		err := t.one(to(&id), `DELETE FROM signin_links WHERE hash = $1 AND expires_at > $2 RETURNING operator_id`, hash, micros(time.Now()))
		if err != nil {
			return err
		}
		op, err = oneOperator(t, `WHERE id = $1`, id)
		return err
	})
	return op, err
}

// Operator is the one with that id.
func (s *Store) Operator(ctx context.Context, id int64) (inbox.Operator, error) {
	var op inbox.Operator
	err := s.lookUp(ctx, "read an operator", func(t tx) (err error) {
		op, err = oneOperator(t, `WHERE id = $1`, id)
		return err
	})
	return op, err
}

// Operators lists all, by name.
func (s *Store) Operators(ctx context.Context) ([]inbox.Operator, error) {
	var list []inbox.Operator
	err := s.read(ctx, "list operators", func(t tx) (err error) {
		list, err = operators(t, `ORDER BY name`)
		return err
	})
	return list, err
}

func oneOperator(t tx, where string, args ...any) (inbox.Operator, error) {
	list, err := operators(t, where, args...)
	if err == nil && len(list) == 0 {
		return inbox.Operator{}, inbox.ErrNotFound
	}
	if err != nil {
		return inbox.Operator{}, err
	}
	return list[0], nil
}

func operators(t tx, where string, args ...any) ([]inbox.Operator, error) {
	return all(t, func(scan func(...any) error) (o inbox.Operator, err error) {
		var created int64
		err = scan(&o.ID, &o.Name, &created)
		o.CreatedAt = fromMicros(created)
		return o, err
	}, `SELECT id, name, created_at FROM operators `+where, args...)
}

// CreateToken stores an API token by the hash of its secret.
func (s *Store) CreateToken(ctx context.Context, name string, hash []byte) (inbox.Token, error) {
	token := inbox.Token{Name: inbox.CleanText(name)}
	err := s.write(ctx, "create an API token", func(t tx) error {
		now := micros(time.Now())
		token.CreatedAt = fromMicros(now)
		found, err := t.row(to(&token.ID), `
			INSERT INTO api_tokens (name, hash, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING id`, token.Name, hash, now)
		if err == nil && !found {
			err = conflict("there is a token named %q already", token.Name)
		}
		return err
	})
	if err != nil {
		return inbox.Token{}, err
	}
	return token, nil
}

// RevokeToken makes the token of that name useless; the name is free again.
func (s *Store) RevokeToken(ctx context.Context, name string) error {
	return s.write(ctx, "revoke an API token", func(t tx) error {
		n, err := t.exec(`DELETE FROM api_tokens WHERE name = $1`, inbox.CleanText(name))
		if err == nil && n == 0 {
			err = inbox.ErrNotFound
		}
		return err
	})
}

// TokenByHash is the token with that hash.
func (s *Store) TokenByHash(ctx context.Context, hash []byte) (inbox.Token, error) {
	var token inbox.Token
	err := s.lookUp(ctx, "look up an API token", func(t tx) error {
		var created int64
		err := t.one(to(&token.ID, &token.Name, &created), `SELECT id, name, created_at FROM api_tokens WHERE hash = $1`, hash)
		token.CreatedAt = fromMicros(created)
		return err
	})
	if err != nil {
		return inbox.Token{}, err
	}
	return token, nil
}

// FindSession is the data of a session that has not expired.
func (s *Store) FindSession(ctx context.Context, key string) (data []byte, found bool, err error) {
	err = s.lookUp(ctx, "find a session", func(t tx) (err error) {
		found, err = t.row(to(&data), `SELECT data FROM sessions WHERE key = $1 AND expires_at > $2`, inbox.CleanText(key), micros(time.Now()))
		return err
	})
	return data, found, err
}

// CommitSession adds or replaces a session.
func (s *Store) CommitSession(ctx context.Context, key string, data []byte, expires time.Time) error {
	if data == nil {
		data = []byte{}
	}
	return s.write(ctx, "store a session", func(t tx) error {
		_, err := t.exec(`INSERT INTO sessions (key, data, expires_at) VALUES ($1, $2, $3)
			ON CONFLICT (key) DO UPDATE SET data = excluded.data, expires_at = excluded.expires_at`, inbox.CleanText(key), data, micros(expires))
		return err
	})
}

// DeleteSession removes a session; one that is not there is no error.
func (s *Store) DeleteSession(ctx context.Context, key string) error {
	return s.write(ctx, "delete a session", func(t tx) error {
		_, err := t.exec(`DELETE FROM sessions WHERE key = $1`, inbox.CleanText(key))
		return err
	})
}
