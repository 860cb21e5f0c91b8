package main

import (
	"os"
	"path/filepath"
	"testing"

	"tandem/internal/proctest"
)

// programs puts scripts into a directory, by name.
func programs(t *testing.T, scripts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range scripts {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A command is looked up in the directory that init was started in, by PATH's relative and empty entries too.
func TestLookUpInTheProcesssDirectory(t *testing.T) {
	t.Parallel()
	dir := programs(t, map[string]string{
		"node_modules/.bin/serve": "#!/bin/sh\necho web served; exit 7\n", "talk": "#!/bin/sh\necho bot talks; sleep 1000\n",
	})
	i := startWith(t, proctest.Options{Under: proctest.PID1, Dir: dir}, "serve", "talk",
		"PATH=node_modules/.bin::/usr/bin:/bin")
	i.WaitLine(soon, "web served")
	i.ends(7)
	for _, path := range []string{"./bin:/usr/bin:/bin", ":/usr/bin:/bin", "/usr/bin:/bin"} {
		p := proctest.Start(t, proctest.Options{
			Under: proctest.PID1, Path: proctest.Bin(t, "init"), Dir: dir, Env: []string{"PATH=" + path},
			Args: []string{"--", "sh", "-c", "exit 7"},
		})
		if end := p.Wait(soon); end.Code != 7 {
			t.Errorf("PATH=%s: ended with %d: %q", path, end.Code, p.Lines())
		}
	}
}

// Whether a program may be executed is asked as the user that is to do it: what only root may see is passed over.
func TestLookUpAsTheProcesssUser(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	dir := programs(t, map[string]string{
		"private/serve": "#!/bin/sh\necho wrong\n", "public/serve": "#!/bin/sh\necho web served by $(id -u); exit 7\n",
	})
	for up := dir; up != "/tmp" && up != "/"; up = filepath.Dir(up) { // what the test's own directory is in
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "private"), 0o700); err != nil {
		t.Fatal(err)
	}
	i := startWith(t, proctest.Options{Under: proctest.PID1, Dir: dir}, "serve", "sleep 1000", "WEB_USER=4242",
		"PATH="+dir+"/private:"+dir+"/public:/usr/bin:/bin")
	i.WaitLine(soon, "web served by 4242")
	i.ends(7)
}

// init -- gives a script without #! to the shell, as execvp(3) does. In the pair it has a wrong format.
func TestAScriptWithoutAnInterpreter(t *testing.T) {
	t.Parallel()
	dir := programs(t, map[string]string{"bin/script": "echo \"$0 got $*\"\nexit 7\n"})
	for _, name := range []string{"script", "./bin/script"} {
		p := proctest.Start(t, proctest.Options{
			Under: proctest.PID1, Path: proctest.Bin(t, "init"), Dir: dir, Env: []string{"PATH=bin"},
			Args: []string{"--", name, "a b", "c"},
		})
		if end := p.Wait(soon); end.Code != 7 || p.Count("bin/script got a b c") != 1 {
			t.Errorf("%s: ended with %d: %q", name, end.Code, p.Lines())
		}
	}
	i := startWith(t, proctest.Options{Under: proctest.PID1, Dir: dir}, "./bin/script", "sleep 1000")
	i.ends(126)
}
