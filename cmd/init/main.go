// Command init is PID 1 of the container. It runs web and bot side by side, keeps web up whatever the bot does, and
// ends with web's status. usage.go has its manual, which `init -help` prints. docs/architecture.md shows how it works.
package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"strings"
)

func init() {
	// This keeps main on the main thread. A process that gets a parent-death signal must be started there, because the
	// signal comes at the end of the thread that forked; see docs/adr/0001.
	runtime.LockOSThread()
}

func main() {
	// Garbage is collected when there is some, and never by the clock: an idle init does nothing.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(8 << 20)
	runtime.GOMAXPROCS(2)
	os.Exit(whileNothingRuns(func() int { return dispatch(os.Args[1:]) }))
}

// dispatch does what the command line asks for, and returns the status to end with.
func dispatch(args []string) int {
	if len(args) == 0 {
		return runSupervised(pair)
	}
	switch rest := args[1:]; args[0] {
	case "web", "bot":
		if len(rest) > 0 {
			return misuse("init " + args[0] + " takes no arguments; to run another program: init -- COMMAND")
		}
		return runSupervised(modeOf(args[0]))
	case "status":
		return showStatus(rest)
	case "start", "stop", "restart":
		return askInit(args[0], rest)
	case "-version", "--version", "version":
		return printVersion()
	case "-help", "--help", "-h", "help":
		return printHelp()
	}
	if strings.HasPrefix(args[0], "-") {
		return runCommand(args)
	}
	return misuse("unknown argument " + quote(args[0]) + "; to run a program: init -- " + args[0])
}
