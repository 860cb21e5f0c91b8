package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kballard/go-shellquote"

	"tandem/internal/exitcode"
)

const (
	simulatorStartTimeout = 15 * time.Second
	pageStartTimeout      = 60 * time.Second // a first start on a slow machine makes the database
	killAfter             = 2 * time.Second  // from the second request to stop on
)

// demo is a run.
type demo struct {
	options
	env       environment
	out       io.Writer
	signals   <-chan os.Signal
	simulator *process // nil with -real
	init      *process
	simURL    string
}

// run starts everything and returns when all has ended: nil after a stop that was asked for and obeyed, else an
// error with the code to end with.
func run(o options, environ []string, signals <-chan os.Signal, out io.Writer) error {
	lock, err := lockState(o.dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	env, err := prepare(o, environ)
	if err != nil {
		return err
	}
	d := &demo{options: o, env: env, out: out, signals: signals}
	defer d.killAll() // what an early return left
	if !o.real {
		if stopped, err := d.startSimulator(); stopped || err != nil {
			return err
		}
	}
	if err := choosePorts(d.env, out); err != nil {
		return err
	}
	d.say("Tandem is starting", "")
	if d.init, err = launch(o, d.env, "init", nil); err != nil {
		return err
	}
	if stopped, err := d.waitForPage(); stopped || err != nil {
		return err
	}
	link, err := signIn(o, d.env, d.operator())
	if err != nil {
		return errors.Join(err, d.stop("")) // the page runs, but nobody could use it
	}
	d.say("Tandem is ready", link)
	return d.watch()
}

// say prints the addresses, and the sign-in when there is one already.
func (d *demo) say(title, link string) {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  %s\n\n    the page       %s\n", title, pageURL(d.env))
	if link != "" {
		fmt.Fprintf(&b, "    your sign-in   %s\n", link)
	}
	if d.simulator != nil {
		fmt.Fprintf(&b, "    the customers  %s\n", d.simURL)
	}
	if link != "" {
		status := shellquote.Join(short(d.env["RUN_DIR"]), short(filepath.Join(d.bin, "init")))
		fmt.Fprintf(&b, "    what runs      RUN_DIR=%s status\n", status)
		b.WriteString("\n  The sign-in works once. Ctrl-C stops everything; the state stays in " + d.dir + ".\n")
	}
	fmt.Fprintln(d.out, b.String())
}

// short is the path from here, when it leads downwards.
func short(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(rel) {
		return "./" + rel
	}
	return path
}

// operator is who signs in.
func (d *demo) operator() string {
	if name := d.env["USER"]; d.real && name != "" {
		return name
	}
	return "operator"
}

// startSimulator starts the local Telegram, waits for its address and points the bot there.
func (d *demo) startSimulator() (stopped bool, err error) {
	state, err := filepath.Abs(filepath.Join(d.dir, "telegram.json"))
	if err != nil {
		return false, err
	}
	ready := make(chan string, 1)
	d.simulator, err = launch(d.options, d.env, "simulator", ready,
		"-state", state, "-token", simulatedToken, "-customer", "Ada Lovelace", "-customer", "Charles")
	if err != nil {
		return false, err
	}
	timeout := time.NewTimer(simulatorStartTimeout)
	defer timeout.Stop()
	select {
	case line := <-ready:
		_, url, ok := strings.Cut(line, "simulator ready: ")
		if !ok {
			return false, fmt.Errorf("the simulator said %q where its address was expected", line)
		}
		d.simURL = url
	case <-d.simulator.ended:
		return false, d.simulatorEnded()
	case <-d.signals:
		return true, d.stop("")
	case <-timeout.C:
		return false, fmt.Errorf("the simulator was not ready in %v", simulatorStartTimeout)
	}
	if !strings.Contains(d.simURL, ":8081/") {
		fmt.Fprintf(d.out, "Port 8081 is taken: the simulator is on %s.\n", d.simURL)
	}
	d.env["TELEGRAM_API_URL"] = strings.TrimRight(d.simURL, "/")
	return false, nil
}

func (d *demo) simulatorEnded() error {
	code := d.simulator.code()
	err := fmt.Errorf("the simulator has ended by itself, with %d", code)
	return exitcode.With(max(code, exitcode.Failure), err)
}

func (d *demo) initEnded() error {
	return exitcode.With(d.init.code(), fmt.Errorf("init has ended by itself, with %d", d.init.code()))
}

// waitForPage asks /readyz until it answers 200: then the database is there for the sign-in.
func (d *demo) waitForPage() (stopped bool, err error) {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	deadline, tick := time.NewTimer(pageStartTimeout), time.NewTicker(50*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	last := "no answer"
	for {
		select {
		case <-tick.C:
		case sig := <-d.signals:
			return true, d.stop(sig.String())
		case <-d.ended():
			return true, d.watch()
		case <-deadline.C:
			return false, errors.Join(fmt.Errorf("the page was not ready in %v (%s)", pageStartTimeout, last), d.stop(""))
		}
		resp, err := client.Get(readyURL(d.env))
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return false, nil
		}
		last = resp.Status
	}
}

// readyURL is the page's own address, whatever WEB_BASE_URL is outside.
func readyURL(env environment) string {
	return pageURL(environment{"WEB_ADDR": env["WEB_ADDR"]}) + "readyz"
}

// ended is closed, for one who receives at once, when init or the simulator has ended.
func (d *demo) ended() <-chan struct{} {
	if d.simulator != nil && !d.simulator.running() {
		return d.simulator.ended
	}
	return d.init.ended
}

// watch waits for the end.
func (d *demo) watch() error {
	var simulator <-chan struct{}
	if d.simulator != nil {
		simulator = d.simulator.ended
	}
	select {
	case sig := <-d.signals:
		return d.stop(sig.String())
	case <-d.init.ended:
		return errors.Join(d.initEnded(), d.stop(""))
	case <-simulator:
		return errors.Join(d.simulatorEnded(), d.stop(""))
	}
}

// stop ends init first, so that the bot can finish with Telegram still there, and then the simulator. A further
// signal is passed on to init, which then kills at once; what is left after that is killed here.
func (d *demo) stop(why string) error {
	if why != "" {
		fmt.Fprintf(d.out, "\n  Stopping (%s)...\n", why)
	}
	code := 0
	for _, p := range []*process{d.init, d.simulator} {
		if p == nil || !p.running() {
			continue
		}
		p.signal(syscall.SIGTERM)
		var kill <-chan time.Time
		for p.running() {
			select {
			case <-p.ended:
			case <-d.signals:
				p.signal(syscall.SIGTERM)
				kill = time.After(killAfter)
			case <-kill:
				p.kill()
				kill = nil
			}
		}
		if code == 0 {
			code = p.code()
		}
	}
	if code != 0 {
		return exitcode.With(code, fmt.Errorf("a program ended with %d after it was asked to stop", code))
	}
	if why != "" {
		fmt.Fprintf(d.out, "\n  Stopped. The state is in %s; the next run goes on from there.\n\n", d.dir)
	}
	return nil
}

// killAll is for an end without a stop.
func (d *demo) killAll() {
	for _, p := range []*process{d.init, d.simulator} {
		if p != nil {
			p.kill()
			<-p.ended
		}
	}
}
