package store

import (
	neturl "net/url"

	"tandem/internal/store/driver"
	"tandem/internal/store/sqlite"
)

// BadURL is why nothing can be done with DATABASE_URL. It has no secrets in it.
type BadURL = driver.BadURL

// Secrets are what of a DATABASE_URL must be in no log line: the whole and its password. The path of an SQLite file is
// no secret, and a password of three letters is in any word.
func Secrets(url string) []string {
	if sqlite.Is(url) || url == "" {
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
