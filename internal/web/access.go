package web

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"tandem/internal/inbox"
)

// identity is what principals are told apart by.
type identity struct {
	kind inbox.AuthorKind // ByOperator or ByAPI
	id   int64
}

// principal is who makes a request.
type principal struct {
	identity
	name    string
	session context.Context // holds the session's data, nil for a token
	grant   inbox.Grant     // what a stream of it goes on by
}

func (p principal) author() inbox.Author {
	return inbox.Author{Kind: p.kind, ID: strconv.FormatInt(p.id, 10), Name: p.name}
}

// authenticate finds out who makes the request; rule says whether a token will do. It reads everything anew, so that a
// session or token that has ended since does not count.
func (s *Server) authenticate(r *http.Request, rule access) (principal, error) {
	// Another scheme is a reverse proxy's (Basic, most often), which browsers send along with the session.
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") && rule == reader {
		return s.byToken(r.Context(), strings.TrimSpace(secret))
	}
	p, err := s.bySession(r)
	if err == errSignedOut && rule == reader {
		err = errNoToken
	}
	return p, err
}

func (s *Server) byToken(ctx context.Context, secret string) (principal, error) {
	if secret == "" {
		return principal{}, errNoToken
	}
	token, err := s.store.TokenByHash(ctx, hashOf(secret))
	if errors.Is(err, inbox.ErrNotFound) {
		err = errBadToken
	}
	id := identity{inbox.ByAPI, token.ID}
	return principal{identity: id, name: token.Name, grant: inbox.Grant{Token: token.ID}}, err
}

func (s *Server) bySession(r *http.Request) (principal, error) {
	if err := s.store.Ready(); !inbox.CanRead(err) {
		return principal{}, err // rather than "not signed in", which nobody can know now
	}
	cookie, err := r.Cookie(s.sessions.Cookie.Name)
	if err != nil || cookie.Value == "" {
		return principal{}, errSignedOut
	}
	ctx, err := s.sessions.Load(r.Context(), cookie.Value)
	if err != nil {
		return principal{}, err
	}
	id := s.sessions.GetInt64(ctx, "operator")
	if id == 0 || s.idleFor(ctx) > maxSessionIdle {
		return principal{}, errSignedOut
	}
	op, err := s.store.Operator(ctx, id)
	if err != nil && !errors.Is(err, inbox.ErrNotFound) {
		return principal{}, err
	}
	// A session of a program from before has no generation and counts as of the first one.
	g := inbox.Grant{Session: keyOf(cookie.Value), Operator: id, Generation: s.sessions.GetInt64(ctx, "generation")}
	if err != nil || op.Generation != g.Generation {
		return principal{}, errSignedOut
	}
	return principal{identity: identity{inbox.ByOperator, op.ID}, name: op.Name, session: ctx, grant: g}, nil
}
