package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/proctest"
	"tandem/internal/status"
)

// What a flood on both sockets costs: the time from SIGTERM, or from web's end, to init's end, and how much of one
// processor init takes meanwhile (of which there are as many as floods leave).
//
//	go test -run '^$' -bench Flood -benchtime 20x ./cmd/init
func BenchmarkFlood(b *testing.B) {
	for _, clients := range []int{0, 6} {
		for _, web := range []bool{false, true} {
			b.Run(fmt.Sprintf("clients=%d/web=%v", clients, web), func(b *testing.B) {
				var cpu time.Duration
				for b.Loop() {
					b.StopTimer()
					i := start(b, proctest.PID1, goodWeb, goodBot, "WEB_NOTIFY=true", "LOG_LEVEL=error")
					i.WaitLine(soon, "bot ready")
					leader, ok := i.Find(i.awaitState("web", status.Starting).PID)
					if !ok {
						b.Fatal("web has gone")
					}
					stop := flood(b, i, clients)
					before := cpuOf(b, i.PID)
					time.Sleep(500 * time.Millisecond)
					cpu += cpuOf(b, i.PID) - before
					b.StartTimer()
					if web {
						_ = syscall.Kill(leader.PID, syscall.SIGKILL)
					} else {
						i.Signal(syscall.SIGTERM)
					}
					i.Wait(soon)
					b.StopTimer()
					stop()
					i.Kill()
					b.StartTimer()
				}
				b.ReportMetric(float64(cpu)/float64(b.N)/float64(500*time.Millisecond)*100, "%cpu")
			})
		}
	}
}

// cpuOf is the processor time of a process in hundredths of a second; see proc_pid_stat(5).
func cpuOf(t testing.TB, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
