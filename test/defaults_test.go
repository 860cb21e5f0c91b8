package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tandem/internal/proctest"
)

// TestOneDefaultInEveryDocument compares the times that the README gives as defaults with those that -help, the manual
// page and the other documents give.
func TestOneDefaultInEveryDocument(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	defaults := map[string]time.Duration{}
	row := regexp.MustCompile("(?m)^\\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \\| (`\\w+`(?:, `\\w+`)*)[^|]* \\|")
	for _, m := range row.FindAllStringSubmatch(read("../README.md"), -1) {
		names, values := strings.Split(m[1], ", "), strings.Split(m[2], ", ")
		for i, name := range names {
			if d, err := time.ParseDuration(strings.Trim(values[min(i, len(values)-1)], "`")); err == nil {
				defaults[strings.Trim(name, "`")] = d
			}
		}
	}
	if len(defaults) < 7 || defaults["BOT_RESTART_DELAY_MAX"] != time.Minute {
		t.Fatalf("the README's defaults cannot be read: %v", defaults)
	}

	said := map[string]int{}
	see := func(where, name, value string) {
		t.Helper()
		want, known := defaults[name]
		have, err := time.ParseDuration(value)
		if !known || err != nil {
			return
		}
		said[name]++
		if have != want {
			t.Errorf("%s: %s is %s, and %s in the README", where, name, have, want)
		}
	}
	for _, name := range []string{"init", "web", "bot"} {
		p := proctest.Start(t, proctest.Options{Path: bin(t, name), Args: []string{"-help"}})
		p.Wait(soon)
		help := strings.Join(p.Lines(), "\n")
		for _, entry := range regexp.MustCompile(`(?m)^  ([A-Z_]+) (.*(?:\n {8}.*)*)`).FindAllStringSubmatch(help, -1) {
			for _, m := range regexp.MustCompile(`default (\w+)`).FindAllStringSubmatch(entry[2], 1) {
				see(name+" -help", entry[1], m[1])
			}
		}
	}
	inManual := regexp.MustCompile(`(?m)^\.BR? ([A-Z_]+)\n.*Default (\w+)`)
	for _, m := range inManual.FindAllStringSubmatch(read("../docs/man/init.8"), -1) {
		see("the manual page", m[1], m[2])
	}
	documents, err := filepath.Glob("../docs/*.md")
	if err != nil || len(documents) == 0 {
		t.Fatal(documents, err)
	}
	inText := regexp.MustCompile("(\\d+) (s|minute)s?\\.? \\(`([A-Z_]+)`\\)")
	for _, path := range documents {
		for _, m := range inText.FindAllStringSubmatch(read(path), -1) {
			see(path, m[3], m[1]+m[2][:1])
		}
	}
	for name := range defaults {
		if said[name] == 0 {
			t.Errorf("no other document gives the default of %s", name)
		}
	}
	if said["BOT_WATCHDOG"] < 3 {
		t.Errorf("the defaults are not found where they stand: %v", said)
	}
}
