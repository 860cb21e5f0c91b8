package driver

import "strings"

// Rule is what DATABASE_URL must be.
const Rule = `want postgres://USER:PASSWORD@HOST/DATABASE or sqlite:PATH`

// BadURL is why nothing can be done with DATABASE_URL. It has no secrets in it.
type BadURL struct {
	Rule string // what it should be, in words that tell what to type
	File error  // that it names and that cannot be read; nil for another cause
}

func (e *BadURL) Error() string { return "DATABASE_URL: " + e.Rule }
func (e *BadURL) Unwrap() error { return e.File }

// CutScheme is url without the scheme, in whatever case that is written; false if url has another one.
func CutScheme(url, scheme string) (rest string, ok bool) {
	if len(url) < len(scheme) || !strings.EqualFold(url[:len(scheme)], scheme) {
		return url, false
	}
	return url[len(scheme):], true
}
