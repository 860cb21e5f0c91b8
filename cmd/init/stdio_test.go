package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tandem/internal/proctest"
	"tandem/internal/status"
)

func init() {
	helpers["flags"] = flags
	helpers["setsflags"] = setsFlags
	helpers["shouts"] = shouts
}

// flags says which of O_NONBLOCK and O_APPEND its standard output and error have, whenever a line is in its argument.
func flags(args []string) {
	fmt.Println(args[0], "ready")
	asked, err := os.OpenFile(args[1], os.O_RDWR, 0)
	if err != nil {
		panic(err)
	}
	for in := bufio.NewScanner(asked); in.Scan(); {
		fmt.Println(args[0], in.Text(), said(1), said(2))
	}
}

func said(fd uintptr) string {
	set, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	text := "clean"
	if set&unix.O_NONBLOCK != 0 {
		text = "nonblock"
	}
	if set&unix.O_APPEND != 0 {
		text += "+append"
	}
	if err != nil {
		text = err.Error()
	}
	return text
}

// setsFlags is a bot that does with its standard output and error what Node.js does.
func setsFlags([]string) {
	found := said(1) + " " + said(2)
	if syscall.SetNonblock(1, true) != nil || syscall.SetNonblock(2, true) != nil {
		os.Exit(1)
	}
	fmt.Println("bot found", found, "has", said(1), said(2))
	select {}
}

// shouts writes as many lines to standard error as its second argument says, each with one write.
func shouts(args []string) {
	var n int
	_, _ = fmt.Sscan(args[1], &n)
	for i := range n {
		fmt.Fprintf(os.Stderr, "%s line %d\n", args[0], i)
	}
	fmt.Println(args[0], "has shouted")
	select {}
}

func asker(t *testing.T) (path string, ask func(word string)) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "ask")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return path, func(word string) { fmt.Fprintln(f, word) }
}

// A terminal that init writes to, and that controls nobody, does not come to control it when it is opened anew.
func TestATerminalIsNotTaken(t *testing.T) {
	t.Parallel()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	line, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	go func() { _, _ = io.Copy(io.Discard, master) }()
	i := startWith(t, proctest.Options{Under: proctest.PID1, Stderr: line}, goodWeb, goodBot)
	i.WaitLine(soon, "web ready")
	i.WaitLine(soon, "bot ready")
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", i.PID))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if leader, terminal := fields[3], fields[4]; leader != fields[2] || terminal != "0" { // session, group, tty_nr
		t.Errorf("a session leader has the terminal %s: %v", terminal, fields)
	}
	i.Signal(syscall.SIGTERM)
	i.ends(0)
}

// What a bot sets on its standard output and error reaches neither web nor the bot that follows it, on a pipe and on a
// terminal.
func TestFlagsOfOneReachNoOther(t *testing.T) {
	t.Parallel()
	for _, terminal := range []bool{false, true} {
		t.Run(fmt.Sprintf("terminal=%v", terminal), func(t *testing.T) {
			t.Parallel()
			path, ask := asker(t)
			i := startWith(t, proctest.Options{Under: proctest.PID1, Terminal: terminal},
				proctest.Command("flags", "web", path), proctest.Command("setsflags"), "BOT_RESTART_DELAY=1ms")
			i.WaitLine(soon, "bot found clean clean has nonblock nonblock")
			ask("now")
			i.WaitLine(soon, "web now clean clean")
			bot := i.awaitState("bot", status.Running)
			if process, ok := i.Find(bot.PID); !ok || syscall.Kill(process.PID, syscall.SIGKILL) != nil {
				t.Fatal("the bot cannot be killed")
			}
			proctest.Eventually(t, soon, "the next bot found nothing", func() bool {
				return i.Count("bot found clean clean has nonblock nonblock") == 2
			})
			ask("later")
			i.WaitLine(soon, "web later clean clean")
		})
	}
}

// init and both processes write to one file that nobody opened to append: no line is written over another.
func TestAFileLosesNoLine(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		const lines = 2000
		path := filepath.Join(t.TempDir(), "log")
		log, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		n := fmt.Sprint(lines)
		i := startWith(t, proctest.Options{Under: under, Stderr: log},
			proctest.Command("shouts", "web", n), proctest.Command("shouts", "bot", n))
		i.WaitLine(soon, "web has shouted")
		i.WaitLine(soon, "bot has shouted")
		i.Signal(syscall.SIGTERM)
		i.Wait(soon)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		for _, name := range []string{"web", "bot"} {
			for n := range lines {
				if !strings.Contains(text, fmt.Sprintf("%s line %d\n", name, n)) {
					t.Fatalf("line %d of %s is lost", n, name)
				}
			}
		}
		for _, said := range []string{`"msg":"process started"`, `"msg":"stop asked for"`} {
			if !strings.Contains(text, said) {
				t.Errorf("init's %s is lost", said)
			}
		}
		if strings.Contains(text, "handed on") {
			t.Error("it says that something is handed on")
		}
	})
}

// What cannot be opened a second time is handed on, and one line says so, however often a bot is started.
func TestWhatCannotBeOpenedAnew(t *testing.T) {
	t.Parallel()
	sockets, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	mine, its := os.NewFile(uintptr(sockets[0]), "mine"), os.NewFile(uintptr(sockets[1]), "its")
	defer mine.Close()
	path, ask := asker(t)
	i := startWith(t, proctest.Options{Under: proctest.PID1, Stderr: its},
		proctest.Command("flags", "web", path), `sh -c 'echo bot ran; exit 1'`,
		"BOT_RESTART_DELAY=1ms", "BOT_RESTART_DELAY_MAX=1ms")
	its.Close()
	proctest.Eventually(t, soon, "the bot was started three times", func() bool {
		return strings.Count(strings.Join(i.Lines(), "\n"), "bot ran") >= 3
	})
	ask("now")
	i.WaitLine(soon, "web now clean clean")
	i.Signal(syscall.SIGTERM)
	handedOn, stopped := 0, false
	for in := bufio.NewScanner(mine); !stopped && in.Scan(); {
		if strings.Contains(in.Text(), "handed on") {
			handedOn++
		}
		stopped = strings.Contains(in.Text(), "stop asked for")
	}
	if handedOn != 1 {
		t.Errorf("%d lines say that it is handed on, want one", handedOn)
	}
}

// A file that init's user may not open is handed on as well.
func TestAFileOfAnotherUser(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	path := filepath.Join(t.TempDir(), "log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	i := startWith(t, proctest.Options{Under: proctest.PID1, Stderr: log, User: 4242},
		`sh -c 'echo web here; echo web there >&2; exec sleep 1000'`, `sh -c 'exec sleep 1000'`)
	i.WaitLine(soon, "web here")
	proctest.Eventually(t, soon, "both lines are in the file", func() bool {
		b, _ := os.ReadFile(path)
		return strings.Contains(string(b), "web there\n") && strings.Contains(string(b), "handed on") &&
			strings.Contains(string(b), "permission denied")
	})
}

// init -- COMMAND hands on what it has.
func TestACommandGetsWhatInitHas(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	path, ask := asker(t)
	i := proctest.Start(t, proctest.Options{
		Under: proctest.PID1, Path: proctest.Bin(t, "init"), Stderr: w,
		Args: []string{"--", "sh", "-c", "exec " + proctest.Command("flags", "web", path)},
	})
	i.WaitLine(soon, "web ready")
	if err := syscall.SetNonblock(int(w.Fd()), true); err != nil {
		t.Fatal(err)
	}
	ask("now")
	i.WaitLine(soon, "web now clean nonblock")
}
