package test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// documents are the Markdown files of the repository, by their paths from here.
func documents(t *testing.T) []string {
	t.Helper()
	all := []string{"../README.md", "../CONTRIBUTING.md"}
	for _, pattern := range []string{"../docs/*.md", "../docs/adr/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(found), err)
		}
		all = append(all, found...)
	}
	return all
}

// TestDocumentsNameWhatIsThere: a link leads to a file, a file of Go that is named is there, and the map names every
// package. Decisions tell of their time, so files that they name may have gone.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	t.Parallel()
	var sources []string
	for _, folder := range []string{"../cmd", "../internal", "../test"} {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") {
				sources = append(sources, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	link := regexp.MustCompile(`\]\(([^)#]+)(?:#[^)]*)?\)`)
	named := regexp.MustCompile("`((?:[a-z_/]+/)?[a-z_]+\\.go)`")
	for _, path := range documents(t) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		if strings.Contains(path, "/adr/") {
			continue
		}
		for _, m := range named.FindAllStringSubmatch(string(b), -1) {
			end := "/" + m[1]
			if path == "../docs/telegram.md" && !strings.Contains(m[1], "/") {
				end = "/internal/telegram/" + m[1]
			}
			if !slices.ContainsFunc(sources, func(source string) bool { return strings.HasSuffix(source, end) }) {
				t.Errorf("%s: there is no %s", path, m[1])
			}
		}
	}

	b, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	folders, err := os.ReadDir("../internal")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		inMap := strings.Contains(string(b), "`internal/"+folder.Name()+"`") ||
			strings.Contains(string(b), "`, `"+folder.Name()+"`")
		if !inMap {
			t.Errorf("the map of docs/architecture.md does not name internal/%s", folder.Name())
		}
	}
}

// longestLine is in characters. A tab counts as one.
const longestLine = 120

// TestCodeHasShortLines looks at Go, SQL, YAML, the Makefile, the Dockerfile and every script.
func TestCodeHasShortLines(t *testing.T) {
	t.Parallel()
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && path != ".." && path != "../.ci"
		switch {
		case d.IsDir() && (hidden || path == "../bin" || path == "../var"):
			return filepath.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		isCode := slices.Contains([]string{".go", ".sql", ".yaml", ".yml"}, filepath.Ext(path)) ||
			slices.Contains([]string{"Makefile", "Dockerfile"}, d.Name()) || strings.HasPrefix(string(b), "#!")
		if !isCode {
			return nil
		}
		files++
		for n, line := range strings.Split(string(b), "\n") {
			if long := utf8.RuneCountInString(line); long > longestLine {
				t.Errorf("%s:%d: %d characters, want at most %d", path, n+1, long, longestLine)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 300 {
		t.Errorf("only %d files were looked through", files)
	}
}

// TestProseHasShortLines looks at Markdown, but for tables and what is quoted.
func TestProseHasShortLines(t *testing.T) {
	t.Parallel()
	for _, path := range documents(t) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		quoted := false
		for n, line := range strings.Split(string(b), "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				quoted = !quoted
			}
			long := utf8.RuneCountInString(line)
			if long > longestLine && !quoted && !strings.HasPrefix(line, "|") {
				t.Errorf("%s:%d: %d characters, want at most %d", path, n+1, long, longestLine)
			}
		}
	}
}
