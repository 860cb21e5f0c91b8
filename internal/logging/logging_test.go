package logging

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"tandem/internal/config"
)

func TestASecretIsInNoLine(t *testing.T) {
	var out bytes.Buffer
	log := New(&out, Settings{JSON: true}, "bot", "", "123:secret")
	log.Info("asked https://api/bot123:secret/getMe", "err", errors.New("123:secret refused"), "token", "123:secret")
	if got := out.String(); strings.Contains(got, "secret\"") || strings.Contains(got, "123:") || strings.Count(got, "[secret]") != 3 {
		t.Errorf("got %s", got)
	}
	if !strings.Contains(out.String(), `"process":"bot"`) {
		t.Errorf("no process in %s", out.String())
	}
}

func TestSettings(t *testing.T) {
	env := config.New([]string{"LOG_LEVEL=WARN", "LOG_FORMAT=text"})
	if s := Read(env); s.JSON || s.Level.String() != "WARN" || env.Err() != nil {
		t.Errorf("got %+v, %v", s, env.Err())
	}
	env = config.New([]string{"LOG_LEVEL=loud", "LOG_FORMAT=xml"})
	Read(env)
	if err := env.Err(); err == nil || !strings.Contains(err.Error(), "LOG_LEVEL") || !strings.Contains(err.Error(), "LOG_FORMAT") {
		t.Errorf("got %v", err)
	}
}
