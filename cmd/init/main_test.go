package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/config"
	"tandem/internal/proctest"
	"tandem/internal/status"
)

// soon is a limit for what takes milliseconds on an idle machine.
const soon = 20 * time.Second

func TestMain(m *testing.M) { proctest.Main(m, helpers) }

// Programs for WEB_COMMAND and BOT_COMMAND. Each says that it is ready before anything is asked of it. A shell
// will not do for one that obeys SIGTERM: dash misses a signal that comes just before it begins to wait.
var (
	goodWeb = proctest.Command("good", "web")
	goodBot = proctest.Command("good", "bot")
)

const (
	deafWeb  = `sh -c 'trap "" TERM QUIT; echo web ready; while :; do sleep 1000; done'`
	deafBot  = `sh -c 'trap "" TERM QUIT; echo bot ready; while :; do sleep 1000; done'`
	plainBot = `sh -c 'echo bot ready; exec sleep 1000'`
)

// tandem is an init under test with its RUN_DIR.
type tandem struct {
	*proctest.Process
	t   testing.TB
	dir string
}

// start starts init with the pair and settings given, as NAME=value; a later one wins. goodWeb is ready when it
// returns.
func start(t testing.TB, under proctest.Under, web, bot string, settings ...string) *tandem {
	t.Helper()
	i := startWith(t, proctest.Options{Under: under}, web, bot, settings...)
	if web == goodWeb {
		i.WaitLine(soon, "web ready") // only then does it obey
	}
	return i
}

func startWith(t testing.TB, o proctest.Options, web, bot string, settings ...string) *tandem {
	t.Helper()
	dir := runDir(t, o.User)
	o.Path = proctest.Bin(t, "init")
	env := []string{"RUN_DIR=" + dir, "TERMINATION_LOG=" + dir + "/none", "WEB_COMMAND=" + web, "BOT_COMMAND=" + bot}
	o.Env = config.LastOfEach(append(env, settings...))
	for _, line := range o.Env {
		if v, ok := strings.CutPrefix(line, "RUN_DIR="); ok {
			dir = v
		}
	}
	return &tandem{proctest.Start(t, o), t, dir}
}

// runDir is short, because a socket's path has to be.
func runDir(t testing.TB, owner int) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tandem-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if owner != 0 {
		if err := os.Chown(dir, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// both runs a test as real PID 1 and under a parent.
func both(t *testing.T, f func(t *testing.T, under proctest.Under)) {
	t.Run("pid1", func(t *testing.T) { f(t, proctest.PID1) })
	t.Run("subreaper", func(t *testing.T) { f(t, proctest.Parent) })
}

func (i *tandem) readStatus() (*status.Status, error) {
	for _, name := range []string{"status.json", "web.json", "bot.json"} {
		if s, err := status.Read(filepath.Join(i.dir, name)); err == nil || !os.IsNotExist(err) {
			return s, err
		}
	}
	return nil, os.ErrNotExist
}

// await waits until the status says what ok wants of the process called name.
func (i *tandem) await(name, what string, ok func(status.Process) bool) status.Process {
	i.t.Helper()
	var p status.Process
	proctest.Eventually(i.t, soon, name+" "+what, func() bool {
		s, err := i.readStatus()
		if err != nil {
			return false
		}
		p, _ = s.Process(name)
		return ok(p)
	})
	return p
}

func (i *tandem) awaitState(name string, state status.State) status.Process {
	i.t.Helper()
	return i.await(name, "is "+string(state), func(p status.Process) bool { return p.State == state })
}

// ends waits for init's end and checks its status and, as PID 1 or not, that nothing is left.
func (i *tandem) ends(code int) {
	i.t.Helper()
	if end := i.Wait(soon); end.Code != code || end.Signal != 0 {
		i.t.Errorf("init ended with %+v, want %d", end, code)
	}
	if left := i.Tree(); len(left) > 0 {
		i.t.Errorf("init left %v", left)
	}
}

// errorLines wants n of them of an init that has ended: while it runs, a line may come later than the status that tells
// of the same.
func (i *tandem) errorLines(what string, n int) {
	i.t.Helper()
	if have := i.Count(`"ERROR"`); have != n {
		i.t.Errorf("%s: %d error lines, want %d: %q", what, have, n, i.Lines())
	}
}

// takes checks how long something took.
func takes(t testing.TB, began time.Time, least, most time.Duration) {
	t.Helper()
	if took := time.Since(began); took < least || took > most {
		t.Errorf("took %s, want %s to %s", took, least, most)
	}
}

// helpers are the programs that live in this test binary. What they print must be nothing that init can say: a test
// that waits for "polling" is content with init's own line about the polling lock.
var helpers = proctest.Helpers{
	"good":    good,
	"uvicorn": uvicorn,
	"reports": reports,
	"faulty":  faulty,
	"pollers": pollers,
	"careful": careful,

	"activated": activated,
	"obeys":     obeys,
	"hears":     hears,
}

// good obeys SIGTERM and SIGQUIT as a well-behaved program does, after the time in its second argument.
func good(args []string) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGQUIT)
	fmt.Println(args[0], "ready")
	<-stop
	if len(args) > 1 {
		d, _ := time.ParseDuration(args[1])
		time.Sleep(d)
	}
	fmt.Println(args[0], "stops")
}

// uvicorn ends a clean stop by the signal's own hand.
func uvicorn([]string) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	fmt.Println("web ready")
	<-stop
	signal.Reset(syscall.SIGTERM)
	syscall.Kill(os.Getpid(), syscall.SIGTERM)
	time.Sleep(time.Hour)
}

// reports says which signals it gets, and ends with 5 at a SIGHUP.
func reports([]string) {
	got := make(chan os.Signal, 10)
	signal.Notify(got, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGHUP)
	fmt.Println("reporter ready", os.Getenv("TELEGRAM_X")+os.Getenv("WEB_X"))
	for sig := range got {
		if sig == syscall.SIGHUP {
			os.Exit(5)
		}
		fmt.Printf("reporter got %d.\n", int(sig.(syscall.Signal)))
	}
}

// hears tells of every signal that comes; its argument is its name.
func hears(args []string) {
	got := make(chan os.Signal, 100)
	signal.Notify(got)
	signal.Reset(syscall.SIGCHLD, syscall.SIGURG)
	fmt.Println(args[0], "ready")
	for sig := range got {
		fmt.Printf("%s got %d.\n", args[0], int(sig.(syscall.Signal)))
	}
}

// pollers is a bot that proves that it is alone: it fails when the file that it makes at its start and holds
// locked is another's. Its arguments are the file and how it treats the lock that it inherits.
func pollers(args []string) {
	f, err := os.OpenFile(args[0], os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		fmt.Println("cannot open:", err)
		os.Exit(1)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		fmt.Println("TWO POLLERS")
		os.Exit(1)
	}
	if os.Getenv("POLL_LOCK_FD") != "3" || os.Getenv("POLL_LOCK_FILE") == "" {
		fmt.Println("NO LOCK IN THE ENVIRONMENT")
	}
	syscall.CloseOnExec(3)
	fmt.Println("poller is alone", os.Getpid())
	time.Sleep(time.Hour)
}
