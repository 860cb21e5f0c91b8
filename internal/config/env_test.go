package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestEveryProblemIsReportedAtOnce(t *testing.T) {
	e := New([]string{"A=ten", "B=-5s", "C=maybe", "D=80", "E=loud", "F=value", "F_FILE=/f"})
	e.Duration("A", time.Second, 0, time.Hour)
	e.Duration("B", time.Second, 0, time.Hour)
	e.Bool("C", true)
	e.Address("D", ":1", false)
	e.OneOf("E", "info", "debug")
	e.Secret("F")
	err := e.Err()
	if err == nil {
		t.Fatal("want an error for five bad settings")
	}
	for _, want := range []string{`A="ten"`, `B="-5s"`, `C="maybe"`, `D="80"`, `E="loud"`, "F or F_FILE",
		"true or false", "host:port"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "value") {
		t.Errorf("a secret is in: %v", err)
	}
}

// A time has a least and a most, which the error names, also where the value is so large that it is none.
func TestDuration(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "1ms": "", "24h": "", "1439m": "", "off": "",
		"0s": "at least 1ms", "-1h": "at least 1ms", "999us": "at least 1ms",
		"24h0m0.000000001s": "at most 24h", "2562047h": "at most 24h", "25h": "at most 24h",
		"99999999999h": "from 1ms to 24h", "8": "from 1ms to 24h", "eight": "its unit",
	} {
		e := New([]string{"D=" + in})
		have := e.DurationOrOff("D", time.Second, time.Millisecond, 24*time.Hour)
		err := e.Err()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
		if want != "" && have != time.Second {
			t.Errorf("%q was taken as %v", in, have)
		}
	}
}

func TestHelp(t *testing.T) {
	const want = `  SHORT                         says it (default 8s; on Sundays none)
  WORDS                         says more (default: what was there)
  A_NAME_OF_SUCH_A_LENGTH_IS_ALONE
                                set by init: a secret (or A_NAME_OF_SUCH_A_LENGTH_IS_ALONE_FILE=/path)
`
	have := Help([]Setting{
		{Name: "SHORT", Default: "8s", Unset: "on Sundays none", Says: "says it"},
		{Name: "WORDS", Unset: "what was there", Says: "says more"},
		{Name: "A_NAME_OF_SUCH_A_LENGTH_IS_ALONE", Says: "a secret", Secret: true, By: "init"},
	})
	if have != want {
		t.Errorf("have\n%s", have)
	}
	long := Help([]Setting{{Name: "LONG", Says: strings.Repeat("seven w ", 40)}})
	for line := range strings.Lines(long) {
		if len(line) > helpWidth+1 || line != "" && strings.TrimLeft(line[helpColumn:], " ") != line[helpColumn:] {
			t.Errorf("a line of %d: %q", len(line), line)
		}
	}
	if strings.Count(long, "seven") != 40 {
		t.Errorf("words are lost: %s", long)
	}
}

func TestAddress(t *testing.T) {
	for _, c := range []struct {
		in, want string
		ok       bool
	}{
		{"", ":8080", true},
		{":80", ":80", true},
		{"127.0.0.1:0", "127.0.0.1:0", true},
		{"[::1]:8080", "[::1]:8080", true},
		{"localhost:8080", "localhost:8080", true},
		{"off", "", true},
		{"OFF", "", true},
		{"8080", ":8080", false},
		{"::1:8080", ":8080", false},
		{":65536", ":8080", false},
		{":http", ":8080", false},
		{"http://localhost:8080", ":8080", false},
		{"a b:80", ":8080", false},
	} {
		e := New([]string{"ADDR=" + c.in})
		if got := e.Address("ADDR", ":8080", true); got != c.want || (e.Err() == nil) != c.ok {
			t.Errorf("Address(%q) = %q, %v; want %q, ok %v", c.in, got, e.Err(), c.want, c.ok)
		}
	}
	if e := New([]string{"ADDR=off"}); e.Address("ADDR", ":8080", false) != ":8080" || e.Err() == nil {
		t.Error(`"off" was taken where it may not be`)
	}
}

func TestBool(t *testing.T) {
	for in, want := range map[string]bool{"false": false, "0": false, "No": false, "OFF": false, "true": true,
		"1": true, "Yes": true, "on": true, "": true} {
		e := New([]string{"B=" + in})
		if got := e.Bool("B", true); got != want || e.Err() != nil {
			t.Errorf("Bool(%q) = %v, %v", in, got, e.Err())
		}
	}
}

func TestSecretFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		path, want, problem string
	}{
		"trailing newline": {write("nl", "s3cret\n"), "s3cret", ""},
		"windows":          {write("crlf", "\ufeffs3cret\r\n"), "s3cret", ""},
		"empty":            {write("empty", "\n"), "", "empty"},
		"binary":           {write("bin", "a\x00b"), "", "not text"},
		"missing":          {filepath.Join(dir, "none"), "", "no such file"},
		"directory":        {dir, "", "regular file"},
		"huge":             {write("huge", strings.Repeat("x", maxSecretBytes+1)), "", "too long"},
	} {
		e := New([]string{"T_FILE=" + c.path})
		got := e.Secret("T")
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		if err := e.Err(); (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: problem %v, want %q", name, err, c.problem)
		}
	}
}

func TestRunDir(t *testing.T) {
	dir := t.TempDir()
	if got, err := New([]string{"RUN_DIR=" + filepath.Join(dir, "made", "deep")}).RunDir(); err != nil ||
		!strings.HasSuffix(got, "made/deep") {
		t.Errorf("a RUN_DIR that is not there: %q, %v", got, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New([]string{"RUN_DIR=" + file}).RunDir(); err == nil {
		t.Error("a file was taken for RUN_DIR")
	}
	if _, err := os.Stat("/run/tandem"); err == nil {
		return // a machine with an installation: the first candidate wins
	}
	if got, err := New([]string{"XDG_RUNTIME_DIR=" + dir}).RunDir(); err != nil || got != filepath.Join(dir, "tandem") {
		t.Errorf("with XDG_RUNTIME_DIR: %q, %v", got, err)
	}
}
