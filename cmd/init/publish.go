package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"tandem/internal/buildinfo"
	"tandem/internal/lockfile"
	"tandem/internal/resident"
	"tandem/internal/sdnotify"
	"tandem/internal/status"
	"tandem/internal/supervise"
)

// files are the names of what an init that runs so has in RUN_DIR.
func (m mode) files() status.Files {
	switch m {
	case webOnly:
		return status.OfWeb
	case botOnly:
		return status.OfBot
	}
	return status.OfPair
}

// ownedDir is RUN_DIR, where this init owns its files.
type ownedDir struct {
	*status.Dir
	lock  *lockfile.Lock
	files []string // to be removed at the end
}

// claimRunDir makes this init the owner of its files in RUN_DIR and opens the control socket. What stands in the
// way is said once and costs the socket and the file, nothing else.
func (w *world) claimRunDir() {
	s := &w.settings
	dir, err := w.openRunDir()
	if err != nil {
		w.log.Warn("init runs without status file and control socket", "reason", err.Error())
		return
	}
	files := s.mode.files()
	inRunDir := func(name string) string { return filepath.Join(s.runDir, name) }
	w.owned = dir
	for _, name := range dir.files {
		_ = dir.Remove(name) // one from before a restart of the container is not to be taken for ours
	}
	w.publisher.dir, w.publisher.name = dir.Dir, files.Status
	if _, _, other := s.otherUser(supervise.Web); other {
		w.publisher.mode = 0o644
	}
	if err := w.control.Listen(inRunDir(files.Socket)); err != nil {
		w.log.Warn("init runs without control socket", "reason", err.Error())
	}
	w.listenToProcesses(inRunDir(files.Notify))
}

// openRunDir opens RUN_DIR and takes the lock that says whose it is.
func (w *world) openRunDir() (*ownedDir, error) {
	s := &w.settings
	if s.runDirProblem != nil {
		return nil, s.runDirProblem
	}
	dir, err := status.OpenDir(s.runDir)
	if err != nil {
		return nil, err
	}
	lock, err := w.ownRunDir(dir)
	if err != nil {
		dir.Close()
		return nil, err
	}
	files := s.mode.files()
	return &ownedDir{dir, lock, []string{files.Status, files.Socket, files.Notify}}, nil
}

