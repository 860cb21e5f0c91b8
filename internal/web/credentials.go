package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/alexedwards/scs/v2"

	"tandem/internal/inbox"
)

// linkLife is how long a sign-in link can be used.
const linkLife = 24 * time.Hour

// hashOf is what is stored of a secret. It has 130 bits, so nothing slower than SHA-256 is needed.
func hashOf(secret string) []byte {
	h := sha256.Sum256([]byte(secret))
	return h[:]
}

// IssueSignIn makes a one-time sign-in link for the operator of that name, who is made if there is none, and
// says until when it can be used. Links made before for the same operator are void. base is the address of the inbox.
func IssueSignIn(
	ctx context.Context, store inbox.OperatorStore, name string, base *url.URL,
) (link string, expires time.Time, err error) {
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
			if o := byID[id]; o != nil && o.Generation == generation && time.Since(seen) <= maxSessionIdle {
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
	hidden := func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }
	switch {
	case inbox.Blank(name):
		return errors.New("a name must not be blank")
	case !utf8.ValidString(name), strings.ContainsFunc(name, hidden):
		return errors.New("a name must be printable text")
	case strings.HasPrefix(name, "-"): // most likely meant for an option, which there is not
		return errors.New("a name must not begin with a dash")
	case utf8.RuneCountInString(name) > 64:
		return fmt.Errorf("a name must not have more than 64 characters, this one has %d", utf8.RuneCountInString(name))
	}
	return nil
}
