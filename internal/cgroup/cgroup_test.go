package cgroup

import (
	"os"
	"path/filepath"
	"testing"

	"tandem/internal/testenv"
)

// The lines are of real systems, shortened.
func TestFind(t *testing.T) {
	for name, c := range map[string]struct {
		groups, mounts string
		want           controller
	}{
		"version 2 in a container": {
			"0::/\n",
			"30 25 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate,memory_recursiveprot\n",
			controller{"/sys/fs/cgroup", "/sys/fs/cgroup", true},
		},
		"version 2 on a host": {
			"0::/system.slice/tandem.service\n",
			"30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n",
			controller{"/sys/fs/cgroup/system.slice/tandem.service", "/sys/fs/cgroup", true},
		},
		"version 2 in a container without a cgroup namespace": {
			"0::/docker/abc\n",
			"30 25 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
			controller{"/sys/fs/cgroup", "/sys/fs/cgroup", true},
		},
		"version 1 in a container": {
			"9:pids:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n",
			"40 30 0:27 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n" +
				"41 30 0:28 /docker/abc /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n",
			controller{"/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory", false},
		},
		"version 1 with a cgroup namespace": {
			"4:memory:/\n", "41 30 0:28 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
			controller{"/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory", false},
		},
		"both on a host, memory in version 1": {
			"4:memory:/user.slice/a b\n0::/user.slice\n",
			"41 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
				"42 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			controller{"/sys/fs/cgroup/memory/user.slice/a b", "/sys/fs/cgroup/memory", false},
		},
		"a cgroup outside what is mounted": {
			"0::/../other\n", "30 25 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
			controller{"/sys/fs/cgroup", "/sys/fs/cgroup", true},
		},
		"a name that only begins alike": {
			"0::/docker/abcdef\n", "30 25 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
			controller{"/sys/fs/cgroup", "/sys/fs/cgroup", true},
		},
		"nothing":  {"", "", controller{}},
		"nonsense": {"x\n::\n", "a b - c\n - \n", controller{}},
	} {
		if have := find(c.groups, c.mounts, "memory"); have != c.want {
			t.Errorf("%s: have %+v, want %+v", name, have, c.want)
		}
	}
}

func TestLimitAndOOMKills(t *testing.T) {
	write := func(path, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		v2    bool
		files map[string]string
		limit int64
		kills int
	}{
		"version 2": {true, map[string]string{"a/b/memory.max": "max\n", "a/memory.max": "536870912\n",
			"memory.max":        "1073741824\n",
			"a/b/memory.events": "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n"}, 536870912, 2},
		"version 2 without a limit": {true, map[string]string{"a/b/memory.max": "max\n"}, 0, 0},
		"version 1": {false, map[string]string{"a/b/memory.limit_in_bytes": "67108864\n",
			"memory.limit_in_bytes":  "9223372036854771712\n",
			"a/b/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"}, 67108864, 5},
		"version 1 without a limit": {false, map[string]string{"a/b/memory.limit_in_bytes": "9223372036854771712\n"}, 0, 0},
		"nonsense": {true,
			map[string]string{"a/b/memory.max": "-5\n", "a/b/memory.events": "oom_kill\noom_kill x\n"}, 0, 0},
		"no files": {true, nil, 0, 0},
	} {
		top := t.TempDir()
		for path, content := range c.files {
			write(filepath.Join(top, path), content)
		}
		m := Memory{controller{filepath.Join(top, "a/b"), top, c.v2}}
		if limit, kills := m.Limit(), m.OOMKills(); limit != c.limit || kills != c.kills {
			t.Errorf("%s: limit %d, %d kills; want %d, %d", name, limit, kills, c.limit, c.kills)
		}
	}
	if m := (Memory{}); m.Limit() != 0 || m.OOMKills() != 0 {
		t.Error("the zero value knows something")
	}
}

func TestProcessesLeft(t *testing.T) {
	for name, c := range map[string]struct {
		limit, have string
		left        int
		ok          bool
	}{
		"some":       {"10\n", "7\n", 3, true},
		"none":       {"10\n", "10\n", 0, true},
		"no limit":   {"max\n", "7\n", 0, false},
		"no file":    {"", "7\n", 0, false},
		"nonsense":   {"10\n", "x\n", 10, false},
		"over limit": {"10\n", "12\n", -2, true},
	} {
		dir := t.TempDir()
		for file, text := range map[string]string{"pids.max": c.limit, "pids.current": c.have} {
			if text == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if left, ok := (Processes{controller{dir, dir, true}}).Left(); left != c.left || ok != c.ok {
			t.Errorf("%s: %d, %v", name, left, ok)
		}
	}
	if _, ok := (Processes{}).Left(); ok {
		t.Error("the zero value knows something")
	}
	groups, mounts := "8:pids:/a\n", "41 30 0:28 / /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids\n"
	if have := find(groups, mounts, "pids"); have != (controller{"/sys/fs/cgroup/pids/a", "/sys/fs/cgroup/pids", false}) {
		t.Errorf("%+v", have)
	}
}

// On this machine: whatever it has, the answers are not absurd.
func TestOwn(t *testing.T) {
	m, p := Own()
	if m.dir == "" {
		testenv.Untested(t, "this machine has no memory cgroup")
	}
	if _, err := os.Stat(m.dir); err != nil {
		t.Errorf("%+v: %v", m, err)
	}
	left, ok := p.Left()
	t.Logf("%+v: limit %d, %d kills, %d processes left (%v)", m, m.Limit(), m.OOMKills(), left, ok)
}
