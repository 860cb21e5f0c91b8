package proctest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const specVariable = "TANDEM_PROCTEST"

// spec is what the first process is told.
type spec struct {
	Path      string
	Args, Env []string
	Become    bool // become the program, else be its parent
	Namespace bool // it is PID 1 of a new namespace
	Terminal  bool // its standard input controls its session
	Mounts    []Mount
	User      int
	Status    int  // descriptor for the program's number and its end
	Probe     bool // only try whether it can be done
}

// first is the first process. It never returns.
func first(text string) {
	var s spec
	err := json.Unmarshal([]byte(text), &s)
	if err == nil {
		err = prepare(s)
	}
	if s.Probe {
		fail(os.Stderr, err)
	}
	status := os.NewFile(uintptr(s.Status), "status")
	syscall.CloseOnExec(s.Status)
	if err != nil {
		fail(status, err)
	}
	if s.User != 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(s.User), syscall.Setuid(s.User)); err != nil {
			fail(status, err)
		}
	}
	if s.Become {
		if os.Getuid() != 0 {
			unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		}
		fail(status, syscall.Exec(s.Path, append([]string{s.Path}, s.Args...), s.Env))
	}
	beParent(s, status)
}

func fail(to *os.File, err error) {
	if err == nil {
		os.Exit(0)
	}
	fmt.Fprintln(to, err)
	os.Exit(1)
}

func prepare(s spec) error {
	if !s.Namespace {
		return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, m := range s.Mounts {
		if err := syscall.Mount(m.Source, m.Target, m.Type, m.Flags, m.Data); err != nil {
			return fmt.Errorf("mount %s: %w", m.Target, err)
		}
	}
	return nil
}

// beParent starts the program, reports its number and its end, and collects orphans until it is killed.
func beParent(s spec, status *os.File) {
	files := []uintptr{0, 1, 2}
	for fd := 3; fd < s.Status; fd++ {
		files = append(files, uintptr(fd))
	}
	pid, err := syscall.ForkExec(s.Path, append([]string{s.Path}, s.Args...), &syscall.ProcAttr{
		Env: s.Env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true, Setctty: s.Terminal},
	})
	if err != nil {
		fail(status, err)
	}
	for fd := 3; fd < s.Status; fd++ {
		syscall.Close(fd) // what the test asks about is the program's copy
	}
	fmt.Fprintln(status, pid)
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			os.Exit(0) // nobody is left
		case got == pid:
			fmt.Fprintln(status, int(ws))
		}
	}
}
