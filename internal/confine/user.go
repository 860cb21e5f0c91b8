package confine

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"tandem/internal/reap"
)

// account is a user as /etc/passwd and /etc/group have it.
type account struct {
	reap.User
	name string // its number where it has none
	home string
}

// findUser looks up USER or USER:GROUP, each a name or a number, in the two files, much as docker run --user does. A
// number need not be in them. A user that is not in them and comes without a group has the group of its own number,
// where docker gives it root's. A group that is given is the only one.
//
// By hand. github.com/moby/sys/user, which docker uses, was tried (29 kB). Where the files have something else in place
// of a number it reads 0, so that a slip in a file makes root of a user. os/user (25 kB) opens the files itself, and
// does not know USER:GROUP.
func findUser(spec, passwd, group string) (account, error) {
	name, groupName, hasGroup := strings.Cut(spec, ":")
	a := account{home: "/"}
	number, err := id(name)
	if a.UID, a.GID = number, number; err != nil {
		a.UID = -1
	}
	found := false
	for line := range strings.Lines(passwd) { // name:x:uid:gid:text:home:shell
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 6 || f[0] != name && (err != nil || f[2] != name) {
			continue
		}
		uid, uidErr := id(f[2])
		gid, gidErr := id(f[3])
		if uidErr == nil && gidErr == nil {
			a.UID, a.GID, a.home, name, found = uid, gid, f[5], f[0], true
			break
		}
	}
	if a.UID < 0 {
		return a, fmt.Errorf("there is no user %.80q in /etc/passwd: give the number", name)
	}
	if a.name = name; a.home == "" {
		a.home = "/"
	}
	if hasGroup {
		a.GID, err = findGroup(groupName, group)
		a.Groups = []int{a.GID}
		return a, err
	}
	a.Groups = []int{a.GID}
	for line := range strings.Lines(group) { // name:x:gid:member,member
		f := strings.Split(strings.TrimSpace(line), ":")
		gid, err := id(field(f, 2))
		if found && len(f) == 4 && err == nil && gid != a.GID && slices.Contains(strings.Split(f[3], ","), name) {
			a.Groups = append(a.Groups, gid)
		}
	}
	return a, nil
}

func findGroup(name, group string) (int, error) {
	for line := range strings.Lines(group) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if gid, err := id(field(f, 2)); err == nil && f[0] == name {
			return gid, nil
		}
	}
	if gid, err := id(name); err == nil {
		return gid, nil
	}
	return 0, fmt.Errorf("there is no group %.80q in /etc/group: give the number", name)
}

// field is the nth of the fields f, "" where there is none.
func field(f []string, n int) string {
	if n < len(f) {
		return f[n]
	}
	return ""
}

// id reads a user or group number. The largest ones mean "no change" to the kernel.
func id(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err == nil && s[0] == '+' {
		err = errors.New("a sign")
	}
	return int(n), err
}

// readAccounts reads the two files. One that is not there counts as empty: an image from scratch has none.
func readAccounts() (passwd, group string) {
	p, _ := os.ReadFile("/etc/passwd")
	g, _ := os.ReadFile("/etc/group")
	return string(p), string(g)
}
