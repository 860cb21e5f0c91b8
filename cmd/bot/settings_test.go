package main

import (
	"testing"

	"tandem/internal/config"
	"tandem/internal/config/configtest"
)

func TestSettingsAreSaidOnce(t *testing.T) {
	dir := t.TempDir()
	configtest.Executable{
		Name: "bot", Settings: allSettings, Folders: []string{"../../internal/config"},
		Base: []string{"TELEGRAM_BOT_TOKEN=123456789:AAF0a-token-of-the-form-that-is-wanted",
			"DATABASE_URL=postgres://u:p@h/d", "RUN_DIR=" + dir,
			"NOTIFY_SOCKET=" + dir + "/notify", "WATCHDOG_USEC=60000000"},
		Read: func(environ []string) (any, error) {
			env := config.New(environ)
			s := readSettings(env)
			s.log.JSON = false // on a terminal it is another one
			return s, env.Err()
		},
		NoSettings: configtest.Reasons{"XDG_RUNTIME_DIR": "the user's: RUN_DIR tells of it"},
		NotRead: configtest.Reasons{
			"HTTP_PROXY": "only for an address with http; TestAProxy", "NO_PROXY": "only with a proxy; TestAProxy",
		},
		NotInFiles: configtest.Reasons{
			"BOT_PACE":              "for a server that is not Telegram",
			"DATABASE_URL":          "the compose file is made for its database",
			"BOT_LOCK_DATABASE_URL": "there is no pooler before the database of the compose file",
			"BOT_FILES_DIR":         "a folder of another container, which has to be mounted first",
			"POLL_LOCK_FILE":        "it has to lie on the volume, where the compose file puts it",
			"RUN_DIR":               "a tmpfs of the compose file",
		},
	}.Check(t)
}
