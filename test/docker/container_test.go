package docker

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/simulator"
	"tandem/internal/status"
)

// Whatever keeps the bot from running, the container neither restarts nor turns unhealthy, and ends in order.
func TestTheBotsFailureNeverReachesTheContainer(t *testing.T) {
	image(t)
	failed := func(b status.Process) bool { return b.State == status.Failed && b.Restarts == 0 }
	triedAgain := func(b status.Process) bool {
		return b.Restarts >= 1 && b.LastEnd != nil && b.LastEnd.Code == 75
	}
	databaseURL := func(url string) map[string]string { return map[string]string{"DATABASE_URL": url} }
	wrongPassword := databaseURL("postgres://tandem:wrong@db:5432/tandem?sslmode=disable")
	for _, c := range []struct {
		name        string
		file        string
		token       string
		environment map[string]string
		prepare     func(*simulator.Server)
		disturb     func(*testing.T, *stack)
		what        string
		want        func(status.Process) bool
		ready       int // what /readyz answers then
	}{
		{name: "no token", what: "failed", want: failed},
		{name: "malformed token", token: "not-a-token", what: "failed", want: failed},
		{name: "refused token", token: "987654321:AAF0another-token-nobody-has-given-00", what: "failed", want: failed},
		{
			name: "not found", token: token, what: "failed", want: failed,
			prepare: func(s *simulator.Server) { s.AddFault(simulator.NotFound()) },
		},
		{name: "no database", token: token, environment: databaseURL(""), what: "failed", want: failed, ready: 503},
		{
			name: "bad database", token: token, environment: databaseURL("mysql://db/tandem"),
			what: "failed", want: failed, ready: 503,
		},
		{
			name: "wrong database password", file: withPostgres, token: token, environment: wrongPassword,
			what: "failed", want: failed, ready: 503,
		},
		{
			name: "bot killed", token: token, what: "running after 3 restarts",
			disturb: func(t *testing.T, s *stack) {
				for n := range 3 {
					b := s.waitBot("running", func(b status.Process) bool {
						return b.State == status.Running && b.Restarts == n
					})
					docker(t, "run", "--rm", "--name", uniqueName(), "--pid", "container:"+s.app,
						"-v", snoop(t)+":/snoop:ro", "--entrypoint", "/snoop", imageName, "kill", "bot")
					s.waitBot("started again", func(now status.Process) bool {
						return now.State == status.Running && now.PID != b.PID
					})
				}
			},
			want: func(b status.Process) bool {
				return b.State == status.Running && b.Restarts == 3 && b.LastEnd != nil && b.LastEnd.Signal == "SIGKILL"
			},
		},
		{
			name: "conflict", token: token, what: "tried again after 75 twice",
			prepare: func(s *simulator.Server) { s.AddFault(simulator.Conflict()) },
			want:    func(b status.Process) bool { return triedAgain(b) && b.Restarts >= 2 },
		},
		{
			name: "webhook set", token: token, what: "tried again after 75", want: triedAgain,
			prepare: func(s *simulator.Server) {
				set := httptest.NewRequest(http.MethodPost, "/bot"+token+"/setWebhook?url=https://example.org/hook", nil)
				s.ServeHTTP(httptest.NewRecorder(), set)
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			sim, api := telegram(t)
			if c.prepare != nil {
				c.prepare(sim)
			}
			if c.file == "" {
				c.file = withSQLite
			}
			if c.ready == 0 {
				c.ready = http.StatusOK
			}
			s := up(t, c.file, map[string]string{"TELEGRAM_BOT_TOKEN": c.token, "TELEGRAM_API_URL": api}, c.environment)
			s.waitHealthy()
			if c.disturb != nil {
				c.disturb(t, s)
			}
			s.waitBot(c.what, c.want)
			eventually(t, fmt.Sprintf("/readyz with %d", c.ready), func() error {
				if code, err := s.get("/readyz"); err != nil || code != c.ready {
					return fmt.Errorf("%d %v", code, err)
				}
				return nil
			})
			if code, err := s.get("/healthz"); code != http.StatusOK {
				t.Errorf("/healthz answers %d %v", code, err)
			}
			if st := s.state(); st.Restarts != 0 || st.Health != "healthy" {
				t.Errorf("docker says %+v, want a healthy container without restarts", st)
			}
			s.mustStopInOrder()
		})
	}
}

