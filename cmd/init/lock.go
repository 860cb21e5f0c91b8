package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"tandem/internal/config"
	"tandem/internal/lockfile"
	"tandem/internal/rundir"
	"tandem/internal/supervise"
)

// lockFD is the descriptor under which the bot finds the lock.
const lockFD = 3

// lockKeeper takes and gives up the polling lock in a goroutine of its own, because a call on the lock's file hangs
// where the file system does. The loop only says what it wants.
type lockKeeper struct {
	path     string
	reserved func() []lockfile.Reserved // files that must not become the lock
	botGroup int                        // that may open the lock, too; 0 for none
	log      *slog.Logger
	tell     func(supervise.Event)
	before   func() error // makes its directory, if that is init's
	wake     chan struct{}

	mu         sync.Mutex
	wish       int // the number of the TakeLock that is to be fulfilled, 0 for none
	cancel     context.CancelFunc
	held       *lockfile.Lock
	used       bool           // the file was opened once
	renewed    *lockfile.Lock // on the file that was made anew in place of held's, nil for none
	holderText string         // who holds it, for people
}

func newLockKeeper(
	path string, reserved func() []lockfile.Reserved, log *slog.Logger, tell func(supervise.Event),
) *lockKeeper {
	return &lockKeeper{
		path: path, reserved: reserved, log: log, tell: tell, wake: make(chan struct{}, 1),
		before: func() error { return nil },
	}
}

// want says for which wish the lock is wanted from now on; 0 gives it up. It never waits.
func (k *lockKeeper) want(wish int) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wish = wish
	if k.cancel != nil {
		k.cancel()
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// file is the locked file, nil when it is not held.
func (k *lockKeeper) file() *os.File {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		return nil
	}
	return k.held.File()
}

// holder is who has the lock, as far as known.
func (k *lockKeeper) holder() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.holderText
}

// run is the actor. What may hang runs in a goroutine beside it, for which init's end does not wait.
func (k *lockKeeper) run(done <-chan struct{}) {
	failed := make(chan any, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				failed <- r
			}
		}()
		k.keep(done)
	}()
	select {
	case <-done:
	case r := <-failed:
		panic(r)
	}
}

// keep brings what is held in line with what is wanted, one wish after the other.
func (k *lockKeeper) keep(done <-chan struct{}) {
	if warning := lockfile.GuardsNothing(k.path); warning != "" {
		k.log.Warn("the polling lock guards this container only", "reason", warning)
	}
	var lock *lockfile.Lock // open, and perhaps locked or waiting
	heldFor := 0
	for {
		select {
		case <-k.wake:
		case <-done:
			return
		}
		k.mu.Lock()
		wish := k.wish
		ctx, cancel := context.WithCancel(context.Background())
		k.cancel = cancel
		k.mu.Unlock()
		if lock != nil && heldFor != 0 && heldFor != wish {
			if lost := k.release(lock); lost {
				k.tell(supervise.LockLost{Wish: heldFor})
			}
			lock, heldFor = nil, 0
		}
		if wish != 0 && wish != heldFor {
			var err error
			if lock, err = k.take(ctx, wish, lock); err == nil {
				heldFor = wish
			}
			k.report(ctx, wish, err)
		}
		cancel()
	}
}

// take waits for the lock and gets it. lock is one whose wait was given up earlier, or nil.
func (k *lockKeeper) take(ctx context.Context, wish int, lock *lockfile.Lock) (*lockfile.Lock, error) {
	if err := k.before(); err != nil {
		return lock, err
	}
	if lock == nil {
		var err error
		if lock, err = lockfile.Open(k.path, k.reserved()...); err != nil {
			return nil, err
		}
		k.mu.Lock()
		k.used = true
		k.mu.Unlock()
	}
	got, err := lock.TryLock()
	if err == nil && !got {
		who := k.whoHolds()
		k.mu.Lock()
		k.holderText = who
		k.mu.Unlock()
		k.tell(supervise.LockBusy{Wish: wish, Reason: "the polling lock is held by " + who})
		err = lock.Lock(ctx)
	}
	if err != nil {
		if ctx.Err() == nil {
			lock.Close()
			lock = nil
		}
		return lock, err
	}
	host, _ := os.Hostname()
	who := fmt.Sprintf("the bot under init %d on %s, since %s", os.Getpid(), host, time.Now().UTC().Format(time.RFC3339))
	if err := lock.SetHolder(who); err != nil {
		k.log.Debug("the lock file does not say who holds it", "reason", err.Error())
	}
	k.mu.Lock()
	k.holderText, k.held = who, lock
	k.mu.Unlock()
	k.shareLock(lock.File())
	return lock, nil
}

