package eintr

import (
	"syscall"
	"testing"
)

func TestRetry(t *testing.T) {
	for _, last := range []error{nil, syscall.EAGAIN} {
		calls := 0
		n, err := Retry(func() (int, error) {
			if calls++; calls < 3 {
				return -1, syscall.EINTR
			}
			return 7, last
		})
		if n != 7 || err != last || calls != 3 {
			t.Errorf("have %d, %v after %d calls", n, err, calls)
		}
	}
}
