// Package cgroup asks the kernel how much memory and how many processes this container may have, and how many processes
// were killed for want of memory. It reads version 1 and version 2 of cgroups (cgroups(7)), on a host and in a
// container, where the cgroup is the root of what is mounted. It promises that what cannot be learned is zero.
//
// By hand. github.com/containerd/cgroups/v3 was tried: it adds 3.5 MB to PID 1, whose executable has 3.0, and wants to
// be told the path of the cgroup, which is half of what is done here.
package cgroup

import (
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Memory is about the memory of this process's cgroup, Processes about its processes. The zero values know nothing.
type (
	Memory    struct{ controller }
	Processes struct{ controller }
)

// controller is where the files of one controller are.
type controller struct {
	dir, top string // the directory of the cgroup, and the highest that can be seen
	v2       bool
}

// Own finds the cgroup of this process.
func Own() (Memory, Processes) {
	groups, mounts := read("/proc/self/cgroup"), read("/proc/self/mountinfo")
	return Memory{find(groups, mounts, "memory")}, Processes{find(groups, mounts, "pids")}
}

// find looks for a controller in the text of /proc/self/cgroup and /proc/self/mountinfo. Where both versions are
// mounted, the one that has the controller counts. That is version 1 if its controller is mounted at all.
func find(groups, mounts, name string) controller {
	var own1, own2 string                     // the path of our cgroup in version 1 and in version 2
	for line := range strings.Lines(groups) { // ID:CONTROLLERS:PATH
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(f) != 3:
		case f[1] == "":
			own2 = f[2]
		case listed(name, f[1]):
			own1 = f[2]
		}
	}
	var point1, root1, point2, root2 string   // where they are mounted, and what is the root there
	for line := range strings.Lines(mounts) { // ID PARENT DEVICE ROOT MOUNTPOINT OPTIONS [FIELDS] - TYPE SOURCE OPTIONS
		if !strings.Contains(line, " - cgroup") {
			continue
		}
		left, right, _ := strings.Cut(strings.TrimSpace(line), " - ")
		f, super := strings.Fields(left), strings.Fields(right)
		switch {
		case len(f) < 5 || len(super) < 3:
		case super[0] == "cgroup" && listed(name, super[2]):
			root1, point1 = f[3], f[4]
		case super[0] == "cgroup2":
			root2, point2 = f[3], f[4]
		}
	}
	if point1 != "" {
		return controller{below(point1, root1, own1), point1, false}
	}
	if point2 != "" {
		return controller{below(point2, root2, own2), point2, true}
	}
	return controller{}
}

// below is the directory of the cgroup own in a mount at point that shows what is below root. A container without a
// cgroup namespace has own and root as the host sees them. One that cannot see its own cgroup gets the mount itself.
func below(point, root, own string) string {
	rest, ok := strings.CutPrefix(own, strings.TrimSuffix(root, "/"))
	if !ok || rest != "" && rest[0] != '/' || strings.HasPrefix(rest, "/..") {
		return point
	}
	return strings.TrimSuffix(point+rest, "/")
}

// listed says whether word is in a list with commas.
func listed(word, list string) bool { return slices.Contains(strings.Split(list, ","), word) }

// Limit is how much memory the cgroup may have, in bytes: the least that it or one above it may. 0 is no limit.
func (m Memory) Limit() (limit int64) {
	name := "memory.limit_in_bytes"
	if m.v2 {
		name = "memory.max"
	}
	if m.dir == "" {
		return 0
	}
	for dir := m.dir; ; dir = dir[:strings.LastIndexByte(dir, '/')] {
		// "max", or version 1's largest number in pages, is no limit.
		n, err := strconv.ParseInt(strings.TrimSpace(read(dir+"/"+name)), 10, 64)
		if err == nil && n > 0 && n < 1<<60 && (limit == 0 || n < limit) {
			limit = n
		}
		if dir == m.top || len(dir) <= len(m.top) {
			return limit
		}
	}
}

// OOMKills is how many processes of the cgroup the kernel has killed for want of memory since it was made.
func (m Memory) OOMKills() int {
	name := "memory.oom_control"
	if m.v2 {
		name = "memory.events"
	}
	if m.dir == "" {
		return 0
	}
	for line := range strings.Lines(read(m.dir + "/" + name)) {
		if v, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(v))
			return n
		}
	}
	return 0
}

// Left is how many more processes and threads the cgroup may have. ok is false where there is no limit.
func (p Processes) Left() (n int, ok bool) {
	if p.dir == "" {
		return 0, false
	}
	limit, err := strconv.Atoi(strings.TrimSpace(read(p.dir + "/pids.max")))
	if err != nil { // "max", or no such controller
		return 0, false
	}
	have, err := strconv.Atoi(strings.TrimSpace(read(p.dir + "/pids.current")))
	return limit - have, err == nil
}

// read is the text of a file of the kernel, "" if it cannot be read. Web's start waits for it, and os.ReadFile makes
// twice as many system calls.
func read(name string) string {
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer syscall.Close(fd)
	var text []byte
	buf := make([]byte, 4096)
	for {
		n, err := syscall.Read(fd, buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 || len(text) > 64<<10 {
			return string(text)
		}
		text = append(text, buf[:n]...)
	}
}
