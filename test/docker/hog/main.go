// Command hog stands in a container for a process with a leak, and for one that says what it is confined to and what it
// reaches.
//
//	hog eat           takes memory until the kernel ends it
//	hog tell NAME     prints what it is confined to, each line beginning with NAME, and ends at SIGTERM
//	hog speak NAME    the same, and says by sd_notify(3) that it is ready, writes to /dev/stderr, looks into RUN_DIR, and
//	                  leaves words as bot
//	hog umask NNN PROGRAM [ARG...]  becomes another program under that umask
package main

import (
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tandem/internal/sdnotify"
	"tandem/internal/status"
)

var eaten [][]byte // package-wide, so that no compiler and no collector thinks it is of no use

func main() {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "eat":
		fmt.Println("hog: GOMEMLIMIT", os.Getenv("GOMEMLIMIT"))
		debug.SetMemoryLimit(math.MaxInt64) // which would have it collect garbage first, of which there is none
		for {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			eaten = append(eaten, b)
		}
	case len(os.Args) == 3 && os.Args[1] == "tell":
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		tell(os.Args[2])
		<-stop
	case len(os.Args) == 3 && os.Args[1] == "speak":
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		speak(os.Args[2])
		tell(os.Args[2])
		<-stop
	case len(os.Args) > 3 && os.Args[1] == "umask":
		mask, err := strconv.ParseInt(os.Args[2], 8, 32)
		if err == nil {
			syscall.Umask(int(mask))
			err = syscall.Exec(os.Args[3], os.Args[3:], os.Environ())
		}
		fmt.Println(err)
		os.Exit(1)
	default:
		fmt.Println("usage: hog eat | tell NAME | speak NAME | umask NNN PROGRAM [ARG...]")
		os.Exit(64)
	}
}

func speak(name string) {
	sdnotify.New(os.Getenv).Send("READY=1", sdnotify.Status(name+" speaks"))
	f, err := os.OpenFile("/dev/stderr", os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintln(f, name, "writes to /dev/stderr")
	}
	if err != nil {
		fmt.Println(name, err)
	}
	dir := os.Getenv("RUN_DIR")
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) { // init writes it after the start
		_, err = status.Read(filepath.Join(dir, status.OfPair.Status))
		if !os.IsNotExist(err) || time.Now().After(until) {
			break
		}
	}
	fmt.Println(name, "reads the status:", err)
	if name == "bot" {
		err = status.WriteWords(dir, name, status.Words{At: time.Now(), Reason: "none"})
		fmt.Println(name, "leaves words:", err)
	}
	wd, _ := os.Getwd()
	fmt.Println(name, "is", os.Getenv("USER"), os.Getenv("LOGNAME"), os.Getenv("HOME"), "in", wd)
}

func tell(name string) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fmt.Println(name, err)
	}
	for line := range strings.Lines(string(b)) {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), ":"); key {
		case "Uid", "Gid", "Groups", "CapEff", "CapBnd", "NoNewPrivs":
			fmt.Println(name, key, strings.Join(strings.Fields(value), " "))
		}
	}
	score, _ := os.ReadFile("/proc/self/oom_score_adj")
	fmt.Println(name, "oom", strings.TrimSpace(string(score)))
	fmt.Println(name, "ready")
}
