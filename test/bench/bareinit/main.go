// Bareinit is the least that a Go programmer would write for a PID 1 with two children. It starts them, passes signals
// on, and collects what ends. When the first has ended, it asks the second to end, and ends with the first one's
// status. `make bench-init` measures init beside it.
//
//	bareinit COMMAND [ARG...] [--- COMMAND [ARG...]]
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	var children []int
	for _, args := range commands(os.Args[1:]) {
		pid, err := syscall.ForkExec(args[0], args, &syscall.ProcAttr{
			Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setpgid: true},
		})
		if err != nil {
			os.Exit(127)
		}
		children = append(children, pid)
	}
	code := 0
	for sig := range signals {
		if sig == syscall.SIGURG { // the runtime's own
			continue
		}
		if sig != syscall.SIGCHLD {
			for _, pid := range children {
				_ = syscall.Kill(pid, sig.(syscall.Signal))
			}
			continue
		}
		for {
			var ws syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
			if err == syscall.ECHILD {
				os.Exit(code)
			}
			if pid <= 0 {
				break
			}
			if pid != children[0] {
				continue
			}
			if code = ws.ExitStatus(); ws.Signaled() {
				code = 128 + int(ws.Signal())
			}
			for _, other := range children[1:] {
				_ = syscall.Kill(other, syscall.SIGTERM)
			}
		}
	}
}

// commands cuts args at each "---".
func commands(args []string) [][]string {
	list := [][]string{nil}
	for _, a := range args {
		if a == "---" {
			list = append(list, nil)
			continue
		}
		list[len(list)-1] = append(list[len(list)-1], a)
	}
	return list
}
