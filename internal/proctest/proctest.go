// Package proctest is for tests that need real processes: it builds our executables, starts a program as a
// user or a container would, collects what it prints, and looks at its processes in /proc.
//
// It promises that nothing outlives a test: everything that a program started has gone when the test's
// cleanup is over, whatever session or group it moved to, and also when the test binary itself is killed.
// It leaves to testenv to say what this machine cannot run.
//
// A test package that uses it has
//
//	func TestMain(m *testing.M) { proctest.Main(m, nil) }
//
// because the first process of each new namespace is the test binary run again, which mounts /proc and becomes
// the program that is to be tested.
package proctest

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Helpers are programs that live in the test binary, by name. Each gets its arguments without its own name;
// its process ends with 0 when it returns.
type Helpers map[string]func(args []string)

// Main runs the tests and ends the process, or runs the helper or the first process of a namespace that this
// process was started as. Each of check, such as goleak's, is run after tests that passed, and fails them all
// with an error.
func Main(m *testing.M, helpers Helpers, check ...func() error) {
	if spec := os.Getenv(specVariable); spec != "" {
		first(spec)
	}
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "@") {
		helper, ok := helpers[os.Args[1][1:]]
		if !ok {
			fmt.Fprintf(os.Stderr, "there is no helper %s\n", os.Args[1])
			os.Exit(64)
		}
		helper(os.Args[2:])
		os.Exit(0)
	}
	if signal.Ignored(syscall.SIGHUP) { // by nohup: the programs under test would ignore it, too
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	code := m.Run()
	endParent()
	removeBuilt()
	if code == 0 {
		for _, f := range check {
			if err := f(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// Command is the command line that runs a helper, quoted for a shell and for WEB_COMMAND and BOT_COMMAND.
func Command(helper string, args ...string) string {
	words := append([]string{self(), "@" + helper}, args...)
	for i, w := range words {
		words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(words, " ")
}

func self() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

// Eventually polls until ok, and fails the test when that takes longer than limit. what says what was waited for. It is
// for the test's own goroutine; others have Within.
func Eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	if !Within(limit, ok) {
		t.Fatalf("not within %s: %s", limit, what)
	}
}

// Within polls until ok, and says whether that came about within limit.
func Within(limit time.Duration, ok func() bool) bool {
	end := time.Now().Add(limit)
	for pause := time.Millisecond; !ok(); pause = min(2*pause, 20*time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
		time.Sleep(pause)
	}
	return true
}
