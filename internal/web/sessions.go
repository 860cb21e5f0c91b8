package web

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"

	"tandem/internal/inbox"
)

const (
	sessionLife    = 30 * 24 * time.Hour // whatever is done with it
	maxSessionIdle = 7 * 24 * time.Hour
	// noteUseEvery bounds how often the use of a session is written down: a page must not cost a transaction.
	noteUseEvery = 10 * time.Minute
)

func newSessions(store inbox.OperatorStore, https bool) *scs.SessionManager {
	// Not scs.New, which starts a goroutine for a store in memory that nobody needs.
	m := &scs.SessionManager{
		Store:            sessionStore{store},
		HashTokenInStore: true, // a stolen database opens nothing
		Lifetime:         sessionLife,
		Codec:            scs.GobCodec{},
		Cookie: scs.SessionCookie{
			Name: "tandem", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Persist: true,
		},
	}
	if https {
		m.Cookie.Name, m.Cookie.Secure = "__Host-tandem", true
	}
	return m
}

// keyOf is the key under which the store has the session of a cookie.
func keyOf(cookie string) string {
	h := sha256.Sum256([]byte(cookie))
	return base64.RawURLEncoding.EncodeToString(h[:])
}

// idleUntil is when the session ends if it is not used any more.
func (s *Server) idleUntil(p principal) time.Time {
	if p.session == nil {
		return inbox.Forever
	}
	return time.Unix(s.sessions.GetInt64(p.session, "seen"), 0).Add(maxSessionIdle)
}

// noteUse writes down that the session is in use. If that cannot be written the next request does it.
func (s *Server) noteUse(w http.ResponseWriter, p principal) {
	if s.idleFor(p.session) < noteUseEvery {
		return
	}
	s.sessions.Put(p.session, "seen", time.Now().Unix())
	if err := s.saveSession(w, context.WithValue(p.session, notingUse{}, true)); err != nil {
		s.log.Debug("the use of a session was not stored", "error", err)
	}
}

// idleFor is how long ago the use of a session was last written down.
func (s *Server) idleFor(session context.Context) time.Duration {
	return time.Since(time.Unix(s.sessions.GetInt64(session, "seen"), 0))
}

func (s *Server) saveSession(w http.ResponseWriter, ctx context.Context) error {
	token, expires, err := s.sessions.Commit(ctx)
	if err != nil {
		return err
	}
	s.sessions.WriteSessionCookie(ctx, w, token, expires)
	return nil
}

// beginSession signs the operator in under a new session id; the one before, if any, is void.
func (s *Server) beginSession(w http.ResponseWriter, r *http.Request, op inbox.Operator) error {
	token := ""
	if cookie, err := r.Cookie(s.sessions.Cookie.Name); err == nil {
		token = cookie.Value
	}
	ctx, err := s.sessions.Load(r.Context(), token)
	if err != nil {
		return err
	}
	if err := s.sessions.RenewToken(ctx); err != nil {
		return err
	}
	s.sessions.Put(ctx, "operator", op.ID)
	s.sessions.Put(ctx, "generation", op.Generation)
	s.sessions.Put(ctx, "seen", time.Now().Unix())
	return s.saveSession(w, ctx)
}

func (s *Server) endSession(w http.ResponseWriter, p principal) error {
	if err := s.sessions.Destroy(p.session); err != nil {
		return err
	}
	s.sessions.WriteSessionCookie(p.session, w, "", time.Time{})
	return nil
}

// sessionStore is our store as scs wants it. Everything here has a context; the methods without one are only
// there because the interface has them.
type sessionStore struct{ inbox.OperatorStore }

func (s sessionStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	return s.FindSession(ctx, token)
}

// notingUse is in the context of a commit that only notes the use of a session. Such a commit must not bring back a
// session that was ended since it was loaded.
type notingUse struct{}

func (s sessionStore) CommitCtx(ctx context.Context, token string, data []byte, expires time.Time) error {
	if ctx.Value(notingUse{}) != nil {
		return s.TouchSession(ctx, token, data)
	}
	return s.CommitSession(ctx, token, data, expires)
}

func (s sessionStore) DeleteCtx(ctx context.Context, token string) error {
	return s.DeleteSession(ctx, token)
}

func (s sessionStore) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

func (s sessionStore) Commit(token string, data []byte, expires time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expires)
}

func (s sessionStore) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }
