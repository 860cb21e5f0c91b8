package confine

import (
	"fmt"
	"testing"

	"tandem/internal/reap"
)

func TestFindUser(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken:x:one:1::/:\n" +
		"alice:x:1000:100:Alice:/home/alice:/bin/sh\nnohome:x:7:7:::\n1001:x:2000:2000::/odd:\n"
	const group = "root:x:0:\nusers:x:100:alice\nwheel:x:10:bob,alice\naudio:x:29:alice\nbad:x:x:alice\n"
	user := func(uid, gid int, groups ...int) reap.User { return reap.User{UID: uid, GID: gid, Groups: groups} }
	for spec, want := range map[string]account{
		"alice":       {user(1000, 100, 100, 10, 29), "alice", "/home/alice"},
		"1000":        {user(1000, 100, 100, 10, 29), "alice", "/home/alice"},
		"alice:wheel": {user(1000, 10, 10), "alice", "/home/alice"},
		"alice:77":    {user(1000, 77, 77), "alice", "/home/alice"},
		"65532":       {user(65532, 65532, 65532), "65532", "/"},
		"65532:0":     {user(65532, 0, 0), "65532", "/"},
		"nohome":      {user(7, 7, 7), "nohome", "/"},
		"1001":        {user(2000, 2000, 2000), "1001", "/odd"}, // a name first, as everywhere
	} {
		have, err := findUser(spec, passwd, group)
		if err != nil || fmt.Sprint(have) != fmt.Sprint(want) {
			t.Errorf("%s: have %v, %v; want %v", spec, have, err, want)
		}
	}
	for _, spec := range []string{"", ":", "bob", "broken", "alice:", "alice:nogroup", "-1", "+5", "4294967295", "1:2:3"} {
		if have, err := findUser(spec, passwd, group); err == nil {
			t.Errorf("%q: %v", spec, have)
		}
	}
}

func TestCapabilityNumber(t *testing.T) {
	for name, want := range map[string]uint{"CHOWN": 0, "net_bind_service": 10, "SYS_ADMIN": 21,
		"CHECKPOINT_RESTORE": 40} {
		if n, known := capabilityNumber(name); !known || n != want {
			t.Errorf("%s: %d, %v; want %d", name, n, known, want)
		}
	}
	for _, name := range []string{"", "FLY", "UNKNOWN", "CAP_CHOWN", "0"} {
		if n, known := capabilityNumber(name); known {
			t.Errorf("%q is %d", name, n)
		}
	}
}
