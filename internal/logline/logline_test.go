package logline

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"tandem/internal/config"
)

var times = regexp.MustCompile(`("?time"?[:=]"?)[^ ",]*`)

// TestLinesAreThoseOfSlog: init's lines look like those of web and bot, which log/slog writes.
func TestLinesAreThoseOfSlog(t *testing.T) {
	for _, s := range []string{"", "word", "two words", `a "quoted" \ word`, "a=b", "line\nbreak\ttab\x01", "ä€😀", "\xff", "\u00a0", "<&>", "[x]:{y}"} {
		for _, inJSON := range []bool{true, false} {
			var want, have bytes.Buffer
			options := &slog.HandlerOptions{Level: slog.LevelDebug}
			h := slog.Handler(slog.NewTextHandler(&want, options))
			if inJSON {
				h = slog.NewJSONHandler(&want, options)
			}
			theirs := slog.New(h).With("process", "init")
			ours := New(&have, Settings{Level: Debug, JSON: inJSON}, "init")
			for _, level := range []Level{Debug, Info, Warn, Error} {
				theirs.LogAttrs(t.Context(), slog.Level(level), s, slog.String("fact", s), slog.Int("n", -7))
				ours.Log(level, s, String("fact", s), Int("n", -7))
			}
			theirs.Warn(s, "lines", int64(3), "pid", 5, "reason", s)
			ours.Warn(s, "lines", int64(3), "pid", 5, "reason", s)
			h1, h2 := times.ReplaceAllString(have.String(), "$1"), times.ReplaceAllString(want.String(), "$1")
			if h1 != h2 {
				t.Errorf("%q:\nhave %swant %s", s, h1, h2)
			}
		}
	}
}

func TestLevel(t *testing.T) {
	var out bytes.Buffer
	log := New(&out, Settings{Level: Warn}, "init")
	log.Debug("no")
	log.Info("no")
	log.Warn("yes")
	log.Error("yes")
	if have := strings.Count(out.String(), "\n"); have != 2 || strings.Contains(out.String(), "no") {
		t.Errorf("have %s", out.String())
	}
}

func TestSettings(t *testing.T) {
	env := config.New([]string{"LOG_LEVEL=WARN", "LOG_FORMAT=text"})
	if s := Read(env); s.JSON || s.Level != Warn || env.Err() != nil {
		t.Errorf("got %+v, %v", s, env.Err())
	}
	env = config.New([]string{"LOG_LEVEL=loud", "LOG_FORMAT=xml"})
	Read(env)
	if err := env.Err(); err == nil || !strings.Contains(err.Error(), "LOG_LEVEL") || !strings.Contains(err.Error(), "LOG_FORMAT") {
		t.Errorf("got %v", err)
	}
}

// A line that a pipe would take in pieces is shortened where it is long, and stays a line.
func TestLongLines(t *testing.T) {
	long := strings.Repeat("é\"\x01", 5000)
	for _, inJSON := range []bool{true, false} {
		var out bytes.Buffer
		New(&out, Settings{JSON: inJSON}, "init").Log(Error, "text", String("name", "bot"), String("reason", long), String("next", long), Int("code", 78))
		line := out.String()
		if len(line) > 4096 || len(line) < 500 || strings.Count(line, "\n") != 1 || !strings.Contains(line, "...") || !strings.Contains(line, "78") {
			t.Errorf("%d bytes: %s", len(line), line)
		}
		if inJSON && !json.Valid(out.Bytes()) {
			t.Errorf("no JSON: %s", line)
		}
	}
}
