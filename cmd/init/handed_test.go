package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/proctest"
	"tandem/internal/sdnotify"
	"tandem/internal/status"
	"tandem/internal/testenv"
)

// activated is a program that says what it was handed: whether LISTEN_PID names it, the other variables, and which
// descriptors it inherited. With a socket it then says its name to whoever connects.
func activated(args []string) {
	var open []string
	for fd := uintptr(3); fd < 64; fd++ {
		if flags, err := unix.FcntlInt(fd, unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			open = append(open, strconv.Itoa(int(fd)))
		}
	}
	mine := func(name string) string {
		switch value := os.Getenv(name); value {
		case strconv.Itoa(os.Getpid()):
			return "mine"
		case strconv.Itoa(os.Getppid()):
			return "my parent's"
		default:
			return value
		}
	}
	fmt.Printf("%s has <%s> <%s> <%s> <%s> and %s, watched <%s> <%s>\n", args[0],
		mine("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES"), os.Getenv("LISTEN_PIDFDID"),
		strings.Join(open, " "), os.Getenv("WATCHDOG_USEC"), mine("WATCHDOG_PID"))
	if mine("LISTEN_PID") == "mine" {
		socket, err := net.FileListener(os.NewFile(3, "socket"))
		for err == nil {
			var conn net.Conn
			if conn, err = socket.Accept(); err == nil {
				fmt.Fprint(conn, args[0])
				conn.Close()
			}
		}
		fmt.Println(args[0], err)
	}
	time.Sleep(time.Hour)
}

// handSockets has a shell become init, which hands itself two sockets, and returns the address of the first. words are
// init's arguments, settings what the shell sets beside that.
func handSockets(t *testing.T, under proctest.Under, words, settings []string) (i *tandem, address string) {
	t.Helper()
	var files []*os.File
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
		if address == "" {
			address = l.Addr().String()
		}
	}
	export := "export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=front:back LISTEN_PIDFDID=99"
	for _, s := range settings {
		export += " " + s
	}
	through := append([]string{"-c", export + `; exec "$0" "$@"`, proctest.Bin(t, "init")}, words...)
	i = startUnder(t, proctest.Options{Under: under, Files: files}, through,
		proctest.Command("activated", "web"), proctest.Command("activated", "bot"), "BOT_RESTART_DELAY=50ms")
	return i, address
}

// answers reads who answers at an address.
func answers(t *testing.T, address, want string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(soon))
	if have, err := io.ReadAll(conn); err != nil || string(have) != want {
		t.Errorf("have %q, %v, want %s", have, err, want)
	}
}

// Sockets that init is handed are web's, after a restart too, and by its own number. The bot has none of them, and the
// lock is its descriptor 3. The one command gets them as well. What is for another process nobody gets.
func TestHandedSockets(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		const given, none = " has <mine> <2> <front:back> <> and 3 4, watched <> <>", " has <> <> <> <> and "
		i, address := handSockets(t, under, nil, nil)
		i.WaitLine(soon, "web"+given)
		i.WaitLine(soon, "bot"+none+"3, watched")
		answers(t, address, "web")
		if out, err := i.init("restart", "web"); err != nil {
			t.Errorf("%v %s", err, out)
		}
		if out, err := i.init("restart", "bot"); err != nil {
			t.Errorf("%v %s", err, out)
		}
		answers(t, address, "web")
		proctest.Eventually(t, soon, "both say the same again", func() bool {
			return i.Count("web"+given) == 2 && i.Count("bot"+none+"3, watched") == 2
		})

		i, address = handSockets(t, under, []string{"web"}, nil)
		i.WaitLine(soon, "web"+given)
		answers(t, address, "web")
		i, _ = handSockets(t, under, []string{"bot"}, nil)
		i.WaitLine(soon, "bot"+none+"3, watched")

		command := func(name string) []string { return []string{"--", os.Args[0], "@activated", name} }
		i, address = handSockets(t, under, command("command"), []string{"WATCHDOG_USEC=5", "WATCHDOG_PID=$$"})
		i.WaitLine(soon, "command has <mine> <2> <front:back> <> and 3 4", "watched <5> <mine>")
		answers(t, address, "command")
		i, _ = handSockets(t, under, append([]string{"-c"}, command("alone")...), nil)
		i.WaitLine(soon, "alone has <mine> <2> <front:back> <> and 3 4")

		// Of another process.
		i, _ = handSockets(t, under, nil, []string{"LISTEN_PID=4711"})
		i.WaitLine(soon, "web"+none+", watched")
		i.WaitLine(soon, "bot"+none+"3, watched")
		i, _ = handSockets(t, under, command("command"), []string{"LISTEN_PID=4711", "WATCHDOG_PID=4712"})
		i.WaitLine(soon, "command has <4711> <2> <front:back> <99> and 3 4", "watched <> <4712>")
	})
}

