// Package confine reads from the settings what a process is confined to: its user, its capabilities, whether it can
// gain privileges, and how many files it may have open.
//
// It promises that a setting which init lacks the privilege to carry out is rejected before anything starts, with what
// to do about it. Package reap carries the settings out, between fork and exec. OOMScore is beside them: which process
// the kernel kills first when memory runs out.
package confine

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"tandem/internal/config"
	"tandem/internal/reap"
)

// privileges are what init itself may do, bit n for capability n.
type privileges struct{ permitted, effective uint64 }

func ownPrivileges() privileges {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	_ = unix.Capget(&header, &sets[0])
	return privileges{
		uint64(sets[1].Permitted)<<32 | uint64(sets[0].Permitted), uint64(sets[1].Effective)<<32 | uint64(sets[0].Effective),
	}
}

func (p privileges) may(capability uint) bool { return p.effective&(1<<capability) != 0 }

// Read reads what a process is confined to from the settings that begin with prefix, like "WEB_". l is nil where it is
// confined to nothing. user is what the environment of a process with a user of its own says of that user, nil where it
// runs as init does.
func Read(env *config.Env, prefix string) (l *reap.Limits, user map[string]string) {
	p := ownPrivileges()
	var want reap.Limits
	user = readUser(env, prefix+"USER", p, &want)
	readCapabilities(env, prefix+"CAPABILITIES", p, &want)
	noNewPrivs := prefix + "NO_NEW_PRIVS"
	want.NoNewPrivs = env.Bool(noNewPrivs, want.Capabilities != nil)
	if want.Capabilities != nil && !want.NoNewPrivs && !p.may(unix.CAP_SETPCAP) {
		env.Reject(noNewPrivs,
			"leave it out, or capabilities could come back: init lacks SETPCAP, which would take them for good")
	}
	readNoFile(env, prefix+"NOFILE", p, &want)
	if want.User == nil && want.NoFile == 0 && !want.NoNewPrivs && want.Capabilities == nil {
		return nil, user
	}
	return &want, user
}

// readUser returns what the environment says of the user, nil without one.
func readUser(env *config.Env, name string, p privileges, l *reap.Limits) (variables map[string]string) {
	spec := env.String(name, "")
	if spec == "" {
		return nil
	}
	passwd, group := readAccounts()
	a, err := findUser(spec, passwd, group)
	switch {
	case err != nil:
		env.Reject(name, err.Error())
	case a.UID == os.Getuid() && a.GID == os.Getgid() && (!p.may(unix.CAP_SETGID) || groupsAreFixed()):
		l.Capabilities = new(uint64) // init is this user already
	case !p.may(unix.CAP_SETUID) || !p.may(unix.CAP_SETGID) || !p.may(unix.CAP_KILL): // KILL is for its end
		env.Reject(name, fmt.Sprintf("init runs as user %d and may not change users: start the container as root "+
			"(docker run --user 0) with the capabilities SETUID, SETGID and KILL, or leave it out", os.Getuid()))
	case groupsAreFixed():
		env.Reject(name, "init may be no other user than its own: this user namespace has no say about groups "+
			"(/proc/self/setgroups is deny); make one with subordinate users, as rootless Docker and Podman do")
	case !isMapped("/proc/self/uid_map", a.UID) || !areMapped("/proc/self/gid_map", append([]int{a.GID}, a.Groups...)):
		env.Reject(name, "this user namespace does not have it, or not all of its groups (/proc/self/uid_map and gid_map)")
	default:
		l.User, l.Capabilities = &a.User, new(uint64) // a user has no privileges but those that are listed
	}
	return map[string]string{"HOME": a.home, "USER": a.name, "LOGNAME": a.name}
}

// groupsAreFixed says whether this user namespace forbids setgroups(2), as one does that was made without privilege.
func groupsAreFixed() bool {
	b, err := os.ReadFile("/proc/self/setgroups")
	return err == nil && strings.TrimSpace(string(b)) == "deny"
}

func areMapped(file string, ids []int) bool {
	for _, id := range ids {
		if !isMapped(file, id) {
			return false
		}
	}
	return true
}

// isMapped says whether a user or group is there in this user namespace; see user_namespaces(7).
func isMapped(file string, id int) bool {
	b, err := os.ReadFile(file)
	if err != nil { // no /proc, or a kernel without such namespaces
		return true
	}
	for line := range strings.Lines(string(b)) {
		words := strings.Fields(line) // the first one inside, the first one outside, and how many
		if len(words) != 3 {
			continue
		}
		first, err := strconv.ParseUint(words[0], 10, 32)
		length, e := strconv.ParseUint(words[2], 10, 32)
		if err == nil && e == nil && uint64(id) >= first && uint64(id)-first < length {
			return true
		}
	}
	return false
}

func readCapabilities(env *config.Env, name string, p privileges, l *reap.Limits) {
	if env.String(name, "") == "" {
		return
	}
	var kept uint64
	for _, word := range env.List(name) {
		word = strings.ToUpper(word)
		n, known := capabilityNumber(strings.TrimPrefix(word, "CAP_"))
		switch {
		case word == "NONE":
		case !known:
			env.Reject(name, fmt.Sprintf(
				"there is no capability %.80q: want names, separated by commas, like NET_BIND_SERVICE, or none", word))
			return
		case p.permitted&(1<<n) == 0:
			env.Reject(name, "init itself does not have "+word+": give it to the container (docker run --cap-add)")
			return
		default:
			kept |= 1 << n
		}
	}
	l.Capabilities = &kept
}

// capabilityNumber is the number of a capability, by its name in capabilities(7) without CAP_.
func capabilityNumber(name string) (n uint, known bool) {
	for _, c := range capability.ListKnown() {
		if strings.EqualFold(c.String(), name) {
			return uint(c), true
		}
	}
	return 0, false
}

const (
	minNoFile = 16      // what a program needs to come as far as an error message
	maxNoFile = 1 << 30 // the most that a kernel can be set to (fs.nr_open)
)

func readNoFile(env *config.Env, name string, p privileges, l *reap.Limits) {
	value := env.String(name, "")
	if value == "" {
		return
	}
	n, err := strconv.ParseUint(value, 10, 31)
	var own syscall.Rlimit
	switch {
	case err != nil || n < minNoFile:
		env.Reject(name, fmt.Sprintf("want a number of open files from %d on, like 1024", minNoFile))
	case syscall.Getrlimit(syscall.RLIMIT_NOFILE, &own) == nil && n > own.Max && !p.may(unix.CAP_SYS_RESOURCE):
		env.Reject(name, fmt.Sprintf(
			"the container may have %d at most: raise that first (docker run --ulimit nofile=%d)", own.Max, n))
	case n > maxNoFile:
		env.Reject(name, fmt.Sprintf("want at most %d", maxNoFile))
	default:
		l.NoFile = n
	}
}
