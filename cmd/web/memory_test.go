package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/proctest"
	"tandem/internal/store"
	"tandem/internal/web"
)

// shipped runs web as it is shipped, without the race detector, whose memory says nothing.
func shipped(t *testing.T, database string) process {
	t.Helper()
	p := process{Process: proctest.Start(t, proctest.Options{Path: proctest.Bin(t, "web"),
		Env: []string{"RUN_DIR=" + t.TempDir(), "LOG_FORMAT=json", "WEB_ADDR=127.0.0.1:0",
			"WEB_OPS_ADDR=127.0.0.1:0", "DATABASE_URL=" + database}})}
	var line struct{ Addr string }
	parseLine(t, p.WaitLine(soon, `"msg":"ready"`), &line)
	p.addr = line.Addr
	return p.ready(t)
}

// peak is the most memory that the process ever had, in MB.
func (p process) peak(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kB, _ := strconv.Atoi(strings.Fields(v)[0])
			return kB >> 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// seeded is a store on the database with one conversation for each of texts, which are the answers in it.
func seeded(t *testing.T, database string, texts ...[]string) (db *store.Store, token string) {
	t.Helper()
	db = store.Open(database, slog.New(slog.DiscardHandler))
	t.Cleanup(db.Close)
	if err := db.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	tenure, err := db.TakeOver(t.Context(), 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	for i, answers := range texts {
		id := int64(i + 1)
		err := db.StoreUpdates(t.Context(), tenure, []inbox.Update{{ID: id, Raw: []byte("x"), Message: &inbox.IncomingMessage{
			ChatID: id, MessageID: 1, Kind: "text", Text: "hello", Customer: inbox.Customer{ID: id, Name: "Ana"}}}}, id+1)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range answers {
			alice := inbox.Author{Kind: inbox.ByOperator, ID: "1", Name: "alice"}
			if _, _, err := db.AddAnswer(t.Context(), id, inbox.Answer{Text: text, Author: alice}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if token, err = web.IssueToken(t.Context(), db, "test"); err != nil {
		t.Fatal(err)
	}
	return db, token
}

func onBoth(t *testing.T, test func(t *testing.T, database string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite:"+filepath.Join(t.TempDir(), "tandem.db")) })
	t.Run("postgres", func(t *testing.T) { test(t, pgtest.URL(t)) })
}

// The more connections there are, the sooner garbage is collected, until half have gone. Whoever wants it sooner
// in any case, or only at a limit, has that.
func TestACrowdHasGarbageCollectedSooner(t *testing.T) {
	last := 100
	for conns := range maxConnsEver + 1 {
		percent := gcPercent(conns, 100)
		if percent > last || percent < minGCPercent || conns <= 1000 && percent != 100 {
			t.Fatalf("%d with %d connections, %d with one less", percent, conns, last)
		}
		if last = percent; percent > minGCPercent && conns*bytesPerConn*(100+percent)/100 > maxCrowdBytes {
			t.Fatalf("%d with %d connections is too much", percent, conns)
		}
	}
	if last > 40 {
		t.Errorf("%d with all connections", last)
	}
	if a, b := gcPercent(2000, 5), gcPercent(2000, -1); a != 5 || b != -1 {
		t.Errorf("where GOGC was 5 and off it becomes %d and %d", a, b)
	}
	c := newCrowd()
	for _, step := range []struct{ conns, want int }{
		{1000, 100}, {1500, gcPercent(1500, 100)}, {800, gcPercent(1500, 100)}, {2000, gcPercent(2000, 100)},
		{1100, gcPercent(2000, 100)}, {999, 100}, {0, 100},
	} {
		c.changed(step.conns)
		if got := int(c.want.Load()); got != min(step.want, c.usual) {
			t.Errorf("%d with %d connections, want %d", got, step.conns, step.want)
		}
	}
}

// What an address has beside its question costs nothing, in whatever words the question is put.
func TestAddressesArePaddedInVain(t *testing.T) {
	database := "sqlite:" + filepath.Join(t.TempDir(), "tandem.db")
	_, token := seeded(t, database, []string{"hi"})
	p := shipped(t, database)
	client := &http.Client{Timeout: soon}
	defer client.CloseIdleConnections()
	ask := func(path string) {
		t.Helper()
		r, err := http.NewRequest("GET", "http://"+p.addr+"/api/v1"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		a, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		if b, _ := io.ReadAll(a.Body); a.StatusCode != 200 ||
			!strings.Contains(string(b), "Ana") && !strings.Contains(string(b), "hello") {
			t.Fatalf("%s: %s %.300s", path, a.Status, b)
		}
	}
	ask("/conversations")
	before := p.peak(t)
	padding := strings.Repeat("x", 28_000) // the header may have 32 kB
	for i := range 1000 {
		pad := fmt.Sprint(i) + padding
		for _, path := range []string{
			"/conversations?pad=" + pad, "/conversations?limit=50&limit=" + pad,
			"/conversations?limit=" + strings.Repeat("0", 28_000+i) + "50",
			"/conversations/1/messages?x" + pad, "/conversations/" + strings.Repeat("0", 28_000+i) + "1?" + pad[:100],
		} {
			ask(path)
		}
	}
	if after := p.peak(t); after > before+50 {
		t.Errorf("web had %d MB before and %d MB at most", before, after)
	} else {
		t.Logf("%d MB before, %d MB at most", before, after)
	}
}

// Readers who ask for the longest lists, pages and streams and take nothing cost little each, and others are served.
func TestReadersWhoTakeNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		long := make([]string, 60)
		for i := range long {
			long[i] = strings.Repeat("😀", inbox.MaxAnswer)
			if i%2 == 1 {
				long[i] = strings.Repeat(`"`, inbox.MaxAnswer) // grows most in a page
			}
		}
		texts := [][]string{long}
		for range 40 {
			texts = append(texts, long[:1])
		}
		db, token := seeded(t, database, texts...)
		p := shipped(t, database)
		base := &url.URL{Scheme: "http", Host: p.addr}
		link, _, err := web.IssueSignIn(t.Context(), db, "alice", base)
		if err != nil {
			t.Fatal(err)
		}
		jar, _ := cookiejar.New(nil)
		client := &http.Client{Jar: jar, Timeout: soon}
		defer client.CloseIdleConnections()
		a, err := client.PostForm(base.JoinPath("sign-in").String(),
			url.Values{"secret": {link[strings.LastIndex(link, "/")+1:]}})
		if err != nil || a.StatusCode != 200 {
			t.Fatal(a, err)
		}
		a.Body.Close()
		cookie := ""
		for _, c := range jar.Cookies(base) {
			cookie += c.Name + "=" + c.Value
		}
		other, err := web.IssueToken(t.Context(), db, "other")
		if err != nil {
			t.Fatal(err)
		}
		get(t, base.String()+"/api/v1/conversations?limit=1", "Authorization", "Bearer "+token)
		before := p.peak(t)
		var dialer net.Dialer
		for i := range 64 {
			for _, ask := range []string{
				"/api/v1/conversations/1/messages?limit=200 HTTP/1.1\r\nAuthorization: Bearer " + token,
				"/api/v1/conversations?limit=200 HTTP/1.1\r\nAuthorization: Bearer " + token,
				"/conversations/1 HTTP/1.1\r\nCookie: " + cookie,
				"/fragments/conversations/1/messages?id=2&id=3&id=4&id=5&id=6&id=7&id=8&id=9 HTTP/1.1\r\nCookie: " + cookie,
				"/api/v1/events?after=0 HTTP/1.1\r\nAuthorization: Bearer " + token,
			} {
				if strings.Contains(ask, "events") && i >= 30 { // a token may have so many
					continue
				}
				c, err := dialer.DialContext(t.Context(), "tcp", p.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				_ = c.(*net.TCPConn).SetReadBuffer(4096)
				if _, err := io.WriteString(c, "GET "+ask+"\r\nHost: "+p.addr+"\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		served := 0
		for ; ctx.Err() == nil; served++ {
			for _, path := range []string{"/readyz", "/api/v1/conversations?limit=1",
				"/api/v1/conversations/2/messages?limit=1"} {
				if code, body := get(t, base.String()+path, "Authorization", "Bearer "+other); code != 200 {
					t.Fatalf("%s beside them: %d %.300s", path, code, body)
				}
			}
		}
		if after := p.peak(t); after > 190 { // on a machine that is busy, too; before these bounds it was 2,300
			t.Errorf("web had %d MB before and %d MB at most", before, after)
		} else {
			t.Logf("%d MB before, %d MB at most; another was served %d times", before, after, served)
		}
	})
}
