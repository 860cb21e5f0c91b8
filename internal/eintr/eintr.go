// Package eintr repeats system calls that a signal interrupted (EINTR). PID 1 gets one with every child that ends.
package eintr

import "syscall"

// Retry makes a call until no signal interrupts it.
func Retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != syscall.EINTR {
			return n, err
		}
	}
}
