package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/proctest"
	"tandem/internal/status"
	"tandem/internal/store"
)

func TestMain(m *testing.M) { proctest.Main(m, nil) }

const soon = 20 * time.Second

type process struct {
	*proctest.Process
	addr string
}

// start runs the real web and waits for its ready line.
func start(t *testing.T, env ...string) process {
	t.Helper()
	p := process{Process: launch(t, append([]string{"WEB_ADDR=127.0.0.1:0", "WEB_OPS_ADDR=127.0.0.1:0"}, env...))}
	var line struct{ Addr string }
	parseLine(t, p.WaitLine(soon, `"msg":"ready"`), &line)
	p.addr = line.Addr
	return p
}

func launch(t *testing.T, env []string, args ...string) *proctest.Process {
	t.Helper()
	return proctest.Start(t, proctest.Options{Path: proctest.RaceBin(t, "web"), Args: args,
		Env: append([]string{"RUN_DIR=" + t.TempDir(), "LOG_FORMAT=json", "LOG_LEVEL=debug"}, env...)})
}

func parseLine(t *testing.T, line string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), into); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
}

// ops is the address of the operations port.
func (p process) ops(t *testing.T) string {
	t.Helper()
	var line struct{ Addr string }
	parseLine(t, p.WaitLine(soon, `"msg":"operations port"`), &line)
	return line.Addr
}

// ready waits until web has its database, which it has a moment after its ready line.
func (p process) ready(t *testing.T) process {
	t.Helper()
	proctest.Eventually(t, soon, "web has the database", func() bool {
		code, _ := get(t, "http://"+p.ops(t)+"/readyz")
		return code == 200
	})
	return p
}

func (p process) mustEnd(t *testing.T, sig syscall.Signal, within time.Duration) {
	t.Helper()
	begun := time.Now()
	p.Signal(sig)
	if end := p.Wait(soon); end.Code != 0 {
		t.Errorf("web ended with %d after %s, want 0", end.Code, sig)
	}
	if took := time.Since(begun); took > within {
		t.Errorf("stopping took %s, want less than %s", took, within)
	}
}

