package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tandem/internal/proctest"
	"tandem/internal/testenv"
	"tandem/internal/web"
)

// On a full disk everything can be read, the page says what is the matter, and what is typed stays, twice in a row,
// too.
func TestReadingGoesOnOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tandem-test", dir, "tmpfs", 0, "size=4m"); err != nil {
		testenv.Missing(t, "cannot mount a small tmpfs (run as root): "+err.Error())
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	database := "sqlite:" + filepath.Join(dir, "tandem.db")
	db, token := seeded(t, database, []string{"hi"})
	p := start(t, "DATABASE_URL="+database).ready(t)
	base := &url.URL{Scheme: "http", Host: p.addr}
	link, _, err := web.IssueSignIn(t.Context(), db, "alice", base)
	if err != nil {
		t.Fatal(err)
	}
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Timeout: soon}
	defer client.CloseIdleConnections()
	form := func(path string, fields url.Values) (int, string) {
		t.Helper()
		a, err := client.PostForm(base.JoinPath(path).String(), fields)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		b, _ := io.ReadAll(a.Body)
		return a.StatusCode, string(b)
	}
	if code, _ := form("sign-in", url.Values{"secret": {link[strings.LastIndex(link, "/")+1:]}}); code != 200 {
		t.Fatalf("signing in: %d", code)
	}
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = filler.Write(block)
	}
	text, kept := strings.Repeat("A long answer. ", 1500), 0
	for n := 0; kept < 2; n++ { // the first ones may find room in what the write-ahead log has already
		code, body := form("conversations/1/answers", url.Values{"text": {text}, "key": {fmt.Sprint("key ", n)}})
		switch {
		case code == 503 && strings.Contains(body, text) && strings.Contains(body, "is full"):
			kept++
		case code != 200 || n > 100:
			t.Fatalf("try %d on a full disk: %d %.2000s", n, code, body)
		}
	}
	for _, path := range []string{"/", "/conversations/1", "/fragments/banner"} {
		a, err := client.Get(base.String() + path)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(a.Body)
		a.Body.Close()
		if a.StatusCode != 200 || !strings.Contains(string(b), "Nothing can be stored now") ||
			!strings.Contains(string(b), "is full") {
			t.Errorf("%s on a full disk: %s\n%.1000s", path, a.Status, b)
		}
	}
	if code, body := get(t, base.String()+"/api/v1/conversations", "Authorization", "Bearer "+token); code != 200 {
		t.Errorf("the API on a full disk: %d %s", code, body)
	}
	if code, body := get(t, "http://"+p.ops(t)+"/status"); code != 200 || !strings.Contains(body, `"queue":{`) ||
		!strings.Contains(body, "is full") {
		t.Errorf("/status on a full disk: %d %s", code, body)
	}
	if err := filler.Truncate(0); err != nil {
		t.Fatal(err)
	}
	proctest.Eventually(t, soon, "the answer is stored", func() bool {
		code, _ := form("conversations/1/answers", url.Values{"text": {text}, "key": {"last"}})
		return code == 200
	})
}
