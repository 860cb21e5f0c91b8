package docker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/proctest"
	"tandem/internal/simulator"
	"tandem/internal/status"
	"tandem/internal/testenv"
)

const (
	imageName = "tandem:test" // kept, so that the next run finds Docker's cache
	token     = "123456789:AAF0simulated-token-for-tests-000000"
	prefix    = "tandem-test-" // of every project and container, followed by this process's id
	soon      = 90 * time.Second
)

func TestMain(m *testing.M) {
	removeLeftovers()
	code := m.Run()
	if tools.dir != "" {
		os.RemoveAll(tools.dir)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// docker runs a command that must succeed and returns what it printed.
func docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// removeLeftovers takes away what a killed run of these tests has left.
func removeLeftovers() {
	ours := regexp.MustCompile(prefix + `(\d+)-`)
	for _, kind := range []struct{ list, remove string }{
		{"ps -a --format {{.Names}}", "rm -f -v"},
		{"volume ls --format {{.Name}}", "volume rm -f"},
		{"network ls --format {{.Name}}", "network rm"},
	} {
		out, err := exec.Command("docker", strings.Fields(kind.list)...).Output()
		if err != nil {
			return // no Docker; each test says so
		}
		for _, name := range strings.Fields(string(out)) {
			if m := ours.FindStringSubmatch(name); m != nil {
				if pid, _ := strconv.Atoi(m[1]); syscall.Kill(pid, 0) == syscall.ESRCH {
					_ = exec.Command("docker", append(strings.Fields(kind.remove), name)...).Run()
				}
			}
		}
	}
}

var built = sync.OnceValues(func() (string, error) {
	id := func() string {
		out, _ := exec.Command("docker", "image", "inspect", "--format", "{{.Id}}", imageName).Output()
		return strings.TrimSpace(string(out))
	}
	before := id()
	cmd := exec.Command("../../scripts/image", imageName)
	cmd.Env = append(os.Environ(), "VERSION=dev", "COMMIT=unknown") // else each commit would compile the same once more
	out, err := cmd.CombinedOutput()
	if before != "" && before != id() {
		_ = exec.Command("docker", "rmi", before).Run() // the image of older code, which has no name any more
	}
	return string(out), err
})

// image makes sure that the image of the present code is there, and skips where there is no Docker.
func image(t testing.TB) {
	t.Helper()
	if err := exec.Command("docker", "version").Run(); err != nil {
		testenv.Missing(t, "Docker is not here or not running (https://docs.docker.com/engine/install/)")
	}
	out, err := built()
	if err == nil {
		return
	}
	if regexp.MustCompile(`pull access denied|no such host|failed to resolve|dial tcp|i/o timeout`).MatchString(out) {
		testenv.Missing(t, "the base images cannot be pulled; as root, scripts/base-images makes local ones")
	}
	t.Fatalf("build the image: %v\n%s", err, out)
}

var tools struct {
	sync.Mutex
	dir string
}

func snoop(t testing.TB) string { return tool(t, "snoop") }

// tool is the path of the static program of that name, which containers mount.
func tool(t testing.TB, name string) string {
	t.Helper()
	tools.Lock()
	defer tools.Unlock()
	if tools.dir == "" {
		dir, err := os.MkdirTemp("", "tandem-docker-")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil { // the user of the containers runs what lies in it
			t.Fatal(err)
		}
		tools.dir = dir
	}
	path := filepath.Join(tools.dir, name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	cmd := exec.Command("go", "build", "-o", path, "./"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

var names atomic.Int32

func uniqueName() string { return fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), names.Add(1)) }

// telegram is a simulator that containers reach: it listens on the bridge's address of this machine, which no
// other machine can reach.
func telegram(t testing.TB) (*simulator.Server, string) {
	t.Helper()
	bridge, err := net.InterfaceByName("docker0")
	if err != nil {
		testenv.Missing(t, "Docker's bridge is not an interface of this machine (Docker Desktop, rootless Docker): "+
			"containers cannot reach the test")
	}
	addrs, err := bridge.Addrs()
	if err != nil || len(addrs) == 0 {
		t.Fatalf("docker0 has no address: %v", err)
	}
	l, err := net.Listen("tcp4", net.JoinHostPort(addrs[0].(*net.IPNet).IP.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	sim, err := simulator.New(simulator.Options{ConflictHold: 50 * time.Millisecond, RepeatHold: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	sim.AddBot(token)
	server := &http.Server{Handler: sim, ReadHeaderTimeout: time.Minute}
	go server.Serve(l)
	t.Cleanup(func() {
		sim.Close()
		server.Close()
		for _, leak := range sim.Leaks() {
			t.Errorf("the token was seen in %s of %s", leak.Where, leak.Path)
		}
	})
	return sim, "http://" + l.Addr().String()
}

// stack is one of the compose files, up.
type stack struct {
	t       *testing.T
	command []string // compose with the files and the project
	app     string   // container id
	url     string   // of the page
}

// up starts a compose file as a user would. settings go into .env; environment overrides what the file says for app.
func up(t *testing.T, file string, settings map[string]string, environment map[string]string) *stack {
	t.Helper()
	image(t)
	compose := composeCommand(t)
	dir := t.TempDir()
	var env strings.Builder
	all := map[string]string{
		"TANDEM_IMAGE": imageName, "TANDEM_PORT": freePort(t), "POSTGRES_PASSWORD": "s3cret",
		"BOT_RESTART_DELAY": "200ms", "BOT_RESTART_DELAY_MAX": "1s", "BOT_CONFLICT_DELAY": "500ms",
		"LOG_LEVEL": "debug", "LOG_FORMAT": "json",
	}
	for name, value := range settings {
		all[name] = value
	}
	for name, value := range all {
		fmt.Fprintf(&env, "%s=%s\n", name, value)
	}
	if environment == nil {
		environment = map[string]string{}
	}
	override, err := json.Marshal(map[string]any{"services": map[string]any{"app": map[string]any{
		"environment": environment, "healthcheck": map[string]any{"interval": "1s"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	envFile, overrideFile := filepath.Join(dir, "env"), filepath.Join(dir, "override.json")
	for path, text := range map[string]string{envFile: env.String(), overrideFile: string(override)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &stack{t: t, url: "http://127.0.0.1:" + all["TANDEM_PORT"]}
	s.command = append(compose, "--env-file", envFile, "-p", uniqueName(), "-f", file, "-f", overrideFile)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.compose("logs", "--no-color"))
		}
		s.compose("down", "-v", "--remove-orphans", "-t", "5")
	})
	if out, err := s.run("up", "-d", "--no-build"); err != nil {
		if regexp.MustCompile(`pull access denied|no such host|dial tcp|i/o timeout`).MatchString(out) {
			testenv.Missing(t, "the image of PostgreSQL cannot be pulled; as root, scripts/base-images makes a local one")
		}
		t.Fatalf("compose up: %v\n%s", err, out)
	}
	s.app = s.compose("ps", "-q", "app")
	return s
}

func (s *stack) run(args ...string) (string, error) {
	cmd := exec.Command(s.command[0], append(s.command[1:], args...)...)
	cmd.Env = cleanEnvironment()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

func (s *stack) compose(args ...string) string {
	s.t.Helper()
	out, err := s.run(args...)
	if err != nil {
		s.t.Errorf("compose %s: %v\n%s", args[0], err, out)
	}
	return out
}

// cleanEnvironment is what Docker's programs need; settings of Tandem in it would win over those of the test.
func cleanEnvironment() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "XDG_RUNTIME_DIR"} {
		if v := os.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// state is what Docker knows of the app's container.
type state struct {
	Restarts int
	Health   string
	Running  bool
	ExitCode int
}

func (s *stack) state() state {
	s.t.Helper()
	var st state
	out := docker(s.t, "inspect", "--format", `{"Restarts":{{.RestartCount}},"Health":"{{.State.Health.Status}}",`+
		`"Running":{{.State.Running}},"ExitCode":{{.State.ExitCode}}}`, s.app)
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		s.t.Fatalf("docker inspect: %v in %s", err, out)
	}
	return st
}

// bot is what init says of the bot.
func (s *stack) bot() (status.Process, error) {
	out, err := exec.Command("docker", "exec", s.app, "/init", "status", "--json").Output()
	if err != nil {
		return status.Process{}, fmt.Errorf("init status: %w: %s", err, out)
	}
	var st status.Status
	if err := json.Unmarshal(out, &st); err != nil {
		return status.Process{}, fmt.Errorf("init status: %w in %s", err, out)
	}
	bot, _ := st.Process("bot")
	return bot, nil
}

// waitBot waits until init says what is wanted of the bot.
func (s *stack) waitBot(what string, ok func(status.Process) bool) status.Process {
	s.t.Helper()
	var bot status.Process
	eventually(s.t, "a bot that is "+what, func() error {
		var err error
		if bot, err = s.bot(); err == nil && !ok(bot) {
			err = fmt.Errorf("it is %+v, last end %+v", bot, bot.LastEnd)
		}
		return err
	})
	return bot
}

func (s *stack) waitHealthy() {
	s.t.Helper()
	eventually(s.t, "a healthy container", func() error {
		if st := s.state(); st.Health != "healthy" {
			return fmt.Errorf("docker says %+v", st)
		}
		return nil
	})
}

// get asks web and returns the status.
func (s *stack) get(path string) (int, error) {
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	r, err := client.Get(s.url + path)
	if err != nil {
		return 0, err
	}
	r.Body.Close()
	return r.StatusCode, nil
}

func eventually(t testing.TB, what string, try func() error) {
	t.Helper()
	var err error
	if !proctest.Within(soon, func() bool { err = try(); return err == nil }) {
		t.Fatalf("not within %s: %s: %v", soon, what, err)
	}
}

func freePort(t testing.TB) string {
	t.Helper()
	port, err := proctest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}
