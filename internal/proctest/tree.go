package proctest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Proc is one process as /proc shows it.
type Proc struct {
	PID, PPID, PGID, SID int
	NSPID                int  // its number in its own PID namespace
	State                byte // 'Z' for a zombie
	Name                 string
	Args                 []string // nil for a zombie, or where it cannot be read
}

func (q Proc) String() string {
	return fmt.Sprintf("%d(%d) parent %d group %d %c %s %q", q.PID, q.NSPID, q.PPID, q.PGID, q.State, q.Name, q.Args)
}

// Tree is every process that descends from the program's namespace or parent, the program included; a Parent
// that collects orphans is left out. It is empty when all has gone.
func (p *Process) Tree() []Proc {
	var tree []Proc
	for _, q := range descendants(p.root) {
		if q.PID == p.PID || q.PID != p.root {
			tree = append(tree, q)
		}
	}
	return tree
}

// Zombies are those of Tree that have ended and were not collected.
func (p *Process) Zombies() []Proc {
	var z []Proc
	for _, q := range p.Tree() {
		if q.State == 'Z' {
			z = append(z, q)
		}
	}
	return z
}

// Find is the process of Tree that the program knows by the number nspid, as in status.json.
func (p *Process) Find(nspid int) (Proc, bool) {
	for _, q := range p.Tree() {
		if q.NSPID == nspid {
			return q, true
		}
	}
	return Proc{}, false
}

func (p *Process) hostPID(nspid int) int {
	for _, q := range descendants(p.root) {
		if q.NSPID == nspid && q.PID != p.root {
			return q.PID
		}
	}
	return 0 // it has ended already
}

// descendants is root and all below it.
func descendants(root int) []Proc {
	children := map[int][]Proc{}
	var found []Proc
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		q, ok := read(pid)
		if !ok {
			continue
		}
		if pid == root {
			found = append(found, q)
		} else {
			children[q.PPID] = append(children[q.PPID], q)
		}
	}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].PID]...)
	}
	return found
}

func read(pid int) (Proc, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	open, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
	if err != nil || open < 0 || end < open {
		return Proc{}, false
	}
	q := Proc{PID: pid, NSPID: pid, Name: string(stat[open+1 : end])}
	if _, err := fmt.Sscanf(string(stat[end+2:]), "%c %d %d %d", &q.State, &q.PPID, &q.PGID, &q.SID); err != nil {
		return Proc{}, false
	}
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			if all := strings.Fields(numbers); len(all) > 0 {
				q.NSPID, _ = strconv.Atoi(all[len(all)-1])
			}
		}
	}
	if cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); len(cmdline) > 0 {
		q.Args = strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	}
	return q, true
}
