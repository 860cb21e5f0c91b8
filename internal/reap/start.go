package reap

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Command is a program to start.
type Command struct {
	Args  []string // Args[0] is looked up as execvp(3) does, in Env's PATH, in Dir and as the process's user
	Env   []string
	Dir   string
	Stdin uintptr
	Out   [2]uintptr // standard output and error, through which no line of it passes init; zero for this process's own
	Extra []uintptr  // descriptors 3 and on
	// DieWithParent has the kernel kill the process when this one ends: for an init that is not PID 1.
	DieWithParent bool
	Foreground    bool             // its group becomes the foreground of the terminal that Stdin is
	Session       bool             // it leads a session of its own, which no terminal controls, and not just a group
	Ignored       []syscall.Signal // that are ignored here, and stay so
	Limits        *Limits          // nil for none
	// Handed are variables that may name this process by its number. Where one does, the program gets its own number.
	Handed []string
	Shell  bool // /bin/sh gets a file whose format the kernel does not know, as execvp(3) has it
}

// files are its descriptors, from 0 on.
func (c Command) files() []uintptr {
	out := c.Out
	if out == [2]uintptr{} {
		out = [2]uintptr{1, 2}
	}
	return append([]uintptr{c.Stdin, out[0], out[1]}, c.Extra...)
}

// StartError says why a program could not be started.
type StartError struct {
	Code      int  // 127 not found, 126 not executable
	Temporary bool // for want of memory, processes, descriptors or disk: it may work later
	Err       error
}

func (e *StartError) Error() string { return e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }

// Start starts the program in a process group of its own, of which it is the leader, and with no signal blocked. It
// returns the number of the process. An error is a *StartError.
func Start(c Command) (int, error) {
	defer unblockSignals()()
	pid, path, err := c.execute()
	if err != nil {
		return 0, explain(c, path, err)
	}
	return pid, nil
}

// execute starts the program and returns its path. Without a slash in its name each place in PATH is tried in turn. The
// child tries it, because only there are the process's directory and user; so it is one fork for each place. The order
// of errors is that of execvp(3): the first that is not about a place counts, and else a place that may not be used.
func (c Command) execute() (pid int, path string, err error) {
	name := c.Args[0]
	if strings.Contains(name, "/") {
		pid, err = c.try(name)
		return pid, name, err
	}
	if name == "" {
		return 0, "", syscall.ENOENT
	}
	err = syscall.ENOENT
	for _, dir := range strings.Split(searchPath(c.Env), ":") {
		place := name // an empty entry is the process's directory
		switch {
		case len(dir) >= unix.PathMax: // which is none
			continue
		case dir != "":
			place = dir + "/" + name
		}
		there := c.there(place)
		// Most places have no such program, and this process sees what the child would, but for /proc/self.
		if !there && c.Limits == nil && !strings.HasPrefix(place, "/proc/") {
			continue
		}
		var limit *limitError
		pid, e := c.try(place)
		switch {
		case errors.As(e, &limit):
			return 0, place, e
		case errors.Is(e, syscall.EACCES):
			path, err = place, e
		case errors.Is(e, syscall.ENOENT), errors.Is(e, syscall.ENOTDIR), errors.Is(e, syscall.ESTALE),
			errors.Is(e, syscall.ENODEV), errors.Is(e, syscall.ETIMEDOUT):
			if there && path == "" { // but not its interpreter
				path = place
			}
		default:
			return pid, place, e
		}
	}
	return 0, path, err
}

// there says whether there is something at place, seen by this process from the other one's directory.
func (c Command) there(place string) bool {
	if !strings.HasPrefix(place, "/") && c.Dir != "" {
		place = c.Dir + "/" + place
	}
	var st syscall.Stat_t
	err := syscall.Stat(place, &st)
	return err != syscall.ENOENT && err != syscall.ENOTDIR
}

// try starts the program at path.
func (c Command) try(path string) (int, error) {
	pid, err := c.fork(path)
	if !c.Shell || !errors.Is(err, syscall.ENOEXEC) {
		return pid, err
	}
	c.Args = append([]string{shell, path}, c.Args[1:]...)
	if pid, e := c.fork(shell); !errors.Is(e, syscall.ENOENT) {
		return pid, e
	}
	return 0, err // an image without a shell
}

const shell = "/bin/sh"

func (c Command) fork(path string) (int, error) {
	if c.Limits != nil || c.Foreground || slices.ContainsFunc(c.Env, c.namesThisProcess) {
		return startLimited(path, c)
	}
	attr := &syscall.ProcAttr{
		Dir: c.Dir, Env: c.Env, Files: c.files(), Sys: &syscall.SysProcAttr{Setpgid: !c.Session, Setsid: c.Session},
	}
	if c.DieWithParent {
		attr.Sys.Pdeathsig = syscall.SIGKILL
	}
	return syscall.ForkExec(path, c.Args, attr)
}

// namesThisProcess says whether a line of Env is one of Handed with this process's number.
func (c Command) namesThisProcess(line string) bool {
	name, value, _ := strings.Cut(line, "=")
	return slices.Contains(c.Handed, name) && value == strconv.Itoa(os.Getpid())
}

// unblockSignals unblocks all signals on this thread, and so in what is started from it. back blocks them again.
func unblockSignals() (back func()) {
	runtime.LockOSThread() // the mask is a thread's
	var none, own unix.Sigset_t
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &none, &own)
	return func() {
		_ = unix.PthreadSigmask(unix.SIG_SETMASK, &own, nil)
		runtime.UnlockOSThread()
	}
}

// searchPath is where programs are, as getenv(3) has it: the first PATH counts.
func searchPath(env []string) string {
	for _, line := range env {
		if v, ok := strings.CutPrefix(line, "PATH="); ok {
			return v
		}
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}
