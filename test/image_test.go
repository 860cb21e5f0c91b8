package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tandem/internal/testenv"
)

// TestTheImageSaysWhatItIs builds with a docker that only notes what it is asked for.
func TestTheImageSaysWhatItIs(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		testenv.Missing(t, "git is not installed")
	}
	bin := t.TempDir()
	script := `#!/bin/sh
case "$1 $2" in
"version --format") echo 28.0.0 ;;
"image inspect") echo 1 ;;
build*) echo "asked for: $*" ;;
esac
`
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(dir string, env []string, name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append([]string{
			"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + bin,
			"GIT_CONFIG_NOSYSTEM=1", "GOPROXY=off", "GOTOOLCHAIN=local", "GOCACHE=" + bin,
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
		}, env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	// tree is a copy of what builds the image, in dir.
	tree := func(dir string) string {
		t.Helper()
		for _, name := range []string{"scripts/image", "scripts/version", "Makefile"} {
			text, err := os.ReadFile("../" + name)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, text, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	build := func(dir string, env ...string) string {
		t.Helper()
		said := run("/", env, filepath.Join(dir, "scripts/image"))
		asked := regexp.MustCompile(`asked for: .*VERSION=(\S+) .*COMMIT=(\S+) `).FindStringSubmatch(said)
		if asked == nil {
			t.Fatal("scripts/image builds nothing")
		}
		return asked[1] + " " + asked[2]
	}
	want := func(what, have, want string) {
		t.Helper()
		if have != want {
			t.Errorf("%s: %s, want %s", what, have, want)
		}
	}

	repository := tree(t.TempDir())
	run(repository, nil, "git", "init", "-q")
	want("a repository without a commit", build(repository), "dev unknown")
	run(repository, nil, "git", "add", ".")
	run(repository, nil, "git", "commit", "-q", "-m", "first")
	commit := run(repository, nil, "git", "rev-parse", "--short", "HEAD")
	want("a commit", build(repository), commit+" "+commit)
	made := run(repository, nil, "make", "-s", "image")
	arguments := regexp.MustCompile(`(?:VERSION|COMMIT)=\S+`).FindAllString(made, -1)
	want("make image", strings.Join(arguments, " "), fmt.Sprintf("VERSION=%s COMMIT=%[1]s", commit))
	run(repository, nil, "git", "tag", "v1.2.3")
	want("a tag", build(repository), "v1.2.3 "+commit)
	want("what was given", build(repository, "VERSION=mine", "COMMIT=abc"), "mine abc")
	want("a version that was given", build(repository, "VERSION=mine"), "mine "+commit)

	worktree := filepath.Join(t.TempDir(), "other place")
	run(repository, nil, "git", "worktree", "add", "-q", "--detach", worktree)
	want("a worktree", build(worktree), "v1.2.3 "+commit)

	want("a tarball inside another repository", build(tree(filepath.Join(repository, "tandem-1.0"))), "dev unknown")

	if os.Getuid() == 0 { // as with sudo make image
		if err := filepath.WalkDir(repository, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, 12345, 12345)
		}); err != nil {
			t.Fatal(err)
		}
		want("a repository of somebody else", build(repository), "v1.2.3 "+commit)
	}

	if err := os.WriteFile(filepath.Join(repository, "Makefile"), []byte("# changed\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	want("a changed file", build(repository), "v1.2.3-dirty "+commit)

	want("a tarball", build(tree(t.TempDir())), "dev unknown")
}
