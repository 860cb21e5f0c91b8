package proctest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// parent is the thread that starts all first processes, once there is one to start. They are to end with this process.
// The kernel's signal for that comes when the thread ends that made them. A goroutine that ends while it is locked to
// its thread takes the thread along, whatever the thread made before.
var parent struct {
	sync.Mutex
	work chan func()
	done chan struct{}
}

// onParent has the thread do f, and waits for it.
func onParent(f func() error) error {
	parent.Lock()
	defer parent.Unlock()
	if parent.work == nil {
		work, done := make(chan func()), make(chan struct{})
		parent.work, parent.done = work, done
		go func() {
			defer close(done)
			runtime.LockOSThread()
			for f := range work {
				f()
			}
			runtime.UnlockOSThread()
		}()
	}
	var err error
	end := make(chan struct{})
	parent.work <- func() { defer close(end); err = f() }
	<-end
	return err
}

// endParent ends the goroutine, once nothing that it started runs any more.
func endParent() {
	parent.Lock()
	defer parent.Unlock()
	if parent.work != nil {
		close(parent.work)
		<-parent.done
		parent.work = nil
	}
}

// startIn starts cmd in a network namespace: a new process has that of the thread that makes it.
func startIn(path string, cmd *exec.Cmd) error {
	return onParent(func() error {
		if path == "" {
			return cmd.Start()
		}
		there, err := os.Open(path)
		if err != nil {
			return err
		}
		defer there.Close()
		here, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return err
		}
		defer here.Close()
		if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network namespace %s: %w", path, err)
		}
		err = cmd.Start()
		if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
			panic(fmt.Sprintf("leave the network namespace %s: %v", path, back)) // what is started next would be in it
		}
		return err
	})
}
