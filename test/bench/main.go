// Bench measures Tandem beside the least that a Go programmer would write for the same job (./baseline), in one run and
// interleaved. Then it measures storing and posting alone in both databases, and several replicas of web on one
// PostgreSQL. It prints Markdown tables. `make bench` runs it.
//
// What it prints are medians and ratios: the machine may be noisy, and both are measured under the same noise.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tandem/internal/proctest"
	"tandem/internal/simulator"
)

const token = "123456789:AAF0simulated-token-for-benchmarks-00"

func main() {
	bin := flag.String("bin", "bin", "folder with the built executables")
	rounds := flag.Int("rounds", 5, "how often each figure is measured")
	idle := flag.Duration("idle", 120*time.Second, "for how long init is watched doing nothing")
	only := flag.String("only", "", `"replicas" or "storing": nothing but that table`)
	flag.Parse()
	log.SetFlags(0)
	if !slices.Contains([]string{"", "replicas", "storing"}, *only) || *rounds < 1 {
		flag.Usage()
		os.Exit(2)
	}
	dir, err := os.MkdirTemp("", "tandem-bench-")
	if err != nil {
		log.Fatal(err)
	}
	remove, err := afterwards(`rm -rf "$1"`, dir)
	if err != nil {
		log.Fatal(err)
	}
	b := &bench{bin: *bin, dir: dir, rounds: *rounds}
	if *only == "" {
		err = b.run(*idle)
	}
	if err == nil && *only != "replicas" {
		err = b.storing()
	}
	if err == nil && *only != "storing" {
		err = b.replicas()
	}
	remove()
	if err != nil {
		log.Fatal(err)
	}
}

