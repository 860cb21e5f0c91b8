// Command snoop stands in a container for a web that was taken over: it reads all of /proc that its user may read
// and looks for the bot's token. It knows the token by a marker only, and prints where it was, never what it was.
//
//	snoop watch          as WEB_COMMAND: scans from its start on until the bot has been there for a while
//	snoop starts N       starts /init N times, with itself as web, and tells how many starts kept the token
//	snoop kill NAME      ends the process of that name with SIGKILL; for a container that shares a PID namespace
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Token is what the bot is given. Its marker stands in no environment and no argument of snoop's own.
const (
	marker = "AAcanary"
	token  = "123456789:" + marker + "-0123456789-0123456789-01234"
)

func main() {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "watch":
		os.Exit(watch())
	case len(os.Args) == 3 && os.Args[1] == "starts":
		n, _ := strconv.Atoi(os.Args[2])
		os.Exit(starts(n))
	case len(os.Args) == 3 && os.Args[1] == "kill":
		for _, pid := range pids() {
			if name(pid) == os.Args[2] {
				if err := syscall.Kill(pid, syscall.SIGKILL); err == nil {
					return
				}
			}
		}
		fmt.Println("there is no process", os.Args[2])
		os.Exit(1)
	}
	fmt.Println("usage: snoop watch | starts N | kill NAME")
	os.Exit(64)
}

// watch ends with 0 when it saw the bot and never its token, 3 when it saw the token, 4 when it saw no bot.
func watch() int {
	skip, _ := strconv.Atoi(os.Getenv("WEB_SNOOP_SKIP")) // the driver of `starts`, which has read this file's text
	scans, withBot := 0, 0
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && withBot < 15; {
		bot := false
		for _, pid := range pids() {
			if pid == skip {
				continue
			}
			bot = bot || name(pid) == "bot"
			if where := look(pid); where != "" {
				fmt.Printf("leak: scan %d found the token in %s (%s)\n", scans, where, name(pid))
				return 3
			}
		}
		scans++
		if bot {
			withBot++
		}
	}
	if withBot == 0 {
		fmt.Println("leak: unknown, the bot was never there")
		return 4
	}
	fmt.Printf("kept: %d scans, %d with the bot\n", scans, withBot)
	return 0
}

// look returns the file of the process in which the token is, or which would give its memory away; "" is none.
func look(pid int) string {
	dirs := []string{fmt.Sprintf("/proc/%d", pid)}
	tasks, _ := filepath.Glob(dirs[0] + "/task/*")
	for _, dir := range append(dirs, tasks...) {
		for _, file := range []string{"environ", "cmdline", "comm", "auxv", "maps", "status", "stack", "syscall"} {
			if holds(filepath.Join(dir, file)) {
				return filepath.Join(dir, file)
			}
		}
		if pid == os.Getpid() {
			continue // its own memory, and its own file with the marker in it
		}
		if f, err := os.Open(filepath.Join(dir, "mem")); err == nil {
			f.Close()
			return filepath.Join(dir, "mem")
		}
		for _, kind := range []string{"fd", "map_files"} {
			files, _ := os.ReadDir(filepath.Join(dir, kind))
			for _, file := range files {
				if path := filepath.Join(dir, kind, file.Name()); regular(path) && holds(path) {
					return path
				}
			}
		}
	}
	return ""
}

func regular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func holds(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 1<<22))
	return bytes.Contains(b, []byte(marker))
}

func name(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(b))
}

func pids() []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// starts ends with 0 when every start kept the token.
func starts(n int) int {
	kept := 0
	for i := range n {
		cmd := exec.Command("/init")
		cmd.Env = append(os.Environ(), "WEB_COMMAND=/snoop watch", "TELEGRAM_BOT_TOKEN="+token,
			"TELEGRAM_API_URL=http://127.0.0.1:1", "LOG_LEVEL=error", fmt.Sprintf("WEB_SNOOP_SKIP=%d", os.Getpid()))
		out, err := cmd.CombinedOutput()
		if err == nil && bytes.Contains(out, []byte("kept: ")) && !bytes.Contains(out, []byte(marker)) {
			kept++
			continue
		}
		fmt.Printf("start %d: %v\n%s\n", i+1, err, bytes.ReplaceAll(out, []byte(marker), []byte("(the token)")))
	}
	fmt.Printf("%d of %d starts kept the token\n", kept, n)
	if kept != n {
		return 1
	}
	return 0
}