func (w *world) ownRunDir(dir *status.Dir) (*lockfile.Lock, error) {
	s := &w.settings
	if owner, open, err := dir.OwnedBy(); err != nil {
		return nil, err
	} else if s.runDirNamed && (open || owner != os.Getuid() && owner != 0) {
		w.log.Warn("others can write RUN_DIR", "dir", s.runDir, "reason",
			"whoever can may put a false status there, or keep the bot off by its lock: name a directory that is this user's alone")
	}
	if err := s.shareRunDir(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(s.runDir, s.mode.files().Lock)
	lock, err := lockfile.Open(path)
	if err != nil {
		return nil, err
	}
	free, err := lock.TryLock()
	for range 3 { // `init status` looks whether it is free by holding it for a moment
		if free || err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
		free, err = lock.TryLock()
	}
	if err == nil && !free {
		err = fmt.Errorf("another init (%s) owns %s; give this one a RUN_DIR of its own", lockfile.Holder(path), s.runDir)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	_ = lock.SetHolder(fmt.Sprintf("pid %d", os.Getpid()))
	return lock, nil
}

// listenToProcesses gives each process that is to be listened to the address for it. Where there is no socket, a process runs as one
// that is not listened to.
func (w *world) listenToProcesses(path string) {
	s := &w.settings
	if s.notify == [2]bool{} {
		return
	}
	listener, err := sdnotify.Listen(path)
	if err != nil {
		w.log.Warn("init cannot hear whether its processes are ready and alive", "reason", err.Error())
		return
	}
	w.processes = listener
	for id, wanted := range s.notify {
		if wanted {
			s.policy.Notify[id] = true
			s.env[id] = set(s.env[id], sdnotify.SocketVariable, path)
		}
	}
	if s.notify[supervise.Bot] && s.policy.Watchdog > 0 {
		s.env[supervise.Bot] = set(s.env[supervise.Bot], sdnotify.WatchdogVariable, strconv.FormatInt(s.policy.Watchdog.Microseconds(), 10))
	}
}

// releaseRunDir removes what would be taken for a living init.
func (w *world) releaseRunDir() {
	if w.owned != nil {
		for _, name := range w.owned.files {
			_ = w.owned.Remove(name)
		}
		_ = w.owned.lock.Close()
		w.owned.Close()
	}
}

// publisher writes the status file, in a goroutine of its own so that a disk that is slow, full or gone never
// keeps the loop. Only the newest state is written.
type publisher struct {
	dir  *status.Dir // nil for none
	name string
	mode os.FileMode
	log  *slog.Logger
	wake chan struct{}

	mu   sync.Mutex
	show func() *status.Status
	then []func()

	last   []byte // run's own
	writes int
	warned bool
}

// collectAfter is after how many changes of the state garbage is collected: nearly all of it comes with them, and
// no clock does it (see main).
const collectAfter = 8

// calmAfter is how long nothing has changed when init makes itself small.
const calmAfter = 300 * time.Millisecond

// put hands over the state; then, if it is not nil, is called once the state can be read.
func (p *publisher) put(show func() *status.Status, then func()) {
	p.mu.Lock()
	p.show = show
	if then != nil {
		p.then = append(p.then, then)
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// json is the state that was handed over last, as JSON.
func (p *publisher) json() []byte {
	p.mu.Lock()
	show := p.show
	p.mu.Unlock()
	if show == nil {
		return nil
	}
	return show().Marshal()
}

// run is the actor.
func (p *publisher) run(done <-chan struct{}) {
	calm := time.NewTimer(time.Hour)
	calm.Stop()
	for {
		select {
		case <-p.wake:
		case <-calm.C:
			resident.Release()
			continue
		case <-done:
			return
		}
		p.mu.Lock()
		show, then := p.show, p.then
		p.then = nil
		p.mu.Unlock()
		s := show()
		changed := p.dir == nil && p.writes == 0
		if p.dir != nil {
			changed = p.write(s)
		} else {
			p.writes++
		}
		for _, f := range then {
			f()
		}
		switch {
		case !changed:
		case lasting(s):
			calm.Reset(calmAfter)
		default:
			calm.Stop()
		}
	}
}

// lasting says whether all processes are in states that may last.
func lasting(s *status.Status) bool {
	for _, p := range s.Processes {
		if !p.State.Lasts() {
			return false
		}
	}
	return true
}

// write says whether s differs from what was written last.
func (p *publisher) write(s *status.Status) (changed bool) {
	b := s.Marshal()
	if bytes.Equal(b, p.last) {
		return false
	}
	err := p.dir.Write(p.name, append(b, '\n'), p.mode)
	if err == nil {
		p.last = b
		if p.writes++; p.writes%collectAfter == 0 {
			debug.FreeOSMemory()
		}
		return true
	}
	// A reader must not take the old state for the present one.
	_ = p.dir.Remove(p.name)
	p.last = nil
	if !p.warned { // once: removing the old file makes room for the next, which would have it said every other time
		p.warned = true
		p.log.Warn("the status file cannot be written", "reason", err.Error())
	}
	return true
}

// lastWords is what `kubectl describe pod` shows of the end.
func (w *world) lastWords(code int) {
	w.publisher.mu.Lock()
	show := w.publisher.show
	w.publisher.mu.Unlock()
	if show == nil {
		return
	}
	var text strings.Builder
	fmt.Fprintf(&text, "init ended with %d.", code)
	if w.failure != "" {
		fmt.Fprintf(&text, " %s.", w.failure)
	}
	for _, p := range show().Processes {
		fmt.Fprintf(&text, " %s: %s", p.Name, p.State)
		if p.Reason != "" {
			fmt.Fprintf(&text, " (%s)", p.Reason)
		}
		if p.LastEnd != nil {
			fmt.Fprintf(&text, ", ended %s with %d: %s", p.LastEnd.At.Format(time.RFC3339), p.LastEnd.Code, p.LastEnd.Reason)
		}
		fmt.Fprintf(&text, ", %d restarts.", p.Restarts)
	}
	writeLastWords(w.settings.terminationLog, text.String())
}

// writeLastWords puts words, shortened to what Kubernetes takes, into the file at path if it is there and is one for
// words: it may be a link or a pipe that somebody put there, or by a slip a file that holds something else.
func writeLastWords(path, words string) {
	if info, err := os.Lstat(path); path == "" || err != nil || !info.Mode().IsRegular() {
		return
	}
	if len(words) > maxLastWords {
		words = words[:maxLastWords]
	}
	written := make(chan any, 1)
	go func() {
		defer func() { written <- recover() }()
		f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrPermission) {
			f, err = os.OpenFile(path, os.O_WRONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		}
		if err != nil {
			return
		}
		defer f.Close()
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxLastWords+1 {
			return
		}
		if f.Truncate(0) == nil {
			_, _ = f.WriteString(words + "\n")
		}
	}()
	select {
	case r := <-written:
		if r != nil {
			panic(r)
		}
	case <-time.After(200 * time.Millisecond):
	}
}

// maxLastWords is how much is written: Kubernetes takes 4096 bytes. A file that has more holds something else.
const maxLastWords = 4000

func version() string { return buildinfo.Version }
