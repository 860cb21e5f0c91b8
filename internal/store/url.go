package store

import (
	neturl "net/url"
	"strings"
)

// rule is what DATABASE_URL must be.
const rule = `want postgres://USER:PASSWORD@HOST/DATABASE or sqlite:PATH`

// BadURL is why nothing can be done with DATABASE_URL. It has no secrets in it.
type BadURL struct {
	Rule string // what it should be, in words that tell what to type
	file error  // that it names and that cannot be read; nil for another cause
}

func (e *BadURL) Error() string { return "DATABASE_URL: " + e.Rule }
func (e *BadURL) Unwrap() error { return e.file }

func badURL(rule string) error { return &BadURL{Rule: rule} }

// sqlitePath is the path in sqlite:PATH; "" if url names another kind of database.
func sqlitePath(url string) (path string, err error) {
	rest, ok := cutPrefixFold(url, "sqlite:")
	if !ok {
		return "", nil
	}
	if after, ok := strings.CutPrefix(rest, "//"); ok { // sqlite:///data/x.db, as others write it
		if !strings.HasPrefix(after, "/") {
			return "", badURL("sqlite://PATH wants an absolute path, like sqlite:///data/tandem.db; for a relative one write sqlite:PATH")
		}
		rest = after
	}
	switch {
	case rest == "":
		return "", badURL("sqlite: wants the path of a file, like sqlite:/data/tandem.db")
	case rest == ":memory:":
		return "", badURL("sqlite::memory: cannot be shared by two processes: name a file, like sqlite:/data/tandem.db")
	case strings.HasSuffix(rest, "/"), strings.ContainsRune(rest, 0):
		return "", badURL("sqlite: wants the path of a file, not of a directory, like sqlite:/data/tandem.db")
	}
	return rest, nil
}

// Secrets are what of a DATABASE_URL must be in no log line: the whole and its password. The path of an SQLite file is
// no secret, and a password of three letters is in any word.
func Secrets(url string) []string {
	if _, ok := cutPrefixFold(url, "sqlite:"); ok || url == "" {
		return nil
	}
	secrets := []string{url}
	if u, err := neturl.Parse(url); err == nil && u.User != nil {
		if password, _ := u.User.Password(); len(password) > 3 {
			secrets = append(secrets, password)
		}
	}
	return secrets
}

func isPostgres(url string) bool {
	_, a := cutPrefixFold(url, "postgres://")
	_, b := cutPrefixFold(url, "postgresql://")
	return a || b
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
