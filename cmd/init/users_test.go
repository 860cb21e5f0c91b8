package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tandem/internal/proctest"
	"tandem/internal/status"
	"tandem/internal/testenv"
)

// user is a program of somebody's, under a user of its own, that tries what it needs and what it must not have. Its
// arguments are its name and the other's.
const user = `
import os, socket, sys, time
name, other = sys.argv[1:]
dir = os.environ["RUN_DIR"]
def say(text): os.write(1, ("%s: %s\n" % (name, text)).encode())
def may(what, path, mode, text=""):
    try:
        with open(path, mode) as f: f.write(text) if text else f.read(1) if "r" in mode else None
        say("may " + what)
    except OSError as e: say("may not %s: %s" % (what, e.strerror))
def tell(whom, text):
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(text.encode(), "%s/notify-%s.sock" % (dir, whom))
own = os.environ.get
say("is %s %s at %s, umask %03o" % (own("USER"), own("LOGNAME"), own("HOME"), os.umask(0)))
for path in "/dev/stdout", "/dev/stderr": may("write " + path, path, "w", name + " writes to " + path + "\n")
may("read the log", "/dev/stdout", "r")
may("list", "/proc/self/cwd/none", "r")
may("make files", dir + "/new", "w")
for file in "status.json", "init.lock", "bot.lock", "bot.words": may("write " + file, dir + "/" + file, "r+", " ")
while '"%s speaks"' % name not in open(dir + "/status.json").read():
    tell(name, "READY=1\nSTATUS=%s speaks" % name)
    time.sleep(0.01)
tell(other, "STATUS=a lie")
say("shown")
time.sleep(1000)
`

// least are the privileges that the README gives to an init whose processes have a user each.
var least = []string{"--bounding-set=-all,+setuid,+setgid,+kill", "--no-new-privs"}

// leastPrivileges is how a program is started with them, under a umask.
func leastPrivileges(t *testing.T, umask string) []string {
	t.Helper()
	needsRoot(t)
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		testenv.Missing(t, "setpriv is not installed")
	}
	shell := []string{"-c", `umask ` + umask + `; exec "$@"`, "sh", setpriv}
	return append(shell, append(least, proctest.Bin(t, "init"))...)
}

// script makes a Python script that every user can read, and returns its command line.
func script(t *testing.T, text string) string {
	t.Helper()
	const python = "/usr/bin/python3" // one that every user may run
	if _, err := os.Stat(python); err != nil {
		testenv.Missing(t, "python3 is not installed")
	}
	dir := runDir(t, 0)
	file := filepath.Join(dir, "user.py")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o755, file: 0o644} { // whatever the umask is
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	return python + " " + file
}

// startUnder is startWith through other programs, which become init.
func startUnder(t *testing.T, o proctest.Options, through []string, web, bot string, settings ...string) *tandem {
	t.Helper()
	dir := runDir(t, 0)
	o.Path, o.Args = "/bin/sh", through
	o.Env = append([]string{"RUN_DIR=" + dir, "TERMINATION_LOG=" + dir + "/none",
		"WEB_COMMAND=" + web, "BOT_COMMAND=" + bot}, settings...)
	return &tandem{proctest.Start(t, o), t, dir}
}

// A user each with the least privileges, whatever the umask: both are heard and write to the log by its name, web reads
// the status, the bot leaves its words, and neither reaches anything else.
func TestUsersWithTheLeast(t *testing.T) {
	t.Parallel()
	program := script(t, user)
	for _, umask := range []string{"000", "022", "077"} {
		t.Run(umask, func(t *testing.T) {
			through := leastPrivileges(t, umask)
			both(t, func(t *testing.T, under proctest.Under) {
				i := startUnder(t, proctest.Options{Under: under}, through, program+" web bot", program+" bot web",
					"WEB_USER=daemon", "BOT_USER=1234:4321", "WEB_NOTIFY=true", "BOT_NOTIFY=true", "BOT_START_TIMEOUT=off")
				i.WaitLine(soon, "web: shown")
				i.WaitLine(soon, "bot: shown")
				i.await("web", "is ready", func(p status.Process) bool { return p.State == status.Running })
				i.await("bot", "is ready", func(p status.Process) bool { return p.State == status.Running })
				i.text("web", "web speaks")
				i.text("bot", "bot speaks")
				i.wants("web: is daemon daemon at /usr/sbin, umask "+umask, "bot: is 1234 1234 at /, umask "+umask,
					"web: may write /dev/stdout", "web: may write /dev/stderr", "web writes to /dev/stdout",
					"web writes to /dev/stderr", "web: may not read the log: Permission denied",
					"bot: may write /dev/stdout", "bot: may write /dev/stderr", "bot writes to /dev/stdout",
					"bot writes to /dev/stderr", "bot: may not read the log: Permission denied",
					"bot: may write bot.words", "bot: may write bot.lock",
					"web: may not write bot.words: Permission denied", "web: may not write bot.lock: Permission denied")
				for _, name := range []string{"web", "bot"} {
					i.wants(name+": may not make files: Permission denied", name+": may not write status.json: Permission denied",
						name+": may not write init.lock: Permission denied")
				}
				for name, want := range map[string]string{".": "711 0 0", "status.json": "644 0 0", "init.sock": "600 0 0",
					"init.lock": "600 0 0", "bot.words": "664 0 4321", "bot.lock": "660 0 4321", "notify-web.sock": "666 0 0"} {
					var st syscall.Stat_t
					err := syscall.Stat(filepath.Join(i.dir, name), &st)
					if have := fmt.Sprintf("%o %d %d", st.Mode&0o777, st.Uid, st.Gid); err != nil || have != want {
						t.Errorf("%s: %s, want %s (%v)", name, have, want, err)
					}
				}
				i.Signal(syscall.SIGTERM)
				i.Wait(soon)
			})
		})
	}
}

