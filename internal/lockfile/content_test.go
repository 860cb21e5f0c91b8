package lockfile

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"tandem/internal/proctest"
)

// TestAFileThatHoldsSomethingIsLeftAsItIs: by a slip POLL_LOCK_FILE may name any file.
func TestAFileThatHoldsSomethingIsLeftAsItIs(t *testing.T) {
	dir := t.TempDir()
	database := filepath.Join(dir, "tandem.db")
	db, err := sql.Open("sqlite", "file:"+database+"?_pragma=journal_mode(wal)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("create table t(x); insert into t values (1)"); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"one line":         "TELEGRAM_BOT_TOKEN=1:A\n",
		"no line's end":    "x",
		"a blank":          " ",
		"a line's end":     "\n",
		"a PID file":       "17\n",
		"a PID file of p.": "pid\n",
		"nearly ours":      "the bot under the table on host, since 2026\n",
		"nearly a bot's":   "bot token since yesterday\n",
		"the mark further": "one\ntwo\n" + mark + "\n",
		"JSON":             `{"init":{"pid":1}}`,
		"zeros and more":   "\x00\x00\x00x",
		"many zeros":       strings.Repeat("\x00", maxContentBytes+1),
		"large":            strings.Repeat("x", 1<<20),
		"ours and more":    "pid 17\n" + strings.Repeat("x", maxContentBytes),
		"ours and a line":  "pid 17\nport=3\n",
		"ours and a note":  "the bot under init 7 on host, since 2026-01-01T00:00:00Z\nremember the milk\n",
		"a bot's and text": "bot a:1 since 20 years ago\nmy diary",
		"the mark, more":   "one\n" + mark + "\nthree\n",
		"the mark, longer": "one\n" + mark + " too\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir) // the database's three files, too
	if err != nil || len(entries) != 22 {
		t.Fatal(len(entries), err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		content, info := look(t, path)
		if l, err := Open(path); err == nil {
			l.Close()
			t.Errorf("%s: taken for a lock file", e.Name())
		} else if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "left as it was") ||
			!strings.Contains(err.Error(), "POLL_LOCK_FILE") {
			t.Errorf("%s: %v", e.Name(), err)
		}
		after, infoAfter := look(t, path)
		if !bytes.Equal(content, after) || info.ModTime() != infoAfter.ModTime() || info.Mode() != infoAfter.Mode() {
			t.Errorf("%s: was %d bytes of %v, is %d of %v", e.Name(), len(content), info.ModTime(), len(after),
				infoAfter.ModTime())
		}
	}
	if _, err := db.Exec("insert into t values (2)"); err != nil {
		t.Error(err)
	}
}

func look(t *testing.T, path string) ([]byte, os.FileInfo) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return b, info
}

// TestWhatAHolderWroteIsTaken: also what an older Tandem wrote, what one wrote over the other, and what a power cut
// left.
func TestWhatAHolderWroteIsTaken(t *testing.T) {
	const long = "the bot under init 4711 on a-host-with-a-long-name, since 2026-11-24T00:29:18Z\n"
	ours := func(text string) string { return text + "\n" + mark + "\n" }
	over := func(long, short string) string { return short + long[len(short):] }
	for name, content := range map[string]string{
		"empty":                      "",
		"zeros":                      strings.Repeat("\x00", 200),
		"zeros at the end":           "pid 17\n\x00\x00",
		"init's":                     long,
		"init's, host without name":  "the bot under init 1 on , since 2026-11-24T00:29:18Z\n",
		"init's own":                 "pid 1\n",
		"a bot's":                    "bot unknown host:12 since 2026-11-24T00:29:18Z\n",
		"a short one over a long":    over(long, "pid 7\n"),
		"any text with the mark":     ours("short"),
		"with the mark over one":     over(strings.Repeat(long, 2), ours("short")),
		"an older one over the mark": over(ours(long), "pid 7\n"),
		"the longest":                ours(strings.Repeat("é", maxHolderBytes/2)),
	} {
		path := filepath.Join(t.TempDir(), "lock")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		mustTry(t, l, true)
		if err := l.SetHolder("me"); err != nil || Holder(path) != "me" {
			t.Errorf("%s: %v, %q", name, err, Holder(path))
		}
		l.Close()
		mustTry(t, mustOpen(t, path), true)
	}
}

// TestReserved: the files of the database are refused by name and by what they are, also before they are there.
func TestReserved(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	path := filepath.Join(dir, "tandem.db")
	for _, url := range []string{"sqlite:" + path, "sqlite://" + path, "SQLite:tandem.db", "sqlite:./x/../tandem.db"} {
		for _, name := range []string{"tandem.db", "tandem.db-wal", "tandem.db-shm", "tandem.db-journal", "tandem.db.lock"} {
			for _, asked := range []string{filepath.Join(dir, name), name, "./" + name, dir + "//./" + name} {
				if _, err := Open(asked, OfDatabase(url)...); err == nil ||
					!strings.Contains(err.Error(), "database of DATABASE_URL") {
					t.Errorf("%s with %s: %v", asked, url, err)
				}
			}
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("made %v", left)
	}
	// It is just being made: empty, and reached by another name.
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(path, path+".other"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "dir")); err != nil {
		t.Fatal(err)
	}
	for _, asked := range []string{path + ".other", filepath.Join(dir, "dir", "tandem.db")} {
		if _, err := Open(asked, OfDatabase("sqlite:"+path)...); err == nil ||
			!strings.Contains(err.Error(), "database of DATABASE_URL") {
			t.Errorf("%s: %v", asked, err)
		}
	}
	for _, url := range []string{"", "postgres://u:p@h/tandem.db", "sqlite:", "sqlite:elsewhere.db"} {
		l, err := Open(filepath.Join(dir, "bot.lock"), OfDatabase(url)...)
		if err != nil {
			t.Fatalf("%q: %v", url, err)
		}
		l.Close()
	}
}

// TestAFileThatBecameSomethingElse: between the opening and the lock the file may have got another content.
func TestAFileThatBecameSomethingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l := mustOpen(t, path)
	mustTry(t, l, true)
	if err := os.WriteFile(path, []byte("SQLite format 3\x00 and more"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.SetHolder("me"); err == nil || !strings.Contains(err.Error(), "SQLite database") {
		t.Errorf("have %v", err)
	}
	if b, _ := look(t, path); !bytes.HasSuffix(b, []byte(" and more")) {
		t.Errorf("it became %q", b)
	}
}

func TestHeld(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lock")
	if Held(path) {
		t.Error("a file that is not there is held")
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("made %v", left)
	}
	l := mustOpen(t, path)
	if Held(path) {
		t.Error("it is held while it is only open")
	}
	mustTry(t, l, true)
	if !Held(path) {
		t.Error("it is not held")
	}
	l.Close()
	proctest.Eventually(t, 10*time.Second, "it is free", func() bool { return !Held(path) })
}