func get(t *testing.T, address string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequest("GET", address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := (&http.Client{Timeout: soon, Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	b, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(b)
}

func sqlite(t *testing.T) string {
	return "DATABASE_URL=sqlite:" + filepath.Join(t.TempDir(), "tandem.db")
}

// runWeb runs a command to its end.
func runWeb(t *testing.T, env []string, args ...string) (code int, out, errs string) {
	t.Helper()
	bin := proctest.RaceBin(t, "web") // the first one builds it, which takes its time
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = append([]string{"RUN_DIR=" + t.TempDir()}, env...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), strings.TrimSuffix(stdout.String(), "\n"), stderr.String()
}

func TestHelpVersionAndMisuse(t *testing.T) {
	t.Parallel()
	code, out, _ := runWeb(t, nil, "-help")
	for _, word := range []string{"WEB_ADDR", "WEB_OPS_ADDR", "WEB_BASE_URL", "WEB_DRAIN", "DATABASE_URL",
		"DATABASE_URL_FILE", "LOG_LEVEL", "LOG_FORMAT", "RUN_DIR", "healthcheck", "64", "78"} {
		if code != 0 || !strings.Contains(out, word) {
			t.Errorf("-help: %d, without %s", code, word)
		}
	}
	if code, out, _ := runWeb(t, nil, "-version"); code != 0 || !strings.HasPrefix(out, "web ") ||
		strings.Contains(out, "\n") {
		t.Errorf("-version: %d %q", code, out)
	}
	for _, args := range [][]string{{"serve"}, {"-x"}, {"operator"}, {"operator", "add"}, {"operator", "add", " "},
		{"operator", "add", "a", "b"}, {"operator", "remove"}, {"operator", "remove", "a", "b"},
		{"operator", "remove", "a\nb"}, {"operator", "sign-out"}, {"operator", "sign-out", " "},
		{"operator", "add", "a\nb"}, {"operator", "add", "--help"}, {"operator", "add", strings.Repeat("x", 65)}, {"token"},
		{"token", "create"}, {"token", "list", "x"}, {"token", "revoke"}, {"token", "list", "-x"}, {"operator", "list", "x"},
		{"healthcheck", "now"}} {
		if code, out, errs := runWeb(t, []string{sqlite(t)}, args...); code != 64 || !strings.Contains(errs, "usage: web") ||
			out != "" {
			t.Errorf("%q: %d, %q, %q; want 64 and a usage line", args, code, out, errs)
		}
	}
}

func TestAllBadSettingsAtOnce(t *testing.T) {
	t.Parallel()
	bad := []string{"WEB_ADDR=http://x", "WEB_OPS_ADDR=99999", "WEB_BASE_URL=https://host/inbox", "LOG_LEVEL=loud",
		"LOG_FORMAT=xml"}
	code, _, errs := runWeb(t, append([]string{"DATABASE_URL=mysql://u:s3cret@h/d"}, bad...))
	if !strings.Contains(errs, "DATABASE_URL: want") || strings.Contains(errs, "s3cret") {
		t.Errorf("DATABASE_URL is not reported, or its value is: %s", errs)
	}
	if code != 78 {
		t.Errorf("ended with %d, want 78", code)
	}
	for _, setting := range bad {
		if name, value, _ := strings.Cut(setting, "="); !strings.Contains(errs, name) || !strings.Contains(errs, value) {
			t.Errorf("%s is not reported: %s", setting, errs)
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if code, _, errs := runWeb(t, []string{"WEB_ADDR=" + taken.Addr().String()}); code != 1 ||
		!strings.Contains(errs, taken.Addr().String()) || !strings.Contains(errs, "WEB_ADDR") {
		t.Errorf("a taken WEB_ADDR: %d %s", code, errs)
	}
	p := start(t, sqlite(t), "WEB_OPS_ADDR="+taken.Addr().String())
	p.WaitLine(soon, `"level":"WARN"`, taken.Addr().String())
	p.mustEnd(t, syscall.SIGINT, soon)
}

func TestCommandsAndServing(t *testing.T) {
	t.Parallel()
	db := sqlite(t)
	p := start(t, db).ready(t)
	address := "http://" + p.addr
	var line struct{ Addr string }
	parseLine(t, p.WaitLine(soon, `"msg":"operations port"`), &line)

	if code, out, errs := runWeb(t, []string{db}, "operator", "list"); code != 0 || out != "" ||
		!strings.Contains(errs, "operator add NAME") {
		t.Errorf("operator list without any: %d %q %q", code, out, errs)
	}
	code, link, errs := runWeb(t, []string{db, "WEB_ADDR=:9999"}, "operator", "add", "alice")
	if code != 0 || !strings.HasPrefix(link, "http://localhost:9999/sign-in/") || !strings.Contains(errs, "alice") {
		t.Fatalf("operator add: %d %q %q", code, link, errs)
	}
	based := []string{db, "WEB_BASE_URL=https://inbox.example.org/"}
	if _, link, _ := runWeb(t, based, "operator", "add", "bob"); !strings.HasPrefix(link,
		"https://inbox.example.org/sign-in/") {
		t.Errorf("with WEB_BASE_URL: %q", link)
	}
	if code, out, _ := runWeb(t, []string{db}, "operator", "list"); code != 0 ||
		!strings.Contains(out, "alice  id 1  since ") || !strings.Contains(out, "bob    id 2  since ") {
		t.Errorf("operator list: %d %q", code, out)
	}
	if code, out, errs := runWeb(t, []string{db}, "token", "list"); code != 0 || out != "" ||
		!strings.Contains(errs, "token create NAME") {
		t.Errorf("token list without any: %d %q %q", code, out, errs)
	}
	code, token, errs := runWeb(t, []string{db}, "token", "create", "ci")
	if code != 0 || errs != "" || strings.ContainsAny(token, " \n") || len(token) < 30 {
		t.Errorf("token create: %d %q %q", code, token, errs)
	}
	if code, out, errs := runWeb(t, []string{db}, "token", "create", "ci"); code != 1 || out != "" ||
		!strings.Contains(errs, "revoke") {
		t.Errorf("token create again: %d %q %q", code, out, errs)
	}
	if code, body := get(t, address+"/api/v1/conversations", "Authorization", "Bearer "+token); code != 200 {
		t.Errorf("the API with the token: %d %s", code, body)
	}
	if code, _, errs := runWeb(t, []string{db}, "token", "create", "a longer name"); code != 0 {
		t.Errorf("another token: %d %q", code, errs)
	}
	today := time.Now().UTC().Format(time.DateOnly)
	want := "a longer name  id 2  since " + today + "\nci             id 1  since " + today
	if code, out, errs := runWeb(t, []string{db}, "token", "list"); code != 0 || out != want || errs != "" {
		t.Errorf("token list: %d, %q on standard error, and\n%s\nwant\n%s", code, errs, out, want)
	}
	if code, _, errs := runWeb(t, []string{db}, "token", "revoke", "ci"); code != 0 ||
		!strings.Contains(errs, "ci is revoked") {
		t.Errorf("token revoke: %d %q", code, errs)
	}
	if code, out, _ := runWeb(t, []string{db}, "token", "list"); code != 0 || strings.Contains(out, "ci") ||
		!strings.Contains(out, "a longer name") {
		t.Errorf("token list after it: %d %q", code, out)
	}
	if code, _, errs := runWeb(t, []string{db}, "token", "revoke", "ci"); code != 1 ||
		!strings.Contains(errs, "no token") || !strings.Contains(errs, "token list") {
		t.Errorf("token revoke again: %d %q", code, errs)
	}
	if code, _ := get(t, address+"/api/v1/conversations", "Authorization", "Bearer "+token); code != 401 {
		t.Errorf("the API with a revoked token: %d", code)
	}
	u, _ := url.Parse(link)
	if code, body := get(t, address+u.Path); code != 200 || !strings.Contains(body, "Sign in as") {
		t.Errorf("the sign-in link: %d", code)
	}
	if code, _, errs := runWeb(t, []string{"DATABASE_URL="}, "operator", "add", "x"); code != 78 ||
		!strings.Contains(errs, "DATABASE_URL") {
		t.Errorf("operator add without a database: %d %q", code, errs)
	}

	if code, _, errs := runWeb(t, []string{"WEB_ADDR=" + p.addr}, "healthcheck"); code != 0 {
		t.Errorf("healthcheck: %d %s", code, errs)
	}
	_, port, _ := net.SplitHostPort(p.addr)
	if code, _, errs := runWeb(t, []string{"WEB_ADDR=:" + port}, "healthcheck"); code != 0 {
		t.Errorf("healthcheck of :PORT: %d %s", code, errs)
	}
	if code, body := get(t, address+"/readyz"); code != 200 {
		t.Errorf("/readyz: %d %s", code, body)
	}
	for _, name := range []string{`tandem_web_requests_total{code="200",method="GET",route="/readyz"} 1`,
		"tandem_web_request_duration_seconds_count", "tandem_web_streams 0",
		`tandem_queue_messages{state="queued"} 0`, "tandem_bot_up 0", "tandem_database_up 1", "tandem_build_info",
		"go_goroutines", "process_open_fds"} {
		proctest.Eventually(t, soon, "/metrics has "+name, func() bool { // a request counts once it is over, after its answer
			code, metrics := get(t, "http://"+line.Addr+"/metrics")
			return code == 200 && strings.Contains(metrics, name)
		})
	}
	var answer struct {
		Web      struct{ Version string }
		Database struct{ Ready bool }
		Queue    struct{ Queued int }
	}
	_, body := get(t, "http://"+line.Addr+"/status")
	if parseLine(t, body, &answer); !answer.Database.Ready || answer.Web.Version == "" {
		t.Errorf("/status: %s", body)
	}
	p.mustEnd(t, syscall.SIGTERM, soon)
	if code, _, _ := runWeb(t, []string{"WEB_ADDR=" + p.addr}, "healthcheck"); code != 1 {
		t.Errorf("healthcheck of a web that has ended: %d", code)
	}
	for _, line := range p.Lines() {
		if strings.Contains(line, token) || strings.Contains(line, strings.TrimPrefix(u.Path, "/sign-in/")) {
			t.Errorf("a secret is in the log: %s", line)
		}
	}
}

// A stop answers what is in flight, ends streams properly, and does not wait for connections without a request.
func TestStop(t *testing.T) {
	t.Parallel()
	db := sqlite(t)
	p := start(t, db).ready(t)
	_, token, _ := runWeb(t, []string{db}, "token", "create", "t")
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+p.addr+"/api/v1/events", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	stream, err := http.DefaultClient.Do(r)
	if err != nil || stream.StatusCode != 200 {
		t.Fatalf("%v %v", err, stream)
	}
	defer stream.Body.Close()
	fresh, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	// A request whose body comes only after the signal.
	slow, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprintf(slow, "PATCH /api/v1/conversations/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: 17\r\nExpect: 100-continue\r\n\r\n", token)
	answers := bufio.NewReader(slow)
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("%q %v", line, err) // the handler is reading
	}
	begun := time.Now()
	p.Signal(syscall.SIGTERM)
	if _, err := io.Copy(io.Discard, stream.Body); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
	proctest.Eventually(t, soon, "no new connection is taken", func() bool {
		c, err := net.Dial("tcp", p.addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if !p.Running() {
		t.Error("web ended with a request in flight")
	}
	fmt.Fprint(slow, `{"status":"open"}`)
	rest, err := io.ReadAll(answers)
	if err != nil || !strings.Contains(string(rest), "404 Not Found") ||
		!strings.Contains(string(rest), "no such conversation") {
		t.Errorf("the request in flight got %q %v", rest, err)
	}
	if end := p.Wait(soon); end.Code != 0 {
		t.Errorf("ended with %d", end.Code)
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("the stop took %s", took)
	}
	idle := start(t, db)
	kept := &http.Client{}
	if response, err := kept.Get("http://" + idle.addr + "/healthz"); err == nil {
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	idle.mustEnd(t, syscall.SIGINT, 4*time.Second)
}

// A stream that was cut by the end of web goes on with the next web, where it was.
func TestAStreamGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	db := sqlite(t)
	p := start(t, db).ready(t)
	_, token, _ := runWeb(t, []string{db}, "token", "create", "t")
	s := store.Open(strings.TrimPrefix(db, "DATABASE_URL="), slog.New(slog.DiscardHandler))
	defer s.Close()
	ctx := context.Background()
	if err := s.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	tenure, err := s.TakeOver(ctx, 1, "test:1")
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	write := func() {
		n++
		update := inbox.Update{ID: n, Kind: "message", Raw: []byte("{}"), Message: &inbox.IncomingMessage{
			ChatID: 7, MessageID: n, Customer: inbox.Customer{ID: 7, Name: "Ana"}, Kind: "text", Text: "x",
			Date: time.Now(),
		}}
		err := s.StoreUpdates(ctx, tenure, []inbox.Update{update}, n+1)
		if err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	read := func(p process, last string, want int) string {
		r, _ := http.NewRequest("GET", "http://"+p.addr+"/api/v1/events?after=0", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		if last != "" {
			r.Header.Set("Last-Event-ID", last)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		for want > 0 && lines.Scan() {
			if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				ids = append(ids, id)
				last = id
				want--
			}
		}
		return last
	}
	write()
	write()
	last := read(p, "", 2)
	p.Signal(syscall.SIGKILL)
	p.Wait(soon)
	write()
	p = start(t, db).ready(t)
	write()
	read(p, last, 2)
	seen := map[string]bool{}
	for _, id := range ids {
		if seen[id] {
			t.Errorf("event %s came twice: %v", id, ids)
		}
		seen[id] = true
	}
	if len(ids) != 4 {
		t.Errorf("events: %v", ids)
	}
	p.mustEnd(t, syscall.SIGTERM, soon)
}

// A database that refuses the password is tried again, slowly; web stays up all the while.
func TestARefusedDatabaseIsTriedAgain(t *testing.T) {
	t.Parallel()
	good := pgtest.Server(t).URL() // of its own, as a role is the whole server's
	u, err := url.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	right, _ := u.User.Password()
	ctx := context.Background()
	admin, err := pgx.Connect(ctx, good)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	u.User = url.UserPassword(u.User.Username(), right+"-not-the-password")
	p := start(t, "DATABASE_URL="+u.String())
	proctest.Eventually(t, soon, "/readyz on the operations port says why", func() bool {
		code, body := get(t, "http://"+p.ops(t)+"/readyz")
		return code == 503 && strings.Contains(body, "refuses the password of user") &&
			!strings.Contains(body, "not-the-password")
	})
	if code, body := get(t, "http://"+p.addr+"/"); code != 503 || !strings.Contains(body, "password") ||
		strings.Contains(body, "not-the-password") {
		t.Errorf("the page: %d %s", code, body)
	}
	change := fmt.Sprintf("ALTER ROLE %s PASSWORD '%s-not-the-password'",
		pgx.Identifier{u.User.Username()}.Sanitize(), right)
	if _, err := admin.Exec(ctx, change); err != nil {
		t.Fatal(err)
	}
	proctest.Eventually(t, databaseRetryAfter+soon, "web has the database", func() bool {
		code, _ := get(t, "http://"+p.addr+"/readyz")
		return code == 200
	})
	p.mustEnd(t, syscall.SIGTERM, soon)
}

func TestADatabaseSettingNeverEndsWeb(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "url")
	for name, env := range map[string][]string{
		"none": nil, "scheme": {"DATABASE_URL=mysql://x"},
		"both": {"DATABASE_URL=sqlite:x.db", "DATABASE_URL_FILE=" + secret}, "no file": {"DATABASE_URL_FILE=" + secret},
		"no directory": {"DATABASE_URL=sqlite:" + secret + "/none/t.db"},
		"no path":      {"DATABASE_URL=sqlite:"},
	} {
		p := start(t, env...)
		proctest.Eventually(t, soon, name+": /readyz on the operations port says why", func() bool {
			code, body := get(t, "http://"+p.ops(t)+"/readyz")
			return code == 503 && (strings.Contains(body, "DATABASE_URL") || strings.Contains(body, "none")) &&
				strings.Contains(body, "not set") == (name == "none")
		})
		if code, body := get(t, "http://"+p.addr+"/readyz"); code != 503 || !strings.Contains(body, "DATABASE_URL") ||
			strings.Contains(body, secret) {
			t.Errorf("%s: /readyz: %d %s", name, code, body)
		}
		if code, _ := get(t, "http://"+p.addr+"/healthz"); code != 200 {
			t.Errorf("%s: /healthz %d", name, code)
		}
		if code, body := get(t, "http://"+p.addr+"/api/v1/conversations", "Authorization", "Bearer x"); code != 503 ||
			!strings.Contains(body, "DATABASE_URL") || strings.Contains(body, secret) {
			t.Errorf("%s: the API: %d %s", name, code, body)
		}
		p.WaitLine(soon, `"level":"ERROR"`, "database cannot be used", "DATABASE_URL")
		if n := p.Count(`"level":"ERROR"`); n != 1 || p.Count("[secret]") != 0 { // a path is none
			t.Errorf("%s: %d error lines: %q", name, n, p.Lines())
		}
		p.mustEnd(t, syscall.SIGTERM, soon)
	}
}

// The page says why the bot is down from what the own parent wrote, and from nobody else's file.
func TestInitsWordOnTheBot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := sqlite(t)
	p := start(t, db, "RUN_DIR="+dir)
	var line struct{ Addr string }
	parseLine(t, p.WaitLine(soon, `"msg":"operations port"`), &line)
	write := func(pid int) {
		b, _ := json.Marshal(status.Status{Init: status.Init{PID: pid, StartedAt: time.Now()},
			Processes: []status.Process{{Name: "bot", State: status.Disabled}}})
		if err := os.WriteFile(filepath.Join(dir, "status.json"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said := func() string {
		_, body := get(t, "http://"+line.Addr+"/status")
		return body
	}
	proctest.Eventually(t, soon, "the database is there", func() bool { return strings.Contains(said(), `"ready":true`) })
	write(999999)
	if s := said(); strings.Contains(s, "disabled") {
		t.Errorf("another init's file is believed: %s", s)
	}
	write(parentOf(t, p.PID))
	if s := said(); !strings.Contains(s, `"init":"disabled"`) || !strings.Contains(s, "switched off") {
		t.Errorf("the own init is not believed: %s", s)
	}
	p.mustEnd(t, syscall.SIGTERM, soon)
}

// parentOf is the parent of a process as the process itself sees it: 1 in a PID namespace of its own.
func parentOf(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	parent := 0
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if fields[0] == "PPid:" {
			parent, _ = strconv.Atoi(fields[1])
		}
		if fields[0] == "NSpid:" && len(fields) > 2 {
			return 1
		}
	}
	return parent
}

// The command that web names next can be pasted into a shell, whatever the name.
func TestCommandsToPaste(t *testing.T) {
	t.Parallel()
	db := sqlite(t)
	for _, name := range []string{"bob", "O'Hara & <sons>; $HOME `id` \\"} {
		paste := func(words string) {
			t.Helper()
			_, command, found := strings.Cut(strings.TrimSpace(words), ": web ")
			if !found {
				t.Fatalf("no command in %q", words)
			}
			out, err := exec.Command("/bin/sh", "-c", `printf '%s\0' `+command).Output()
			if args := strings.Split(string(out), "\x00"); err != nil || len(args) != 4 || args[2] != name {
				t.Errorf("%q: %q, %v", command, args, err)
			}
		}
		runWeb(t, []string{db}, "operator", "add", name)
		_, _, errs := runWeb(t, []string{db}, "operator", "sign-out", name)
		paste(errs)
	}
}
