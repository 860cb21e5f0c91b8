package proctest

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built are the executables of this test binary, by name and kind, in one folder that Main removes.
var built struct {
	sync.Mutex
	dir   string
	paths map[string]string
}

// Bin is the path of our executable cmd/NAME, static and stripped as it is shipped. It is built at its first use.
func Bin(t testing.TB, name string) string {
	t.Helper()
	return build(t, name, "CGO_ENABLED=0", "-trimpath", "-ldflags=-s -w")
}

// RaceBin is the same built with the race detector; a race makes its process end with 66.
func RaceBin(t testing.TB, name string) string {
	t.Helper()
	return build(t, name, "CGO_ENABLED=1", "-race")
}

func build(t testing.TB, name, env string, flags ...string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	key := name + "|" + env
	if path, ok := built.paths[key]; ok {
		return path
	}
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "tandem-bin-")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil { // other users run what lies in it
			t.Fatal(err)
		}
		built.dir, built.paths = dir, map[string]string{}
	}
	kind := "static"
	if env == "CGO_ENABLED=1" {
		kind = "race"
	}
	path := filepath.Join(built.dir, kind, name)
	args := append([]string{"build"}, flags...)
	cmd := exec.Command("go", append(args, "-o", path, "tandem/cmd/"+name)...)
	cmd.Env = append(os.Environ(), env)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	built.paths[key] = path
	return path
}

func removeBuilt() {
	built.Lock()
	defer built.Unlock()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
}
