package main

import (
	"path/filepath"
	"testing"
	"time"
)

// The control socket's actor ends with init: one that went on would cost each stop of a container 300 ms.
func TestControlEndsWithInit(t *testing.T) {
	t.Parallel()
	c := &controlServer{}
	if err := c.listen(filepath.Join(t.TempDir(), "init.sock")); err != nil {
		t.Fatal(err)
	}
	done, returned := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(returned)
		c.serve(done)
	}()
	close(done)
	select {
	case <-returned:
	case <-time.After(20 * time.Second):
		t.Fatal("it is still serving")
	}
}
