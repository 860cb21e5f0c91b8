package proctest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem/internal/testenv"
)

// Under says as what a program runs.
type Under int

const (
	// Parent : under an ordinary parent that collects orphans, all of it in a PID namespace where the kernel
	// allows one. What the program leaves behind stays until the test ends, as on a host.
	Parent Under = iota
	// PID1 : as PID 1 of a new PID namespace with its own /proc, as in a container. A machine that forbids it
	// skips the test.
	PID1
)

// Options say what to start. Env is the whole environment, nothing is inherited, and of a name given twice the last
// one counts; an Env without PATH gets the one of the test, and one without GORACE a value that spares race builds
// a second at their end.
type Options struct {
	Path     string
	Args     []string // without the program's own name
	Env      []string
	Dir      string
	Under    Under
	Files    []*os.File // descriptors from 3 on
	Stdin    *os.File   // else /dev/null
	Stderr   *os.File   // else collected with standard output; see Process.Lines
	User     int        // user and group to run as, when not 0; a test that is not root is skipped
	Mounts   []Mount    // made before the program starts; a machine that forbids them skips the test
	Terminal bool       // its standard files are a terminal that controls its session; see Process.Type
	Net      string     // file of the network namespace to run in, like /run/netns/NAME; "" for the test's own
}

// Mount is a file system in the program's own mount namespace; see mount(2).
type Mount struct {
	Type, Source, Target, Data string
	Flags                      uintptr
}

// End is how a program ended: Code is 128+n when signal n ended it.
type End struct {
	Code   int
	Signal syscall.Signal
}

// Process is a program that was started.
type Process struct {
	// PID is the program's number as the test sees it, 0 if it had ended before it could be looked up; the program
	// itself sees 1 under PID1.
	PID int

	t    testing.TB
	cmd  *exec.Cmd
	root int // the first process of the namespace: the program itself under PID1

	mu     sync.Mutex
	lines  []string
	begun  string        // a line without its end, so far
	more   chan struct{} // closed and replaced at each line
	screen *os.File      // of its terminal, if it has one
	out    *os.File      // the writing end of what is collected; see drain
	marks  int           // written by drain
	seen   int           // of these, collected

	ended chan struct{} // closed when end counts
	end   End
	gone  chan struct{} // closed when cmd was waited for
}

// Secret, if it is set, must be in no line that any program prints: of a bot's token what follows the colon.
var Secret string

// Start starts a program and fails the test when that cannot be done. At the end of the test everything it
// started is killed, and what it printed is logged if the test failed.
func Start(t testing.TB, o Options) *Process {
	t.Helper()
	ns := canNamespace()
	if o.Under == PID1 && ns != nil {
		testenv.Untested(t, "this kernel lets the test make no PID namespace: "+ns.Error())
	}
	if len(o.Mounts) > 0 && ns != nil {
		testenv.Untested(t, "this kernel lets the test mount nothing: "+ns.Error())
	}
	if o.User != 0 && os.Getuid() != 0 {
		testenv.Missing(t, "only root can start a program as another user")
	}
	p := &Process{t: t, more: make(chan struct{}), ended: make(chan struct{}), gone: make(chan struct{})}
	p.cmd = firstCommand(specOf(o, ns == nil), ns == nil)
	p.cmd.Dir, p.cmd.Stdin = o.Dir, o.Stdin
	p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, o.Files...)
	var outR, outW *os.File
	if o.Terminal {
		outR, outW = openTerminal(t)
		p.screen, p.cmd.Stdin = outR, outW
		if o.Under == PID1 {
			p.cmd.SysProcAttr.Setctty = true
		}
	} else {
		outR, outW = pipe(t)
	}
	statusR, statusW := pipe(t)
	p.cmd.Stdout, p.cmd.Stderr = outW, outW
	if o.Stderr != nil {
		p.cmd.Stderr = o.Stderr
	}
	p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, statusW)
	err := startIn(o.Net, p.cmd)
	p.out = outW
	statusW.Close()
	if err != nil {
		outW.Close()
		outR.Close()
		statusR.Close()
		t.Fatalf("start %s: %v", o.Path, err)
	}
	p.root = p.cmd.Process.Pid
	go p.collect(outR)
	t.Cleanup(p.cleanup)

	// Its first line is the program's number, or what went wrong; under PID1 the descriptor closes by exec.
	status := bufio.NewReader(statusR)
	line, err := status.ReadString('\n')
	line = strings.TrimSpace(line)
	number, bad := strconv.Atoi(line)
	switch {
	case o.Under == PID1 && line == "" && errors.Is(err, io.EOF):
		p.PID = p.root
	case o.Under == Parent && bad == nil:
		p.PID = p.hostPID(number)
	default:
		statusR.Close()
		t.Fatalf("start %s: %s %v", o.Path, line, err)
	}
	go p.wait(o.Under, status, statusR)
	return p
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

