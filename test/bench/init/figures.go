package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"tandem/internal/status"
)

// figures are what was measured of each init, by the figure's name and the init's.
type figures map[string]map[string][]float64

func (f figures) add(figure, init string, v float64) {
	if f[figure] == nil {
		f[figure] = map[string][]float64{}
	}
	f[figure][init] = append(f[figure][init], v)
}

// quantile of a figure, q from 0 to 1; false where it was not measured.
func (f figures) quantile(figure, init string, q float64) (float64, bool) {
	v := slices.Sorted(slices.Values(f[figure][init]))
	if len(v) == 0 {
		return 0, false
	}
	return v[min(len(v)-1, int(q*float64(len(v))))], true
}

const (
	startTime  = "start"
	stopTime   = "stop"
	pokeTime   = "signal"
	stormTime  = "orphans"
	resident   = "resident"
	fairShare  = "proportional"
	idleSwitch = "switches"
	fileSize   = "size"
	restartLag = "restart"
)

const patience = 20 * time.Second

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

// each runs measure for every init in turn, round after round, beginning with another one in each.
func each(list []*contestant, rounds int, measure func(*contestant) error) error {
	for round := range rounds {
		for i := range list {
			c := list[(i+round)%len(list)]
			if c.slow && round%8 != 0 {
				continue
			}
			if err := measure(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// measureStart: from the execve of init to the first instruction of its first child, with a second one to start.
func (l *lab) measureStart(f figures, list []*contestant, rounds int) error {
	return each(append(slices.Clone(list), &contestant{name: floor}), rounds, func(c *contestant) error {
		s, err := l.start(c, l.command("web", "idle"), l.command("bot", "idle"))
		if err != nil {
			return err
		}
		defer s.kill()
		began, err := s.await("lab", "exec", patience)
		if err != nil {
			return err
		}
		started, err := s.await("web", "started", patience)
		if err == nil {
			f.add(startTime, c.name, ms(started.mono-began.mono))
		}
		return err
	})
}

// measureStop: from the signal that means stop to the end of init, both children obeying at once.
func (l *lab) measureStop(f figures, list []*contestant, rounds int) error {
	return each(list, rounds, func(c *contestant) error {
		if !c.pair && c.name != bare {
			return nil // it does not wait for the bot
		}
		s, err := l.start(c, l.command("web", "obey"), l.command("bot", "obey"))
		if err != nil {
			return err
		}
		defer s.kill()
		if err := s.bothReady(); err != nil {
			return err
		}
		if c.slow {
			time.Sleep(1500 * time.Millisecond) // pebble counts a service as started after one second
		}
		time.Sleep(100 * time.Millisecond)
		began := now()
		if err := s.signal(c.stop); err != nil {
			return err
		}
		if _, ok := s.code(patience); !ok {
			return fmt.Errorf("%s did not stop", c.name)
		}
		f.add(stopTime, c.name, ms(s.exited-began))
		return nil
	})
}

func (s *system) bothReady() error {
	_, err := s.await("web", "ready", patience)
	if err == nil {
		_, err = s.await("bot", "ready", patience)
	}
	return err
}

// measurePoke: from kill(2) to web's handler, one init after the other, in microseconds.
func (l *lab) measurePoke(f figures, list []*contestant, rounds int) error {
	var running []*system
	defer func() {
		for _, s := range running {
			s.kill()
		}
	}()
	for _, c := range list {
		if !c.pokes {
			continue
		}
		s, err := l.start(c, l.command("web", "poke"), nil)
		if err != nil {
			return err
		}
		running = append(running, s)
		if _, err := s.await("web", "ready", patience); err != nil {
			return err
		}
	}
	time.Sleep(300 * time.Millisecond)
	for round := range rounds {
		for i := range running {
			s := running[(i+round)%len(running)]
			began := now()
			if err := s.signal(syscall.SIGUSR1); err != nil {
				return err
			}
			poked, err := s.next("web", "poked", patience)
			if err != nil {
				return err
			}
			f.add(pokeTime, s.name, float64(poked.mono-began)/1e3)
			time.Sleep(2 * time.Millisecond)
		}
	}
	return nil
}

// measureStorm: from the end of n orphans at one instant until none is left, not even as a zombie.
func (l *lab) measureStorm(f figures, list []*contestant, rounds, n int) error {
	return each(list, rounds, func(c *contestant) error {
		if c.slow { // process-compose collects none at all
			return nil
		}
		s, err := l.start(c, l.command("web", "storm", n), nil)
		if err != nil {
			return err
		}
		defer s.kill()
		released, err := s.await("web", "released", 2*time.Minute)
		if err != nil {
			return err
		}
		gone, err := s.await("web", "gone", 2*time.Minute)
		if err == nil {
			f.add(stormTime, c.name, ms(gone.mono-released.mono))
		}
		return err
	})
}

// measureRestart: how late a bot that ended is started again, after the moment that init had told.
func (l *lab) measureRestart(f figures, us *contestant, rounds int) error {
	s, err := l.start(us, l.command("web", "idle"), l.command("bot", "end", 1),
		"BOT_RESTART_DELAY=80ms", "BOT_RESTART_DELAY_MAX=80ms")
	if err != nil {
		return err
	}
	defer s.kill()
	if _, err := s.next("bot", "started", patience); err != nil {
		return err
	}
	for n := range rounds {
		var told time.Time
		for end := time.Now().Add(patience); told.IsZero(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				return fmt.Errorf("the status file never told of end %d", n+1)
			}
			if st, err := status.Read(filepath.Join(s.dir, "run/status.json")); err == nil {
				if p, _ := st.Process("bot"); p.Restarts == n && p.NextStartAt != nil {
					told = *p.NextStartAt
				}
			}
		}
		started, err := s.next("bot", "started", patience)
		if err != nil {
			return err
		}
		f.add(restartLag, us.name, ms(started.real-time.Duration(told.UnixNano())))
	}
	return nil
}

// idlers are the inits that do nothing, with two children that do nothing, and one in standby.
type idlers struct {
	running []*system
	names   []string
	before  []int
}

const standby = "init, in standby"

func (l *lab) startIdlers(list []*contestant) (*idlers, error) {
	i := &idlers{}
	lock := "POLL_LOCK_FILE=" + filepath.Join(l.dir, "shared.lock")
	for _, c := range list {
		var env []string
		if c.name == ours {
			env = []string{lock}
		}
		s, err := l.start(c, l.command("web", "idle"), l.command("bot", "idle"), env...)
		if err != nil {
			i.kill()
			return nil, err
		}
		i.running, i.names = append(i.running, s), append(i.names, c.name)
		if err := s.bothReady(); err != nil {
			i.kill()
			return nil, err
		}
	}
	s, err := l.start(list[0], l.command("web", "idle"), l.command("bot", "idle"), lock)
	if err != nil {
		i.kill()
		return nil, err
	}
	i.running, i.names = append(i.running, s), append(i.names, standby)
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		st, err := status.Read(filepath.Join(s.dir, "run/status.json"))
		if err == nil {
			if p, _ := st.Process("bot"); p.State == status.Standby {
				return i, nil
			}
		}
		if time.Now().After(end) {
			i.kill()
			return nil, fmt.Errorf("the second init does not stand by: %v", err)
		}
	}
}

func (i *idlers) kill() {
	for _, s := range i.running {
		s.kill()
	}
}

// begin takes their memory and begins to count; end has counted.
func (i *idlers) begin(f figures, l *lab) {
	for n, s := range i.running {
		rss, pss := memory(s.own(l.child))
		f.add(resident, i.names[n], float64(rss)/1024)
		f.add(fairShare, i.names[n], float64(pss)/1024)
		i.before = append(i.before, switches(s.own(l.child)))
	}
}

func (i *idlers) end(f figures, l *lab) {
	for n, s := range i.running {
		f.add(idleSwitch, i.names[n], float64(switches(s.own(l.child))-i.before[n]))
	}
}

// wear is what n starts and ends of the bot leave in init.
type wear struct {
	system                         *system
	fds, threads, rss              int // after the first ten
	fdsAfter, threadsAfter, rssEnd int
	took                           time.Duration
	switches                       int
}

func (l *lab) startWear(us *contestant, n int) (*wear, error) {
	enough := filepath.Join(l.dir, "enough")
	s, err := l.start(us, l.command("web", "idle"), l.command("bot", "flap", enough),
		"BOT_RESTART_DELAY=1ms", "BOT_RESTART_DELAY_MAX=1ms", "LOG_LEVEL=error")
	if err != nil {
		return nil, err
	}
	w := &wear{system: s}
	pid := s.cmd.Process.Pid
	began := time.Now()
	for k := range n {
		if _, err := s.next("bot", "started", patience); err != nil {
			s.kill()
			return nil, fmt.Errorf("after %d starts: %w", k, err)
		}
		if k == 10 {
			w.fds, w.threads, w.rss = entries(pid, "fd"), entries(pid, "task"), field(pid, "status", "VmRSS:")
		}
	}
	w.took = time.Since(began)
	if err := os.WriteFile(enough, nil, 0o600); err != nil {
		s.kill()
		return nil, err
	}
	if _, err := s.next("bot", "ready", patience); err != nil {
		s.kill()
		return nil, err
	}
	time.Sleep(2 * time.Second)
	w.fdsAfter, w.threadsAfter, w.rssEnd = entries(pid, "fd"), entries(pid, "task"), field(pid, "status", "VmRSS:")
	return w, nil
}
