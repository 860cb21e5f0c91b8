package reap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"tandem/internal/exitcode"
)

// Command is a program to start.
type Command struct {
	Args  []string // Args[0] is looked up in Env's PATH unless it has a slash
	Env   []string
	Dir   string
	Stdin uintptr
	Out   [2]uintptr // standard output and error, through which no line of it passes init; zero for this process's own
	Extra []uintptr // descriptors 3 and on
	// DieWithParent has the kernel kill the process when this one ends: for an init that is not PID 1.
	DieWithParent bool
	Foreground    bool             // its group becomes the foreground of the terminal that Stdin is
	Ignored       []syscall.Signal // that are ignored here, and stay so
	Limits        *Limits          // nil for none
}

// files are its descriptors, from 0 on.
func (c Command) files() []uintptr {
	if c.Out == [2]uintptr{} {
		c.Out = [2]uintptr{1, 2}
	}
	return append([]uintptr{c.Stdin, c.Out[0], c.Out[1]}, c.Extra...)
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
	path, err := lookPath(c.Args[0], c.Env)
	if err != nil {
		return 0, explain(c, path, err)
	}
	if c.Limits != nil || c.Foreground {
		pid, err := startLimited(path, c)
		if err != nil {
			return 0, explain(c, path, err)
		}
		return pid, nil
	}
	attr := &syscall.ProcAttr{
		Dir: c.Dir, Env: c.Env, Files: c.files(),
		Sys: &syscall.SysProcAttr{Setpgid: true},
	}
	if c.DieWithParent {
		attr.Sys.Pdeathsig = syscall.SIGKILL
	}
	pid, err := syscall.ForkExec(path, c.Args, attr)
	if err != nil {
		return 0, explain(c, path, err)
	}
	return pid, nil
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

// lookPath finds name as execvp(3) does.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, line := range env {
		if v, ok := strings.CutPrefix(line, "PATH="); ok {
			path = v
		}
	}
	err := error(syscall.ENOENT)
	for _, dir := range filepath.SplitList(path) {
		if dir == "" {
			dir = "."
		}
		file := filepath.Join(dir, name)
		info, e := os.Stat(file)
		switch {
		case e != nil:
			if errors.Is(e, fs.ErrPermission) {
				err = syscall.EACCES
			}
		case info.IsDir():
		case unix.Access(file, unix.X_OK) != nil:
			err = syscall.EACCES
		default:
			if !filepath.IsAbs(file) {
				file = "./" + file
			}
			return file, nil
		}
	}
	return "", err
}

// explain says why c, of which path was found, could not be started, and what to do about it.
func explain(c Command, path string, err error) *StartError {
	name := c.Args[0]
	e := &StartError{Code: exitcode.NotExecutable, Err: fmt.Errorf("%s: %w", name, err)}
	var limit *limitError
	switch {
	case errors.As(err, &limit):
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		e.Code = exitcode.NotFound
		if path == "" {
			e.Err = fmt.Errorf("%s is not in PATH", name)
		} else if info, statErr := os.Stat(path); filepath.IsAbs(path) && statErr == nil && !info.IsDir() {
			e.Err = fmt.Errorf("%s is there, but not the interpreter or loader that it names "+
				"(or not its working directory %s)", path, c.Dir)
		} else {
			e.Err = fmt.Errorf("there is no program %s", path)
		}
	case errors.Is(err, fs.ErrPermission):
		user := os.Getuid()
		if c.Limits != nil && c.Limits.User != nil {
			user = c.Limits.User.UID
		}
		e.Err = fmt.Errorf("user %d may not execute %s (chmod +x?)", user, name)
	case errors.Is(err, syscall.ENOEXEC):
		e.Err = fmt.Errorf("%s has a format that this machine cannot execute "+
			"(a script without #!, or built for another processor?)", name)
	}
	for _, temporary := range []error{
		syscall.EAGAIN, syscall.ENOMEM, syscall.ENOSPC, syscall.EMFILE, syscall.ENFILE, syscall.ETXTBSY, syscall.EIO,
	} {
		if errors.Is(err, temporary) {
			e.Temporary = true
		}
	}
	return e
}