// wait waits for the program and for the first process, which are one under PID1.
func (p *Process) wait(under Under, status *bufio.Reader, closer io.Closer) {
	defer closer.Close()
	if under == Parent {
		line, err := status.ReadString('\n')
		if n, bad := strconv.Atoi(strings.TrimSpace(line)); err == nil && bad == nil {
			p.finish(syscall.WaitStatus(n))
		}
	}
	p.cmd.Wait()
	if under == PID1 {
		p.finish(p.cmd.ProcessState.Sys().(syscall.WaitStatus))
	}
	close(p.gone)
}

func (p *Process) finish(ws syscall.WaitStatus) {
	if ws.Signaled() {
		p.end = End{Code: 128 + int(ws.Signal()), Signal: ws.Signal()}
	} else {
		p.end = End{Code: ws.ExitStatus()}
	}
	close(p.ended)
}

// Wait waits for the program's end, which must come within limit.
func (p *Process) Wait(limit time.Duration) End {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(limit):
		p.t.Fatalf("still running after %s", limit)
	}
	return p.end
}

// mark begins a line of the test's own among those of the program.
const mark = "\x00mark "

// drain waits until everything that was printed before is collected: what a program has printed and what the test has
// read of it are two things. The end of the pipe would not tell: whatever the program left behind may hold it open.
func (p *Process) drain() {
	p.mu.Lock()
	p.marks++
	n := p.marks
	p.mu.Unlock()
	if _, err := fmt.Fprintln(p.out, mark); err != nil {
		return
	}
	for limit := time.After(20 * time.Second); ; {
		p.mu.Lock()
		seen, more := p.seen, p.more
		p.mu.Unlock()
		if seen >= n {
			return
		}
		select {
		case <-more:
		case <-limit:
			p.t.Errorf("what the program printed could not be collected")
			return
		}
	}
}

// Running says whether the program has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Signal sends sig to the program; one that has ended is left alone.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if !p.Running() || p.PID == 0 {
		return
	}
	if err := syscall.Kill(p.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.t.Fatalf("send %s: %v", sig, err)
	}
}

// Freeze sends SIGSTOP to the program and waits until all of it stands still: the signal is sent before it works.
func (p *Process) Freeze() {
	p.t.Helper()
	Freeze(p.t, p.PID)
}

// Freeze is the same for any process of the test. One that has ended stands still, too.
func Freeze(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatalf("stop process %d: %v", pid, err)
	}
	Eventually(t, 20*time.Second, fmt.Sprintf("process %d stands still", pid), func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, thread := range threads {
			stat, err := os.ReadFile(thread)
			state := bytes.LastIndexByte(stat, ')') + 2
			if err == nil && (state >= len(stat) || !strings.ContainsRune("TZX", rune(stat[state]))) {
				return false
			}
		}
		return true
	})
}

// Lines is what the program and its children have printed up to now, standard output and error in one. Some programs,
// such as init, log in a thread of their own. Of these a line may come later than what it tells of: wait for it, or for
// the end.
func (p *Process) Lines() []string {
	p.drain()
	return p.collected()
}

func (p *Process) collected() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := append([]string(nil), p.lines...)
	if p.begun != "" {
		lines = append(lines, p.begun)
	}
	return lines
}

// WaitLine waits for a line that has each of parts in it and returns it. Lines that were there before count.
func (p *Process) WaitLine(limit time.Duration, parts ...string) string {
	p.t.Helper()
	line, _ := p.WaitLineFrom(0, limit, parts...)
	return line
}