func (s *stack) mustStopInOrder() {
	s.t.Helper()
	start := time.Now()
	docker(s.t, "stop", s.app)
	took := time.Since(start)
	if s.t.Logf("docker stop took %v", took); took >= 2*time.Second {
		s.t.Errorf("docker stop took %v", took)
	}
	if st := s.state(); st.Running || st.ExitCode != 0 || st.Restarts != 0 {
		s.t.Errorf("after docker stop docker says %+v, want exit code 0 and no restart", st)
	}
	if logs, _ := s.run("logs", "--no-color"); strings.Contains(logs, token) {
		s.t.Error("the token is in the log")
	}
}

// The main job in the shipped files: a customer writes, an answer goes out once.
func TestComposeRunsTheMainJob(t *testing.T) {
	image(t)
	for _, file := range []string{withSQLite, withPostgres} {
		t.Run(file[len("../../"):], func(t *testing.T) {
			sim, api := telegram(t)
			s := up(t, file, map[string]string{"TELEGRAM_BOT_TOKEN": token, "TELEGRAM_API_URL": api}, nil)
			s.waitHealthy()
			s.waitBot("running", func(b status.Process) bool { return b.State == status.Running })
			if _, err := sim.CustomerWrites(77, "Is anybody there?"); err != nil {
				t.Fatal(err)
			}
			bearer := docker(t, "exec", s.app, "/web", "token", "create", "test")
			var conversation string
			eventually(t, "the message in the inbox", func() error {
				body, err := s.api(bearer, http.MethodGet, "/conversations", "")
				var page struct {
					Items []struct {
						ID json.RawMessage `json:"id"`
					} `json:"items"`
				}
				if err == nil {
					err = json.Unmarshal(body, &page)
				}
				if err == nil && len(page.Items) != 1 {
					err = fmt.Errorf("%s", body)
				}
				if err == nil {
					conversation = strings.Trim(string(page.Items[0].ID), `"`)
				}
				return err
			})
			path := "/conversations/" + conversation + "/messages"
			if _, err := s.api(bearer, http.MethodPost, path, `{"text":"Yes, I am."}`); err != nil {
				t.Fatal(err)
			}
			answered := func() bool {
				return slices.ContainsFunc(sim.Sent(), func(m simulator.Sent) bool {
					return m.ChatID == 77 && m.Text == "Yes, I am."
				})
			}
			if err := sim.WaitFor(soon, answered); err != nil {
				t.Fatalf("the answer did not arrive: %v", sim.Sent())
			}
			s.mustOwnItsFiles()
			s.mustStopInOrder()
			if d := sim.Duplicates(); len(d) != 0 {
				t.Errorf("sent twice: %v", d)
			}
		})
	}
}

func (s *stack) api(bearer, method, path, body string) ([]byte, error) {
	req, err := http.NewRequest(method, s.url+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	client := http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	r, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, r.Status, answer)
	}
	return answer, err
}

// mustOwnItsFiles looks at the fresh volume: the image's user made, and owns, all of it.
func (s *stack) mustOwnItsFiles() {
	s.t.Helper()
	seen := []string{}
	for _, h := range files(s.t, s.app, "/data") {
		seen = append(seen, h.Name)
		if h.Uid != 65532 || h.Gid != 65532 {
			s.t.Errorf("%s on the volume belongs to %d:%d, want 65532:65532", h.Name, h.Uid, h.Gid)
		}
	}
	if !slices.Contains(seen, "data/bot.lock") {
		s.t.Errorf("the polling lock is not on the volume: %v", seen)
	}
}

// files are the tar headers of what lies under path in a container.
func files(t testing.TB, container, path string) []*tar.Header {
	t.Helper()
	out, err := exec.Command("docker", "cp", container+":"+path, "-").Output()
	if err != nil {
		t.Fatalf("docker cp %s: %v", path, err)
	}
	return headers(t, out)
}

func headers(t testing.TB, archive []byte) []*tar.Header {
	t.Helper()
	var all []*tar.Header
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, h)
	}
}

