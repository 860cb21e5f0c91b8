package resident

import (
	"bytes"
	"os"
	"regexp"
	"strconv"
	"testing"
)

// What is resident becomes less, and the program goes on as before.
func TestRelease(t *testing.T) {
	file := func() int {
		b, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(string(regexp.MustCompile(`RssFile:\s+(\d+) kB`).FindSubmatch(b)[1]))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	before := file()
	Release()
	after := file()
	t.Logf("%d kB of files resident before, %d kB after", before, after)
	if after >= before {
		t.Errorf("%d kB of files are resident, %d kB before", after, before)
	}
	again, err := os.ReadFile("/proc/self/exe")
	if err != nil || !bytes.Equal(exe, again) {
		t.Errorf("the executable is another: %v", err)
	}
}
