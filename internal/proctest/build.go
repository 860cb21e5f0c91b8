package proctest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
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
	if name == "init" { // as Makefile and Dockerfile keep it small
		return build(t, name, "static", "CGO_ENABLED=0", "-trimpath", "-ldflags=-funcalign=8 -s -w",
			"-gcflags=tandem/...=-l")
	}
	return build(t, name, "static", "CGO_ENABLED=0", "-trimpath", "-ldflags=-s -w")
}

// RaceBin is the same built with the race detector; a race makes its process end with 66.
func RaceBin(t testing.TB, name string) string {
	t.Helper()
	return build(t, name, "race", "CGO_ENABLED=1", "-race")
}

func build(t testing.TB, name, kind, env string, flags ...string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	key := filepath.Join(kind, name)
	if path, ok := built.paths[key]; ok {
		return path
	}
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "tandem-bin-")
		if err == nil {
			err = os.Chmod(dir, 0o755) // other users run what lies in it
		}
		if err != nil {
			t.Fatal(err)
		}
		built.dir, built.paths = dir, map[string]string{}
	}
	path := filepath.Join(built.dir, key)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := link(path, name, kind, env, flags); err != nil {
		t.Fatalf("build %s: %v", name, err)
	}
	built.paths[key] = path
	return path
}

// link makes path an executable. All test binaries of one scripts/test build into one folder. There go build finds what
// the binary before has linked, which takes half a second in place of several. go build writes into the old file, so
// each test binary has a link to a copy, which is replaced and never changed.
func link(path, name, kind, env string, flags []string) error {
	shared, err := sharedDir(kind)
	if err != nil {
		return compile(path, name, env, flags)
	}
	lock, err := os.OpenFile(filepath.Join(shared, name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	target, copied := filepath.Join(shared, name), filepath.Join(shared, name+".copy")
	if err := compile(target, name, env, flags); err != nil {
		return err
	}
	have, err := os.ReadFile(target)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(copied); err != nil || !bytes.Equal(old, have) {
		err := os.WriteFile(copied+".new", have, 0o755)
		if err == nil {
			err = os.Chmod(copied+".new", 0o755) // whatever the umask is
		}
		if err == nil {
			err = os.Rename(copied+".new", copied)
		}
		if err != nil {
			return err
		}
	}
	return os.Link(copied, path)
}

func compile(path, name, env string, flags []string) error {
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", path, "tandem/cmd/"+name)...)
	cmd.Env = append(os.Environ(), env)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// sharedDir is where executables of a kind are kept from one test binary to the next: below the folder that
// TANDEM_TEST_BIN names. Whoever set that removes it. Without it a test binary links its own.
func sharedDir(kind string) (string, error) {
	all := os.Getenv("TANDEM_TEST_BIN")
	if all == "" {
		return "", errNotShared
	}
	dir := filepath.Join(all, kind)
	return dir, os.MkdirAll(dir, 0o700)
}

var errNotShared = errors.New("TANDEM_TEST_BIN is not set")

func removeBuilt() {
	built.Lock()
	defer built.Unlock()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
}
