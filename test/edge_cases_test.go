package test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// sourceOfTests is all of them.
func sourceOfTests(t *testing.T) string {
	t.Helper()
	var source strings.Builder
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != ".." {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		source.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return source.String()
}

// wantTests wants each of the names, separated by commas, to be that of a test.
func wantTests(t *testing.T, source, where, names string) {
	t.Helper()
	for _, name := range strings.Split(names, ", ") {
		if !strings.Contains(source, "\nfunc "+name+"(t *testing.T)") {
			t.Errorf("%s: there is no %s", where, name)
		}
	}
}

// The table of edge cases has all of its rows, in order, and each test that it names is there.
func TestEdgeCasesHaveTheirTests(t *testing.T) {
	source := sourceOfTests(t)
	table, err := os.ReadFile("../docs/edge-cases.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| (\d+) \| (.+) \| (.*)\|$`).FindAllStringSubmatch(string(table), -1)
	if len(rows) != 81 {
		t.Errorf("%d edge cases, want 81", len(rows))
	}
	for n, row := range rows {
		if row[1] != strconv.Itoa(n+1) {
			t.Errorf("row %d has the number %s", n+1, row[1])
		}
		if names := strings.TrimSpace(row[3]); names != "" {
			wantTests(t, source, row[1], names)
		} else if !strings.Contains(row[2], "untested") {
			t.Errorf("%s: no test, and not called untested", row[1])
		}
	}
}

// Each promise of docs/security.md has its tests, and they are there.
func TestPromisesOfSecurityHaveTheirTests(t *testing.T) {
	source := sourceOfTests(t)
	text, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| ([^-].*) \| (.*) \|$`).FindAllStringSubmatch(string(text), -1)
	promises := 0
	for _, row := range rows {
		if row[1] != "promised" {
			promises++
			wantTests(t, source, row[1], row[2])
		}
	}
	if promises < 20 {
		t.Errorf("%d promises can be read", promises)
	}
}
