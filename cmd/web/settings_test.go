package main

import (
	"errors"
	"io"
	"testing"

	"tandem/internal/config/configtest"
)

func TestSettingsAreSaidOnce(t *testing.T) {
	dir := t.TempDir()
	configtest.Executable{
		Name: "web", Settings: allSettings, Folders: []string{"../../internal/config"},
		Base: []string{"DATABASE_URL=sqlite:" + dir + "/x.db", "RUN_DIR=" + dir},
		Read: func(environ []string) (any, error) {
			s, log, err := readSettings(environ, io.Discard)
			err = errors.Join(err, s.databaseErr)
			s.databaseErr = nil
			return []any{s, log.Enabled(t.Context(), -4)}, err
		},
		NoSettings: configtest.Reasons{
			"XDG_RUNTIME_DIR": "the user's: RUN_DIR tells of it",
		},
		NotInFiles: configtest.Reasons{
			"DATABASE_URL": "the compose file is made for its database",
			"WEB_ADDR":     "the compose file publishes this port and no other; TANDEM_PORT is where",
			"RUN_DIR":      "a tmpfs of the compose file",
		},
	}.Check(t)
}
