package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/proctest"
)

const (
	role     = "tandem" // of the tests: owns their databases, is no superuser
	password = "a password: with%/?#[]@ in it"
)

// ErrNotInstalled is what Standalone returns on a machine without PostgreSQL.
var ErrNotInstalled = errors.New("PostgreSQL is not installed (Debian: apt-get install postgresql), " +
	"and TANDEM_TEST_POSTGRES names no server")

// Instance is one PostgreSQL server with files and a port of its own.
type Instance struct {
	t        testing.TB
	bin      string // directory of initdb, pg_ctl and postgres
	dir      string // everything of this server; removed with it
	port     int
	settings []string
	as       *syscall.Credential // nil: the user of this process
	watchdog *exec.Cmd
	alive    *os.File // the watchdog acts when this is closed, which the kernel does if nobody else did
	fresh    bool     // never started
}

// newInstance makes the files of a server that does not run yet.
func newInstance(settings []string) (*Instance, error) {
	s := &Instance{settings: settings, fresh: true}
	var err error
	if s.bin, err = findPrograms(); err != nil {
		return nil, err
	}
	if s.as, err = unprivileged(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "tandem-pgtest-"); err != nil {
		return nil, err
	}
	secret := filepath.Join(s.dir, "password")
	err = os.WriteFile(secret, []byte(password+"\n"), 0o600)
	for _, path := range []string{s.dir, secret} {
		if err == nil && s.as != nil {
			err = os.Chown(path, int(s.as.Uid), int(s.as.Gid))
		}
	}
	if err == nil {
		err = s.watch()
	}
	if err != nil {
		os.RemoveAll(s.dir)
		return nil, err
	}
	err = s.run("initdb", "--pgdata="+s.data(), "--username=postgres", "--pwfile="+secret,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
	if err == nil {
		err = s.admitHosts()
	}
	if err != nil {
		s.Remove()
		return nil, err
	}
	return s, nil
}

// admitHosts lets others than this machine in, of use where listen_addresses does too.
func (s *Instance) admitHosts() error {
	f, err := os.OpenFile(filepath.Join(s.data(), "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("host all all all scram-sha-256\n")
	return errors.Join(err, f.Close())
}

func (s *Instance) data() string { return filepath.Join(s.dir, "data") }

func (s *Instance) pidfile() string { return filepath.Join(s.data(), "postmaster.pid") }

// Postmaster is the process of which all others of the running server are children.
func (s *Instance) Postmaster() (pid int, err error) {
	content, err := os.ReadFile(s.pidfile())
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(content), "\n")
	return strconv.Atoi(first)
}

func (s *Instance) url(user, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Path: "/" + database,
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), RawQuery: "sslmode=disable"}
	return u.String()
}

func (s *Instance) adminURL() string { return s.url("postgres", "postgres") }

// start runs the server and, the first time, finds it a port and makes the role of the tests.
func (s *Instance) start() error {
	if !s.fresh {
		return s.control("start", "--options="+s.options())
	}
	var err error
	for range 10 { // another process may take the port in between
		if s.port, err = proctest.FreePort(); err != nil {
			return err
		}
		if err = s.control("start", "--options="+s.options()); err == nil {
			s.fresh = false
			return execute(s.adminURL(), "CREATE ROLE "+role+" LOGIN PASSWORD '"+password+"'")
		}
		if !strings.Contains(err.Error(), "could not bind") {
			break
		}
	}
	return err
}

func (s *Instance) options() string {
	settings := []string{
		"listen_addresses=127.0.0.1", fmt.Sprintf("port=%d", s.port), "unix_socket_directories=",
		"max_connections=200", "wal_level=minimal", "max_wal_senders=0",
		// A killed server loses nothing by fsync=off, only a killed machine does.
		"fsync=off", "full_page_writes=off",
	}
	var b strings.Builder
	for _, setting := range append(settings, s.settings...) {
		fmt.Fprintf(&b, "-c '%s' ", setting)
	}
	return b.String()
}

