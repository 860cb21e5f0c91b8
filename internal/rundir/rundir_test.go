package rundir

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/internal/status"
	"tandem/internal/testenv"
)

func claim(t *testing.T, want Want) (*Owned, string, error) {
	t.Helper()
	var said bytes.Buffer
	o, err := Claim(want, slog.New(slog.NewTextHandler(&said, nil)))
	return o, said.String(), err
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	return err == nil
}

// One init owns its files: another is told who does, what a killed one left is gone, and the end leaves nothing but
// locks.
func TestClaim(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, status.OfPair.Status)
	if err := os.WriteFile(stale, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := Want{Path: dir, Files: status.OfPair, BotUser: -1}
	o, said, err := claim(t, want)
	if err != nil || said != "" {
		t.Fatalf("%v, %s", err, said)
	}
	if exists(t, stale) {
		t.Error("the status of an init before is there")
	}
	if _, _, err := claim(t, want); err == nil || !strings.Contains(err.Error(), "another init (pid ") {
		t.Errorf("a second init: %v", err)
	}
	only, _, err := claim(t, Want{Path: dir, Files: status.OfBot, BotUser: -1})
	if err != nil {
		t.Fatalf("an init of the bot only beside it: %v", err)
	}
	only.Release()
	if err := o.Write(status.OfPair.Status, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Release()
	if exists(t, stale) || !exists(t, o.Path(status.OfPair.Lock)) {
		t.Error("the end left the status, or took the lock's file")
	}
	if o, _, err = claim(t, want); err != nil {
		t.Fatalf("after its end: %v", err)
	}
	o.Release()
	(*Owned)(nil).Release()
}

func TestClaimOfADirectoryThatOthersCanWrite(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	o, said, err := claim(t, Want{Path: dir, Files: status.OfPair, Named: true, BotUser: -1})
	if err != nil || !strings.Contains(said, "others can write RUN_DIR") {
		t.Fatalf("%v, %q", err, said)
	}
	o.Release()
	if _, _, err := claim(t, Want{Path: filepath.Join(dir, "none"), Files: status.OfPair,
		BotUser: -1}); !os.IsNotExist(err) {
		t.Errorf("have %v", err)
	}
}

// Processes of other users pass through, and the bot has its file; a directory of somebody else's is not shared.
func TestClaimShares(t *testing.T) {
	if os.Getuid() != 0 {
		testenv.Missing(t, "only root can give a file to another user")
	}
	dir := t.TempDir()
	want := Want{Path: dir, Files: status.OfPair, Shared: true, BotUser: 4711}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	o, _, err := claim(t, want)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Release()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if !exists(t, o.Path(status.WordsOf("bot"))) {
		t.Error("there is no file for the bot's last words")
	}
	if err := os.Chown(dir, 4711, -1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := claim(t, want); err == nil || !strings.Contains(err.Error(), "belongs to user 4711") {
		t.Errorf("have %v", err)
	}
}
