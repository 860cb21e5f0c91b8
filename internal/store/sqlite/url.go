package sqlite

import (
	"strings"

	"tandem/internal/store/driver"
)

const scheme = "sqlite:"

// Is says whether url names an SQLite database.
func Is(url string) bool {
	_, ok := driver.CutScheme(url, scheme)
	return ok
}

// Path is the path in sqlite:PATH.
func Path(url string) (string, error) {
	path, _ := driver.CutScheme(url, scheme)
	if after, ok := strings.CutPrefix(path, "//"); ok { // sqlite:///data/x.db, as others write it
		if !strings.HasPrefix(after, "/") {
			return "", badURL("sqlite://PATH wants an absolute path, like sqlite:///data/tandem.db; " +
				"for a relative one write sqlite:PATH")
		}
		path = after
	}
	switch {
	case path == "":
		return "", badURL("sqlite: wants the path of a file, like sqlite:/data/tandem.db")
	case path == ":memory:":
		return "", badURL("sqlite::memory: cannot be shared by two processes: name a file, like sqlite:/data/tandem.db")
	case strings.HasSuffix(path, "/"), strings.ContainsRune(path, 0):
		return "", badURL("sqlite: wants the path of a file, not of a directory, like sqlite:/data/tandem.db")
	}
	return path, nil
}

func badURL(rule string) error { return &driver.BadURL{Rule: rule} }
