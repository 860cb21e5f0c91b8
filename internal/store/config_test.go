package store

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/exitcode"
	"tandem/internal/inbox"
)

// wantConfigError : Run gives up with 78 and words, nothing of which is the URL.
func wantConfigError(t *testing.T, url, say string) {
	t.Helper()
	s := Open(url, slog.New(slog.NewTextHandler(t.Output(), nil)))
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := s.Run(ctx)
	if exitcode.Of(err) != exitcode.Config {
		t.Fatalf("%s: Run ended with %v", say, err)
	}
	if waited := s.WaitReady(ctx); exitcode.Of(waited) != exitcode.Config {
		t.Errorf("%s: WaitReady ended with %v", say, waited)
	}
	if again := s.Connect(ctx); exitcode.Of(again) != exitcode.Config {
		t.Errorf("%s: Connect ended with %v", say, again)
	}
	_, call := s.Bots(ctx)
	for _, err := range []error{err, s.Ready(), call} {
		if err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("want %q in: %v", say, err)
		}
		if strings.Contains(err.Error(), "s3cret") || len(url) > 20 && strings.Contains(err.Error(), url) {
			t.Errorf("a secret in: %v", err)
		}
	}
	if !errors.Is(call, inbox.ErrUnavailable) || !errors.Is(s.Ready(), inbox.ErrUnavailable) {
		t.Errorf("not ErrUnavailable: %v, %v", call, s.Ready())
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	for url, say := range map[string]string{
		"":                                    "DATABASE_URL: want postgres://",
		"mysql://u:s3cret@h/d":                "DATABASE_URL: want postgres://",
		"postgres":                            "DATABASE_URL: want postgres://",
		"postgres://u:s3cret@h:port/d":        "DATABASE_URL: want postgres://",
		"postgres://u:s3cret@h/d?sslmode=odd": "DATABASE_URL: want postgres://",
		"postgres://u:s3cret@h/d?pool_max_conns=many": "DATABASE_URL: want postgres://",
		"sqlite:":           "wants the path of a file",
		"sqlite://rel/x.db": "wants an absolute path",
		"sqlite::memory:":   "cannot be shared",
		"sqlite:/data/":     "not of a directory",
		"/data/tandem.db":   "DATABASE_URL: want postgres://",
		"postgres://u:s3cret@h/d?sslmode=verify-full&sslrootcert=/missing.pem": "/missing.pem",
		"postgres://%zz/": "DATABASE_URL: want postgres://",
	} {
		wantConfigError(t, url, say)
		if err := Check(url); exitcode.Of(err) != exitcode.Config || !strings.Contains(err.Error(), say) {
			t.Errorf("Check of %q: %v", url, err)
		}
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	for url, want := range map[string][]string{
		"": nil, "sqlite:/data/x.db": nil, "SQLite:x": nil,
		"postgres://u:s3cret%2F@h/d": {"postgres://u:s3cret%2F@h/d", "s3cret/"},
		"postgres://u@h/d":           {"postgres://u@h/d"},
		"mysql://u:s3cret@h":         {"mysql://u:s3cret@h", "s3cret"},
		"postgres://u:s3cret@h:x/d":  {"postgres://u:s3cret@h:x/d"},
	} {
		if got := Secrets(url); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", url, got, want)
		}
	}
}
