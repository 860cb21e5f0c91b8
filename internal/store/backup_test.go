package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tandem/internal/inbox"
	"tandem/internal/store/driver"
)

// files are what is in the folder of the database that url names.
func files(t *testing.T, url string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(strings.TrimPrefix(url, "sqlite:")))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func newURL(t *testing.T) string { return databases["sqlite"].url(t) }

// Copies made while a bot stores message after message each hold all that was stored when they were begun, are whole,
// and hold up nobody.
func TestBackupOfADatabaseInUse(t *testing.T) {
	t.Parallel()
	url := newURL(t)
	s, stop := stoppable(t, url)
	if err := s.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := newFill(t, s)
	dir := t.TempDir()
	type copied struct {
		path string
		sure int // messages that were stored before it was begun
	}
	stored, copies := make(chan int, 1), make(chan copied)
	go func() {
		defer close(copies)
		for n := range stored {
			path := filepath.Join(dir, fmt.Sprint(n))
			if err := Backup(context.Background(), url, path); err != nil {
				t.Error(err)
			}
			copies <- copied{path, n}
		}
	}()
	var made []copied
	for len(made) < 5 {
		f.mustStore()
		select {
		case stored <- len(f.want):
		case c := <-copies:
			made = append(made, c)
		default:
		}
	}
	close(stored)
	for c := range copies {
		made = append(made, c)
	}
	stop()
	for _, c := range made {
		info, err := os.Stat(c.path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode: %v %v", info.Mode(), err)
		}
		have := customerTexts(t, running(t, "sqlite:"+c.path))
		if len(have) < c.sure || len(have) > len(f.want) || !slices.Equal(have, f.want[:len(have)]) {
			t.Errorf("%d messages, want the first %d to %d", len(have), c.sure, len(f.want))
		}
	}
}

