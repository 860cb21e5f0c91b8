// Command hog stands in a container for a process with a leak, and for one that says what it is confined to.
//
//	hog eat           takes memory until the kernel ends it
//	hog tell NAME     prints what it is confined to, each line beginning with NAME, and ends at SIGTERM
package main

import (
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
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
	default:
		fmt.Println("usage: hog eat | tell NAME")
		os.Exit(64)
	}
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