// afterwards has the shell run a script when the function that it returns is called, or when this process has ended
// without that, however it ended. A session of its own keeps the terminal's Ctrl-C from the shell.
func afterwards(script string, args ...string) (now func(), err error) {
	cmd := exec.Command("sh", append([]string{"-c", "cat >/dev/null; " + script, "bench-afterwards"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() { alive.Close(); _ = cmd.Wait() }, nil
}

type bench struct {
	bin, dir string
	rounds   int
	n        int // of systems started, for names
}

// figures of one system, one value a round.
type figures map[string][]float64

func (f figures) add(name string, v float64) { f[name] = append(f[name], v) }

func (f figures) median(name string) float64 {
	v := slices.Sorted(slices.Values(f[name]))
	if len(v) == 0 {
		return 0
	}
	return v[len(v)/2]
}

func (b *bench) run(idle time.Duration) error {
	baseline := filepath.Join(b.dir, "baseline")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", baseline, "tandem/test/bench/baseline")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the baseline: %w\n%s", err, out)
	}
	ours, theirs := figures{}, figures{}
	for range b.rounds {
		if err := b.measure(ours, b.tandem); err != nil {
			return fmt.Errorf("tandem: %w", err)
		}
		if err := b.measure(theirs, func(tg string) (*system, error) { return b.baseline(baseline, tg) }); err != nil {
			return fmt.Errorf("baseline: %w", err)
		}
	}
	fmt.Printf("Medians of %d rounds, SQLite with synchronous=FULL, both in one run.\n\n", b.rounds)
	fmt.Println("| figure | Tandem | baseline | ratio |\n| --- | --- | --- | --- |")
	for _, row := range []struct{ name, unit string }{
		{"start to the first answer", "ms"},
		{"resident memory, all processes", "MB"},
		{"proportional memory, all processes", "MB"},
		{"list of 50 conversations", "requests/s"},
		{"updates stored and confirmed", "updates/s"},
		{"stop with a poll open", "ms"},
	} {
		o, t := ours.median(row.name), theirs.median(row.name)
		fmt.Printf("| %s | %.4g %s | %.4g %s | %.2f |\n", row.name, o, row.unit, t, row.unit, o/t)
	}
	fmt.Println("\nThe baseline is one process without supervision, lock, outbox, events or sign-in.")
	return b.initAlone(idle)
}

// system is one of the two, running.
type system struct {
	cmd    *exec.Cmd
	list   *http.Request
	health string
	log    *bytes.Buffer
	began  time.Time
}

func (b *bench) tandem(tg string) (*system, error) {
	b.n++
	dir := filepath.Join(b.dir, fmt.Sprintf("tandem%d", b.n))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	env := append(os.Environ(), "DATABASE_URL=sqlite:"+dir+"/tandem.db", "RUN_DIR="+dir+"/run",
		"WEB_ADDR="+addr, "WEB_OPS_ADDR=off", "BOT_OPS_ADDR=off", "LOG_LEVEL=warn", "ENABLE_TELEGRAM_BOT=true",
		"BOT_PACE=false", "TELEGRAM_API_URL="+tg, "TELEGRAM_BOT_TOKEN="+token)
	bearer, err := b.createToken(env)
	if err != nil {
		return nil, err
	}
	list, err := http.NewRequest("GET", "http://"+addr+"/api/v1/conversations?limit=50", nil)
	if err != nil {
		return nil, err
	}
	list.Header.Set("Authorization", "Bearer "+bearer)
	return start(exec.Command(filepath.Join(b.bin, "init")), env, list, "http://"+addr+"/healthz")
}

func (b *bench) createToken(env []string) (string, error) {
	create := exec.Command(filepath.Join(b.bin, "web"), "token", "create", "bench")
	create.Env = env
	out, err := create.Output()
	if err != nil {
		return "", fmt.Errorf("web token create: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (b *bench) baseline(path, tg string) (*system, error) {
	b.n++
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	list, err := http.NewRequest("GET", "http://"+addr+"/conversations", nil)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(b.dir, fmt.Sprintf("baseline%d.db", b.n))
	env := append(os.Environ(), "BASELINE_DB="+file, "BASELINE_ADDR="+addr,
		"TELEGRAM_API_URL="+tg, "TELEGRAM_BOT_TOKEN="+token)
	return start(exec.Command(path), env, list, "http://"+addr+"/healthz")
}

func start(cmd *exec.Cmd, env []string, list *http.Request, health string) (*system, error) {
	s := &system{cmd: cmd, list: list, health: health, log: &bytes.Buffer{}}
	cmd.Env, cmd.Stderr = env, s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.began = time.Now()
	return s, cmd.Start()
}

func (s *system) kill() { _ = s.cmd.Process.Kill(); _ = s.cmd.Wait() }

func freeAddr() (string, error) {
	port, err := proctest.FreePort()
	return fmt.Sprintf("127.0.0.1:%d", port), err
}

// measure takes every figure of one system once. Updates come first, so that the list has conversations.
func (b *bench) measure(f figures, open func(tg string) (*system, error)) error {
	sim, err := simulator.New(simulator.Options{})
	if err != nil {
		return err
	}
	defer sim.Close()
	sim.AddBot(token)
	tg := httptest.NewServer(sim)
	defer tg.Close()
	defer tg.CloseClientConnections()

	s, err := open(tg.URL)
	if err != nil {
		return err
	}
	defer s.kill()
	if err := s.firstAnswer(); err != nil {
		return fmt.Errorf("%w\n%s", err, s.log)
	}
	f.add("start to the first answer", float64(time.Since(s.began).Microseconds())/1000)
	if err := sim.WaitFor(30*time.Second, func() bool { return sim.Polls(0).Waiting == 1 }); err != nil {
		return fmt.Errorf("no poll: %w\n%s", err, s.log)
	}
	rss, pss := s.memory()
	f.add("resident memory, all processes", rss)
	f.add("proportional memory, all processes", pss)

	const updates = 5000
	if err := sim.Batch(func() error {
		for i := range updates {
			if _, err := sim.CustomerWrites(int64(1000+i%1000), fmt.Sprintf("message %d of a benchmark", i)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	began := time.Now()
	if err := sim.WaitFor(2*time.Minute, func() bool { return sim.Polls(0).Pending == 0 }); err != nil {
		return fmt.Errorf("updates: %w\n%s", err, s.log)
	}
	f.add("updates stored and confirmed", updates/time.Since(began).Seconds())

	rate, err := s.load(3*time.Second, 8)
	if err != nil {
		return err
	}
	f.add("list of 50 conversations", rate)

	began = time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("stop: %w\n%s", err, s.log)
	}
	f.add("stop with a poll open", float64(time.Since(began).Microseconds())/1000)
	return nil
}

func (s *system) firstAnswer() error {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if response, err := http.Get(s.health); err == nil {
			response.Body.Close()
			if response.StatusCode == 200 {
				return nil
			}
		}
	}
	return fmt.Errorf("no answer from %s", s.health)
}

// load asks for the list over connections kept open and returns the answers a second.
func (s *system) load(d time.Duration, connections int) (float64, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	var answers, failures atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range connections {
		wg.Go(func() {
			for time.Since(began) < d {
				response, err := client.Do(s.list.Clone(s.list.Context()))
				if err != nil {
					failures.Add(1)
					continue
				}
				_, _ = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if response.StatusCode != 200 {
					failures.Add(1)
					continue
				}
				answers.Add(1)
			}
		})
	}
	wg.Wait()
	if n := failures.Load(); n > 0 {
		return 0, fmt.Errorf("%d requests of the load failed", n)
	}
	return float64(answers.Load()) / time.Since(began).Seconds(), nil
}

// memory is what the system's processes have resident and their proportional part of it, in MB.
func (s *system) memory() (rss, pss float64) {
	for _, pid := range append(children(s.cmd.Process.Pid), s.cmd.Process.Pid) {
		r, p := memoryOf(pid)
		rss, pss = rss+r, pss+p
	}
	return rss, pss
}

func memoryOf(pid int) (rss, pss float64) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kb, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "Rss:":
			rss = kb / 1024
		case "Pss:":
			pss = kb / 1024
		}
	}
	return rss, pss
}

func children(pid int) []int {
	var all []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		b, _ := os.ReadFile(t)
		for _, f := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// initAlone prints what init costs while it does nothing, with two children that do nothing, and the sizes.
func (b *bench) initAlone(idle time.Duration) error {
	dir := filepath.Join(b.dir, "idle")
	cmd := exec.Command(filepath.Join(b.bin, "init"))
	cmd.Env = append(os.Environ(), "RUN_DIR="+dir, "WEB_COMMAND=sleep 1000", "BOT_COMMAND=sleep 1000", "LOG_LEVEL=error")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }()
	for end := time.Now().Add(10 * time.Second); len(children(cmd.Process.Pid)) < 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("init did not start its two children")
		}
	}
	time.Sleep(2 * time.Second) // what a start leaves to be done
	before := switches(cmd.Process.Pid)
	time.Sleep(idle)
	rss, pss := memoryOf(cmd.Process.Pid)
	fmt.Println("\n| init, idle, two children | |\n| --- | --- |")
	fmt.Printf("| resident memory | %.2f MB |\n| proportional memory | %.2f MB |\n", rss, pss)
	fmt.Printf("| context switches in %s | %d |\n", idle, switches(cmd.Process.Pid)-before)
	fmt.Println("\n| executable | size |\n| --- | --- |")
	for _, name := range []string{"init", "web", "bot"} {
		info, err := os.Stat(filepath.Join(b.bin, name))
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %.2f MB |\n", name, float64(info.Size())/1e6)
	}
	return nil
}

// switches are the context switches of all threads so far.
func switches(pid int) (n int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, "ctxt_switches:") {
				_, v, _ := strings.Cut(line, ":")
				k, _ := strconv.Atoi(strings.TrimSpace(v))
				n += k
			}
		}
	}
	return n
}