func TestBackupThatCannotBeMade(t *testing.T) {
	t.Parallel()
	url := newURL(t)
	running(t, url)
	there := filepath.Join(t.TempDir(), "there")
	if err := os.WriteFile(there, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := files(t, url)
	none := newURL(t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx            context.Context
		url, path, say string
	}{
		"file is there": {t.Context(), url, there, "there already"},
		"no directory":  {t.Context(), url, there + "/x", "not a directory"},
		"no database":   {t.Context(), none, filepath.Join(t.TempDir(), "x"), "no such file"},
		"PostgreSQL":    {t.Context(), "postgres://h/d", filepath.Join(t.TempDir(), "x"), "pg_dump"},
		"cancelled":     {cancelled, url, filepath.Join(t.TempDir(), "x"), "canceled"},
	} {
		if err := Backup(c.ctx, c.url, c.path); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(c.path); err == nil && c.path != there {
			t.Errorf("%s: left a file", name)
		}
	}
	if err := BackupTo(t.Context(), url, failing{}); err == nil {
		t.Error("a reader that has gone is no error")
	}
	if text, _ := os.ReadFile(there); string(text) != "precious" {
		t.Error("a file was overwritten")
	}
	if after := files(t, url); !slices.Equal(before, after) {
		t.Errorf("left beside the database: %q, was %q", after, before)
	}
	if made := files(t, none); len(made) > 0 {
		t.Errorf("a database was made: %q", made)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// backup is a copy in memory.
func backup(t *testing.T, url string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := BackupTo(t.Context(), url, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What was there is replaced with its -wal file, which would be read into the copy otherwise, and can be opened still.
func TestRestoreReplacesAll(t *testing.T) {
	t.Parallel()
	url := newURL(t)
	path := strings.TrimPrefix(url, "sqlite:")
	s, stop := stoppable(t, url)
	if err := s.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := newFill(t, s)
	f.mustStore()
	saved := backup(t, url)
	f.mustStore()
	// As a kill leaves them: with commits that are in the -wal file only.
	killed := map[string][]byte{}
	for _, rest := range []string{"", "-wal", "-shm"} {
		b, err := os.ReadFile(path + rest)
		if err != nil {
			t.Fatal(err)
		}
		killed[rest] = b
	}
	stop()
	for rest, b := range killed {
		if err := os.WriteFile(path+rest, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time there is one that was kept
		kept, err := Restore(t.Context(), url, bytes.NewReader(saved))
		if err != nil || kept != path+".before-restore" {
			t.Fatal(kept, err)
		}
		for _, name := range files(t, url) {
			if strings.HasSuffix(name, ".tmp") || name == filepath.Base(path)+"-wal" {
				t.Errorf("%s is left", name)
			}
		}
		now, stop := stoppable(t, url)
		if err := now.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		if have := customerTexts(t, now); len(have) != 1 {
			t.Errorf("restored: %d messages, want 1", len(have))
		}
		stop()
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v %v", info.Mode(), err)
		}
		if killed != nil {
			if have := customerTexts(t, running(t, "sqlite:"+kept)); len(have) != 2 {
				t.Errorf("kept: %d messages, want 2", len(have))
			}
			killed = nil
		}
	}

	empty := newURL(t)
	if kept, err := Restore(t.Context(), empty, bytes.NewReader(saved)); kept != "" || err != nil {
		t.Errorf("where there was none: %q %v", kept, err)
	}
	if have := customerTexts(t, running(t, empty)); len(have) != 1 {
		t.Errorf("where there was none: %d messages", len(have))
	}
	damaged := bytes.Repeat([]byte("damaged"), 1000)
	if err := os.WriteFile(strings.TrimPrefix(empty, "sqlite:")+"x", damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), empty+"x", bytes.NewReader(saved)); err != nil {
		t.Errorf("over a damaged database: %v", err)
	}
}

func TestRestoreOfWhatIsNoBackupChangesNothing(t *testing.T) {
	t.Parallel()
	url := newURL(t)
	s, stop := stoppable(t, url)
	if err := s.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	newFill(t, s).mustStore()
	saved := backup(t, url)
	stop()
	path := strings.TrimPrefix(url, "sqlite:")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(statement string) []byte {
		t.Helper()
		file := filepath.Join(t.TempDir(), "copy")
		if err := os.WriteFile(file, saved, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite", file)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	later := `INSERT INTO ` + driver.VersionTable + ` (version_id, is_applied) VALUES (9999, 1)`
	damaged := bytes.Clone(saved)
	copy(damaged[len(damaged)/2:], bytes.Repeat([]byte{0xff}, len(damaged)/2))
	for name, c := range map[string]struct {
		content []byte
		say     string
	}{
		"empty":           {nil, "no database of Tandem"},
		"cut off":         {saved[:len(saved)/2], "damaged"},
		"damaged":         {damaged, "damaged"},
		"text":            {[]byte(strings.Repeat("-- SQL dump\n", 1000)), "damaged or no SQLite"},
		"another program": {changed(`DROP TABLE ` + driver.VersionTable), "no database of Tandem"},
		"a later schema":  {changed(later + `; UPDATE schema_compat SET oldest = 9999`), "newer than this program"},
	} {
		if _, err := Restore(t.Context(), url, bytes.NewReader(c.content)); err == nil ||
			!strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, want %q", name, err, c.say)
		}
	}
	if _, err := Restore(t.Context(), newURL(t), bytes.NewReader(changed(later))); err != nil {
		t.Errorf("a later schema that this program may use: %v", err)
	}
	if _, err := Restore(t.Context(), "postgres://h/d", bytes.NewReader(saved)); err == nil ||
		!strings.Contains(err.Error(), "pg_restore") {
		t.Errorf("PostgreSQL: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the database has changed: %v", err)
	}
	if names := files(t, url); len(names) != 2 { // itself and its .lock
		t.Errorf("left beside the database: %q", names)
	}
}

// What waited to be sent when the backup was made may have been sent since.
func TestRestoredAnswersAreNotSentByThemselves(t *testing.T) {
	onEach(t, func(t *testing.T, _ database, url string) {
		s := running(t, url)
		f := newFill(t, s)
		f.mustStore()
		answer := func(key string) inbox.Message {
			t.Helper()
			m, _, err := s.AddAnswer(t.Context(), 1, inbox.Answer{Text: "a", Key: key,
				Author: inbox.Author{Kind: inbox.ByAPI, ID: "1"}})
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		claim := func(want int) []inbox.Delivery {
			t.Helper()
			list, _, err := s.ClaimDeliveries(t.Context(), f.tenure, 10, nil)
			if err != nil || len(list) != want {
				t.Fatalf("%d claimed, want %d: %v", len(list), want, err)
			}
			return list
		}
		sent := answer("sent")
		d := claim(1)[0]
		if err := s.RecordOutcome(t.Context(), f.tenure,
			inbox.Outcome{DeliveryID: d.ID, Attempt: d.Attempt, State: inbox.Sent, TelegramMessageID: 9}); err != nil {
			t.Fatal(err)
		}
		sending := answer("sending")
		claim(1)
		queued := answer("queued")

		if n, err := s.Restored(t.Context()); n != 2 || err != nil {
			t.Errorf("%d messages, want 2: %v", n, err)
		}
		if n, err := s.Restored(t.Context()); n != 0 || err != nil {
			t.Errorf("again: %d messages: %v", n, err)
		}
		f.tenure = newFill(t, s).tenure
		claim(0)
		for id, want := range map[int64]inbox.DeliveryState{sent.ID: inbox.Sent, sending.ID: inbox.Unknown,
			queued.ID: inbox.Unknown} {
			if m, err := s.Message(t.Context(), id); err != nil || m.Delivery != want ||
				(want == inbox.Unknown) != (m.Error == fromBackup) {
				t.Errorf("message %d: %s %q, want %s: %v", id, m.Delivery, m.Error, want, err)
			}
		}
		// A person decides.
		if _, err := s.RetryAnswer(t.Context(), queued.ID); err != nil {
			t.Error(err)
		}
		claim(1)
	})
}
