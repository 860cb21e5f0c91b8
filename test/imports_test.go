package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestImportsGoDownwards keeps the layout of docs/architecture.md: the edges do not know one another, the domain knows
// nobody, and no code of the product imports what only tests need.
func TestImportsGoDownwards(t *testing.T) {
	edges := []string{"supervise", "reap", "lockfile", "web", "store", "telegram"}
	// What init is made of, and what stands before the ports, from the ground up: a package imports what is below it, and
	// nothing else of ours.
	floor := map[string]int{}
	for n, floorOf := range [][]string{
		{"eintr"},
		{"backoff", "buildinfo", "cgroup", "config", "door", "exitcode", "lockfile", "signals", "status", "stdio",
			"tcp", "unixsocket"},
		{"control", "logging", "ops", "reap", "rundir", "sdnotify"},
		{"confine", "supervise", "tty"},
	} {
		for _, name := range floorOf {
			floor[name] = n + 1
		}
	}
	for path, imports := range importsOfAll(t) {
		from := layer(path)
		for _, imported := range imports {
			if imported == "gopkg.in/telebot.v3" && from != "telegram" && !strings.HasPrefix(path, "tandem/test/") {
				t.Errorf("%s imports telebot: only telegram does", path)
			}
			if forTests(imported) && !mayImportForTests(path, imported) {
				t.Errorf("%s is for tests only, but %s imports it", imported, path)
			}
			to := layer(imported)
			if to == "" || from == to || strings.HasPrefix(path, "tandem/cmd/") || forTests(path) {
				continue
			}
			if of := floor[from]; of > 0 && (floor[to] == 0 || floor[to] >= of) && path == "tandem/internal/"+from {
				t.Errorf("%s imports %s, which is not below it", path, imported)
			}
			switch {
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

// TestImportsOfDrivers: internal/store is all that the program knows of its databases, and each database's library is
// known to its driver alone.
func TestImportsOfDrivers(t *testing.T) {
	const store, shared = "tandem/internal/store", "tandem/internal/store/driver"
	libraries := map[string]string{
		store + "/postgres": "github.com/jackc/pgx/v5",
		store + "/sqlite":   "modernc.org/sqlite",
	}
	all := importsOfAll(t)
	for own := range libraries {
		if !slices.Contains(all[store], own) {
			t.Errorf("%s does not import %s", store, own)
		}
	}
	for path, imports := range all {
		if forTests(path) || strings.HasPrefix(path, "tandem/test/") {
			continue
		}
		for _, imported := range imports {
			if libraries[imported] != "" && path != store {
				t.Errorf("%s imports %s: only %s imports the drivers", path, imported, store)
			}
			if imported == shared && path != store && libraries[path] == "" {
				t.Errorf("%s imports %s, which is for the store and its drivers", path, imported)
			}
			for own, library := range libraries {
				if path != own && (imported == library || strings.HasPrefix(imported, library+"/")) {
					t.Errorf("%s imports %s: only %s does", path, imported, own)
				}
			}
		}
	}
}

// importsOfAll are the imports of each package.
func importsOfAll(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "tandem/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	all := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		path, imports, _ := strings.Cut(strings.TrimSpace(line), " ")
		all[path] = strings.Fields(imports)
	}
	return all
}

// TestInitIsSmall: nearly all memory of an idle init is its executable, and a package that looks harmless can double
// it. The bar is that of docs/compare.md, the flags are those of the Makefile.
func TestInitIsSmall(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "tandem/cmd/init").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	linked := strings.Fields(string(out))
	for _, heavy := range []string{"net", "os/exec", "regexp", "text/template"} {
		if slices.Contains(linked, heavy) {
			t.Errorf("init links %s", heavy)
		}
	}
	file := filepath.Join(t.TempDir(), "init")
	build := exec.Command("go", "build", "-trimpath", "-gcflags=tandem/...=-l", "-ldflags=-funcalign=8 -s -w",
		"-o", file, "tandem/cmd/init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	const bar = 3_200_000
	if info.Size() > bar {
		t.Errorf("init has %d bytes, want at most %d (go tool nm -size tells whose they are)", info.Size(), bar)
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

const simulatorPackage = "tandem/internal/simulator"

// forTests says whether a package is only for tests, and for the demo, which plays Telegram.
func forTests(path string) bool {
	name, internal := strings.CutPrefix(path, "tandem/internal/")
	return strings.HasPrefix(path, "tandem/test/") || path == simulatorPackage ||
		internal && (name == "testenv" || strings.HasSuffix(name, "test"))
}

// mayImportForTests says whether path may import a package that is only for tests. The simulator is in an executable,
// so it counts as product here.
func mayImportForTests(path, imported string) bool {
	if imported == simulatorPackage && (path == "tandem/cmd/simulator" || path == "tandem/cmd/demo") {
		return true
	}
	return forTests(path) && path != simulatorPackage
}
