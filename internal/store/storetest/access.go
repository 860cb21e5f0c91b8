package storetest

import (
	"bytes"
	"errors"
	"fmt"
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
			switch got, err := s.RedeemSignIn(ctx, []byte("two"), true); {
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
	if _, err := s.RedeemSignIn(ctx, []byte("late"), false); !errors.Is(err, inbox.ErrNotFound) {
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
	another, err := s.CreateToken(ctx, "backup", []byte("h4"))
	must(t, err)
	list, err := s.Tokens(ctx)
	must(t, err)
	same(t, "all tokens", list, []inbox.Token{another, made})
	must(t, s.RevokeToken(ctx, "ci"))
	list, err = s.Tokens(ctx)
	must(t, err)
	same(t, "those that are left", list, []inbox.Token{another})
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

// TouchSession never brings back what has ended.
func touch(t *testing.T, open Open) {
	s, ctx := open(t)(), t.Context()
	must(t, s.CommitSession(ctx, "k", []byte("a"), time.Now().Add(time.Hour)))
	must(t, s.TouchSession(ctx, "k", []byte("b")))
	if got, _, err := s.FindSession(ctx, "k"); err != nil || string(got) != "b" {
		t.Errorf("touched: %q, %v", got, err)
	}
	must(t, s.DeleteSession(ctx, "k"))
	must(t, s.TouchSession(ctx, "k", []byte("c")))
	if _, found, err := s.FindSession(ctx, "k"); found || err != nil {
		t.Errorf("a session that was signed out is back: %v, %v", found, err)
	}
	for i := range 5 {
		must(t, s.CommitSession(ctx, fmt.Sprint("k", i), []byte{byte(i)}, time.Now().Add(time.Hour)))
	}
	must(t, s.CommitSession(ctx, "k9", nil, time.Now().Add(-time.Second)))
	var keys []string
	for after := ""; ; {
		list, err := s.Sessions(ctx, after, 2)
		if must(t, err); len(list) == 0 {
			break
		}
		for _, x := range list {
			keys, after = append(keys, x.Key+string(x.Data)), x.Key
		}
	}
	same(t, "the sessions", keys, []string{"k0\x00", "k1\x01", "k2\x02", "k3\x03", "k4\x04"})
}

// Each thing that ends a right ends that one and no other, raises the count, and gives other processes a hint.
func rightsEnd(t *testing.T, open Open) {
	handle := open(t)
	s, other, ctx := handle(), handle(), t.Context()
	hour := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	in := func(name string, keep bool) inbox.Operator {
		t.Helper()
		_, err := s.IssueSignIn(ctx, name, []byte("link of "+name), hour)
		must(t, err)
		op, err := s.RedeemSignIn(ctx, []byte("link of "+name), keep)
		must(t, err)
		return op
	}
	grant := func(op inbox.Operator, key string) inbox.Grant {
		t.Helper()
		must(t, s.CommitSession(ctx, key, []byte("x"), hour))
		return inbox.Grant{Session: key, Operator: op.ID, Generation: op.Generation}
	}
	ann, bob := in("Ann", true), in("Bob", true)
	if ann.Generation != 0 {
		t.Errorf("the first session is of generation %d", ann.Generation)
	}
	one, err := s.CreateToken(ctx, "one", []byte("1"))
	must(t, err)
	two, err := s.CreateToken(ctx, "two", []byte("2"))
	must(t, err)
	grants := []inbox.Grant{grant(ann, "ann"), grant(ann, "ann's telephone"), grant(bob, "bob"),
		grant(bob, "bob's telephone"), {Token: one.ID}, {Token: two.ID}}
	for len(grants) < 260 { // more than one statement takes
		grants = append(grants, grants[len(grants)%6],
			inbox.Grant{Session: fmt.Sprint("none ", len(grants)), Operator: ann.ID})
	}
	hints, cancel := other.Subscribe()
	defer cancel()
	// holding are those of the first six that hold, as the other process sees it.
	holding := func() string {
		t.Helper()
		until, err := other.Grants(ctx, grants)
		must(t, err)
		said := ""
		for i, u := range until {
			holds := u.After(time.Now())
			if i < 6 {
				said += map[bool]string{true: "1", false: "0"}[holds]
				if holds && !u.Equal(hour) && !u.Equal(inbox.Forever) {
					t.Errorf("%d holds until %s", i, u)
				}
			} else if want := i%2 == 0 && said[i%6] == '1'; holds != want {
				t.Errorf("%d is said to hold: %v", i, holds)
			}
		}
		return said
	}
	same(t, "before", holding(), "111111")
	before, err := other.Revocations(ctx)
	must(t, err)
	for _, c := range []struct {
		what string
		do   func() error
		want string
	}{
		{"a session is signed out", func() error { return s.DeleteSession(ctx, "ann's telephone") }, "101111"},
		{"a token is revoked", func() error { return s.RevokeToken(ctx, "one") }, "101101"},
		{"a link is used and ends the rest", func() error { in("Bob", false); return nil }, "100001"},
		{"an operator is signed out", func() error { return s.SignOutOperator(ctx, "Ann") }, "000001"},
		{"the other token is revoked", func() error { return s.RevokeToken(ctx, "two") }, "000000"},
	} {
		for more := true; more; { // hints that came before
			select {
			case <-hints:
			case <-time.After(300 * time.Millisecond):
				more = false
			}
		}
		must(t, c.do())
		select {
		case <-hints:
		case <-time.After(10 * time.Second):
			t.Errorf("%s: no hint", c.what)
		}
		after, err := other.Revocations(ctx)
		if must(t, err); after == before {
			t.Errorf("%s: the count of revocations stays %d", c.what, after)
		}
		before = after
		same(t, c.what, holding(), c.want)
	}

	// Signed out, the unused link is void, too; with a new one the operator begins anew.
	_, err = s.IssueSignIn(ctx, "Ann", []byte("unused"), hour)
	must(t, err)
	must(t, s.SignOutOperator(ctx, "Ann"))
	if _, err := s.RedeemSignIn(ctx, []byte("unused"), true); !errors.Is(err, inbox.ErrNotFound) {
		t.Errorf("the link of an operator who was signed out: %v", err)
	}
	again := in("Ann", true)
	if again.ID != ann.ID || again.Generation == ann.Generation {
		t.Errorf("signed in again: %+v after %+v", again, ann)
	}
	g := grant(again, "new")
	if until, err := other.Grants(ctx, []inbox.Grant{g}); err != nil || !until[0].Equal(hour) {
		t.Errorf("the new session: %v, %v", until, err)
	}

	// Removed and added again he is another one.
	_, err = s.IssueSignIn(ctx, "Ann", []byte("unused"), hour)
	must(t, err)
	must(t, s.RemoveOperator(ctx, "Ann"))
	if _, err := s.SignInOperator(ctx, []byte("unused")); !errors.Is(err, inbox.ErrNotFound) {
		t.Errorf("the link of an operator who was removed: %v", err)
	}
	if _, err := s.Operator(ctx, ann.ID); !errors.Is(err, inbox.ErrNotFound) {
		t.Errorf("the operator who was removed: %v", err)
	}
	for range 2 {
		if until, err := other.Grants(ctx, []inbox.Grant{g}); err != nil || !until[0].IsZero() {
			t.Errorf("the session of one who was removed: %v, %v", until, err)
		}
		if back := in("Ann", true); back.ID == ann.ID {
			t.Error("added again, he is the same")
		}
	}
}

// A session that begins in the moment of a sign-out is of the generation before, or has no link to begin with.
func signInMeetsSignOut(t *testing.T, open Open) {
	handle := open(t)
	s, other, ctx := handle(), handle(), t.Context()
	for i := range 20 {
		link := fmt.Append(nil, "link", i)
		_, err := s.IssueSignIn(ctx, "Ann", link, time.Now().Add(time.Hour))
		must(t, err)
		var op inbox.Operator
		var in, out error
		var wg sync.WaitGroup
		wg.Go(func() { op, in = s.RedeemSignIn(ctx, link, i%2 == 0) })
		wg.Go(func() { out = other.SignOutOperator(ctx, "Ann") })
		wg.Wait()
		must(t, out)
		if in != nil && !errors.Is(in, inbox.ErrNotFound) {
			t.Fatal(in)
		}
		now, err := s.Operators(ctx)
		must(t, err)
		if in == nil && op.Generation >= now[0].Generation {
			t.Fatalf("a session of generation %d outlives the sign-out, which made it %d", op.Generation, now[0].Generation)
		}
	}
}
