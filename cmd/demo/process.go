package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a program that demo started, in a process group of its own: Ctrl-C in a terminal reaches demo alone,
// which then stops the others in order.
type process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{} // closed after its end
}

// launch starts a program whose log goes where ours goes. With firstLine its standard output is read and the first
// line is sent there; the rest is dropped.
func launch(o options, env environment, name string, firstLine chan<- string, args ...string) (*process, error) {
	path, err := filepath.Abs(filepath.Join(o.bin, name))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.Env = env.list()
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	var lines *bufio.Scanner
	if firstLine != nil {
		cmd.Stdout = nil
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		lines = bufio.NewScanner(pipe)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w; make build makes it", name, err)
	}
	p := &process{name: name, cmd: cmd, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		if lines != nil {
			if lines.Scan() {
				firstLine <- lines.Text()
			}
			for lines.Scan() { // until it has ended: a full pipe would stop it
			}
		}
		_ = cmd.Wait() // how it ended is in ProcessState
	}()
	return p, nil
}

// code is how it ended, as a shell says it.
func (p *process) code() int {
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// signal reaches the program; kill its whole group.
func (p *process) signal(sig syscall.Signal) {
	if p != nil && p.running() {
		_ = p.cmd.Process.Signal(sig) // it may have ended meanwhile
	}
}

func (p *process) kill() {
	if p != nil && p.running() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
}

// signIn asks web's own command for a one-time link.
func signIn(o options, env environment, name string) (string, error) {
	env = parse(env.list())
	if env["WEB_BASE_URL"] == "" {
		env["WEB_BASE_URL"] = strings.TrimRight(pageURL(env), "/")
	}
	cmd := exec.Command(filepath.Join(o.bin, "web"), "operator", "add", name)
	cmd.Env = env.list()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	var words strings.Builder
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("web operator add: %w: %s", err, strings.TrimSpace(words.String()))
	}
	for word := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(word, "http") {
			return word, nil
		}
	}
	return "", errors.New("web operator add printed no link")
}
