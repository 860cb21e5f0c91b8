//go:build amd64 || arm64

package main

// goroutine is where the runtime's record of this goroutine is.
func goroutine() uintptr
