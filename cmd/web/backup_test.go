package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tandem/internal/pgtest"
	"tandem/internal/proctest"
)

// A backup by `web backup > FILE` while web runs, and `web restore < FILE` after it was stopped, as the docs say it.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := "DATABASE_URL=sqlite:" + filepath.Join(dir, "tandem.db")
	web := start(t, db)
	add := func(name string) {
		t.Helper()
		if code, _, errs := runWeb(t, []string{db}, "operator", "add", name); code != 0 {
			t.Fatalf("operator add: %d %s", code, errs)
		}
	}
	list := func() string {
		t.Helper()
		code, out, errs := runWeb(t, []string{db}, "operator", "list")
		if code != 0 {
			t.Fatalf("operator list: %d %s", code, errs)
		}
		return out
	}
	add("alice")
	saved := filepath.Join(t.TempDir(), "saved.db")
	out, err := os.Create(saved)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(proctest.RaceBin(t, "web"), "backup")
	cmd.Env, cmd.Stdout = []string{db}, out
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	out.Close()
	other := filepath.Join(t.TempDir(), "other.db")
	if code, out, errs := runWeb(t, []string{db}, "backup", other); code != 0 || out != "" ||
		!strings.Contains(errs, other) {
		t.Errorf("backup FILE: %d %q %q", code, out, errs)
	}
	add("bob")

	if code, _, errs := runWeb(t, []string{db}, "restore", saved); code != 1 ||
		!strings.Contains(errs, "stop web and bot first") {
		t.Errorf("restore while web runs: %d %s", code, errs)
	}
	if have := list(); !strings.Contains(have, "bob") {
		t.Errorf("after a restore that was refused: %s", have)
	}
	web.mustEnd(t, syscall.SIGTERM, soon)
	in, err := os.Open(saved)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd = exec.Command(proctest.RaceBin(t, "web"), "restore")
	cmd.Env, cmd.Stdin = []string{db}, in
	if said, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(said), "before-restore") {
		t.Fatalf("restore: %v %s", err, said)
	}
	start(t, db)
	if have := list(); !strings.Contains(have, "alice") || strings.Contains(have, "bob") {
		t.Errorf("restored: %s", have)
	}
	if code, _, errs := runWeb(t, []string{db}, "restore", filepath.Join(dir, "none")); code != 1 ||
		!strings.Contains(errs, "none") {
		t.Errorf("restore of no file: %d %s", code, errs)
	}
}

func TestBackupMisuse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env  string
		args []string
		code int
		say  string
	}{
		{sqlite(t), []string{"backup", "a", "b"}, 64, "web backup FILE"},
		{sqlite(t), []string{"restore", "a", "b"}, 64, "web restore FILE"},
		{sqlite(t), []string{"restored", "a"}, 64, "no arguments"},
		{sqlite(t), []string{"backup"}, 1, "no such file"},
		{"X=", []string{"backup"}, 78, "DATABASE_URL"},
		{"DATABASE_URL=postgres://tandem@localhost/tandem", []string{"backup"}, 1, "pg_dump"},
		{"DATABASE_URL=postgres://tandem@localhost/tandem", []string{"restore", "/dev/null"}, 1, "pg_restore"},
	} {
		if code, out, errs := runWeb(t, []string{c.env}, c.args...); code != c.code || out != "" ||
			!strings.Contains(errs, c.say) {
			t.Errorf("web %q: %d %q %q, want %d and %q", c.args, code, out, errs, c.code, c.say)
		}
	}
}

func TestRestoredOnPostgreSQL(t *testing.T) {
	t.Parallel()
	if code, _, errs := runWeb(t, []string{"DATABASE_URL=" + pgtest.URL(t)}, "restored"); code != 0 ||
		!strings.Contains(errs, "delivered: 0") {
		t.Errorf("%d %s", code, errs)
	}
}
