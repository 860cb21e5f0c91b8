package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"tandem/internal/proctest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("PGTEST_VICTIM"); dir != "" {
		os.Exit(victim())
	}
	goleak.VerifyTestMain(m)
}

func query(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var s string
	if err := conn.QueryRow(t.Context(), sql).Scan(&s); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return s
}

func TestURLGivesEachTestItsOwnEmptyDatabase(t *testing.T) {
	a, b := URL(t), URL(t)
	if a == b {
		t.Fatalf("two calls gave one database: %s", a)
	}
	query(t, a, "WITH x AS (SELECT 1) SELECT 'ready'")
	if err := execute(a, "CREATE TABLE t (n int)"); err != nil {
		t.Fatal("the role of a test cannot create a table:", err)
	}
	if n := query(t, b, "SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public'"); n != "0" {
		t.Errorf("a new database has %s tables", n)
	}
	if os.Getenv("TANDEM_TEST_POSTGRES") == "" {
		if super := query(t, a, "SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user"); super != "false" {
			t.Errorf("the tests' role is a superuser")
		}
	}
}

func TestURLDropsTheDatabaseWithASessionStillOpen(t *testing.T) {
	URL(t) // skips where there is no PostgreSQL
	var dropped string
	t.Run("owner", func(t *testing.T) {
		dropped = URL(t)
		conn, err := pgx.Connect(t.Context(), dropped)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(context.Background()) })
	})
	conn, err := pgx.Connect(t.Context(), dropped)
	if err == nil {
		conn.Close(t.Context())
	}
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "3D000" {
		t.Errorf("connecting to a dropped database: got %v, want 3D000 (no such database)", err)
	}
}

func TestURLUsesTheServerThatItIsTold(t *testing.T) {
	s := Server(t)
	t.Setenv("TANDEM_TEST_POSTGRES", s.adminURL())
	u, err := url.Parse(URL(t))
	if err != nil {
		t.Fatal(err)
	}
	if u.Port() != fmt.Sprint(s.port) {
		t.Errorf("the database is on port %s, TANDEM_TEST_POSTGRES names %d", u.Port(), s.port)
	}
	query(t, u.String(), "SELECT 'there'")
}

func TestWrongPasswordIsRefused(t *testing.T) {
	u, err := url.Parse(Server(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(u.User.Username(), "wrong")
	conn, err := pgx.Connect(t.Context(), u.String())
	if err == nil {
		conn.Close(t.Context())
	}
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "28P01" {
		t.Errorf("a wrong password: got %v, want 28P01", err)
	}
}

func TestServerComesBackOnItsPortWithWhatWasCommitted(t *testing.T) {
	s := Server(t, "fsync=on")
	if on := query(t, s.URL(), "SHOW fsync"); on != "on" {
		t.Errorf("fsync is %s though the test asked for on", on)
	}
	if err := execute(s.URL(), "CREATE TABLE t (n int)"); err != nil {
		t.Fatal(err)
	}
	for i, end := range []func(){s.Stop, s.Kill, s.Stop} {
		if err := execute(s.URL(), fmt.Sprintf("INSERT INTO t VALUES (%d)", i)); err != nil {
			t.Fatal(err)
		}
		conn, err := pgx.Connect(t.Context(), s.URL()) // a session that is open does not hold up the end
		if err != nil {
			t.Fatal(err)
		}
		end()
		if err := conn.Ping(t.Context()); err == nil {
			t.Errorf("round %d: a session outlived its server", i)
		}
		if err := execute(s.URL(), "SELECT 1"); err == nil {
			t.Errorf("round %d: the server still answers", i)
		}
		s.Start()
		if n := query(t, s.URL(), "SELECT count(*)::text FROM t"); n != fmt.Sprint(i+1) {
			t.Errorf("round %d: %s rows, want %d", i, n, i+1)
		}
	}
}

// victim is this test binary run again: it starts a server, says where it is, and waits to be killed.
func victim() int {
	s, err := newInstance(nil)
	if err == nil {
		err = s.start()
	}
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	pidfile, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	pid, _, _ := strings.Cut(string(pidfile), "\n")
	fmt.Println(pid, s.dir)
	select {}
}

func TestNothingIsLeftOfAKilledTestProcess(t *testing.T) {
	if _, err := findPrograms(); err != nil {
		missingOrFatal(t, err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PGTEST_VICTIM=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
	var pid int
	var dir string
	if _, err := fmt.Sscan(line, &pid, &dir); err != nil {
		t.Fatalf("the process said %q, want a process id and a directory", line)
	}
	gone := fmt.Sprintf("server %d ends with its test process, and %s goes", pid, dir)
	proctest.Eventually(t, 20*time.Second, gone, func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err) && len(running([]int{pid})) == 0
	})
}
