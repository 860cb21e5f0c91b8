package pgtest

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"tandem/internal/proctest"
	"tandem/internal/testenv"
)

// Bouncer puts a PgBouncer in transaction mode before the server of address, until the test ends, and returns the
// address through it. Skips like URL where there is none.
func Bouncer(t testing.TB, address string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // which an ordinary user's PATH lacks
		if _, err := os.Stat(program); err != nil {
			testenv.Missing(t, "PgBouncer is not installed (Debian: apt-get install pgbouncer)")
		}
	}
	as, err := unprivileged()
	if err != nil {
		testenv.Missing(t, err.Error())
	}
	server, err := url.Parse(address)
	if err != nil {
		t.Fatal("pgtest: the address before which PgBouncer should stand is not a URL")
	}
	port, err := proctest.FreePort()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	dir, err := os.MkdirTemp("", "tandem-bouncer-")
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	secret, _ := server.User.Password()
	files := map[string]string{
		"users": fmt.Sprintf("%q %q\n", server.User.Username(), secret),
		"ini": fmt.Sprintf("[databases]\n* = host=%s port=%s\n"+
			"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\n"+
			"auth_type = plain\nauth_file = %s/users\npool_mode = transaction\n"+
			"default_pool_size = 20\nmax_client_conn = 500\n",
			server.Hostname(), server.Port(), port, dir),
	}
	own := func(path string) error {
		if as == nil {
			return nil
		}
		return os.Chown(path, int(as.Uid), int(as.Gid))
	}
	err = own(dir)
	for name, content := range files {
		path := filepath.Join(dir, name)
		err = errors.Join(err, os.WriteFile(path, []byte(content), 0o600), own(path))
	}
	if err != nil {
		os.RemoveAll(dir)
		t.Fatalf("pgtest: %v", err)
	}
	// The shell ends it when this process has ended, however that came.
	const script = `"$1" -q "$2/ini" & cat >/dev/null; kill -9 $!; rm -rf "$2"`
	cmd := exec.Command("sh", "-c", script, "pgtest-bouncer", program, dir)
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setsid: true}
	alive, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		os.RemoveAll(dir)
		t.Fatalf("pgtest: start PgBouncer: %v", err)
	}
	t.Cleanup(func() {
		alive.Close()
		_ = cmd.Wait() // its status is rm's; what it left, the next line takes
		os.RemoveAll(dir)
	})
	server.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if !proctest.Within(20*time.Second, func() bool { err = execute(server.String(), "SELECT 1"); return err == nil }) {
		t.Fatalf("pgtest: PgBouncer does not answer: %v", err)
	}
	return server.String()
}
