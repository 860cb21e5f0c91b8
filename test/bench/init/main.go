// Init (test/bench/init) measures init beside the inits that Debian has and beside the least that a Go programmer
// would write (../bareinit), each as PID 1 of a namespace of its own, in one run and interleaved. It prints Markdown
// tables with a bar for each figure and ends with 1 if one is missed. `make bench-init` runs it, as root.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	bin := flag.String("bin", "bin", "folder with the built executables")
	rounds := flag.Int("rounds", 24, "how often what takes milliseconds is measured")
	idle := flag.Duration("idle", 120*time.Second, "for how long the inits are watched doing nothing; 0 to leave that out")
	restarts := flag.Int("restarts", 10_000, "how often the bot ends and is started again; 0 to leave that out")
	orphans := flag.Int("orphans", 5000, "how many orphans end at once")
	only := flag.String("only", "", "names of inits, separated by commas, to measure no others")
	withCases := flag.Bool("cases", true, "try what a container with web and bot needs of its init")
	flag.Parse()
	log.SetFlags(0)
	if os.Getuid() != 0 {
		log.Fatal("bench-init makes PID namespaces and looks into processes of others: run it as root")
	}
	dir, err := os.MkdirTemp("", "tandem-bench-init-")
	if err != nil {
		log.Fatal(err)
	}
	b := &bench{
		lab: &lab{dir: dir}, rounds: *rounds, idle: *idle, restarts: *restarts, orphans: *orphans,
		only: *only, withCases: *withCases, figures: figures{},
	}
	missed, err := b.run(*bin)
	os.RemoveAll(dir)
	if err != nil {
		log.Fatal(err)
	}
	if missed > 0 {
		log.Fatalf("%d bars are missed", missed)
	}
}

type bench struct {
	*lab
	figures
	rounds    int
	idle      time.Duration
	restarts  int
	orphans   int
	only      string
	withCases bool

	list   []*contestant
	wear   *wear
	inCase [][]string
}

func (b *bench) run(bin string) (missed int, err error) {
	if err := b.build(); err != nil {
		return 0, err
	}
	var missing []string
	if b.list, missing = contestants(bin, b.dir); len(missing) > 0 {
		log.Printf("not here: %s (scripts/setup bench installs what Debian has)", strings.Join(missing, ", "))
	}
	if b.only != "" {
		only := strings.Split(b.only, ",")
		b.list = slices.DeleteFunc(b.list, func(c *contestant) bool { return !slices.Contains(only, c.name) })
	}
	if len(b.list) == 0 || b.list[0].name != ours {
		return 0, fmt.Errorf("no %s: make build", filepath.Join(bin, "init"))
	}
	for _, c := range b.list {
		if mb := c.size(); mb > 0 {
			b.add(fileSize, c.name, mb)
		}
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"start", b.measureStarts},
		{"stop", func() error { return b.measureStop(b.figures, b.list, b.rounds) }},
		{"signal", func() error { return b.measurePoke(b.figures, b.list, 20*b.rounds) }},
		{"orphans", func() error { return b.measureStorm(b.figures, b.list, max(1, b.rounds/8), b.orphans) }},
		{"restart", func() error { return b.measureRestart(b.figures, b.list[0], 2*b.rounds) }},
		{"idle", b.measureIdle},
	} {
		began := time.Now()
		if err := step.do(); err != nil {
			return 0, err
		}
		log.Printf("%s: %.0f s", step.what, time.Since(began).Seconds())
	}
	return b.print(), nil
}

// leastStarts is how often those are started that a bar compares: the median of few says little on a busy machine.
const leastStarts = 200

// measureStarts starts every init rounds times, and goes on with ours and the bare one in turn.
func (b *bench) measureStarts() error {
	if err := b.measureStart(b.figures, b.list, b.rounds); err != nil {
		return err
	}
	duel := slices.DeleteFunc(slices.Clone(b.list), func(c *contestant) bool { return c.name != ours && c.name != bare })
	return b.measureStart(b.figures, duel, leastStarts-b.rounds)
}

// build builds bareinit, and child.c with the machine's C compiler.
func (b *bench) build() error {
	b.child = filepath.Join(b.dir, "child")
	for _, args := range [][]string{
		{"go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(b.dir, "bareinit"), "tandem/test/bench/bareinit"},
		{"cc", "-O2", "-static", "-o", b.child, "test/bench/init/child/child.c"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// measureIdle is all that takes long and hardly any of the machine: idle inits are watched while another one starts
// its bot again and again, and then that one is, while the cases are tried.
func (b *bench) measureIdle() error {
	idlers, err := b.startIdlers(b.list)
	if err != nil {
		return err
	}
	defer idlers.kill()
	time.Sleep(3 * time.Second) // what a start leaves to be done
	if b.idle > 0 {
		idlers.begin(b.figures, b.lab)
		time.Sleep(b.idle)
		idlers.end(b.figures, b.lab)
	}
	if b.restarts > 0 {
		if b.wear, err = b.startWear(b.list[0], b.restarts); err != nil {
			return err
		}
		defer b.wear.system.kill()
	}
	over := time.After(b.idle)
	before := 0
	if b.wear != nil {
		before = switches(b.wear.system.own(b.child))
	}
	if b.withCases {
		if b.inCase, err = b.runCases(b.list); err != nil {
			return err
		}
	}
	if b.wear != nil && b.idle > 0 {
		<-over
		b.wear.switches = switches(b.wear.system.own(b.child)) - before
	}
	return nil
}
