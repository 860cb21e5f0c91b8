package logging

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"tandem/internal/config"
	"tandem/internal/proctest"
)

var times = regexp.MustCompile(`("?time"?[:=]"?)[^ ",]*`)

// TestLines: what init logs is, byte for byte, what people's filters know.
func TestLines(t *testing.T) {
	for _, c := range []struct {
		text, json, plain string
	}{
		{"word", `"word"`, `word`},
		{"", `""`, `""`},
		{"two words", `"two words"`, `"two words"`},
		{`a "quoted" \ word`, `"a \"quoted\" \\ word"`, `"a \"quoted\" \\ word"`},
		{"a=b", `"a=b"`, `"a=b"`},
		{"line\nbreak\ttab\x01", `"line\nbreak\ttab\u0001"`, `"line\nbreak\ttab\x01"`},
		{"ä€😀", `"ä€😀"`, `ä€😀`},
		{"\xff", `"\ufffd"`, `"\xff"`},
		{"\u00a0", "\"\u00a0\"", `"\u00a0"`},
		{"<&>", `"<&>"`, `<&>`},
		{"[x]:{y}", `"[x]:{y}"`, `[x]:{y}`},
	} {
		for _, s := range []Settings{{slog.LevelDebug, true}, {slog.LevelDebug, false}} {
			var out bytes.Buffer
			log := newBounded(&out, s, "init")
			log.LogAttrs(t.Context(), slog.LevelWarn, c.text, slog.String("fact", c.text), slog.Int("n", -7))
			want := `{"time":"","level":"WARN","msg":` + c.json + `,"process":"init","fact":` + c.json + `,"n":-7}` + "\n"
			if !s.JSON {
				want = `time= level=WARN msg=` + c.plain + ` process=init fact=` + c.plain + " n=-7\n"
			}
			if have := times.ReplaceAllString(out.String(), "$1"); have != want {
				t.Errorf("%q:\nhave %swant %s", c.text, have, want)
			}
		}
	}
}

func TestTimes(t *testing.T) {
	at := regexp.MustCompile(`^time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d) level=INFO `)
	var out bytes.Buffer
	newBounded(&out, Settings{}, "init").Info("text")
	if !at.Match(out.Bytes()) {
		t.Errorf("have %s", out.String())
	}
	out.Reset()
	newBounded(&out, Settings{JSON: true}, "init").Info("text")
	var line struct{ Time time.Time }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || time.Since(line.Time) > time.Hour {
		t.Errorf("have %s: %v", out.String(), err)
	}
}

func TestLevel(t *testing.T) {
	var out bytes.Buffer
	log := newBounded(&out, Settings{Level: slog.LevelWarn}, "init")
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
	if s := Read(env); s.JSON || s.Level != slog.LevelWarn || env.Err() != nil {
		t.Errorf("got %+v, %v", s, env.Err())
	}
	env = config.New([]string{"LOG_LEVEL=loud", "LOG_FORMAT=xml"})
	Read(env)
	if err := env.Err(); err == nil || !strings.Contains(err.Error(), "LOG_LEVEL") ||
		!strings.Contains(err.Error(), "LOG_FORMAT") {
		t.Errorf("got %v", err)
	}
}

// A line that a pipe would take in pieces is shortened where it is long, and stays a line.
func TestLongLines(t *testing.T) {
	long := strings.Repeat("é\"\x01", 5000)
	for _, inJSON := range []bool{true, false} {
		var out bytes.Buffer
		log := newBounded(&out, Settings{JSON: inJSON}, "init")
		log.LogAttrs(t.Context(), slog.LevelError, "text",
			slog.String("name", "bot"), slog.String("reason", long), slog.String("next", long), slog.Int("code", 78))
		line := out.String()
		if len(line) > 4096 || len(line) < 500 || strings.Count(line, "\n") != 1 || !strings.Contains(line, "...") ||
			!strings.Contains(line, "78") {
			t.Errorf("%d bytes: %s", len(line), line)
		}
		if inJSON && !json.Valid(out.Bytes()) {
			t.Errorf("no JSON: %s", line)
		}
	}
}

// Nobody takes the log: who logs does not wait, and what was lost is told once somebody does.
func TestALogThatNobodyTakes(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	log, lines := NewAsync(int(w.Fd()), Settings{JSON: true}, "init")
	defer close(lines.lines)
	for range 1000 { // a pipe holds 64 kB
		log.Info("a line", "reason", strings.Repeat("x", 1000))
	}
	lines.Flush(time.Millisecond)
	var out []byte
	buf := make([]byte, 64<<10)
	for deadline := time.Now().Add(20 * time.Second); !bytes.Contains(out, []byte("lines of this log were lost")); {
		if time.Now().After(deadline) {
			t.Fatalf("have %d bytes", len(out))
		}
		n, err := r.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, buf[:n]...)
	}
}

// A writer that fails says so, and goes on.
func TestTheWriterFails(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	lines := newAsync(int(w.Fd()))
	lines.dropped.Store(1) // which has it use direct, of which there is none
	defer close(lines.lines)
	log := newBounded(lines, Settings{}, "init")
	log.Info("one")
	select {
	case <-lines.Failed():
	case <-time.After(20 * time.Second):
		t.Fatal("it does not say so")
	}
	log.Info("two")
	buf := make([]byte, 64<<10)
	have := ""
	proctest.Eventually(t, 20*time.Second, "both lines came", func() bool {
		n, _ := r.Read(buf)
		have += string(buf[:n])
		return strings.Contains(have, "one") && strings.Contains(have, "two")
	})
}
