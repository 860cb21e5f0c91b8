package web_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/status"
	"tandem/internal/web"
)

// TestAStateThatIsNew: whatever speaks of the bot speaks of a state that it has never heard of, and takes a bot in it
// for alive as long as it reports.
func TestAStateThatIsNew(t *testing.T) {
	const parent = 4711
	dir := t.TempDir()
	r := newRig(t, func(c *web.Config) { c.RunDir, c.Parent = dir, parent })
	begun := time.Now().Add(-time.Minute)
	killed := &status.End{At: begun.Add(-time.Minute), Signal: "SIGKILL", Reason: "killed by SIGKILL"}
	s := status.Status{Init: status.Init{PID: parent, StartedAt: begun}, Processes: []status.Process{
		{Name: "bot", State: "dreaming", Reason: "two answers are under way", LastEnd: killed, StartedAt: &begun}}}
	r.ok(os.WriteFile(filepath.Join(dir, status.OfPair.Status), s.Marshal(), 0o600))
	ops := httptest.NewServer(r.web.OpsHandler())
	defer ops.Close()
	look := func(path string) string {
		t.Helper()
		answer, err := http.Get(ops.URL + path)
		r.ok(err)
		defer answer.Body.Close()
		b, err := io.ReadAll(answer.Body)
		r.ok(err)
		return string(b)
	}
	alice := r.signIn("alice")
	for _, c := range []struct {
		reports          bool
		page, ops, gauge string
	}{
		{false, "The bot is dreaming", `"in_words":"The bot is dreaming. Two answers are under way."`, "tandem_bot_up 0"},
		{true, "", `"running":true`, "tandem_bot_up 1"},
	} {
		if c.reports {
			r.says(inbox.BotPolling, "")
		}
		page := r.page(alice, "/").words()
		if !strings.Contains(page, c.page) || strings.Contains(page, "has ended") || strings.Contains(page, "SIGKILL") {
			t.Errorf("reports %v: the page says %s", c.reports, page)
		}
		if have := look("/status"); !strings.Contains(have, `"init":"dreaming"`) || !strings.Contains(have, c.ops) {
			t.Errorf("reports %v: /status says %s", c.reports, have)
		}
		if have := look("/metrics"); !strings.Contains(have, c.gauge) {
			t.Errorf("reports %v: %q is not in the metrics", c.reports, c.gauge)
		}
	}
}
