package store

import (
	"context"
	"slices"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/store/driver"
)

// Whatever gives or ends a right does so in a ledger, one after the other. So a session of the same moment as a
// sign-out is either of the generation that ends, or has no link any more to begin with.

// IssueSignIn makes a one-time link for the operator of that name; see inbox.OperatorStore.
func (s *Store) IssueSignIn(ctx context.Context, name string, hash []byte, expires time.Time) (inbox.Operator, error) {
	name = inbox.CleanText(name)
	var op inbox.Operator
	err := s.change(ctx, "issue a sign-in link", func(l *ledger) error {
		_, err := l.exec(s.db.InsertOrKeep(`INSERT INTO operators (name, created_at) VALUES ($1, $2)`), name, l.now)
		if err != nil {
			return err
		}
		if op, err = oneOperator(l.tx, `WHERE name = $1`, name); err != nil {
			return err
		}
		// Where rows are locked this locks the operator's, against programs of the version before: of two links one is left.
		if err := l.later(`UPDATE operators SET name = name WHERE id = $1`, op.ID); err != nil {
			return err
		}
		if err := l.later(`DELETE FROM signin_links WHERE operator_id = $1`, op.ID); err != nil {
			return err
		}
		return l.later(`INSERT INTO signin_links (hash, operator_id, created_at, expires_at) VALUES ($1, $2, $3, $4)`,
			hash, op.ID, l.now, micros(expires))
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

// RedeemSignIn uses a link up; see inbox.OperatorStore.
func (s *Store) RedeemSignIn(ctx context.Context, hash []byte, keep bool) (inbox.Operator, error) {
	// The link is looked for first: who guesses at links does not hold up those who write.
	op, err := s.SignInOperator(ctx, hash)
	if err != nil {
		return op, err
	}
	err = s.change(ctx, "redeem a sign-in link", func(l *ledger) error {
		n, err := l.exec(`DELETE FROM signin_links WHERE hash = $1 AND operator_id = $2 AND expires_at > $3`,
			hash, op.ID, l.now)
		if err != nil {
			return err
		}
		if n == 0 { // another one was faster
			return inbox.ErrNotFound
		}
		if !keep {
			if err := endSessions(l, op.ID); err != nil {
				return err
			}
		}
		op, err = oneOperator(l.tx, `WHERE id = $1`, op.ID)
		return err
	})
	return op, err
}

// endSessions ends those that an operator has.
func endSessions(l *ledger, operator int64) error {
	l.revoke()
	return l.later(`UPDATE operators SET generation = generation + 1 WHERE id = $1`, operator)
}

// SignOutOperator ends the sessions of an operator and voids his link.
func (s *Store) SignOutOperator(ctx context.Context, name string) error {
	return s.change(ctx, "sign an operator out", func(l *ledger) error {
		_, err := signOut(l, name)
		return err
	})
}

func signOut(l *ledger, name string) (inbox.Operator, error) {
	op, err := oneOperator(l.tx, `WHERE name = $1`, inbox.CleanText(name))
	if err != nil {
		return op, err
	}
	if err := endSessions(l, op.ID); err != nil {
		return op, err
	}
	return op, l.later(`DELETE FROM signin_links WHERE operator_id = $1`, op.ID)
}

// RemoveOperator removes one. His id is never given to another, so his sessions are nobody's.
func (s *Store) RemoveOperator(ctx context.Context, name string) error {
	return s.change(ctx, "remove an operator", func(l *ledger) error {
		op, err := signOut(l, name)
		if err != nil {
			return err
		}
		return l.leave(op.ID)
	})
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
	return all(t, scanOperator, `SELECT `+operatorColumns+` FROM operators `+where, args...)
}

const operatorColumns = `id, name, created_at, generation`

func scanOperator(scan func(...any) error) (o inbox.Operator, err error) {
	var created int64
	err = scan(&o.ID, &o.Name, &created, &o.Generation)
	o.CreatedAt = fromMicros(created)
	return o, err
}

// CreateToken stores an API token by the hash of its secret.
func (s *Store) CreateToken(ctx context.Context, name string, hash []byte) (inbox.Token, error) {
	token := inbox.Token{Name: inbox.CleanText(name)}
	err := s.write(ctx, "create an API token", func(t tx) error {
		now := micros(time.Now())
		token.CreatedAt = fromMicros(now)
		n, err := t.exec(s.db.InsertOrKeep(`INSERT INTO api_tokens (name, hash, created_at) VALUES ($1, $2, $3)`),
			token.Name, hash, now)
		if err != nil {
			return err
		}
		if n == 0 {
			return conflict("there is a token named %q already", token.Name)
		}
		return t.one(to(&token.ID), `SELECT id FROM api_tokens WHERE hash = $1`, hash)
	})
	if err != nil {
		return inbox.Token{}, err
	}
	return token, nil
}

// RevokeToken makes the token of that name useless; the name is free again.
func (s *Store) RevokeToken(ctx context.Context, name string) error {
	return s.change(ctx, "revoke an API token", func(l *ledger) error {
		l.revoke()
		n, err := l.exec(`DELETE FROM api_tokens WHERE name = $1`, inbox.CleanText(name))
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
		err := t.one(to(&token.ID, &token.Name, &created),
			`SELECT id, name, created_at FROM api_tokens WHERE hash = $1`, hash)
		token.CreatedAt = fromMicros(created)
		return err
	})
	if err != nil {
		return inbox.Token{}, err
	}
	return token, nil
}

// Tokens lists all, by name.
func (s *Store) Tokens(ctx context.Context) ([]inbox.Token, error) {
	var list []inbox.Token
	err := s.read(ctx, "list API tokens", func(t tx) (err error) {
		list, err = all(t, func(scan func(...any) error) (token inbox.Token, err error) {
			var created int64
			err = scan(&token.ID, &token.Name, &created)
			token.CreatedAt = fromMicros(created)
			return token, err
		}, `SELECT id, name, created_at FROM api_tokens ORDER BY name`)
		return err
	})
	return list, err
}

// FindSession is the data of a session that has not expired.
func (s *Store) FindSession(ctx context.Context, key string) (data []byte, found bool, err error) {
	err = s.lookUp(ctx, "find a session", func(t tx) (err error) {
		found, err = t.row(to(&data), `SELECT data FROM sessions WHERE key = $1 AND expires_at > $2`,
			inbox.CleanText(key), micros(time.Now()))
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
		return t.later(s.db.InsertOrReplace("sessions", "key", "data", "expires_at"),
			inbox.CleanText(key), data, micros(expires))
	})
}

// TouchSession replaces the data of a session that is still there: one that was signed out since it was read stays so.
func (s *Store) TouchSession(ctx context.Context, key string, data []byte) error {
	return s.write(ctx, "store the use of a session", func(t tx) error {
		return t.later(`UPDATE sessions SET data = $2 WHERE key = $1`, inbox.CleanText(key), data)
	})
}

// DeleteSession removes a session; one that is not there is no error.
func (s *Store) DeleteSession(ctx context.Context, key string) error {
	return s.change(ctx, "delete a session", func(l *ledger) error {
		n, err := l.exec(`DELETE FROM sessions WHERE key = $1`, inbox.CleanText(key))
		if n > 0 {
			l.revoke()
		}
		return err
	})
}

// Sessions lists those that have not expired.
func (s *Store) Sessions(ctx context.Context, after string, limit int) ([]inbox.Session, error) {
	var list []inbox.Session
	err := s.read(ctx, "list sessions", func(t tx) (err error) {
		list, err = all(t, func(scan func(...any) error) (x inbox.Session, err error) {
			return x, scan(&x.Key, &x.Data)
		}, `SELECT key, data FROM sessions WHERE key > $1 AND expires_at > $2 ORDER BY key LIMIT $3`,
			inbox.CleanText(after), micros(time.Now()), limit)
		return err
	})
	return list, err
}

// LookUp looks up many credentials in one round trip; see inbox.OperatorStore.
func (s *Store) LookUp(ctx context.Context, c inbox.Credentials) (inbox.Known, error) {
	known := inbox.Known{
		Tokens: map[string]inbox.Token{}, Sessions: map[string][]byte{}, Operators: map[int64]inbox.Operator{},
	}
	var tokens, keys, operators values
	asked := map[string]string{} // keys as they were given, by those that are stored
	for _, hash := range c.Tokens {
		tokens.addAs(string(hash), hash)
	}
	for _, key := range c.Sessions {
		clean := inbox.CleanText(key)
		asked[clean] = key
		keys.add(clean)
	}
	for _, id := range c.Operators {
		operators.add(id)
	}
	err := s.lookUp(ctx, "look up credentials", func(t tx) error {
		err := t.ask(to(&known.LastEvent), nil, `SELECT last_event FROM counters WHERE id = 1`)
		if err == nil {
			err = among(t, `SELECT hash, id, name, created_at FROM api_tokens WHERE hash IN `, tokens,
				func(scan func(...any) error) error {
					var hash []byte
					token, created := inbox.Token{}, int64(0)
					err := scan(&hash, &token.ID, &token.Name, &created)
					token.CreatedAt = fromMicros(created)
					known.Tokens[string(hash)] = token
					return err
				})
		}
		if err == nil {
			err = among(t, `SELECT key, data FROM sessions WHERE expires_at > $1 AND key IN `, keys,
				func(scan func(...any) error) error {
					var key string
					var data []byte
					err := scan(&key, &data)
					known.Sessions[asked[key]] = data
					return err
				}, micros(time.Now()))
		}
		if err == nil {
			err = among(t, `SELECT `+operatorColumns+` FROM operators WHERE id IN `, operators,
				func(scan func(...any) error) error {
					o, err := scanOperator(scan)
					known.Operators[o.ID] = o
					return err
				})
		}
		if err != nil {
			return err
		}
		return t.flush()
	})
	return known, err
}

// Revocations counts what has ended a right. It goes the way of the events beside which it is asked for, and so do
// Grants. Strangers with guessed tokens do not queue there.
func (s *Store) Revocations(ctx context.Context) (int64, error) {
	var n int64
	err := s.read(ctx, "read the count of revocations", func(t tx) error {
		return t.one(to(&n), `SELECT revocations FROM counters WHERE id = 1`)
	})
	return n, err
}

// Grants says until when each right holds; see inbox.OperatorStore.
func (s *Store) Grants(ctx context.Context, grants []inbox.Grant) ([]time.Time, error) {
	tokens, operators, sessions := map[int64]bool{}, map[int64]int64{}, map[string]time.Time{}
	var tokenIDs, operatorIDs, keys values
	for _, g := range grants {
		if g.Token != 0 {
			tokenIDs.add(g.Token)
		} else {
			operatorIDs.add(g.Operator)
			keys.add(inbox.CleanText(g.Session))
		}
	}
	err := s.read(ctx, "look at rights", func(t tx) error {
		err := among(t, `SELECT id FROM api_tokens WHERE id IN `, tokenIDs, func(scan func(...any) error) error {
			var id int64
			err := scan(&id)
			tokens[id] = true
			return err
		})
		if err != nil {
			return err
		}
		err = among(t, `SELECT id, generation FROM operators WHERE id IN `, operatorIDs, func(scan func(...any) error) error {
			var id, generation int64
			err := scan(&id, &generation)
			operators[id] = generation
			return err
		})
		if err != nil {
			return err
		}
		err = among(t, `SELECT key, expires_at FROM sessions WHERE key IN `, keys, func(scan func(...any) error) error {
			var key string
			var expires int64
			err := scan(&key, &expires)
			sessions[key] = fromMicros(expires)
			return err
		})
		if err != nil {
			return err
		}
		return t.flush()
	})
	if err != nil {
		return nil, err
	}
	until := make([]time.Time, len(grants))
	for i, g := range grants {
		switch generation, there := operators[g.Operator]; {
		case g.Token != 0 && tokens[g.Token]:
			until[i] = inbox.Forever
		case g.Token == 0 && there && generation == g.Generation:
			until[i] = sessions[inbox.CleanText(g.Session)]
		}
	}
	return until, nil
}

// values are different from one another.
type values struct {
	list []any
	seen map[any]bool
}

func (v *values) add(value any) { v.addAs(value, value) }

// addAs adds a value that is known by a key.
func (v *values) addAs(key, value any) {
	if v.seen[key] {
		return
	}
	if v.seen == nil {
		v.seen = map[any]bool{}
	}
	v.seen[key] = true
	v.list = append(v.list, value)
}

// among runs a statement that ends in IN for all of the values, a hundred at a time. Its answer is there after flush.
func among(t tx, sql string, v values, row func(scan func(...any) error) error, args ...any) error {
	for _, some := range v.portions() {
		err := t.c.Later(t.ctx, scanEach(row), sql+"("+places(len(args), len(some))+")",
			append(slices.Clone(args), some...)...)
		if err != nil {
			return err
		}
	}
	return nil
}

// scanEach gives each row to a function.
func scanEach(row func(scan func(...any) error) error) func(driver.Rows) error {
	return func(r driver.Rows) error {
		for r.Next() {
			if err := row(r.Scan); err != nil {
				return err
			}
		}
		return r.Err()
	}
}

// updateThose runs a statement that ends in IN for all of the values, later.
func (t tx) updateThose(sql string, v values, args ...any) error {
	for _, some := range v.portions() {
		err := t.later(sql+"("+places(len(args), len(some))+")", append(slices.Clone(args), some...)...)
		if err != nil {
			return err
		}
	}
	return nil
}

// portions are the values, in lists of three lengths, so that all statements stay prepared. A short one repeats a
// value.
func (v values) portions() (list [][]any) {
	for rest := v.list; len(rest) > 0; {
		n := 1
		for _, atOnce := range []int{10, 100} {
			if len(rest) > n {
				n = atOnce
			}
		}
		some := slices.Clone(rest[:min(n, len(rest))])
		rest = rest[len(some):]
		for len(some) < n {
			some = append(some, some[0])
		}
		list = append(list, some)
	}
	return list
}
