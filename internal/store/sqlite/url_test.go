package sqlite

import "testing"

func TestPath(t *testing.T) {
	for url, want := range map[string]string{
		"sqlite:a.db":         "a.db",
		"SQLite:/x y?.db":     "/x y?.db",
		"sqlite:///data/t.db": "/data/t.db",
	} {
		if have, err := Path(url); !Is(url) || have != want || err != nil {
			t.Errorf("%s: %q, %v", url, have, err)
		}
	}
	if Is("postgres://h/d") {
		t.Error("a PostgreSQL server is taken for an SQLite database")
	}
}