// What the two share a group for, web could write as well: then neither is given to it.
func TestUsersOfOneGroup(t *testing.T) {
	t.Parallel()
	program := script(t, user)
	i := startUnder(t, proctest.Options{Under: proctest.PID1}, leastPrivileges(t, "022"), program+" web bot",
		program+" bot web", "WEB_USER=1235:4321", "BOT_USER=1234:4321", "WEB_NOTIFY=true", "BOT_NOTIFY=true")
	i.WaitLine(soon, "web: shown")
	i.wants("web: may not write bot.lock: Permission denied")
	if i.Count("web: may write bot.words") > 0 {
		t.Errorf("have %q", i.Lines())
	}
	i.Signal(syscall.SIGKILL)
}

// A file and a terminal keep the mode that somebody gave them, and so does a pipe with a name or of another user.
func TestOutputThatKeepsItsMode(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	dir := runDir(t, 0)
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	named, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "file"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	r, foreign, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := foreign.Chown(4711, 4711); err != nil {
		t.Fatal(err)
	}
	r2, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		f        *os.File
		settings string
		want     os.FileMode
	}{
		"a FIFO": {named, "BOT_USER=1234", 0o600}, "a file": {file, "BOT_USER=1234", 0o600},
		"another user's": {foreign, "BOT_USER=1234", 0o600}, "no other user": {ours, "BOT_USER=0", 0o600},
		"a pipe": {ours, "WEB_USER=1234", 0o602}, "its group": {ours, "BOT_USER=1234:0", 0o622},
	} {
		if c.f == ours {
			if err := ours.Chmod(0o600); err != nil {
				t.Fatal(err)
			}
		}
		i := startWith(t, proctest.Options{Under: proctest.PID1, Stderr: c.f}, plainBot, plainBot, c.settings)
		i.WaitLine(soon, "ready")
		info, err := c.f.Stat()
		want := c.want
		if c.settings == "BOT_USER=1234:0" {
			want = 0o620
		}
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", what, info.Mode(), err)
		}
		i.Signal(syscall.SIGKILL)
		i.Wait(soon)
	}
	for _, f := range []*os.File{named, file, r, foreign, r2, ours} {
		f.Close()
	}
}

// The working directory is entered by whoever may, and 126 says that nobody may.
func TestWorkingDirectoryOfAUser(t *testing.T) {
	t.Parallel()
	through := leastPrivileges(t, "022")
	const where = `sh -c 'echo "web is in $(pwd -P)"; exec sleep 1000'`
	for what, c := range map[string]struct {
		owner int
		mode  os.FileMode
		code  int
	}{
		"the user's":    {65532, 0o700, 0},
		"init's":        {0, 0o700, 0},
		"everybody's":   {0, 0o755, 0},
		"somebody's":    {4711, 0o700, 126},
		"user's, noise": {65532, 0o500, 0},
	} {
		dir := runDir(t, 0)
		if err := os.Chmod(dir, c.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, c.owner, c.owner); err != nil {
			t.Fatal(err)
		}
		i := startUnder(t, proctest.Options{Under: proctest.PID1, Dir: dir}, through, where, plainBot, "WEB_USER=65532")
		if c.code != 0 {
			i.ends(c.code)
			i.WaitLine(soon, "working directory "+dir)
			continue
		}
		i.WaitLine(soon, "web is in "+dir)
		i.Signal(syscall.SIGKILL)
		i.Wait(soon)
		if t.Failed() {
			t.Log(what)
		}
	}
}

// A working directory that was deleted is handed on as it is.
func TestDeletedWorkingDirectory(t *testing.T) {
	t.Parallel()
	deleted := func() (dir string, through []string) {
		dir = filepath.Join(runDir(t, 0), "gone")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return dir, []string{"-c", `rmdir "$PWD"; exec "$@"`, "sh", proctest.Bin(t, "init")}
	}
	const where = `sh -c 'echo "at $(readlink /proc/self/cwd)."; exec sleep 1000'`
	both(t, func(t *testing.T, under proctest.Under) {
		dir, through := deleted()
		i := startUnder(t, proctest.Options{Under: under, Dir: dir}, through, where, where)
		proctest.Eventually(t, soon, "both are there", func() bool { return i.Count("at "+dir+" (deleted).") == 2 })
		i.Signal(syscall.SIGKILL)
	})
	dir, through := deleted()
	p := proctest.Start(t, proctest.Options{Under: proctest.PID1, Dir: dir, Path: "/bin/sh",
		Args: append(through, "--", "readlink", "/proc/self/cwd")})
	p.Wait(soon)
	if have := strings.Join(p.Lines(), "\n"); have != dir+" (deleted)" {
		t.Errorf("have %q", have)
	}
}
