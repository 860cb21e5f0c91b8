package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/sdnotify"
	"tandem/internal/telegram"
)

// listener is who started the bot, with what it hears.
func listener(t *testing.T, interval string) (*sdnotify.Sender, func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	variables := map[string]string{sdnotify.SocketVariable: path, sdnotify.WatchdogVariable: interval}
	return sdnotify.New(func(name string) string { return variables[name] }), func() string {
		buf := make([]byte, sdnotify.MaxDatagram)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(buf[:n]), "\n", "|")
	}
}

func TestTellsHowItIs(t *testing.T) {
	to, heard := listener(t, "")
	tell := newTeller(to, slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		is   telegram.Condition
		says string
	}{
		{telegram.Condition{State: inbox.BotStarting}, "X_STANDBY=0|STATUS="},
		{telegram.Condition{State: inbox.BotStarting, StandBy: true, Holder: "bot a:7"},
			"READY=1|X_STANDBY=1|STATUS=the polling lock is held by bot a:7"},
		{telegram.Condition{State: inbox.BotPolling}, "READY=1|X_STANDBY=0|STATUS=polls Telegram"},
		{telegram.Condition{State: inbox.BotUnreachable, Reason: "no\nhost"}, "READY=1|X_STANDBY=0|STATUS=no host"},
		{telegram.Condition{State: inbox.BotStarting, Reason: "waiting for the database"},
			"X_STANDBY=0|STATUS=waiting for the database"},
	} {
		tell.changed(c.is)
		if have := heard(); have != c.says {
			t.Errorf("%+v: %q, want %q", c.is, have, c.says)
		}
	}
	// The wait goes on: what it waits for is outside, so it is ready.
	if have := heard(); have != "READY=1|X_STANDBY=0|STATUS=waiting for the database" {
		t.Errorf("have %q", have)
	}
	tell.stopping()
	tell.changed(telegram.Condition{State: inbox.BotPolling})
	if have := heard(); have != "STOPPING=1" {
		t.Errorf("have %q", have)
	}
	tell.stopping()
	if have := heard(); have != "STOPPING=1" {
		t.Errorf("something was said after the stop: %q", have)
	}
}

func TestTellsThatItIsAliveOnlyIfItIs(t *testing.T) {
	to, heard := listener(t, "100000")
	tell := newTeller(to, slog.New(slog.DiscardHandler))
	tell.changed(telegram.Condition{State: inbox.BotPolling})
	heard()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	lives := make(chan error, 2)
	lives <- nil
	lives <- errors.New("the poll loop has not moved on")
	go func() {
		defer close(ended)
		tell.alive(ctx, func() error {
			select {
			case err := <-lives:
				return err
			default:
				return nil
			}
		})
	}()
	for _, want := range []string{"WATCHDOG=1|READY=1|X_STANDBY=0|STATUS=polls Telegram",
		"STATUS=the poll loop has not moved on|WATCHDOG=trigger"} {
		if have := heard(); have != want {
			t.Errorf("have %q, want %q", have, want)
		}
	}
	stop()
	<-ended
	newTeller(nil, nil).changed(telegram.Condition{State: inbox.BotPolling}) // nobody listens
	newTeller(nil, nil).stopping()
}
