package logging

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestASecretIsInNoLine(t *testing.T) {
	var out bytes.Buffer
	log := New(&out, Settings{JSON: true}, "bot", "", "123:secret")
	log.Info("asked https://api/bot123:secret/getMe", "err", errors.New("123:secret refused"), "token", "123:secret")
	if got := out.String(); strings.Contains(got, "secret\"") || strings.Contains(got, "123:") ||
		strings.Count(got, "[secret]") != 3 {
		t.Errorf("got %s", got)
	}
	if !strings.Contains(out.String(), `"process":"bot"`) {
		t.Errorf("no process in %s", out.String())
	}
}
