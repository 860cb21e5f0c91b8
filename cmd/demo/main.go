// Command demo runs the whole of Tandem on one's own machine: `make demo` with the local Telegram of
// cmd/simulator, `make run` (demo -real) with the real one. It keeps all state in one folder, prints where to
// look, and stops everything when it is told to. What it starts is what a container would start.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"tandem/internal/buildinfo"
	"tandem/internal/exitcode"
)

const help = `demo runs init, web and bot on this machine, with a local Telegram to play the customer in.

  demo [-bin DIR] [-var DIR]          what make demo runs: the local Telegram, an SQLite file
  demo -real [-bin DIR] [-var DIR]    what make run runs: real Telegram; needs TELEGRAM_BOT_TOKEN (or
                                      TELEGRAM_BOT_TOKEN_FILE); SQLite unless DATABASE_URL is set

A second run goes on where the first ended. Taken ports are replaced by free ones, unless WEB_ADDR, WEB_OPS_ADDR or
BOT_OPS_ADDR names them. SIGINT (Ctrl-C) and SIGTERM stop everything in order; a second one at once.
It ends with the status of init.

Options:
`

func init() {
	// The programs it starts are told when it ends (a parent-death signal), and that is tied to the thread
	// that started them: it must be the main one, which lives as long as the process.
	runtime.LockOSThread()
}

type options struct {
	bin, dir string
	real     bool
}

func main() {
	o, err := readFlags(os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if err == nil {
		err = run(o, os.Environ(), signals, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(exitcode.Of(err))
	}
}

func readFlags(args []string, stdout io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.bin, "bin", "", "the `folder` with init, web, bot and simulator; the one of demo itself by default")
	flags.StringVar(&o.dir, "var", "", "the `folder` for all state; var/demo by default, var/real with -real")
	flags.BoolVar(&o.real, "real", false, "real Telegram, no simulator")
	version := flags.Bool("version", false, "print the version")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, help)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return o, err
	case *version:
		fmt.Fprintln(stdout, "demo", buildinfo.String())
		return o, flag.ErrHelp
	case err == nil && flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err != nil {
		return o, exitcode.With(exitcode.Usage, fmt.Errorf("%w; see demo -help", err))
	}
	if o.dir == "" { // a folder each: what is played must not stand among what customers wrote
		o.dir = filepath.Join("var", "demo")
		if o.real {
			o.dir = filepath.Join("var", "real")
		}
	}
	if o.bin == "" {
		self, err := os.Executable()
		if err != nil {
			return o, fmt.Errorf("finding the folder of the programs: %w; give it with -bin", err)
		}
		o.bin = filepath.Dir(self)
	}
	return o, nil
}
