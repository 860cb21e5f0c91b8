package storetest

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/inbox"
)

func signIn(t *testing.T, open Open) {
	s, ctx := open(t)(), t.Context()
	soon := time.Now().Add(time.Hour)
	op, err := s.IssueSignIn(ctx, "Ann", []byte("one"), soon)
	must(t, err)
	again, err := s.IssueSignIn(ctx, "Ann", []byte("two"), soon)
	must(t, err)
	if again.ID != op.ID || op.ID == 0 || op.Name != "Ann" || time.Since(op.CreatedAt) > time.Minute {
		t.Errorf("the same operator twice: %+v, %+v", op, again)
	}
	if _, err := s.SignInOperator(ctx, []byte("one")); !errors.Is(err, inbox.ErrNotFound) {
		t.Errorf("the older link: %v", err)
	}
	for range 2 { // looking does not use it up
		got, err := s.SignInOperator(ctx, []byte("two"))
		must(t, err)
		same(t, "the operator", got, op)
	}
	var redeemed atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			switch got, err := s.RedeemSignIn(ctx, []byte("two")); {
			case err == nil && got == op:
				redeemed.Add(1)
			case !errors.Is(err, inbox.ErrNotFound):
				t.Errorf("redeem: %+v, %v", got, err)
			}
		})
	}
	wg.Wait()
	if n := redeemed.Load(); n != 1 {
		t.Errorf("the link was redeemed %d times", n)
	}
	_, err = s.IssueSignIn(ctx, "Bob", []byte("late"), time.Now().Add(-time.Second))
	must(t, err)
	if _, err := s.RedeemSignIn(ctx, []byte("late")); !errors.Is(err, inbox.ErrNotFound) {
		t.Errorf("an expired link: %v", err)
	}
	must(t, s.Prune(ctx))
	list, err := s.Operators(ctx)
	must(t, err)
	if len(list) != 2 || list[0] != op || list[1].Name != "Bob" {
		t.Errorf("operators: %+v", list)
	}
	got, err := s.Operator(ctx, op.ID)
	must(t, err)
	same(t, "by id", got, op)
}

func tokens(t *testing.T, open Open) {
	s, ctx := open(t)(), t.Context()
	made, err := s.CreateToken(ctx, "ci", []byte("h1"))
	must(t, err)
	if _, err := s.CreateToken(ctx, "ci", []byte("h2")); !errors.Is(err, inbox.ErrConflict) {
		t.Errorf("a name that is taken: %v", err)
	}
	got, err := s.TokenByHash(ctx, []byte("h1"))
	must(t, err)
	same(t, "the token", got, made)
	must(t, s.RevokeToken(ctx, "ci"))
	if _, err := s.TokenByHash(ctx, []byte("h1")); !errors.Is(err, inbox.ErrNotFound) {
		t.Errorf("a revoked token: %v", err)
	}
	later, err := s.CreateToken(ctx, "ci", []byte("h3"))
	must(t, err)
	if later.ID == made.ID {
		t.Error("a new token has the id of a revoked one")
	}
}

func sessions(t *testing.T, open Open) {
	s, ctx := open(t)(), t.Context()
	data := []byte("\x00binary\xff")
	soon := time.Now().Add(time.Hour)
	if _, found, err := s.FindSession(ctx, "k"); found || err != nil {
		t.Errorf("before: %v, %v", found, err)
	}
	for range 2 {
		must(t, s.CommitSession(ctx, "k", data, soon))
		data = append(data, 'x')
	}
	got, found, err := s.FindSession(ctx, "k")
	must(t, err)
	if !found || !bytes.Equal(got, data[:len(data)-1]) {
		t.Errorf("found %v: %q", found, got)
	}
	must(t, s.CommitSession(ctx, "old", nil, time.Now().Add(-time.Second)))
	if _, found, err := s.FindSession(ctx, "old"); found || err != nil {
		t.Errorf("an expired one: %v, %v", found, err)
	}
	must(t, s.Prune(ctx))
	must(t, s.DeleteSession(ctx, "k"))
	must(t, s.DeleteSession(ctx, "k"))
	if _, found, _ := s.FindSession(ctx, "k"); found {
		t.Error("found after it was deleted")
	}
}
