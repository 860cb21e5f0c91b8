package status

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

func openDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// planted is all that somebody who can write a directory may put under a name in it, by what it is.
func planted(t *testing.T, victim string) map[string]func(path string) {
	t.Helper()
	return map[string]func(string){
		"a pipe":                 func(p string) { must(t, syscall.Mkfifo(p, 0o666)) },
		"a link to a device":     func(p string) { must(t, os.Symlink("/dev/zero", p)) },
		"a link to a terminal":   func(p string) { must(t, os.Symlink("/dev/tty", p)) },
		"a link to a file":       func(p string) { must(t, os.Symlink(victim, p)) },
		"a link to nothing":      func(p string) { must(t, os.Symlink(victim+".none", p)) },
		"a link to itself":       func(p string) { must(t, os.Symlink(p, p)) },
		"a link to standard in":  func(p string) { must(t, os.Symlink("/dev/stdin", p)) },
		"a directory":            func(p string) { must(t, os.Mkdir(p, 0o777)) },
		"a link to a directory":  func(p string) { must(t, os.Symlink(filepath.Dir(victim), p)) },
		"a second name of files": func(p string) { must(t, os.Link(victim, p)) },
		"a file of nobody's use": func(p string) { must(t, os.WriteFile(p, []byte("left over"), 0)) },
		"a socket": func(p string) {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p, Net: "unix"})
			must(t, err)
			l.SetUnlinkOnClose(false)
			must(t, l.Close())
		},
	}
}

const kept = "what must stay as it is\n"

func makeVictim(t *testing.T, dir string) string {
	t.Helper()
	victim := filepath.Join(dir, "victim")
	must(t, os.WriteFile(victim, []byte(kept), 0o644))
	must(t, os.Chtimes(victim, time.Unix(1e9, 0), time.Unix(1e9, 0)))
	return victim
}

func mustBeKept(t *testing.T, what, victim string) {
	t.Helper()
	b, err := os.ReadFile(victim)
	must(t, err)
	info, err := os.Stat(victim)
	must(t, err)
	if string(b) != kept || !info.ModTime().Equal(time.Unix(1e9, 0)) || info.Mode() != 0o644 {
		t.Errorf("%s: another file became %q, %v, %v", what, b, info.Mode(), info.ModTime())
	}
	if _, err := os.Lstat(victim + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: a file was made elsewhere: %v", what, err)
	}
}

// TestReadWhatIsNoFile: whatever stands under the name is refused at once, in words, and nothing is read of it.
func TestReadWhatIsNoFile(t *testing.T) {
	for what := range planted(t, "") {
		dir := t.TempDir()
		victim := makeVictim(t, t.TempDir())
		path := filepath.Join(dir, OfPair.Status)
		planted(t, victim)[what](path)
		within(t, what, func() {
			b, err := openDir(t, dir).Read(OfPair.Status)
			if what == "a second name of files" || what == "a file of nobody's use" { // an ordinary file
				return
			}
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: read %d bytes, %v", what, len(b), err)
			}
			if s, err := Read(path); err == nil {
				t.Errorf("%s: was read as %+v", what, s)
			}
		})
	}
	for _, name := range []string{"../victim", "a/b", "/etc/passwd", "", ".", ".."} {
		if b, err := openDir(t, t.TempDir()).Read(name); err == nil {
			t.Errorf("%q: read %q", name, b)
		}
	}
}

func TestReadIsBounded(t *testing.T) {
	dir := t.TempDir()
	d := openDir(t, dir)
	path := filepath.Join(dir, "file")
	for size, ok := range map[int]bool{0: true, 1: true, maxFileBytes: true, maxFileBytes + 1: false,
		10 * maxFileBytes: false} {
		must(t, os.WriteFile(path, bytes.Repeat([]byte("x"), size), 0o600))
		if b, err := d.Read("file"); (err == nil) != ok || ok && len(b) != size {
			t.Errorf("%d bytes: read %d, %v", size, len(b), err)
		}
	}
	must(t, os.Truncate(path, 1<<40)) // takes no space
	within(t, "a terabyte", func() {
		if _, err := d.Read("file"); err == nil {
			t.Error("a terabyte was read")
		}
	})
	// One that grows as fast as it is read.
	must(t, os.WriteFile(path, nil, 0o600))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	stop := make(chan struct{})
	var grows sync.WaitGroup
	grows.Go(func() {
		for n := 0; n < 1<<10; n++ {
			select {
			case <-stop:
				return
			default:
				_, _ = f.Write(make([]byte, 4096))
			}
		}
	})
	within(t, "a file that grows", func() {
		if b, err := d.Read("file"); len(b) > maxFileBytes {
			t.Errorf("read %d bytes, %v", len(b), err)
		}
	})
	close(stop)
	grows.Wait()
	f.Close()
}

