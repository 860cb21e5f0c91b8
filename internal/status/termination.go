package status

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// WriteTerminationMessage writes what init has to say of its end into the file at path, shortened to what Kubernetes
// takes. It does nothing if there is no such file, or if it is not one for that: somebody may have put a link or a pipe
// there, or by a slip named a file that holds something else.
func WriteTerminationMessage(path, words string) {
	if info, err := os.Lstat(path); path == "" || err != nil || !info.Mode().IsRegular() {
		return
	}
	if len(words) > maxTerminationBytes {
		words = words[:maxTerminationBytes]
	}
	written := make(chan any, 1)
	go func() {
		defer func() { written <- recover() }()
		f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrPermission) {
			f, err = os.OpenFile(path, os.O_WRONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		}
		if err != nil {
			return
		}
		defer f.Close()
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxTerminationBytes+1 {
			return
		}
		if f.Truncate(0) == nil {
			_, _ = f.WriteString(words + "\n")
		}
	}()
	select {
	case r := <-written:
		if r != nil {
			panic(r)
		}
	case <-time.After(200 * time.Millisecond):
	}
}

// maxTerminationBytes is how much is written. Kubernetes takes 4096 bytes. A file that has more holds something else.
const maxTerminationBytes = 4000
