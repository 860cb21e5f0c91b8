package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// within fails the test if f takes longer than anything that does not wait.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: still at it after 10 s", what)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A secret is read from a regular file, which may be reached through links, and from nothing that could keep the
// reader.
func TestSecretFromWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, syscall.Mkfifo(at("fifo"), 0o600))
	must(t, os.Symlink(at("fifo"), at("to fifo")))
	must(t, os.Symlink("/dev/zero", at("to zero")))
	must(t, os.Mkdir(at("dir"), 0o700))
	must(t, os.WriteFile(at("sparse"), nil, 0o600))
	must(t, os.Truncate(at("sparse"), 1<<40))
	must(t, os.WriteFile(at("largest"), []byte(strings.Repeat("x", maxSecretBytes)), 0o600))
	// As Kubernetes mounts them.
	must(t, os.MkdirAll(at("volume/..2026"), 0o700))
	must(t, os.WriteFile(at("volume/..2026/token"), []byte("s3cret\n"), 0o600))
	must(t, os.Symlink("..2026", at("volume/..data")))
	must(t, os.Symlink("..data/token", at("volume/token")))
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	defer w.Close()
	pipe := fmt.Sprintf("/proc/self/fd/%d", r.Fd()) // as /dev/stdin and <(...) of a shell are

	for name, c := range map[string]struct{ path, want, problem string }{
		"a pipe":               {at("fifo"), "", "regular file"},
		"a link to a pipe":     {at("to fifo"), "", "regular file"},
		"standard input":       {pipe, "", "regular file"},
		"a device":             {"/dev/zero", "", "regular file"},
		"a link to a device":   {at("to zero"), "", "regular file"},
		"a directory":          {at("dir"), "", "regular file"},
		"a terabyte":           {at("sparse"), "", "too long"},
		"the longest":          {at("largest"), strings.Repeat("x", maxSecretBytes), ""},
		"as Kubernetes has it": {at("volume/token"), "s3cret", ""},
	} {
		within(t, name, func() {
			e := New([]string{"T_FILE=" + c.path})
			if have := e.Secret("T"); have != c.want {
				t.Errorf("%s: have %.20q, want %.20q", name, have, c.want)
			}
			if err := e.Err(); (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%s: problem %v, want %q", name, err, c.problem)
			}
		})
	}
}

// A default directory is trusted if it is a directory, is ours, and nobody else can write it from then on.
func TestDefaultRunDir(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	mkdir := func(name string, mode os.FileMode) string {
		must(t, os.Mkdir(at(name), 0o700))
		must(t, os.Chmod(at(name), mode))
		return at(name)
	}
	for name, c := range map[string]struct{ had, has os.FileMode }{
		"private": {0o700, 0o700}, "passed through": {0o711, 0o711}, "of all": {0o777, 0o755}, "of the group": {0o770, 0o750},
		"sticky":      {0o777 | os.ModeSticky, 0o755 | os.ModeSticky},
		"of a volume": {0o777 | os.ModeSetgid, 0o755 | os.ModeSetgid},
	} {
		path := mkdir(name, c.had)
		if err := ours(path, false); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != c.has|os.ModeDir {
			t.Errorf("%s: is %v, want %v; %v", name, info.Mode(), c.has, err)
		}
	}
	must(t, os.Symlink(mkdir("target", 0o777), at("link")))
	must(t, syscall.Mkfifo(at("fifo"), 0o600))
	must(t, os.WriteFile(at("file"), nil, 0o600))
	must(t, os.Symlink(at("nothing"), at("dangling")))
	for _, name := range []string{"link", "fifo", "file", "dangling", "none"} {
		within(t, name, func() {
			if err := ours(at(name), false); err == nil || !strings.Contains(err.Error(), at(name)) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	// Where none will do, each has its reason: a planted one is not hidden behind one that is not there.
	if dir, err := firstOf([]string{at("none"), at("link"), at("file")}); dir != "" || err == nil ||
		!strings.Contains(err.Error(), at("link")+" is not") || !strings.Contains(err.Error(), at("file")+" is not") {
		t.Errorf("%q, %v", dir, err)
	}
	if info, err := os.Stat(at("target")); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("what a link names became %v, %v", info.Mode(), err)
	}
	if os.Getuid() != 0 {
		return
	}
	foreign := mkdir("foreign", 0o777)
	must(t, os.Chown(foreign, 4711, 4711))
	if err := ours(foreign, false); err == nil || !strings.Contains(err.Error(), "is not a directory of user 0") {
		t.Errorf("one of another user: %v", err)
	}
	if info, err := os.Stat(foreign); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("one of another user became %v, %v", info.Mode(), err)
	}
}

// One that a person named is taken as it is.
func TestNamedRunDirIsTakenAsItIs(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777))
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(dir, link))
	for _, name := range []string{dir, link} {
		if have, err := New([]string{"RUN_DIR=" + name}).RunDir(); err != nil || have != name {
			t.Errorf("%s: %q, %v", name, have, err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("it became %v, %v", info.Mode(), err)
	}
	fifo := filepath.Join(dir, "fifo")
	must(t, syscall.Mkfifo(fifo, 0o600))
	within(t, "a pipe", func() {
		if _, err := New([]string{"RUN_DIR=" + fifo}).RunDir(); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("a pipe: %v", err)
		}
	})
}
