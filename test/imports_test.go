package test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestImportsGoDownwards keeps the layout of docs/architecture.md: the edges do not know one another, the
// domain knows nobody, and what only tests need is not in an executable.
func TestImportsGoDownwards(t *testing.T) {
	edges := []string{"supervise", "reap", "lockfile", "web", "store", "telegram"}
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "tandem/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		path, imports, _ := strings.Cut(strings.TrimSpace(line), " ")
		from := layer(path)
		for _, imported := range strings.Fields(imports) {
			if imported == "gopkg.in/telebot.v3" && from != "telegram" && !strings.HasPrefix(path, "tandem/test/") {
				t.Errorf("%s imports telebot: only telegram does", path)
			}
			to := layer(imported)
			if to == "" || from == to || strings.HasPrefix(path, "tandem/cmd/") && !forTests(to) {
				continue
			}
			switch {
			case strings.HasPrefix(path, "tandem/cmd/") && !(to == "simulator" && (from == "simulator" || from == "demo")):
				t.Errorf("%s is for tests only, but %s imports it", imported, path)
			case from == "inbox":
				t.Errorf("inbox must know nobody, but imports %s", imported)
			case slices.Contains(edges, from) && slices.Contains(edges, to):
				t.Errorf("%s imports %s: the edges do not know one another; cmd joins them", path, imported)
			case to == "config" && slices.Contains(edges, from):
				t.Errorf("%s imports config: settings come down from cmd as plain fields", path)
			}
		}
	}
}

// layer is the name of our package below internal or cmd, "" for others'.
func layer(path string) string {
	rest, ours := strings.CutPrefix(path, "tandem/")
	if !ours {
		return ""
	}
	parts := strings.Split(rest, "/")
	if len(parts) < 2 {
		return rest
	}
	return parts[1]
}

func forTests(name string) bool {
	return slices.Contains([]string{"proctest", "pgtest", "testenv", "simulator"}, name)
}
