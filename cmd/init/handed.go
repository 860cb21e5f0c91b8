package main

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"

	"tandem/internal/config"
	"tandem/internal/reap"
	"tandem/internal/sdnotify"
	"tandem/internal/supervise"
)

// Variables of sd_listen_fds(3). Whoever supervises init hands sockets to the process that LISTEN_PID names, and that
// the last one names in another way.
const (
	listenPID     = "LISTEN_PID"
	listenFDs     = "LISTEN_FDS"
	listenNames   = "LISTEN_FDNAMES"
	listenPIDFDID = "LISTEN_PIDFDID"
)

// numbered are variables that say by a number for which process they are. Where that is init, they are for what init
// starts, and get its number. See docs/adr/0090.
func numbered() []string { return []string{listenPID, sdnotify.WatchdogPIDVariable} }

func namesInit(number string) bool { return number == strconv.Itoa(os.Getpid()) }

// handed are the sockets that init was handed. They are web's.
type handed struct {
	fds   []uintptr
	names string
	err   error // why none can be handed on
}

// takeHanded looks at what init was handed, before all that is marked as closed by exec.
func takeHanded(env *config.Env) (h handed) {
	if !namesInit(env.String(listenPID, "")) {
		return h
	}
	count := env.String(listenFDs, "")
	n, err := strconv.Atoi(count)
	there := false
	if err == nil && n >= 0 {
		h.fds, there = reap.HandedDown(n)
	}
	if !there {
		h.err = fmt.Errorf("%s is %s, and not so many descriptors are open from 3 on", listenFDs, quote(count))
	}
	h.names = env.String(listenNames, "")
	return h
}

// handOn gives web what init was handed. To the bot nothing of it is known.
func (s *settings) handOn(h handed, log *slog.Logger) {
	if h.err != nil {
		log.Warn("web gets none of the sockets that init was handed", "reason", h.err.Error())
	}
	if len(h.fds) == 0 {
		return
	}
	s.handed = h.fds
	web := &s.env[supervise.Web]
	*web = config.Set(*web, listenPID, strconv.Itoa(os.Getpid())) // which becomes web's at its start
	*web = config.Set(*web, listenFDs, strconv.Itoa(len(h.fds)))
	*web = config.Set(*web, listenNames, h.names)
}
