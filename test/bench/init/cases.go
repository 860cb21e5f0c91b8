package main

import (
	"fmt"
	"sync"
	"time"
)

// A case is what a container with a critical web and an optional bot needs of its init, and what each does.
type testCase struct {
	title string
	want  string // what every cell should say, or begin with
	run   func(l *lab, c *contestant) (string, error)
}

// endless is after how long an init that does not end counts as one that never does.
const endless = 12 * time.Second

var cases = []testCase{
	{"zombies 2 s after 60 setsid orphans", "0", func(l *lab, c *contestant) (string, error) {
		s, err := l.start(c, l.command("web", "orphans", 60), l.command("bot", "idle"))
		if err != nil {
			return "", err
		}
		defer s.kill()
		if _, err := s.await("web", "ready", patience); err != nil {
			return "", err
		}
		time.Sleep(2 * time.Second)
		return fmt.Sprint(s.zombies()), nil
	}},
	{"web ends with 7: container's code", "7", func(l *lab, c *contestant) (string, error) {
		s, err := l.start(c, l.command("web", "end", 7, 2000), l.command("bot", "idle"))
		if err != nil {
			return "", err
		}
		defer s.kill()
		if _, err := s.await("web", "started", patience); err != nil {
			return "", err
		}
		return s.codeInWords(endless, false), nil
	}},
	{"the bot has 1 s to clean up when web dies", "yes", func(l *lab, c *contestant) (string, error) {
		s, err := l.start(c, l.command("web", "end", 7, 2000), l.command("bot", "slow", 1000))
		if err != nil {
			return "", err
		}
		defer s.kill()
		if _, err := s.await("bot", "ready", patience); err != nil {
			return "", err
		}
		if _, err := s.next("bot", "cleaned", 5*time.Second); err == nil {
			return "yes", nil
		}
		if _, ended := s.code(0); ended {
			return "no, killed", nil
		}
		return "no, runs on", nil
	}},
	{"the bot refuses (78; others 64): web runs on", "yes", func(l *lab, c *contestant) (string, error) {
		code := 64
		if c.name == ours {
			code = 78
		}
		s, err := l.start(c, l.command("web", "idle"), l.command("bot", "end", code, 1500))
		if err != nil {
			return "", err
		}
		defer s.kill()
		if _, err := s.await("bot", "started", patience); err != nil {
			return "", err
		}
		if code, ended := s.code(6 * time.Second); ended {
			return fmt.Sprintf("no, %d", code), nil
		}
		if _, err := s.next("bot", "started", 100*time.Millisecond); err == nil {
			return "yes, starts it again", nil
		}
		return "yes", nil
	}},
	{"TERM, web ignores it", "137", func(l *lab, c *contestant) (string, error) { return l.asked(c, "stubborn", true) }},
	{"TERM, web dies of it", "143", func(l *lab, c *contestant) (string, error) { return l.asked(c, "idle", false) }},
	{"TERM, web ends with 0", "0", func(l *lab, c *contestant) (string, error) { return l.asked(c, "obey", false) }},
}

// asked is what c ends with when it is asked to stop while web behaves like that.
func (l *lab) asked(c *contestant, mode string, timed bool) (string, error) {
	s, err := l.start(c, l.command("web", mode), l.command("bot", "idle"))
	if err != nil {
		return "", err
	}
	defer s.kill()
	if err := s.bothReady(); err != nil {
		return "", err
	}
	time.Sleep(1500 * time.Millisecond) // pebble counts a service as started after one second
	if err := s.signal(c.stop); err != nil {
		return "", err
	}
	return s.codeInWords(endless, timed), nil
}

func (s *system) codeInWords(limit time.Duration, timed bool) string {
	began := time.Now()
	code, ended := s.code(limit)
	switch {
	case !ended:
		return "never ends"
	case timed:
		return fmt.Sprintf("%d after %.0f s", code, time.Since(began).Seconds())
	}
	return fmt.Sprint(code)
}

// runCases returns a row of cells for each init. The inits go side by side: they mostly wait.
func (l *lab) runCases(list []*contestant) (rows [][]string, err error) {
	rows = make([][]string, len(list))
	for _, t := range cases {
		var wg sync.WaitGroup
		errs := make([]error, len(list))
		cells := make([]string, len(list))
		for i, c := range list {
			wg.Go(func() { cells[i], errs[i] = t.run(l, c) })
		}
		wg.Wait()
		for i := range list {
			if errs[i] != nil {
				return nil, fmt.Errorf("%s: %w", t.title, errs[i])
			}
			rows[i] = append(rows[i], cells[i])
		}
	}
	return rows, nil
}
