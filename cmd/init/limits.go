package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"tandem/internal/config"
	"tandem/internal/reap"
	"tandem/internal/supervise"
)

// Capabilities in the order of their numbers, without CAP_; see capabilities(7).
var capabilities = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
	NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT
	SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
	MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)

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

// confine reads what a process is confined to, and how it is stopped, from the settings that begin with its prefix.
// All that can be known to fail is rejected here, before anything starts.
func (s *settings) confine(env *config.Env, id supervise.ID, prefix string) {
	s.policy.StopSignal[id] = stopSignal(env, prefix+"STOP_SIGNAL")
	p := ownPrivileges()
	var want reap.Limits
	if home := readUser(env, prefix+"USER", p, &want); home != "" {
		s.env[id] = set(s.env[id], "HOME", home)
	}
	readCapabilities(env, prefix+"CAPABILITIES", p, &want)
	noNewPrivs := prefix + "NO_NEW_PRIVS"
	want.NoNewPrivs = env.Bool(noNewPrivs, want.Capabilities != nil)
	if want.Capabilities != nil && !want.NoNewPrivs && !p.may(unix.CAP_SETPCAP) {
		env.Reject(noNewPrivs, "leave it out, or capabilities could come back: init lacks SETPCAP, which would take them for good")
	}
	readNoFile(env, prefix+"NOFILE", p, &want)
	if want.User != nil || want.NoFile != 0 || want.NoNewPrivs || want.Capabilities != nil {
		s.limits[id] = &want
	}
}

// readUser returns where the user is at home, "" without one.
func readUser(env *config.Env, name string, p privileges, l *reap.Limits) (home string) {
	spec := env.String(name, "")
	if spec == "" {
		return ""
	}
	passwd, group := readAccounts()
	a, err := findUser(spec, passwd, group)
	switch {
	case err != nil:
		env.Reject(name, err.Error())
	case a.UID == os.Getuid() && a.GID == os.Getgid() && !p.may(unix.CAP_SETGID):
		l.Capabilities = new(uint64) // it runs as this user already
	case !p.may(unix.CAP_SETUID) || !p.may(unix.CAP_SETGID) || !p.may(unix.CAP_KILL): // the last to end it
		env.Reject(name, fmt.Sprintf("init runs as user %d and may not change users: start the container as root (docker run --user 0) "+
			"with the capabilities SETUID, SETGID and KILL, or leave it out", os.Getuid()))
	default:
		l.User, l.Capabilities = &a.User, new(uint64) // a user has no privileges but those that are listed
	}
	return a.home
}

func readCapabilities(env *config.Env, name string, p privileges, l *reap.Limits) {
	value := env.String(name, "")
	if value == "" {
		return
	}
	var kept uint64
	for _, word := range words(strings.ToUpper(value)) {
		n := -1
		for i, known := range capabilities {
			if strings.TrimPrefix(word, "CAP_") == known {
				n = i
			}
		}
		switch {
		case word == "NONE":
		case n < 0:
			env.Reject(name, "there is no capability "+quote(word)+": want names, separated by commas, like NET_BIND_SERVICE, or none")
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

// minNoFile is what a program needs to come as far as an error message.
const minNoFile = 16

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
		env.Reject(name, fmt.Sprintf("the container may have %d at most: raise that first (docker run --ulimit nofile=%d)", own.Max, n))
	default:
		l.NoFile = n
	}
}

// stopSignal reads the signal that asks a process to end.
func stopSignal(env *config.Env, name string) syscall.Signal {
	value := env.String(name, "")
	if value == "" {
		return syscall.SIGTERM
	}
	sig, err := supervise.ParseSignal(value)
	switch {
	case err != nil:
		env.Reject(name, err.Error())
	case sig == syscall.SIGKILL || sig == syscall.SIGSTOP:
		env.Reject(name, "no program can obey that one: want one that it ends at in order, like QUIT")
	default:
		return sig
	}
	return syscall.SIGTERM
}
