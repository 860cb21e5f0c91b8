package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// savedState is the state file. It holds no token: those come with each start.
type savedState struct {
	Format int    `json:"format"`
	Clean  bool   `json:"clean"` // written by Close: nothing has happened since
	Bots   []*bot `json:"bots"`
}

const stateFormat = 1

// skipAfterCrash is how far ids jump when the file may be behind what was given out: an id used again would
// make a new message look like an old one.
const skipAfterCrash = 1000

func (s *Server) load(path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var saved savedState
	if err == nil {
		err = json.Unmarshal(b, &saved)
	}
	if err == nil && saved.Format != stateFormat {
		err = fmt.Errorf("it has the format %d, this program reads %d", saved.Format, stateFormat)
	}
	if err != nil {
		return fmt.Errorf("reading the simulator's state %s: %w; remove the file to start afresh", path, err)
	}
	for _, b := range saved.Bots {
		for _, f := range b.Files {
			f.Size = max(f.Size, len(f.Data)) // an older file has the bytes in it
		}
		b.tokens, b.callbacks, b.lastOffset = map[string]bool{}, map[string]time.Time{}, -1
		if !saved.Clean {
			b.NextUpdate += skipAfterCrash
			for _, ch := range b.Chats {
				ch.NextMessage += skipAfterCrash
			}
		}
	}
	s.bots = saved.Bots
	return nil
}

// save writes the file beside its place and renames it, so that a reader finds the former one or the new one.
func (s *Server) save(path string, clean bool) error {
	s.mu.Lock()
	b, err := json.Marshal(savedState{Format: stateFormat, Clean: clean, Bots: s.bots})
	s.mu.Unlock()
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("saving the simulator's state: %w", err)
	}
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Sync()
	}
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("saving the simulator's state: %w", err)
	}
	return nil
}

// saver writes the state after changes, several of them at once.
type saver struct {
	server *Server
	path   string
	wake   chan struct{}
	done   chan struct{}
}

// saveDelay gathers changes into one write.
const saveDelay = 50 * time.Millisecond

func startSaver(s *Server, path string) *saver {
	v := &saver{server: s, path: path, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go v.run()
	return v
}

func (v *saver) dirty() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

func (v *saver) run() {
	defer close(v.done)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-v.wake:
		case <-v.server.closed:
			return
		}
		if err := v.server.save(v.path, false); err != nil && v.server.opts.OnStateError != nil {
			v.server.opts.OnStateError(err)
		}
		pause.Reset(saveDelay)
		select {
		case <-pause.C:
		case <-v.server.closed:
			return
		}
	}
}

// stop writes the file for the last time. The server is closed already.
func (v *saver) stop() error {
	<-v.done
	return v.server.save(v.path, true)
}
