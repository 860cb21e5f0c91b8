package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/alexedwards/scs/v2"

	"tandem/internal/inbox"
)

const (
	linkLife    = 24 * time.Hour      // of a sign-in link
	sessionLife = 30 * 24 * time.Hour // of a session, whatever is done with it
	sessionIdle = 7 * 24 * time.Hour  // of a session that is not used
	// seenEvery bounds how often the use of a session is written down: a page must not cost a transaction.
	seenEvery = 10 * time.Minute
)

// principal is who makes a request.
type principal struct {
	kind    inbox.AuthorKind // ByOperator or ByAPI
	id      int64
	name    string
	session context.Context // holds the session's data, nil for a token
	grant   inbox.Grant     // what a stream of it goes on by
}

func (p principal) author() inbox.Author {
	return inbox.Author{Kind: p.kind, ID: strconv.FormatInt(p.id, 10), Name: p.name}
}

func newSessions(store inbox.OperatorStore, https bool) *scs.SessionManager {
	// Not scs.New, which starts a goroutine for a store in memory that nobody needs.
	m := &scs.SessionManager{
		Store:            sessionStore{store},
		HashTokenInStore: true, // a stolen database opens nothing
		Lifetime:         sessionLife,
		Codec:            scs.GobCodec{},
		Cookie:           scs.SessionCookie{Name: "tandem", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Persist: true},
	}
	if https {
		m.Cookie.Name, m.Cookie.Secure = "__Host-tandem", true
	}
	return m
}

// whoIs finds out who makes the request; rule says whether a token will do. It reads everything anew, so that a
// session or token that has ended since does not count.
func (s *Server) whoIs(r *http.Request, rule access) (principal, error) {
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
	return principal{kind: inbox.ByAPI, id: token.ID, name: token.Name, grant: inbox.Grant{Token: token.ID}}, err
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
	if id == 0 || s.unseen(ctx) > sessionIdle {
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
	return principal{kind: inbox.ByOperator, id: op.ID, name: op.Name, session: ctx, grant: g}, nil
}

// keyOf is by what the store knows the session of a cookie.
func keyOf(cookie string) string {
	h := sha256.Sum256([]byte(cookie))
	return base64.RawURLEncoding.EncodeToString(h[:])
}

// idleUntil is when the session ends if it is not used any more.
func (s *Server) idleUntil(p principal) time.Time {
	if p.session == nil {
		return inbox.Forever
	}
	return time.Unix(s.sessions.GetInt64(p.session, "seen"), 0).Add(sessionIdle)
}

// keepAlive notes that the session is in use. If that cannot be written the next request does it.
func (s *Server) keepAlive(w http.ResponseWriter, p principal) {
	if s.unseen(p.session) < seenEvery {
		return
	}
	s.sessions.Put(p.session, "seen", time.Now().Unix())
	if err := s.saveSession(w, context.WithValue(p.session, touching{}, true)); err != nil {
		s.log.Debug("the use of a session was not stored", "error", err)
	}
}

// unseen is how long ago the use of a session was last written down.
func (s *Server) unseen(session context.Context) time.Duration {
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

// touching is in the context of a commit that only notes the use of a session: it must not bring back one that was ended since
// it was loaded.
type touching struct{}

func (s sessionStore) CommitCtx(ctx context.Context, token string, data []byte, expires time.Time) error {
	if ctx.Value(touching{}) != nil {
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

// hashOf is what is stored of a secret. It has 130 bits, so nothing slower than SHA-256 is needed.
func hashOf(secret string) []byte {
	h := sha256.Sum256([]byte(secret))
	return h[:]
}

// IssueSignIn makes a one-time sign-in link for the operator of that name, who is made if there is none, and
// says until when it can be used. Links made before for the same operator are void. base is the address of the inbox.
func IssueSignIn(ctx context.Context, store inbox.OperatorStore, name string, base *url.URL) (link string, expires time.Time, err error) {
	secret, expires := rand.Text(), time.Now().Add(linkLife)
	if _, err = store.IssueSignIn(ctx, name, hashOf(secret), expires); err != nil {
		return "", time.Time{}, err
	}
	return base.JoinPath("sign-in", secret).String(), expires, nil
}

// OperatorSeen is an operator and where he is signed in.
type OperatorSeen struct {
	inbox.Operator
	Sessions int
	LastUse  time.Time // of any of them, written down every ten minutes
}

// Operators lists all operators, by name.
func Operators(ctx context.Context, store inbox.OperatorStore) ([]OperatorSeen, error) {
	operators, err := store.Operators(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]OperatorSeen, len(operators))
	byID := map[int64]*OperatorSeen{}
	for i, o := range operators {
		list[i].Operator = o
		byID[o.ID] = &list[i]
	}
	const atOnce = 500
	for after, more := "", true; more; {
		sessions, err := store.Sessions(ctx, after, atOnce)
		if err != nil {
			return nil, err
		}
		for _, session := range sessions {
			after = session.Key
			_, values, err := scs.GobCodec{}.Decode(session.Data)
			if err != nil {
				continue // it signs nobody in
			}
			id, _ := values["operator"].(int64)
			generation, _ := values["generation"].(int64)
			unix, _ := values["seen"].(int64)
			seen := time.Unix(unix, 0)
			if o := byID[id]; o != nil && o.Generation == generation && time.Since(seen) <= sessionIdle {
				o.Sessions++
				if seen.After(o.LastUse) {
					o.LastUse = seen
				}
			}
		}
		more = len(sessions) == atOnce
	}
	return list, nil
}

// IssueToken makes an API token; inbox.ErrConflict when the name is taken.
func IssueToken(ctx context.Context, store inbox.OperatorStore, name string) (token string, err error) {
	token = "tandem_" + rand.Text()
	if _, err := store.CreateToken(ctx, name, hashOf(token)); err != nil {
		return "", err
	}
	return token, nil
}

// CheckName says what is wrong with the name of an operator or token.
func CheckName(name string) error {
	switch {
	case inbox.Blank(name):
		return errors.New("a name must not be blank")
	case !utf8.ValidString(name), strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }):
		return errors.New("a name must be printable text")
	case strings.HasPrefix(name, "-"): // an option that there is not, most likely
		return errors.New("a name must not begin with a dash")
	case utf8.RuneCountInString(name) > 64:
		return fmt.Errorf("a name must not have more than 64 characters, this one has %d", utf8.RuneCountInString(name))
	}
	return nil
}
