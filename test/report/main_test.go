package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "module example.org/x\n\ngo 1.26.0\n"

var sources = map[string]string{
	"good/x_test.go": `package x
import ("testing"; "time")
func TestQuiet(t *testing.T) { t.Log("not shown") }
func TestSlow(t *testing.T) { t.Run("part", func(t *testing.T) { time.Sleep(120*time.Millisecond) }) }
func TestParent(t *testing.T) { t.Run("beside", func(t *testing.T) { t.Parallel(); time.Sleep(220*time.Millisecond) }) }
func TestSkipped(t *testing.T) { t.Skip("not shown either") }`,
	"bad/x_test.go": `package x
import "testing"
func TestGood(t *testing.T) { t.Log("not shown") }
func TestBad(t *testing.T) {
	t.Run("inside", func(t *testing.T) { t.Error("what went wrong") })
	t.Run("beside", func(t *testing.T) { t.Log("not shown") })
}`,
	"ugly/x_test.go": `package x
import "testing"
func TestPanics(t *testing.T) { t.Log("just before"); panic("a bug") }`,
	"broken/x_test.go": `package x
import "testing"
func TestBroken(t *testing.T) { var n int = "word"; _ = n }`,
	"empty/x.go": "package x",
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	for name, text := range sources {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(module), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-json", "-count=1", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod")
	events, err := cmd.Output()
	if err == nil {
		t.Fatal("failing tests pass")
	}
	var out, times strings.Builder
	if err := report(strings.NewReader(string(events)+"a word of go's own\n"), &out, &times); err != nil {
		t.Fatal(err)
	}
	have := out.String()
	for _, want := range []string{
		"ok  \texample.org/x/good\t", "--- FAIL: TestBad/inside", "what went wrong", "--- FAIL: TestBad (",
		"FAIL\texample.org/x/bad\t", "just before", "panic: a bug", "FAIL\texample.org/x/ugly\t", "broken/x_test.go:3:",
		"FAIL\texample.org/x/broken [build failed]", "a word of go's own",
	} {
		if strings.Count(have, want) != 1 {
			t.Errorf("%q is there %d times, want once", want, strings.Count(have, want))
		}
	}
	for _, not := range []string{"not shown", "=== ", "TestGood", "TestQuiet", "no test files"} {
		if strings.Contains(have, not) {
			t.Errorf("%q is there", not)
		}
	}
	for _, want := range []string{
		"0.1\texample.org/x/good\tTestSlow\n", "0.2\texample.org/x/good\tTestParent/beside\n",
		"0.0\texample.org/x/bad\tTestBad\n",
	} {
		if !strings.Contains(times.String(), want) {
			t.Errorf("no time %q", want)
		}
	}
	if strings.Contains(times.String(), "TestSlow/part") || strings.Contains(times.String(), "TestBad/inside") {
		t.Error("a test that its parent's time has")
	}
	if t.Failed() {
		t.Logf("%s\n%s", have, times.String())
	}
}
