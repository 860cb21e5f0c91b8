package proctest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

const soon = 20 * time.Second

func TestMain(m *testing.M) {
	Main(m, Helpers{"who": func(args []string) { fmt.Println("pid", os.Getpid(), args); time.Sleep(time.Hour) }})
}

func TestPID1(t *testing.T) {
	p := Start(t, Options{Path: self(), Args: []string{"@who", "a b"}, Under: PID1})
	p.WaitLine(soon, "pid 1 [a b]")
	if tree := p.Tree(); len(tree) != 1 || tree[0].NSPID != 1 || tree[0].PID != p.PID {
		t.Errorf("tree: %v", tree)
	}
	p.Signal(syscall.SIGKILL)
	if end := p.Wait(soon); end != (End{Code: 137, Signal: syscall.SIGKILL}) {
		t.Errorf("end: %+v", end)
	}
}

// What a program leaves behind stays until the test ends, and then goes, whatever session it moved to.
func TestParentAndCleanup(t *testing.T) {
	var left int
	t.Run("leave", func(t *testing.T) {
		p := Start(t, Options{Path: "/bin/sh", Args: []string{
			"-c", "setsid sleep 1000 & setsid sleep 1000 & echo ready; read x; exit 7",
		}})
		p.WaitLine(soon, "ready")
		if end := p.Wait(soon); end.Code != 7 {
			t.Errorf("end: %+v", end)
		}
		Eventually(t, soon, "two sleeps are left", func() bool {
			tree := p.Tree()
			if len(tree) != 2 || tree[0].Name != "sleep" || tree[1].Name != "sleep" {
				return false
			}
			left = tree[0].PID
			return true
		})
	})
	if q, ok := read(left); ok && q.State != 'Z' {
		t.Errorf("still there: %v", q)
	}
}

func TestExitCodes(t *testing.T) {
	for _, under := range []Under{PID1, Parent} {
		for _, code := range []int{0, 1, 255} {
			p := Start(t, Options{Path: "/bin/sh", Args: []string{"-c", fmt.Sprint("exit ", code)}, Under: under})
			if end := p.Wait(soon); end.Code != code || end.Signal != 0 {
				t.Errorf("under %d, %d: %+v", under, code, end)
			}
		}
	}
}

func TestMounts(t *testing.T) {
	dir := t.TempDir()
	p := Start(t, Options{Path: "/bin/sh", Args: []string{"-c", "echo x > " + dir + "/f && echo wrote"}, Under: PID1,
		Mounts: []Mount{{Type: "tmpfs", Source: "tmpfs", Target: dir, Flags: syscall.MS_RDONLY}}})
	if end := p.Wait(soon); end.Code == 0 {
		t.Error("wrote to a read-only mount")
	}
}

// What a program printed just before its end, also without the end of the line, is there when Wait returns.
func TestLastWordsAreThere(t *testing.T) {
	for range 5 {
		// What is left behind holds the pipe.
		p := Start(t, Options{Path: "/bin/sh", Args: []string{"-c", "sleep 1000 & echo one; printf two"}})
		p.Wait(20 * time.Second)
		if have := p.Lines(); len(have) != 2 || have[0] != "one" || have[1] != "two" {
			t.Fatalf("the lines are %q", have)
		}
	}
}

// A line that comes in pieces is one line. What was printed is there as soon as somebody knows by another way that it
// was.
func TestLinesAreThere(t *testing.T) {
	dir := t.TempDir()
	p := Start(t, Options{Path: "/bin/sh", Args: []string{"-c", `
		cd "$0"
		for n in 1 2 3 4 5 6 7 8 9; do
			printf "one "
			: > half$n
			until [ -e go$n ]; do sleep 0.01; done
			echo line $n
		done
		: > end`, dir}})
	exists := func(name string) func() bool {
		return func() bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	}
	for n := 1; n <= 9; n++ {
		Eventually(t, soon, "half a line", exists(fmt.Sprint("half", n)))
		if have := p.Lines(); len(have) != n || have[n-1] != "one " {
			t.Fatalf("the lines are %q", have)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("go", n)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	Eventually(t, soon, "the end", exists("end"))
	if have := p.Lines(); len(have) != 9 || p.Count("one line") != 9 || have[8] != "one line 9" {
		t.Fatalf("the lines are %q", have)
	}
}

func TestFreeze(t *testing.T) {
	p := Start(t, Options{Path: self(), Args: []string{"@who"}, Under: PID1})
	p.WaitLine(soon, "pid 1")
	p.Freeze()
	if q, _ := read(p.PID); q.State != 'T' {
		t.Errorf("it is in state %c", q.State)
	}
}

// The same sources are linked once, and a test's executable is its own: a later build does not change it.
func TestExecutablesAreShared(t *testing.T) {
	t.Setenv("TANDEM_TEST_BIN", t.TempDir())
	dir := t.TempDir()
	build := func(file, flags string) os.FileInfo {
		t.Helper()
		path := filepath.Join(dir, file)
		if err := link(path, "init", "static", "CGO_ENABLED=0", []string{"-trimpath", "-ldflags=-s -w" + flags}); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	first, again := build("first", ""), build("again", "")
	if !os.SameFile(first, again) {
		t.Error("the same sources made two files")
	}
	if other := build("other", " -X tandem/internal/buildinfo.Version=another"); os.SameFile(first, other) {
		t.Error("other flags gave the old file")
	}
	after, err := os.Stat(filepath.Join(dir, "first"))
	if err != nil || after.Size() != first.Size() || after.ModTime() != first.ModTime() {
		t.Errorf("a later build has changed the executable: %v", err)
	}
}

// A thread that ends takes nothing along, whoever used it before.
func TestThreadsThatEnd(t *testing.T) {
	for range 20 {
		p := Start(t, Options{Path: self(), Args: []string{"@who"}, Under: PID1})
		p.WaitLine(soon, "pid 1")
		var threads sync.WaitGroup
		for range 50 { // one of them gets the thread that a goroutine of Start would have used
			threads.Go(runtime.LockOSThread)
		}
		threads.Wait()
		if !p.Running() {
			t.Fatalf("ended with %+v", p.Wait(soon))
		}
		p.Kill()
	}
}