// whoHolds says who has the lock: the processes that can be seen to, or else what the file says. Usually it is a
// process that a bot left behind outside its process group.
func (k *lockKeeper) whoHolds() string {
	var seen []string
	for _, p := range lockfile.Holders(k.path) {
		if p.PID != os.Getpid() {
			seen = append(seen, fmt.Sprintf("%s (pid %d)", p.Name, p.PID))
		}
	}
	switch said := lockfile.Holder(k.path); {
	case len(seen) > 0:
		return strings.Join(seen, ", ")
	case said != "":
		return said
	}
	return "a process that cannot be seen from here"
}

// renew makes the lock's file anew, which somebody took away. Where the lock is held, the new file is locked beside the
// old one, so that another init's bot stands by. If another init was faster, this one's bot runs on until its next
// start, and our own until its next poll; see docs/adr/0078.
func (k *lockKeeper) renew() {
	k.mu.Lock()
	held, who, used := k.held, k.holderText, k.used
	k.mu.Unlock()
	if !used {
		return
	}
	lock, err := lockfile.Open(k.path, k.reserved()...)
	if err != nil || held == nil { // the next start says what is wrong
		if err == nil {
			_ = lock.Close()
		}
		return
	}
	got, err := lock.TryLock()
	if err == nil && !got {
		err = errors.New("it is held by " + k.whoHolds())
	}
	if err == nil {
		_ = lock.SetHolder(who)
		k.shareLock(lock.File())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.held != held: // given up meanwhile
		_ = lock.Close()
	case err != nil:
		_ = lock.Close()
		k.log.Warn("the polling lock was taken away and cannot be had again while the bot runs", "reason", err.Error())
	default:
		if k.renewed != nil {
			_ = k.renewed.Close()
		}
		k.renewed = lock
	}
}

// report tells the loop what came of a wish that is still wanted.
func (k *lockKeeper) report(ctx context.Context, wish int, err error) {
	k.mu.Lock()
	stale := wish != k.wish
	k.mu.Unlock()
	switch {
	case stale:
	case err == nil:
		k.tell(supervise.LockTaken{Wish: wish})
	case ctx.Err() == nil:
		var away takenAway
		temporary := config.IsShort(err) || errors.As(err, &away)
		k.tell(supervise.LockFailed{Wish: wish, Reason: err.Error(), Temporary: temporary})
	}
}

// release closes init's copy. Whoever else has one, such as a process that the bot left behind, keeps the lock. lost
// says that the file which the bot had been given did not have its name any more.
func (k *lockKeeper) release(lock *lockfile.Lock) (lost bool) {
	k.mu.Lock()
	renewed := k.renewed
	k.held, k.renewed, k.holderText = nil, nil, ""
	k.mu.Unlock()
	named := lock // the one on the file that has the name
	if renewed != nil {
		named = renewed
		defer renewed.Close()
	}
	if err := named.Replaced(); err != nil {
		k.log.Warn("the polling lock did not guard the bot to its end", "reason", err.Error())
	}
	lost = lock.Replaced() != nil
	lock.Close()
	return lost
}

// shareLock lets a bot of another user open the file and lock it anew, in case its launcher closes the one that it
// inherits. Web must not: whoever can open the file can keep every bot off.
func (k *lockKeeper) shareLock(f *os.File) {
	var st syscall.Stat_t
	if k.botGroup == 0 || f == nil || syscall.Fstat(int(f.Fd()), &st) != nil {
		return
	}
	if int(st.Uid) != os.Getuid() || int(st.Gid) == k.botGroup {
		return
	}
	rundir.InGroup(k.botGroup, func() {
		if f.Chown(-1, k.botGroup) == nil {
			_ = f.Chmod(0o660)
		}
	})
}