// WaitLineFrom is WaitLine from the line with index from on; it returns the index after the line it found, too.
func (p *Process) WaitLineFrom(from int, limit time.Duration, parts ...string) (line string, next int) {
	p.t.Helper()
	deadline := time.After(limit)
	for i := from; ; {
		p.mu.Lock()
		lines, more := p.lines, p.more
		p.mu.Unlock()
		for ; i < len(lines); i++ {
			if hasAll(lines[i], parts) {
				return lines[i], i + 1
			}
		}
		select {
		case <-more:
		case <-deadline:
			p.t.Fatalf("no line with %q within %s", parts, limit)
		}
	}
}

// Count is how many of Lines have each of parts in them.
func (p *Process) Count(parts ...string) int {
	n := 0
	for _, line := range p.Lines() {
		if hasAll(line, parts) {
			n++
		}
	}
	return n
}

func hasAll(line string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(line, part) {
			return false
		}
	}
	return true
}

func (p *Process) collect(r *os.File) {
	defer r.Close()
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		text, _, marked := strings.Cut(strings.TrimSuffix(s.Text(), "\r"), mark)
		p.mu.Lock()
		p.begun += text
		if marked {
			p.seen++
		} else {
			p.lines, p.begun = append(p.lines, p.begun), ""
		}
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
}

// Kill ends the program and everything it started at once, and waits until they have gone.
func (p *Process) Kill() {
	p.t.Helper()
	if !Within(20*time.Second, func() bool {
		for _, q := range p.Tree() { // where there is no namespace, nobody else does it
			if q.PID != p.root {
				syscall.Kill(q.PID, syscall.SIGKILL)
			}
		}
		if canNamespace() == nil || len(p.Tree()) <= 1 {
			p.cmd.Process.Kill()
		}
		select {
		case <-p.gone:
			return true
		default:
			return false
		}
	}) {
		p.t.Errorf("processes that cannot be killed: %v", p.Tree())
	}
}

func (p *Process) cleanup() {
	p.Kill()
	lines := p.Lines()
	p.out.Close()
	for _, line := range lines {
		if Secret != "" && strings.Contains(line, Secret) {
			p.t.Errorf("the secret is in a line of %s: %s", p.cmd.Args, line)
		}
		if strings.Contains(line, "DATA RACE") {
			p.t.Errorf("a data race was found; see the log below")
		}
	}
	if p.t.Failed() {
		if n := len(lines); n > 200 {
			lines = append(lines[:100:100], lines[n-100:]...)
		}
		p.t.Logf("what %d printed:\n%s", p.PID, strings.Join(lines, "\n"))
	}
}

func specOf(o Options, namespace bool) spec {
	env := lastOfEach(o.Env)
	for _, line := range []string{"PATH=" + os.Getenv("PATH"), noRaceSleep} {
		if name, _, _ := strings.Cut(line, "="); !hasVariable(env, name) {
			env = append(env[:len(env):len(env)], line)
		}
	}
	return spec{
		Path: o.Path, Args: o.Args, Env: env, Become: o.Under == PID1, User: o.User,
		Namespace: namespace, Terminal: o.Terminal, Mounts: o.Mounts, Status: 3 + len(o.Files),
	}
}

// lastOfEach leaves of a variable that is given twice the last, as os/exec does: a Go program would see the first.
func lastOfEach(env []string) []string {
	var kept []string
	for i, line := range env {
		if name, _, _ := strings.Cut(line, "="); !hasVariable(env[i+1:], name) {
			kept = append(kept, line)
		}
	}
	return kept
}

func hasVariable(env []string, name string) bool {
	for _, line := range env {
		if strings.HasPrefix(line, name+"=") {
			return true
		}
	}
	return false
}

// firstCommand is the test binary run again as the first process.
func firstCommand(s spec, namespace bool) *exec.Cmd {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self())
	cmd.Env = []string{fmt.Sprintf("%s=%s", specVariable, b), "PATH=" + os.Getenv("PATH"), noRaceSleep}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	if namespace {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS
		if uid := os.Getuid(); uid != 0 {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
			cmd.SysProcAttr.AmbientCaps = []uintptr{capSysAdmin}
		}
	}
	return cmd
}

const (
	capSysAdmin = 21
	noRaceSleep = "GORACE=atexit_sleep_ms=0"
)

// canNamespace tries once whether a PID namespace with its own /proc can be made.
var canNamespace = sync.OnceValue(func() error {
	cmd := firstCommand(spec{Probe: true, Namespace: true}, true)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w %s", err, out)
	}
	return nil
})
