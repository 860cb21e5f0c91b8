package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tandem/internal/pgtest"
	"tandem/internal/proctest"
)

// While the database is away nobody is known. So strangers learn of what kind the trouble is, and nothing that names a
// host, a port, a path, a user or a database, nor what a driver says; the operations port has all of it.
func TestStrangersLearnTheKindOfTroubleAndNoNames(t *testing.T) {
	t.Parallel()
	type trouble struct {
		database string
		harm     func(t *testing.T) // once web has the database; nil where it never has it
		kind     string             // what all may know
		detail   string             // what only the operations port says
		secrets  []string
	}
	// The names of all that is nobody's business, in a server of the test's own.
	server := pgtest.Server(t)
	good, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(u *url.URL)) string {
		u := *good
		f(&u)
		return u.String()
	}
	names := []string{good.User.Username(), strings.TrimPrefix(good.Path, "/"), ":" + good.Port()}
	sqliteIn := func(dir string) string { return "sqlite:" + filepath.Join(dir, "covert.db") }
	dirs := map[string]string{}
	for _, name := range []string{"replaced", "garbage", "gone"} {
		dirs[name] = t.TempDir()
	}
	if err := os.WriteFile(filepath.Join(dirs["garbage"], "covert.db"),
		[]byte(strings.Repeat("this is no database\n", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := nobody.Addr().String()
	nobody.Close()
	for name, c := range map[string]trouble{
		"wrong password": {
			database: change(func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "wrong-guess") }),
			kind:     "refuses", detail: "refuses the password of user", secrets: names,
		},
		"no such database": {database: change(func(u *url.URL) { u.Path = "/covert_base" }), kind: "refuses",
			detail: `no database \"covert_base\"`, secrets: append(names, "covert_base")},
		"nobody listens": {database: "postgres://covert_user:covert-pass@" + closed + "/covert_base",
			kind: "cannot be reached", detail: closed, secrets: []string{closed, "covert"}},
		"no such name": {database: "postgres://covert_user:covert-pass@covert-host.invalid/covert_base",
			kind: "cannot be reached", detail: "covert-host.invalid", secrets: []string{"covert"}},
		"no directory": {database: "sqlite:" + filepath.Join(dirs["gone"], "covert", "x.db"), kind: "not configured",
			detail: dirs["gone"], secrets: []string{"covert", dirs["gone"]}},
		"no setting": {database: "", kind: "not configured", detail: "not set"},
		"bad setting": {database: "mysql://covert_user:covert-pass@covert-host/x", kind: "not configured",
			detail: "DATABASE_URL: want", secrets: []string{"covert"}},
		"garbage": {database: sqliteIn(dirs["garbage"]), kind: "damaged", detail: dirs["garbage"],
			secrets: []string{"covert", dirs["garbage"]}},
		"replaced": {database: sqliteIn(dirs["replaced"]), kind: "replaced or deleted", detail: dirs["replaced"],
			secrets: []string{"covert", dirs["replaced"]}, harm: func(t *testing.T) {
				if err := os.Remove(filepath.Join(dirs["replaced"], "covert.db")); err != nil {
					t.Fatal(err)
				}
			}},
		"schema too new": {database: good.String(), kind: "too new", detail: "version 1000", secrets: names,
			harm: func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), soon)
				defer cancel()
				c, err := pgx.Connect(ctx, good.String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close(ctx)
				if _, err := c.Exec(ctx, `UPDATE schema_compat SET oldest = 1000`); err != nil {
					t.Fatal(err)
				}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, "DATABASE_URL="+c.database)
			ops := "http://" + p.ops(t)
			if c.harm != nil {
				proctest.Eventually(t, soon, "the database is there", func() bool {
					code, _ := get(t, ops+"/readyz")
					return code == 200
				})
				c.harm(t)
			}
			for _, path := range []string{"/readyz", "/status"} {
				proctest.Eventually(t, soon, path+" on the operations port says all", func() bool {
					_, body := get(t, ops+path)
					return strings.Contains(body, c.detail)
				})
			}
			p.WaitLine(soon, "database", c.detail)
			for _, request := range []string{
				"GET /readyz", "HEAD /readyz", "GET /", "HEAD /", "GET /conversations/1", "GET /sign-in/x", "POST /sign-in",
				"POST /sign-out", "POST /conversations/1/answers", "POST /conversations/1/status",
				"POST /messages/1/retry", "GET /fragments/banner", "GET /fragments/list", "GET /fragments/conversations/1",
				"GET /fragments/conversations/1/messages?id=1",
				"GET /api/v1/conversations", "GET /api/v1/conversations/1", "PATCH /api/v1/conversations/1",
				"GET /api/v1/conversations/1/messages", "POST /api/v1/conversations/1/messages",
				"POST /api/v1/messages/1/retry", "GET /api/v1/events", "GET /api/v1/events?after=1", "GET /none", "GET /healthz",
			} {
				for _, credentials := range [][2]string{{"X-None", "x"}, {"Authorization", "Bearer tandem_x"},
					{"Cookie", "tandem=AAAA"}} {
					method, path, _ := strings.Cut(request, " ")
					body := ""
					if path == "/sign-in" {
						body = "secret=x"
					}
					status, answer := dump(t, method, "http://"+p.addr+path, body, credentials)
					for _, secret := range append(c.secrets, "SQLSTATE", "PostgreSQL says", "pgconn", "SQLite error", "dial tcp") {
						if strings.Contains(answer, secret) {
							t.Errorf("%s with %v names %q:\n%s", request, credentials, secret, answer)
						}
					}
					if status == 503 && method != "HEAD" && (!strings.Contains(answer, c.kind) ||
						!strings.Contains(answer, "WEB_OPS_ADDR") || !strings.Contains(answer, "init status")) {
						t.Errorf("%s with %v does not say %q and where the rest is:\n%s", request, credentials, c.kind, answer)
					}
					if status >= 500 && status != 503 || status == 200 && path != "/healthz" {
						t.Errorf("%s: %d", request, status)
					}
				}
			}
			p.mustEnd(t, syscall.SIGTERM, soon)
		})
	}
}

// dump is an answer with its headers, as it came.
func dump(t *testing.T, method, address, body string, header [2]string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(header[0], header[1])
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	client := http.Client{Timeout: soon, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(fmt.Errorf("%s after %s: %w", method, time.Now().Format(time.TimeOnly), err))
	}
	defer response.Body.Close()
	b, err := httputil.DumpResponse(response, true)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(b)
}