// A user of its own does not keep web from what it is handed.
func TestHandedSocketsOfAUser(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	both(t, func(t *testing.T, under proctest.Under) {
		i, address := handSockets(t, under, nil, []string{"WEB_USER=0", "WEB_NOFILE=100", "BOT_NOFILE=100"})
		i.WaitLine(soon, "web has <mine> <2> <front:back> <> and 3 4, watched")
		i.WaitLine(soon, "bot has <> <> <> <> and 3, watched")
		answers(t, address, "web")
	})
}

// Where LISTEN_FDS is wrong web gets nothing, and one line says why.
func TestHandedSocketsThatAreNotThere(t *testing.T) {
	t.Parallel()
	for _, n := range []string{"3", "-1", "x", "", "99999999999", "1000000000"} {
		i, _ := handSockets(t, proctest.PID1, nil, []string{"LISTEN_FDS=" + n})
		i.WaitLine(soon, "web has <> <> <> <> and , watched")
		i.WaitLine(soon, "none of the sockets that init was handed", fmt.Sprintf(`is \"%s\"`, n))
	}
}

func TestSystemdSocketActivate(t *testing.T) {
	t.Parallel()
	activate, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		testenv.Missing(t, "no systemd-socket-activate")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	both(t, func(t *testing.T, under proctest.Under) {
		i := startUnder(t, proctest.Options{Under: under}, []string{"-c", `exec "$0" "$@"`, activate, "-l", address,
			"--fdname=front", "-E", "RUN_DIR", "-E", "TERMINATION_LOG", "-E", "WEB_COMMAND", "-E", "BOT_COMMAND",
			proctest.Bin(t, "init")}, proctest.Command("activated", "web"), proctest.Command("activated", "bot"))
		i.WaitLine(soon, "Listening on "+address)
		answers(t, address, "web")
		i.WaitLine(soon, "web has <mine> <1> <front> <> and 3, watched")
		i.WaitLine(soon, "bot has <> <> <> <> and 3, watched")
		i.Kill()
	})
}

// Who watches init hears that it lives, from init itself, while web does. No process learns of that. Where the bot is
// watched, it is by init.
func TestOuterWatchdog(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, under proctest.Under) {
		for _, mode := range []string{"", "web", "bot"} {
			address := filepath.Join(runDir(t, 0), "outer")
			outer := superviseAt(t, address)
			i, _ := handSockets(t, under, strings.Fields(mode), []string{"NOTIFY_SOCKET=" + address,
				"WATCHDOG_USEC=100000", "WATCHDOG_PID=$$", "BOT_NOTIFY=true", "BOT_WATCHDOG=1h", "BOT_START_TIMEOUT=off"})
			if mode != "bot" {
				i.WaitLine(soon, "web has <mine>", "watched <> <>")
			}
			if mode != "web" {
				i.WaitLine(soon, "bot has <>", "watched <3600000000> <>")
			}
			for range 5 {
				outer.all = ""
				outer.hears("WATCHDOG=1")
			}
			i.Signal(syscall.SIGTERM)
			outer.hears("STOPPING=1")
			i.Wait(soon)
		}

		address := filepath.Join(runDir(t, 0), "outer")
		outer := superviseAt(t, address)
		i, _ := handSockets(t, under, nil, []string{"NOTIFY_SOCKET=" + address, "WATCHDOG_USEC=20000", "WATCHDOG_PID=4711"})
		i.WaitLine(soon, "web has <mine>", "watched <> <>")
		i.WaitLine(soon, "bot has <>", "watched <> <>")
		outer.hears("READY=1")
		time.Sleep(200 * time.Millisecond) // ten times what is asked of that other process
		i.Signal(syscall.SIGTERM)
		outer.hears("STOPPING=1")
		if outer.count("WATCHDOG=1") > 0 {
			t.Errorf("it answers for another process: %q", outer.all)
		}
	})
}

// A watchdog is not told that init lives while its loop does not turn. While there is no web it is told at the next
// change.
func TestWatchdogOfALoopThatHangs(t *testing.T) {
	address := filepath.Join(runDir(t, 0), "outer")
	supervisor := superviseAt(t, address)
	turns := make(chan func(), 100)
	o := newOuter(pair, func(done func()) { turns <- done })
	o.sender = sdnotify.New(func(name string) string {
		return map[string]string{"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000"}[name]
	})
	done, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); o.run(done) }()
	defer func() { close(done); <-ended }()
	show := func(pid int, text string) {
		o.put(func() *status.Status {
			return &status.Status{Processes: []status.Process{{Name: "web", State: status.Running, PID: pid, Reason: text}}}
		}, false)
	}
	show(7, "one")
	supervisor.hears("STATUS=web running (one)")
	turned := <-turns // it is due, and the loop does not turn
	if time.Sleep(100 * time.Millisecond); len(turns) > 0 {
		t.Error("it goes on although the loop does not turn")
	}
	show(0, "two") // and now there is no web
	turned()
	for range 3 {
		(<-turns)()
	}
	go func() {
		for turn := range turns {
			turn()
		}
	}()
	supervisor.hears("STATUS=web running (two)")
	if supervisor.count("WATCHDOG=1") > 0 {
		t.Errorf("have %q", supervisor.all)
	}
	show(8, "three")
	supervisor.hears("WATCHDOG=1")
}
