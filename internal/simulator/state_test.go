package simulator_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/internal/proctest"
	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
)

func open(t *testing.T, path string) *simulator.Server {
	t.Helper()
	s, err := simulator.New(simulator.Options{StateFile: path, OnStateError: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	s.AddBot(simtest.Token)
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStateOutlivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "telegram.json")
	s := open(t, path)
	if err := s.Put(simulator.Customer{ChatID: 7, FirstName: "Ada"}); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		if _, err := s.CustomerWrites(7, text); err != nil {
			t.Fatal(err)
		}
	}
	before := s.Polls(0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, path)
	if after := s.Polls(0); after.Next != before.Next || after.Pending != 2 {
		t.Errorf("after the restart %+v, before it %+v", after, before)
	}
	messages := s.Messages(0, 7)
	if len(messages) != 2 || messages[0].Text != "one" || messages[0].From.FirstName != "Ada" {
		t.Errorf("the chat after the restart: %+v", messages)
	}
	if m, err := s.CustomerWrites(7, "three"); err != nil || m.MessageID != 3 {
		t.Errorf("the next message is %+v (%v)", m, err)
	}
	if b, err := os.ReadFile(path); err != nil || strings.Contains(string(b), "simulated-token") {
		t.Errorf("the state file must not hold the token (%v)", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the state file has the mode %v (%v)", info.Mode(), err)
	}
}

// TestIDsAreNotGivenTwiceAfterACrash loads a file that was written before the last messages were given out.
func TestIDsAreNotGivenTwiceAfterACrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "telegram.json")
	s := open(t, path)
	if _, err := s.CustomerWrites(7, "one"); err != nil {
		t.Fatal(err)
	}
	var behind []byte
	proctest.Eventually(t, 20*time.Second, "the state is saved", func() bool { // the saver writes at its own time
		behind, _ = os.ReadFile(path)
		return strings.Contains(string(behind), "one")
	})
	m, err := s.CustomerWrites(7, "two")
	if err != nil {
		t.Fatal(err)
	}
	next := s.Polls(0).Next
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, behind, 0o600); err != nil {
		t.Fatal(err)
	}

	s = open(t, path)
	again, err := s.CustomerWrites(7, "two once more")
	if err != nil || again.MessageID <= m.MessageID || s.Polls(0).Next <= next {
		t.Errorf("ids came again: message %d after %d, next update %d after %d (%v)",
			again.MessageID, m.MessageID, s.Polls(0).Next, next, err)
	}
}

func TestBrokenStateFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "telegram.json")
	for _, content := range []string{"", "{", `{"format":99}`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := simulator.New(simulator.Options{StateFile: path}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v, want an error that names the file", content, err)
		}
	}
}
