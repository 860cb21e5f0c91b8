package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/exitcode"
	"tandem/internal/proctest"
)

func TestMain(m *testing.M) {
	proctest.Main(m, proctest.Helpers{"init": pretendInit}, func() error { return goleak.Find() })
}

const soon = 60 * time.Second

// programs builds all that demo starts and returns their folder.
func programs(t *testing.T) (bin string) {
	for _, name := range []string{"init", "web", "bot", "simulator", "demo"} {
		bin = filepath.Dir(proctest.Bin(t, name))
	}
	return bin
}

// TestTheMainJobTwice is `make demo`: a customer writes, an operator answers, Ctrl-C; and again, from there on.
func TestTheMainJobTwice(t *testing.T) {
	bin, dir := programs(t), t.TempDir()
	start := func() (p *proctest.Process, page, customers string) {
		p = proctest.Start(t, proctest.Options{Path: filepath.Join(bin, "demo"), Args: []string{"-var", dir},
			Env: []string{"DATABASE_URL=postgres://nobody:secret@127.0.0.1:1/real"}})
		line := p.WaitLine(soon, "your sign-in", "http://localhost:")
		link := strings.Fields(line)[2]
		customers = strings.Fields(p.WaitLine(soon, "the customers"))[2]
		page, _, _ = strings.Cut(link, "/sign-in/")
		status := strings.Join(strings.Fields(p.WaitLine(soon, "what runs"))[2:], " ")
		proctest.Eventually(t, soon, status+" shows a bot that runs", func() bool { // init hears of it a moment after the log
			out, err := exec.Command("sh", "-c", status).CombinedOutput()
			return err == nil && strings.Contains(string(out), "bot   running")
		})
		if body := fetch(t, "GET", link, "", ""); !strings.Contains(strings.ToLower(body), "sign in") {
			t.Errorf("the sign-in link shows %.300s", body)
		}
		return p, page, customers
	}
	stop := func(p *proctest.Process, sig syscall.Signal) {
		p.Signal(sig)
		if end := p.Wait(soon); end.Code != 0 {
			t.Errorf("after %v demo ended with %d", sig, end.Code)
		}
		if left := p.Tree(); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	web := func(args ...string) string {
		cmd := exec.Command(filepath.Join(bin, "web"), args...)
		cmd.Env = append(os.Environ(), "DATABASE_URL=sqlite:"+filepath.Join(dir, "tandem.db"))
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("web %v: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	var token string
	incoming := func(page string) (id string, texts []string) {
		var list struct {
			Items []struct {
				ID json.RawMessage `json:"id"`
			} `json:"items"`
		}
		decode(t, fetch(t, "GET", page+"/api/v1/conversations", token, ""), &list)
		if len(list.Items) == 0 {
			return "", nil
		}
		id = strings.Trim(string(list.Items[0].ID), `"`)
		var messages struct {
			Items []struct{ Direction, Text string } `json:"items"`
		}
		decode(t, fetch(t, "GET", page+"/api/v1/conversations/"+id+"/messages", token, ""), &messages)
		for _, m := range messages.Items {
			if m.Direction == "in" {
				texts = append([]string{m.Text}, texts...)
			}
		}
		return id, texts
	}

	p, page, customers := start()
	token = web("token", "create", "test")
	fetch(t, "POST", customers+"control/messages", "", `{"chat_id":1001,"text":"first"}`)
	var id string
	proctest.Eventually(t, soon, "the message in the inbox", func() bool {
		var texts []string
		id, texts = incoming(page)
		return fmt.Sprint(texts) == "[first]"
	})
	fetch(t, "POST", page+"/api/v1/conversations/"+id+"/messages", token, `{"text":"an answer"}`)
	sent := fetch(t, "GET", customers+"control/sent?n=1&within=30s", "", "")
	if !strings.Contains(sent, "an answer") {
		t.Errorf("the customer got %s", sent)
	}
	stop(p, syscall.SIGINT)

	p, page, customers = start()
	fetch(t, "POST", customers+"control/messages", "", `{"chat_id":1001,"text":"second"}`)
	proctest.Eventually(t, soon, "both messages in one conversation", func() bool {
		_, texts := incoming(page)
		return fmt.Sprint(texts) == "[first second]"
	})
	if chat := fetch(t, "GET", customers+"control/messages?chat_id=1001", "", ""); !strings.Contains(chat, "an answer") ||
		!strings.Contains(chat, `"Ada Lovelace"`) {
		t.Errorf("the simulator has forgotten: %s", chat)
	}
	if leaks := fetch(t, "GET", customers+"control/leaks", "", ""); strings.TrimSpace(leaks) != "[]" {
		t.Errorf("the token was seen outside the path: %s", leaks)
	}
	stop(p, syscall.SIGTERM)
}

// pretendInit answers /readyz, tells its environment, and ends as its argument says.
func pretendInit(args []string) {
	if args[0] == "3" {
		os.Exit(3)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	l, err := net.Listen("tcp", os.Getenv("WEB_ADDR"))
	if err != nil {
		os.Exit(4)
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if args[0] == "unready" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	fmt.Println("init runs", os.Getpid(), os.Getenv("DATABASE_URL"), os.Getenv("TELEGRAM_API_URL"))
	for range signals {
		fmt.Println("init was asked to stop")
		if args[0] != "deaf" {
			os.Exit(0)
		}
	}
}

// pretend makes a folder of programs with our own init, and web for the sign-in alone.
func pretend(t *testing.T, how string) (bin string) {
	t.Helper()
	bin = t.TempDir()
	for name, script := range map[string]string{
		"init": "exec " + proctest.Command("init", how),
		"web":  "echo http://localhost/sign-in/SECRET",
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(proctest.Bin(t, "simulator"), filepath.Join(bin, "simulator")); err != nil {
		t.Fatal(err)
	}
	return bin
}

func startPretended(t *testing.T, how string, args ...string) *proctest.Process {
	t.Helper()
	return proctest.Start(t, proctest.Options{Path: proctest.Bin(t, "demo"),
		Env:  []string{"TELEGRAM_BOT_TOKEN=42:real-token-of-somebody"},
		Args: append([]string{"-bin", pretend(t, how), "-var", t.TempDir()}, args...)})
}

func wantEnd(t *testing.T, p *proctest.Process, code int) {
	t.Helper()
	if end := p.Wait(soon); end.Code != code {
		t.Errorf("demo ended with %d, want %d", end.Code, code)
	}
	if left := p.Tree(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestInitEndsByItself(t *testing.T) {
	p := startPretended(t, "3")
	p.WaitLine(soon, "init has ended by itself, with 3")
	wantEnd(t, p, 3)
}

func TestSimulatorEndsByItself(t *testing.T) {
	p := startPretended(t, "ready")
	p.WaitLine(soon, "your sign-in")
	for _, q := range p.Tree() {
		if q.Name == "simulator" {
			if err := syscall.Kill(q.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.WaitLine(soon, "init was asked to stop")
	p.WaitLine(soon, "the simulator has ended by itself, with 137")
	wantEnd(t, p, 137)
}

func TestSecondSignalKills(t *testing.T) {
	p := startPretended(t, "deaf")
	p.WaitLine(soon, "your sign-in")
	p.Signal(syscall.SIGINT)
	p.WaitLine(soon, "init was asked to stop")
	p.Signal(syscall.SIGINT)
	wantEnd(t, p, 137)
}

func TestStopBeforeThePageIsReady(t *testing.T) {
	p := startPretended(t, "unready")
	p.WaitLine(soon, "init runs")
	p.Signal(syscall.SIGTERM)
	wantEnd(t, p, 0)
	if n := p.Count("your sign-in"); n != 0 {
		t.Error("it offered a sign-in for a page that never was ready")
	}
}

func TestEndsWithDemoWhenThatIsKilled(t *testing.T) {
	p := startPretended(t, "ready")
	p.WaitLine(soon, "your sign-in")
	p.Signal(syscall.SIGKILL)
	proctest.Eventually(t, soon, "init and the simulator to end", func() bool { return len(p.Tree()) == 0 })
}

func TestRealTelegramIsLeftAlone(t *testing.T) {
	p := startPretended(t, "ready")
	line := p.WaitLine(soon, "init runs")
	if !strings.Contains(line, "sqlite:") || !strings.Contains(line, "http://127.0.0.1:") {
		t.Errorf("beside a simulator: %s", line)
	}
	p.Signal(syscall.SIGTERM)
	wantEnd(t, p, 0)

	p = startPretended(t, "ready", "-real")
	if line := p.WaitLine(soon, "init runs"); strings.Contains(line, "http") {
		t.Errorf("with real Telegram: %s", line)
	}
	p.WaitLine(soon, "your sign-in")
	if p.Count("the customers") != 0 {
		t.Error("with real Telegram it offers a simulator")
	}
	p.Signal(syscall.SIGTERM)
	wantEnd(t, p, 0)
}

func TestRealNeedsAToken(t *testing.T) {
	err := run(options{dir: t.TempDir(), real: true}, nil, nil, io.Discard)
	if exitcode.Of(err) != exitcode.Config || !strings.Contains(err.Error(), "@BotFather") {
		t.Errorf("without a token: %v with %d", err, exitcode.Of(err))
	}
}

func TestOneDemoAtATime(t *testing.T) {
	dir := t.TempDir()
	lock, err := lockState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := run(options{dir: dir}, nil, nil, io.Discard); err == nil || !strings.Contains(err.Error(), "another demo") {
		t.Errorf("a second one in the same folder: %v", err)
	}
	lock.Close()
}

func TestTakenPortsAreReplaced(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	first := taken.Addr().(*net.TCPAddr).Port
	next := fmt.Sprint(first + 1)
	port, err := freePort("127.0.0.1", first, []string{next})
	if err != nil || port == fmt.Sprint(first) || port == next {
		t.Errorf("beside the taken %d and the used %s it chose %s (%v)", first, next, port, err)
	}

	var out bytes.Buffer
	env, err := prepare(options{dir: t.TempDir()},
		[]string{"WEB_ADDR=127.0.0.1:1", "TELEGRAM_BOT_TOKEN_FILE=/a", "DATABASE_URL_FILE=/b"})
	if err != nil {
		t.Fatal(err)
	}
	if err := choosePorts(env, &out); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, a := range addresses {
		if seen[env[a.name]] {
			t.Errorf("%s=%s is given twice", a.name, env[a.name])
		}
		seen[env[a.name]] = true
	}
	if env["WEB_ADDR"] != "127.0.0.1:1" || env["TELEGRAM_BOT_TOKEN_FILE"]+env["DATABASE_URL_FILE"] != "" {
		t.Errorf("prepared %v", env)
	}
}

func TestPageURL(t *testing.T) {
	for _, c := range []struct{ addr, base, want string }{
		{"127.0.0.1:8080", "", "http://localhost:8080/"},
		{":8083", "", "http://localhost:8083/"},
		{"[::]:1", "", "http://localhost:1/"},
		{"192.0.2.1:80", "", "http://192.0.2.1:80/"},
		{":8080", "https://inbox.example.org", "https://inbox.example.org/"},
	} {
		if got := pageURL(environment{"WEB_ADDR": c.addr, "WEB_BASE_URL": c.base}); got != c.want {
			t.Errorf("%s, %s: %s, want %s", c.addr, c.base, got, c.want)
		}
	}
}

// fetch makes a request; an answer above 299 fails the test.
func fetch(t *testing.T, method, url, token, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode > 299 {
		t.Fatalf("%s %s: %s %s (%v)", method, url, resp.Status, b, err)
	}
	return string(b)
}

func decode(t *testing.T, body string, out any) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), out); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
}