func TestImageIsAsPromised(t *testing.T) {
	image(t)
	var c struct {
		Config struct {
			User, StopSignal string
			Entrypoint, Env  []string
			Labels           map[string]string
			Volumes          map[string]any
			ExposedPorts     map[string]any
			Healthcheck      struct{ Test []string }
		}
		Size int64
	}
	if err := json.Unmarshal([]byte(docker(t, "image", "inspect", "--format", "{{json .}}", imageName)), &c); err != nil {
		t.Fatal(err)
	}
	if c.Config.User != "65532:65532" || c.Config.StopSignal != "SIGTERM" ||
		!slices.Equal(c.Config.Entrypoint, []string{"/init"}) {
		t.Errorf("user %q, stop signal %q, entrypoint %q", c.Config.User, c.Config.StopSignal, c.Config.Entrypoint)
	}
	if want := []string{"CMD", "/web", "healthcheck"}; !slices.Equal(c.Config.Healthcheck.Test, want) {
		t.Errorf("health check %q, want %q", c.Config.Healthcheck.Test, want)
	}
	if !slices.Contains(c.Config.Env, "DATABASE_URL=sqlite:/data/tandem.db") {
		t.Errorf("environment %q", c.Config.Env)
	}
	if c.Config.Labels["org.opencontainers.image.licenses"] != "Apache-2.0" {
		t.Errorf("labels %q", c.Config.Labels)
	}
	if _, ok := c.Config.Volumes["/data"]; !ok {
		t.Errorf("volumes %v", c.Config.Volumes)
	}
	for _, port := range []string{"8080/tcp", "9090/tcp", "9091/tcp"} {
		if _, ok := c.Config.ExposedPorts[port]; !ok {
			t.Errorf("port %s is not exposed", port)
		}
	}
	if c.Size > 50e6 {
		t.Errorf("the image has %d bytes, at most 50 MB", c.Size)
	}

	name := uniqueName()
	docker(t, "create", "--name", name, imageName)
	t.Cleanup(func() { docker(t, "rm", "-v", name) })
	archive, err := exec.Command("docker", "export", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*tar.Header{}
	for _, h := range headers(t, archive) {
		found[strings.TrimSuffix(h.Name, "/")] = h
		if user := h.Uid != 0; user && h.Name != "data/" && h.Name != "run/tandem/" {
			t.Errorf("%s belongs to user %d, want root", h.Name, h.Uid)
		}
	}
	for path, want := range map[string]struct {
		mode fs.FileMode
		uid  int
	}{
		"init": {0o755, 0}, "web": {0o711, 0}, "bot": {0o711, 0}, "data": {0o700, 65532}, "run/tandem": {0o700, 65532},
		"etc/passwd": {0o644, 0}, "etc/ssl/certs/ca-certificates.crt": {0o644, 0},
		"usr/share/zoneinfo/Europe/Berlin": {0o644, 0},
	} {
		h := found[path]
		if h == nil {
			t.Errorf("/%s is not in the image", path)
		} else if got := h.FileInfo().Mode().Perm(); h.Typeflag == tar.TypeReg && got != want.mode || h.Uid != want.uid {
			t.Errorf("/%s has mode %o and user %d, want %o and %d", path, got, h.Uid, want.mode, want.uid)
		}
	}
	for _, path := range []string{"bin/sh", "tmp"} {
		if found[path] != nil {
			t.Errorf("/%s is in the image", path)
		}
	}
}

// A web that was taken over looks through all of /proc from its start on, and never finds the bot's token.
func TestTheTokenIsInNoFileThatWebCanRead(t *testing.T) {
	image(t)
	hardened := func(args ...string) []string {
		return append([]string{
			"run", "--rm", "--name", uniqueName(), "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
			"--tmpfs", "/run/tandem:uid=65532,gid=65532,mode=0700", "-v", snoop(t) + ":/snoop:ro",
		}, args...)
	}
	// init as PID 1, as Docker starts it.
	for range 5 {
		out := docker(t, hardened("-e", "WEB_COMMAND=/snoop watch",
			"-e", "TELEGRAM_BOT_TOKEN=123456789:AAcanary-0123456789-0123456789-01234",
			"-e", "TELEGRAM_API_URL=http://127.0.0.1:1", "-e", "LOG_LEVEL=error", imageName)...)
		if !strings.Contains(out, "kept: ") {
			t.Fatal(out)
		}
	}
	// The same 100 times in one container, which is quicker than 100 containers.
	out := docker(t, hardened("--entrypoint", "/snoop", imageName, "starts", "100")...)
	if !strings.Contains(out, "100 of 100 starts") {
		t.Error(out)
	}
}

// A lock in the image's own file system excludes no other container, and is warned of; one on a volume is not.
func TestALockInTheImageIsWarnedOf(t *testing.T) {
	image(t)
	for lock, warned := range map[string]bool{"": true, "/data/bot.lock": false} {
		name := uniqueName()
		docker(t, "run", "--detach", "--name", name, "--env", "POLL_LOCK_FILE="+lock, imageName)
		t.Cleanup(func() { docker(t, "rm", "--force", "--volumes", name) })
		eventually(t, "the bot was started", func() error {
			if logs := docker(t, "logs", name); !strings.Contains(logs, `"name":"bot"`) {
				return fmt.Errorf("%s", logs)
			}
			return nil
		})
		if have := strings.Contains(docker(t, "logs", name), "guards this container only"); have != warned {
			t.Errorf("POLL_LOCK_FILE=%q: a warning %v, want %v", lock, have, warned)
		}
	}
}