// control runs pg_ctl and waits until the server is there, or gone. An error ends with the server's log.
func (s *Instance) control(action string, args ...string) error {
	log := filepath.Join(s.dir, "log")
	args = append([]string{action, "--pgdata=" + s.data(), "--wait", "--timeout=60"}, args...)
	if action == "start" {
		args = append(args, "--log="+log)
	}
	err := s.run("pg_ctl", args...)
	if err == nil {
		return nil
	}
	tail, _ := os.ReadFile(log)
	if n := len(tail); n > 2000 {
		tail = tail[n-2000:]
	}
	return fmt.Errorf("%w\nthe server's log ends:\n%s", err, tail)
}

// kill stops the postmaster first, so that it starts nothing new, and then ends all of them.
func (s *Instance) kill() error {
	postmaster, err := s.Postmaster()
	if err != nil {
		return err
	}
	if err := syscall.Kill(postmaster, syscall.SIGSTOP); err != nil {
		return err
	}
	all := append(childrenOf(postmaster), postmaster)
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGKILL) // a backend may have ended by itself
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		all = running(all)
		if len(all) == 0 {
			// Where nobody collects the postmaster at once, its process id still looks taken to the next one.
			return os.Remove(s.pidfile())
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v still run 10 s after SIGKILL", all)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// watch starts the process that stops the server and removes its files once this process has ended or
// Remove was called. A session of its own keeps the terminal's Ctrl-C from it.
func (s *Instance) watch() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	script := `cat >/dev/null; "$1/pg_ctl" stop --mode=immediate --wait --pgdata="$2/data"; rm -rf "$2"`
	s.watchdog = s.command("sh", "-c", script, "pgtest-watchdog", s.bin, s.dir)
	s.watchdog.Stdin = r
	s.watchdog.SysProcAttr.Setsid = true
	if err := s.watchdog.Start(); err != nil {
		w.Close()
		return fmt.Errorf("start the watchdog of PostgreSQL: %w", err)
	}
	s.alive = w
	return nil
}

// Remove stops the server, however it is, and takes its files away.
func (s *Instance) Remove() {
	s.alive.Close()
	_ = s.watchdog.Wait() // its status is rm's; what it left, the next line takes
	os.RemoveAll(s.dir)
}

func (s *Instance) run(program string, args ...string) error {
	cmd := s.command(filepath.Join(s.bin, program), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}

// command runs as the right user, and without the PG* variables of whoever runs the tests.
func (s *Instance) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "HOME=" + s.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	return cmd
}

// findPrograms returns the directory of the newest PostgreSQL's server programs.
func findPrograms() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_ctl") // Debian keeps them off the PATH
	version := func(i int) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(found[i]))))
		return n
	}
	sort.Slice(found, func(i, j int) bool { return version(i) > version(j) })
	if path, err := exec.LookPath("pg_ctl"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			found = append(found, path)
		}
	}
	for _, path := range found {
		dir := filepath.Dir(path)
		if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
			return dir, nil
		}
	}
	return "", ErrNotInstalled
}

// unprivileged returns whom to run the server as, because PostgreSQL refuses to run as root; nil when this
// process is not root.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
}

// childrenOf reads /proc, because not every kernel has /proc/PID/task/PID/children.
func childrenOf(parent int) []int {
	var pids []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if _, ppid := procStat(pid); ppid == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}

// running returns those of pids that have not ended; a zombie has.
func running(pids []int) []int {
	var left []int
	for _, pid := range pids {
		if state, _ := procStat(pid); state != "" && state != "Z" && state != "X" {
			left = append(left, pid)
		}
	}
	return left
}

// procStat returns state and parent of a process, "" if there is none. See proc(5).
func procStat(pid int) (state string, parent int) {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // a name may hold blanks
	if len(fields) < 2 {
		return "", 0
	}
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}
