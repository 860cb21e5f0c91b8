package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"tandem/internal/config"
	"tandem/internal/control"
	"tandem/internal/exitcode"
	"tandem/internal/lockfile"
	"tandem/internal/status"
)

// askInit is `init start|stop|restart NAME`. It has a running init do that, and waits until it is done.
func askInit(verb string, args []string) int {
	if len(args) != 1 {
		return misuse("want: init " + verb + " web or bot")
	}
	if _, _, problem := control.Parse(verb + " " + args[0] + "\n"); problem != "" {
		return misuse(problem)
	}
	dir, err := config.New(os.Environ()).RunDir()
	if err != nil {
		return fail(exitcode.Failure, err.Error())
	}
	var first error
	for _, m := range []mode{pair, modeOf(args[0])} {
		o, err := control.Do(filepath.Join(dir, m.files().Socket), verb, args[0])
		switch {
		case err == nil && o.Code == exitcode.OK:
			fmt.Println(o.Text)
			return exitcode.OK
		case err == nil:
			return fail(o.Code, o.Text)
		case first == nil || !errors.Is(err, fs.ErrNotExist):
			first = err
		}
	}
	return fail(exitcode.Failure, "no init can be reached: "+first.Error()+" (is it running, and is RUN_DIR the same?)")
}

// showStatus is `init status [NAME] [--json]`. It ends with 0 if an init that has the process NAME lives and reports,
// whatever the state of the process.
func showStatus(args []string) int {
	name, asJSON := "", false
	for _, a := range args {
		switch {
		case a == "--json" || a == "-json":
			asJSON = true
		case name == "" && (a == "web" || a == "bot"):
			name = a
		default:
			return misuse("want: init status [web|bot] [--json]")
		}
	}
	dir, err := config.New(os.Environ()).RunDir()
	if err != nil && dir == "" {
		return fail(exitcode.Failure, err.Error())
	}
	found, err := liveStatus(dir, name)
	switch {
	case len(found) == 0:
		return fail(exitcode.Failure, err.Error())
	case !asJSON:
		fmt.Print(statusTable(found, name, dir, time.Now()))
	default:
		if p, ok := found[0].Process(name); ok {
			found[0].Processes = []status.Process{p}
		}
		var out bytes.Buffer
		_ = json.Indent(&out, status.Together(found), "", "  ")
		fmt.Println(out.String())
	}
	if err != nil { // there is another one, which does not report
		return fail(exitcode.Failure, err.Error())
	}
	return exitcode.OK
}

// liveStatus is the status of every init that runs with this RUN_DIR, or of the one that has the process called name.
// It asks init itself, and believes the file only where init has no socket. The error says which init is there and does
// not report, or that there is none.
func liveStatus(dir, name string) (found []*status.Status, problem error) {
	modes := []mode{pair, webOnly, botOnly}
	if name != "" {
		modes = []mode{pair, modeOf(name)}
	}
	for _, m := range modes {
		files := m.files()
		s, err := askStatus(filepath.Join(dir, files.Socket))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			s, err = status.Read(filepath.Join(dir, files.Status))
			if errors.Is(err, fs.ErrNotExist) || !lockfile.Held(filepath.Join(dir, files.Lock)) {
				continue
			}
		}
		if err != nil {
			problem = fmt.Errorf("init does not tell its status: %w", err)
			continue
		}
		if _, has := s.Process(name); has && name != "" {
			return []*status.Status{s}, nil
		}
		if name == "" {
			found = append(found, s)
		}
	}
	if problem == nil && len(found) == 0 {
		problem = fmt.Errorf("no init that has a status is running in %s (is RUN_DIR the same?)", dir)
	}
	return found, problem
}

func askStatus(socket string) (*status.Status, error) {
	text, err := control.Status(socket)
	if err != nil {
		return nil, err
	}
	return status.Parse(text)
}