// TestWriteOverWhatIsThere: what has the name of the new file is removed, and never opened; what has the name itself is
// replaced. Another file keeps its content, and its time.
func TestWriteOverWhatIsThere(t *testing.T) {
	for what := range planted(t, "") {
		for _, name := range []string{"status.json", "status.json.new"} {
			dir := t.TempDir()
			victim := makeVictim(t, t.TempDir())
			planted(t, victim)[what](filepath.Join(dir, name))
			d := openDir(t, dir)
			within(t, what, func() {
				err := d.Write("status.json", []byte("new"), 0o644)
				if what == "a directory" && name == "status.json" { // the caller removes what it cannot replace
					if err == nil || d.Remove(name) != nil {
						t.Errorf("%s: %v", what, err)
					}
					err = d.Write("status.json", []byte("new"), 0o644)
				}
				if err != nil {
					t.Errorf("%s as %s: %v", what, name, err)
				}
			})
			if b, err := d.Read("status.json"); err != nil || string(b) != "new" {
				t.Errorf("%s as %s: read %q, %v", what, name, b, err)
			}
			if info, err := os.Lstat(filepath.Join(dir, "status.json")); err != nil || info.Mode() != 0o644 {
				t.Errorf("%s as %s: %v, %v", what, name, info, err)
			}
			mustBeKept(t, what+" as "+name, victim)
			if left, _ := os.ReadDir(dir); len(left) != 1 {
				t.Errorf("%s as %s: left %v", what, name, left)
			}
		}
	}
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "status.json.new", "full"), 0o700))
	if err := openDir(t, dir).Write("status.json", nil, 0o600); err == nil ||
		!strings.Contains(err.Error(), "status.json.new") {
		t.Errorf("a directory that is not empty: %v", err)
	}
	if err := openDir(t, dir).Write("status.json", make([]byte, maxFileBytes+1), 0o600); err == nil {
		t.Error("more was written than is read")
	}
}

// TestWriteWhileOthersPlant: somebody puts a link to another file there again and again while it is written.
func TestWriteWhileOthersPlant(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	victim := makeVictim(t, elsewhere)
	d := openDir(t, dir)
	stop := make(chan struct{})
	var others sync.WaitGroup
	for _, name := range []string{"bot.words.new", "bot.words"} {
		others.Go(func() {
			for path := filepath.Join(dir, name); ; {
				select {
				case <-stop:
					return
				default:
					_ = os.Symlink(victim, path)
					_ = os.Remove(path)
				}
			}
		})
	}
	written := 0
	for range 500 {
		if d.Write("bot.words", []byte("words"), 0o600) == nil {
			written++
		}
		if b, err := d.Read("bot.words"); err == nil && string(b) != "words" {
			t.Fatalf("read %q", b)
		}
	}
	close(stop)
	others.Wait()
	mustBeKept(t, "links", victim)
	if written == 0 {
		t.Error("nothing was written")
	}
}

// TestDirectoryThatIsSwapped: what is done goes to the directory that was opened, not to what has its name.
func TestDirectoryThatIsSwapped(t *testing.T) {
	parent := t.TempDir()
	run, moved, other := filepath.Join(parent, "run"), filepath.Join(parent, "moved"), t.TempDir()
	must(t, os.Mkdir(run, 0o700))
	d := openDir(t, run)
	must(t, d.Write("status.json", []byte("1"), 0o600))
	must(t, os.Rename(run, moved))
	must(t, os.Symlink(other, run))
	must(t, os.WriteFile(filepath.Join(other, "status.json"), []byte(kept), 0o600))
	must(t, d.Write("status.json", []byte("2"), 0o600))
	if b, err := os.ReadFile(filepath.Join(moved, "status.json")); err != nil || string(b) != "2" {
		t.Errorf("in the directory: %q, %v", b, err)
	}
	must(t, d.Remove("status.json"))
	if b, err := os.ReadFile(filepath.Join(other, "status.json")); err != nil || string(b) != kept {
		t.Errorf("in the other one: %q, %v", b, err)
	}
}

// TestOverwriteOnlyWhatIsOurs: in a directory of another user the file was made for us.
func TestOverwriteOnlyWhatIsOurs(t *testing.T) {
	for what := range planted(t, "") {
		dir := t.TempDir()
		victim := makeVictim(t, t.TempDir())
		planted(t, victim)[what](filepath.Join(dir, "bot.words"))
		within(t, what, func() {
			err := openDir(t, dir).Overwrite("bot.words", []byte("words"))
			if (err == nil) != (what == "a file of nobody's use" && os.Geteuid() == 0) {
				t.Errorf("%s: %v", what, err)
			}
		})
		mustBeKept(t, what, victim)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "bot.words")
	must(t, os.WriteFile(path, []byte("longer than what comes"), 0o600))
	must(t, openDir(t, dir).Overwrite("bot.words", []byte("words")))
	if b, _ := os.ReadFile(path); string(b) != "words" {
		t.Errorf("have %q", b)
	}
	if os.Geteuid() == 0 {
		must(t, os.Chown(path, 4711, -1))
		if err := openDir(t, dir).Overwrite("bot.words", []byte("words")); err == nil {
			t.Error("a file of another user was written")
		}
	}
}

// TestLongWordsAreRead: whatever a process has to say, its words can be read again.
func TestLongWordsAreRead(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for _, reason := range []string{strings.Repeat("\x01", 1<<20), strings.Repeat("é", 1<<20),
		strings.Repeat("\xff", 1<<20)} {
		must(t, WriteWords(dir, "bot", Words{At: now, Code: 1, Reason: reason}))
		p := Process{Name: "bot", LastEnd: &End{At: now, Code: 1}}
		if have := p.Words(dir); !strings.HasSuffix(have, "...") || len(have) > maxReasonBytes+3 {
			t.Errorf("%q: read %d bytes", reason[:2], len(have))
		}
	}
}
