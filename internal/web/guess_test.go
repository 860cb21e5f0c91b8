package web_test

import (
	"database/sql"
	"net/url"
	"path/filepath"
	"testing"
	"time"
)

// Guesses at sign-in links are answered while somebody else writes: they wait for no turn to write, and take none.
func TestGuessesAtLinksWriteNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tandem.db")
	r := newRigOn(t, openStore(t, "sqlite:"+path))
	other, err := sql.Open("sqlite", path)
	r.ok(err)
	defer other.Close()
	other.SetMaxOpenConns(1)
	_, err = other.Exec(`BEGIN IMMEDIATE`)
	r.ok(err)
	c := browser(t)
	begun := time.Now()
	for range 5 {
		if a := r.call(c, "POST", "/sign-in", url.Values{"secret": {"AAAAAAAAAAAAAAAAAAAAAAAAAA"}}); a.StatusCode != 410 {
			t.Errorf("a guess: %s %.200s", a.Status, a.body)
		}
	}
	if took := time.Since(begun); took > 4*time.Second { // waiting for the writer takes five, once
		t.Errorf("five guesses took %v while another writes", took)
	}
	_, err = other.Exec(`ROLLBACK`)
	r.ok(err)
	c.CloseIdleConnections()
}
