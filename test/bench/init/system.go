package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lab is where the inits run.
type lab struct {
	dir   string
	child string // child.c, built
	n     int
}

// said is a line of child.c: which process, what, and when on both clocks.
type said struct {
	name, what string
	mono, real time.Duration
}

// system is an init that runs as PID 1 of a namespace of its own.
type system struct {
	*contestant
	dir    string
	cmd    *exec.Cmd
	fifo   *os.File
	lines  chan said
	ended  chan struct{}
	heard  []said
	exited time.Duration // when, counts once ended is closed
}

// now is the clock that child.c reads.
func now() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return time.Duration(t.Nano())
}

// command is a command line of child.c.
func (l *lab) command(name, mode string, args ...any) []string {
	line := []string{l.child, name, mode}
	for _, a := range args {
		line = append(line, fmt.Sprint(a))
	}
	return line
}

// start starts c with these processes; bot may be nil. env is added to what c itself needs.
func (l *lab) start(c *contestant, web, bot []string, env ...string) (*system, error) {
	l.n++
	s := &system{
		contestant: c, dir: filepath.Join(l.dir, strconv.Itoa(l.n)),
		lines: make(chan said, 1<<16), ended: make(chan struct{}),
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, err
	}
	out := filepath.Join(s.dir, "out")
	if err := syscall.Mkfifo(out, 0o600); err != nil {
		return nil, err
	}
	var args, own []string
	var err error
	program := web
	if c.name != floor {
		if args, own, err = c.setUp(s.dir, web, bot); err != nil {
			return nil, err
		}
		program = append([]string{c.files[0]}, args...)
	}
	if s.fifo, err = os.OpenFile(out, os.O_RDWR|syscall.O_NONBLOCK, 0); err != nil {
		return nil, err
	}
	s.cmd = exec.Command(l.child, append([]string{"lab", "exec"}, program...)...)
	s.cmd.Env = append(append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "BENCH_OUT=" + out}, own...), env...)
	s.cmd.Dir = s.dir
	s.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL, Setsid: true, Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
	}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return nil, err
	}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	err = s.cmd.Start()
	log.Close()
	if err != nil {
		s.fifo.Close()
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	go s.read()
	go func() {
		_ = s.cmd.Wait()
		s.exited = now()
		close(s.ended)
	}()
	return s, nil
}

func (s *system) read() {
	defer close(s.lines)
	in := bufio.NewScanner(s.fifo)
	for in.Scan() {
		f := strings.Fields(in.Text())
		if len(f) != 4 {
			continue
		}
		mono, _ := strconv.ParseInt(f[2], 10, 64)
		real, _ := strconv.ParseInt(f[3], 10, 64)
		s.lines <- said{f[0], f[1], time.Duration(mono), time.Duration(real)}
	}
}

// kill ends the system whatever it does; the kernel ends the whole namespace with its PID 1.
func (s *system) kill() {
	_ = s.cmd.Process.Kill()
	<-s.ended
	s.fifo.Close()
}

func (s *system) signal(sig syscall.Signal) error { return s.cmd.Process.Signal(sig) }

var errLate = errors.New("nothing came in time")

// await returns when the process name says what, now or before.
func (s *system) await(name, what string, limit time.Duration) (said, error) {
	for _, h := range s.heard {
		if h.name == name && h.what == what {
			return h, nil
		}
	}
	h, err := s.next(name, what, limit)
	if err == nil {
		s.heard = append(s.heard, h)
	}
	return h, err
}

// next is what the process name says from now on.
func (s *system) next(name, what string, limit time.Duration) (said, error) {
	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		select {
		case h, ok := <-s.lines:
			if !ok {
				return h, errLate
			}
			if h.name == name && h.what == what {
				return h, nil
			}
			s.heard = append(s.heard, h)
		case <-late.C:
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return said{}, fmt.Errorf("%s: %s never said %s: %w\n%s", s.name, name, what, errLate, log)
		}
	}
}

// code is how it ended, within limit; false when it did not.
func (s *system) code(limit time.Duration) (int, bool) {
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-s.ended:
	case <-late.C:
		select {
		case <-s.ended: // before it was looked at
		default:
			return 0, false
		}
	}
	ws := s.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal()), true
	}
	return ws.ExitStatus(), true
}

// own are the processes that the init itself is made of: all but those of child.c.
func (s *system) own(child string) (pids []int) {
	all := []int{s.cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		all = append(all, childrenOf(all[i])...)
		if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", all[i])); exe != child {
			pids = append(pids, all[i])
		}
	}
	return pids
}

func childrenOf(pid int) (pids []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		b, _ := os.ReadFile(t)
		for _, f := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// zombies of the namespace.
func (s *system) zombies() (n int) {
	all := []int{s.cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		all = append(all, childrenOf(all[i])...)
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", all[i]))
		if _, after, ok := strings.Cut(string(b), ") "); ok && after[0] == 'Z' {
			n++
		}
	}
	return n
}

// memory of some processes in kB: all that is resident, and their proportional part of it.
func memory(pids []int) (rss, pss int) {
	for _, pid := range pids {
		r, p := field(pid, "smaps_rollup", "Rss:"), field(pid, "smaps_rollup", "Pss:")
		rss, pss = rss+r, pss+p
	}
	return rss, pss
}

// switches are the context switches of all threads of some processes so far.
func switches(pids []int) (n int) {
	for _, pid := range pids {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		for _, t := range tasks {
			tid, _ := strconv.Atoi(filepath.Base(t))
			n += field(pid, fmt.Sprintf("task/%d/status", tid), "voluntary_ctxt_switches:")
			n += field(pid, fmt.Sprintf("task/%d/status", tid), "nonvoluntary_ctxt_switches:")
		}
	}
	return n
}

// field is a number in a file of /proc/PID.
func field(pid int, file, name string) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.Atoi(strings.Fields(v)[0])
			return n
		}
	}
	return 0
}

func entries(pid int, what string) int {
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/%s/*", pid, what))
	return len(names)
}
