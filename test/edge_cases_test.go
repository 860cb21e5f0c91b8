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

// The table of edge cases has all 53, and each test that it names is there.
func TestEdgeCasesHaveTheirTests(t *testing.T) {
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
	table, err := os.ReadFile("../docs/edge-cases.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| (\d+) \| (.+) \| (.*)\|$`).FindAllStringSubmatch(string(table), -1)
	if len(rows) != 53 {
		t.Errorf("%d edge cases, want 53", len(rows))
	}
	for n, row := range rows {
		if row[1] != strconv.Itoa(n+1) {
			t.Errorf("row %d has the number %s", n+1, row[1])
		}
		names := strings.Split(strings.TrimSpace(row[3]), ", ")
		if names[0] == "" && !strings.Contains(row[2], "untested") {
			t.Errorf("%s: no test, and not called untested", row[1])
		}
		for _, name := range names {
			if name != "" && !strings.Contains(source.String(), "\nfunc "+name+"(t *testing.T)") {
				t.Errorf("%s: there is no %s", row[1], name)
			}
		}
	}
}
