package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/exitcode"
	"tandem/internal/simulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answerAsBot sends a message as the bot does.
func answerAsBot(t *testing.T, telegram *simulator.Server, params string) {
	t.Helper()
	r := httptest.NewRequest("POST", "/bot"+defaultToken+"/sendMessage", strings.NewReader(params))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	telegram.ServeHTTP(w, r)
	if w.Code != 200 {
		t.Fatalf("sendMessage: %d %s", w.Code, w.Body)
	}
}

// started runs the program until stop is called and returns the address of its ready line.
func started(t *testing.T, args ...string) (url string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stdout, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, args, w, io.Discard)
		w.Close()
		ended <- err
	}()
	if _, err := fmt.Fscanf(stdout, "simulator ready: %s\n", &url); err != nil {
		cancel()
		t.Fatalf("no ready line: %v, %v", err, <-ended)
	}
	stop = func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(20 * time.Second):
			return fmt.Errorf("it does not end")
		}
	}
	return url, stop
}

func TestRunKeepsItsStateAndEndsWithAPollWaiting(t *testing.T) {
	state := filepath.Join(t.TempDir(), "telegram.json")
	url, stop := started(t, "-addr", "127.0.0.1:0", "-state", state)
	post(t, url+"control/messages", `{"chat_id":7,"text":"kept"}`)
	polled := make(chan error, 1)
	go func() {
		resp, err := http.Get(url + "bot" + defaultToken + "/getUpdates?timeout=50&offset=-1")
		if err == nil {
			resp.Body.Close()
		}
		resp, err = http.Get(url + "control/events")
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		polled <- err
	}()
	start := time.Now()
	if err := stop(); err != nil {
		t.Errorf("run: %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v to end", took)
	}
	<-polled
	http.DefaultClient.CloseIdleConnections()

	url, stop = started(t, "-addr", "127.0.0.1:0", "-state", state)
	if body := get(t, url+"control/messages?chat_id=7"); !strings.Contains(body, `"kept"`) {
		t.Errorf("the second run knows of %s", body)
	}
	if page := get(t, url); !strings.Contains(page, "<title>Local Telegram</title>") {
		t.Errorf("the page is %.100s", page)
	}
	http.DefaultClient.CloseIdleConnections()
	if err := stop(); err != nil {
		t.Errorf("run: %v", err)
	}
}

func TestNextFreePort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	l, err := listen(taken.Addr().String(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got, want := l.Addr().(*net.TCPAddr).Port, taken.Addr().(*net.TCPAddr).Port
	if got <= want || got > want+triedPorts {
		t.Errorf("listens on %d beside the taken %d", got, want)
	}
}

func TestBadArguments(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-addr 8081", "want host:port"},
		{"-addr 0.0.0.0:8081", "not a loopback address"},
		{"-addr :8081", "not a loopback address"},
		{"-token nonsense", "123456789:secret"},
		{"-nonsense", "flag provided but not defined"},
		{"more", `unexpected argument "more"`},
	} {
		err := run(t.Context(), strings.Fields(c.args), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.want) || exitcode.Of(err) != exitcode.Usage {
			t.Errorf("%s: %v with code %d, want %q with %d", c.args, err, exitcode.Of(err), c.want, exitcode.Usage)
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-help"}, &out, io.Discard); err == nil ||
		!strings.Contains(out.String(), "-expose") {
		t.Errorf("-help prints %q (%v)", out.String(), err)
	}
}

func TestPageIsClosedToOthers(t *testing.T) {
	telegram, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer telegram.Close()
	for _, path := range []string{"/", "/app.js", "/style.css", "/icon.svg"} {
		w := httptest.NewRecorder()
		handler(telegram).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d with the policy %q", path, w.Code, w.Header().Get("Content-Security-Policy"))
		}
	}
}

func post(t *testing.T, url, body string) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Fatalf("%s: %s", url, resp.Status)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
