package main

import (
	"errors"
	"slices"
	"testing"

	"tandem/internal/config/configtest"
)

func TestSettingsAreSaidOnce(t *testing.T) {
	const ownPair = "for a pair of one's own, not for the image's programs"
	const handed = "set by whoever supervises init"
	const byFile = "the compose file itself limits what the container may do"
	configtest.Executable{
		Name: "init", Settings: allSettings(), Prefixes: []string{"WEB_", "BOT_"}, Manual: "docs/man/init.8",
		Folders: []string{"../../internal/config", "../../internal/confine"},
		Base:    []string{"RUN_DIR=" + t.TempDir(), "WEB_MARK=1", "BOT_MARK=1"},
		Read: func(environ []string) (any, error) {
			s, err := readSettings(pair, environ)
			if s.botProblem != "" {
				err = errors.Join(err, errors.New(s.botProblem))
			}
			s.policy.Jitter, s.reserved = nil, nil // functions
			s.log.JSON = false                     // on a terminal it is another one
			var passed []bool
			for _, name := range []string{"WEB_MARK=1", "BOT_MARK=1"} {
				passed = append(passed, slices.Contains(s.env[0], name), slices.Contains(s.env[1], name))
			}
			s.env = [2][]string{} // it has what is read, as it was given
			return []any{s, passed}, err
		},
		NotRead: configtest.Reasons{"GOMEMLIMIT": "it is set for a process that has none, when that is started"},
		NoSettings: configtest.Reasons{
			"XDG_RUNTIME_DIR": "the user's: RUN_DIR tells of it",
			"POLL_LOCK_FD":    "set for the bot",
			listenPID:         handed, listenFDs: handed, listenNames: handed, listenPIDFDID: handed,
			"DATABASE_URL": "the bot's and web's: the lock must not be put on the database",
		},
		NotInFiles: configtest.Reasons{
			"WEB_COMMAND": ownPair, "BOT_COMMAND": ownPair, "WEB_NOTIFY": ownPair, "BOT_NOTIFY": ownPair,
			"WEB_SUCCESS_EXIT": ownPair,
			"WEB_PASS_ENV":     ownPair, "BOT_PASS_ENV": ownPair, "WEB_STOP_SIGNAL": ownPair, "BOT_STOP_SIGNAL": ownPair,
			"WEB_USER": byFile, "BOT_USER": byFile, "WEB_CAPABILITIES": byFile, "BOT_CAPABILITIES": byFile,
			"WEB_NO_NEW_PRIVS": byFile, "BOT_NO_NEW_PRIVS": byFile, "WEB_NOFILE": byFile, "BOT_NOFILE": byFile,
			"GOMEMLIMIT":      "mem_limit of the compose file is shared out; one value for both would be too much",
			"POLL_LOCK_FILE":  "it has to lie on the volume, where the compose file puts it",
			"RUN_DIR":         "a tmpfs of the compose file",
			"TERMINATION_LOG": "Kubernetes reads it",
		},
	}.Check(t)
}

// What is wrong with a setting says what to write instead.
func TestADelayThatIsTooShort(t *testing.T) {
	t.Parallel()
	s, err := readSettings(pair, []string{"RUN_DIR=" + t.TempDir(), "BOT_RESTART_DELAY_MAX=500ms"})
	want := `BOT_RESTART_DELAY_MAX="500ms": want at least BOT_RESTART_DELAY, which is 1s`
	if err != nil || s.botProblem != want {
		t.Errorf("%v, %q; want %q", err, s.botProblem, want)
	}
}
