package test

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tandem/internal/proctest"
)

// TestMetricsAreThoseOfTheDocs asks the running programs what they tell Prometheus: the table of docs/operations.md
// lists all of it and nothing else, and the alerts ask for nothing else.
func TestMetricsAreThoseOfTheDocs(t *testing.T) {
	web, bot := proctest.FreeAddr(t), proctest.FreeAddr(t)
	r := newRig(t, "sqlite", "WEB_OPS_ADDR="+web, "BOT_OPS_ADDR="+bot).start().waitWeb().waitPolling()
	r.roundTrip(7, "hello") // some metrics are there only once there is something to count

	docs, alerts := metricsIn(t, "../docs/operations.md"), metricsIn(t, "../deploy/prometheus/tandem.rules.yaml")
	var have []string
	proctest.Eventually(t, soon, "every metric of the docs is told", func() bool {
		have = nil
		for _, addr := range []string{web, bot} {
			response, err := http.Get("http://" + addr + "/metrics")
			if err != nil {
				return false
			}
			text, _ := io.ReadAll(response.Body)
			response.Body.Close()
			for _, m := range regexp.MustCompile(`(?m)^# TYPE (tandem_\w+)`).FindAllStringSubmatch(string(text), -1) {
				have = append(have, m[1])
			}
		}
		return !slices.ContainsFunc(docs, func(name string) bool { return !slices.Contains(have, name) })
	})
	for _, name := range have {
		if !slices.Contains(docs, name) {
			t.Errorf("%s is not in docs/operations.md", name)
		}
	}
	for _, name := range alerts {
		if !slices.Contains(have, name) {
			t.Errorf("the alerts ask for %s, which nobody tells", name)
		}
	}
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile("../deploy/prometheus/tandem.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(rules), -1) {
		if !strings.Contains(string(text), "`"+m[1]+"`") {
			t.Errorf("docs/operations.md says nothing of the alert %s", m[1])
		}
	}
	r.stop()
}

// metricsIn are the names of ours in a file.
func metricsIn(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`tandem_[a-z_]+`).FindAllString(string(text), -1)
	slices.Sort(names)
	return slices.Compact(names)
}
