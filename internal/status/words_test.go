package status

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWordsCountOnlyForTheEndTheyAreOf(t *testing.T) {
	end := time.Now()
	bot := func(code int, signal string) Process {
		return Process{Name: "bot", LastEnd: &End{At: end, Code: code, Signal: signal}}
	}
	for name, c := range map[string]struct {
		p    Process
		ago  time.Duration
		want string
	}{
		"its own":                     {bot(78, ""), time.Second, "why"},
		"its own, rounded":            {bot(78, ""), -time.Millisecond, "why"},
		"of an end with another code": {bot(1, ""), time.Second, ""},
		"of an earlier end":           {bot(78, ""), time.Minute, ""},
		"of a later one":              {bot(78, ""), -time.Second, ""},
		"killed":                      {bot(78, "SIGKILL"), time.Second, ""},
		"never ended":                 {Process{Name: "bot"}, time.Second, ""},
		"another process":             {Process{Name: "web", LastEnd: &End{At: end, Code: 78}}, time.Second, ""},
	} {
		dir := t.TempDir()
		if err := WriteWords(dir, "bot", Words{At: end.Add(-c.ago), Code: 78, Reason: "why"}); err != nil {
			t.Fatal(err)
		}
		if have := c.p.Words(dir); have != c.want {
			t.Errorf("%s: %q, want %q", name, have, c.want)
		}
	}
}

func TestWordsThatCannotBeRead(t *testing.T) {
	p := Process{Name: "bot", LastEnd: &End{At: time.Now()}}
	dir := t.TempDir()
	for _, content := range []string{"", "{", `{"reason":"` + strings.Repeat("x", maxWordsBytes) + `"}`} {
		if err := os.WriteFile(filepath.Join(dir, "bot.words"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if have := p.Words(dir); have != "" {
			t.Errorf("%.20q: %.20q", content, have)
		}
	}
	if have := p.Words(filepath.Join(dir, "none")); have != "" {
		t.Errorf("no file: %q", have)
	}
	if err := WriteWords(filepath.Join(dir, "none"), "bot", Words{}); err == nil {
		t.Error("written where there is no directory")
	}
}
