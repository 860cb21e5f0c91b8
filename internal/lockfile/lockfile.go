// Package lockfile is the polling lock: one holder of a file at a time, by flock(2). init uses it, and a bot that runs
// alone.
//
// It promises that the lock lives exactly as long as some process has the locked file open. Nothing unlocks it, holders
// only close. So init can hand the open file to the bot, keep a copy, and be killed at any moment without making a
// second bot possible. The file is never removed, because two processes that lock two files of one name exclude nobody.
// For the same reason every holder compares the file that it locked with the file that the path names.
//
// It leaves to others what to do while waiting, and exclusion between machines. flock guards as far as the file system
// does, and a database's lock has to do the rest.
//
// By hand. github.com/gofrs/flock was tried, which is as small (8 kB). It waits by asking again and again, its Unlock
// takes the lock from every process that has the open file, and it does not see that the file was replaced.
package lockfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"tandem/internal/eintr"
)

// Lock is a lock on one file. Its methods may be called from any goroutine, but only one goroutine at a time may be in
// Lock or TryLock.
type Lock struct {
	path     string
	reserved []Reserved

	mu      sync.Mutex
	file    *os.File // nil while an attempt owns it, after an abandoned one, and once closed
	held    bool
	closed  bool
	waiting *attempt
}

// attempt is one blocking flock in a thread of its own. A blocked flock cannot be called back. So an attempt that
// nobody waits for any more is kept, and the next Lock takes it up again. However often a wait is begun and given up,
// there is one thread.
type attempt struct {
	done   chan struct{} // closed at its end; err counts from then on
	err    error
	failed any  // a panic, which goes on in who waits
	wanted bool // under Lock.mu
}

// Open opens the file at path and does not lock it yet. It makes the file (mode 0600) when it is missing. On a volume
// that cannot be written an existing file will do. It refuses a symbolic link, whatever is no regular file, a file with
// something else in it than a lock's holder writes, and the files that are reserved. What it refuses it leaves as it
// was. Open hangs where the file system does.
func Open(path string, reserved ...Reserved) (*Lock, error) {
	file, err := open(path, reserved)
	if err != nil {
		return nil, err
	}
	return &Lock{path: path, reserved: reserved, file: file}, nil
}

func open(path string, reserved []Reserved) (*os.File, error) {
	if what := reservedFor(path, reserved); what != "" {
		return nil, fmt.Errorf("open lock file %s: %w", path, refused(what))
	}
	if err := lookAt(path); err != nil {
		return nil, fmt.Errorf("open lock file %s: %w", path, err)
	}
	// O_NONBLOCK is for a FIFO of that name, at which opening it to read would wait. NFS grants an exclusive lock only on
	// a descriptor that can write, so reading alone is the last resort. The middle one is for a file of another user in a
	// sticky directory (fs.protected_regular).
	const common = syscall.O_CLOEXEC | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	var fd int
	var err, first error
	for _, flags := range []int{syscall.O_RDWR | syscall.O_CREAT, syscall.O_RDWR, syscall.O_RDONLY} {
		fd, err = eintr.Retry(func() (int, error) { return syscall.Open(path, flags|common, 0o600) })
		if first == nil {
			first = err
		}
		if !errors.Is(err, syscall.EROFS) && !errors.Is(err, fs.ErrPermission) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open lock file %s: %w%s", path, first, openHint(first))
	}
	var st syscall.Stat_t
	if err = syscall.Fstat(fd, &st); err == nil && st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		err = errors.New("not a regular file")
	}
	if err == nil {
		err = usable(fd, &st, reserved)
	}
	if err == nil {
		err = syscall.SetNonblock(fd, false)
	}
	if err != nil {
		syscall.Close(fd)
		return nil, fmt.Errorf("open lock file %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func openHint(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return " (make its directory, or name another file with POLL_LOCK_FILE)"
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf(" (user %d must be able to read and write it, and to make it in its directory)", os.Getuid())
	case errors.Is(err, syscall.EROFS):
		return " (the volume is read-only and the file is not there: make it once, or name another with POLL_LOCK_FILE)"
	case errors.Is(err, syscall.ELOOP):
		return " (a symbolic link is not followed: name the file itself)"
	}
	return ""
}

// Inherited takes over the descriptor fd, which init handed to this process while it held the lock on the file at path.
// It sets close-on-exec, so that no child of the bot keeps the lock. It checks that fd is that file, and that it holds
// the lock. On an error fd is left as it was found, apart from close-on-exec. The error wraps syscall.EBADF when a
// launcher between init and this process closed fd, whatever has its number now.
func Inherited(fd int, path string) (*Lock, error) {
	// What is closed by exec was not handed down: Go's runtime opens files of its own before main.
	flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
	if errno == 0 && flags&syscall.FD_CLOEXEC != 0 {
		errno = syscall.EBADF
	}
	if errno != 0 {
		return nil, fmt.Errorf("descriptor %d of the lock: %w", fd, errno)
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("descriptor %d of the lock: %w", fd, err)
	}
	syscall.CloseOnExec(fd)
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return nil, fmt.Errorf("descriptor %d of the lock is not a regular file", fd)
	}
	if err := named(&st, path); err != nil {
		return nil, err
	}
	if err := flock(fd, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("descriptor %d of the lock does not hold it: flock %s: %w", fd, path, err)
	}
	return &Lock{path: path, file: os.NewFile(uintptr(fd), path), held: true}, nil
}

// Lock waits until the lock is held by this process and by no other, or until ctx ends, whose error it then returns at
// once, also when the file system hangs; a lock that arrives later is given back. A lock that is held already stays so.
// It does not poll: a thread of its own sleeps in flock. A file that was replaced by the time it was locked is opened
// anew.
func (l *Lock) Lock(ctx context.Context) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return fmt.Errorf("lock %s: %w", l.path, os.ErrClosed)
	}
	if l.held {
		l.mu.Unlock()
		return nil
	}
	a := l.waiting
	if a == nil {
		a = &attempt{done: make(chan struct{})}
		l.waiting = a
		go l.acquire(a, l.file)
		l.file = nil
	}
	a.wanted = true
	l.mu.Unlock()

	select {
	case <-a.done:
		if a.failed != nil {
			panic(a.failed)
		}
		return a.err
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a.wanted = false
	if l.waiting != a && l.file != nil { // it arrived in the same moment
		l.file.Close()
		l.file, l.held = nil, false
	}
	return ctx.Err()
}

// acquire is the thread of an attempt. file may be nil.
func (l *Lock) acquire(a *attempt, file *os.File) {
	var err error
	defer func() {
		if r := recover(); r != nil {
			err, a.failed = fmt.Errorf("lock %s: panic: %v", l.path, r), r
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.waiting = nil
		switch {
		case err == nil && a.wanted && !l.closed:
			if l.file != nil { // opened by a TryLock meanwhile
				l.file.Close()
			}
			l.file, l.held = file, true
		case file != nil:
			file.Close()
			fallthrough
		default:
			if err == nil {
				err = fmt.Errorf("lock %s: %w", l.path, os.ErrClosed)
			}
		}
		a.err = err
		close(a.done)
	}()
	for range 100 {
		if file == nil {
			if file, err = open(l.path, l.reserved); err != nil {
				return
			}
		}
		if err = flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
			err = fmt.Errorf("flock %s: %w%s", l.path, err, flockHint(err))
			return
		}
		if replaced(file, l.path) == nil {
			return
		}
		file.Close()
		file = nil
	}
	err = fmt.Errorf("lock %s: the file is replaced again and again", l.path)
}

// TryLock takes the lock if it is free: false without an error says that another has it.
func (l *Lock) TryLock() (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false, fmt.Errorf("lock %s: %w", l.path, os.ErrClosed)
	}
	for range 100 {
		if l.file == nil {
			file, err := open(l.path, l.reserved)
			if err != nil {
				return false, err
			}
			l.file = file
		}
		err := flock(int(l.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) && replaced(l.file, l.path) == nil {
			return false, nil
		}
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			return false, fmt.Errorf("flock %s: %w%s", l.path, err, flockHint(err))
		}
		if err == nil && replaced(l.file, l.path) == nil {
			l.held = true
			return true, nil
		}
		l.file.Close()
		l.file, l.held = nil, false
	}
	return false, fmt.Errorf("lock %s: the file is replaced again and again", l.path)
}

func flockHint(err error) string {
	switch {
	case errors.Is(err, syscall.ENOLCK), errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOSYS):
		return " (this file system cannot lock: name a file on another one with POLL_LOCK_FILE)"
	case errors.Is(err, syscall.EBADF):
		return " (this file system locks only files that can be written: make it writable)"
	}
	return ""
}

// Replaced is nil while the path names the file that is open here. Else it says why the path does not. Whoever opens
// the path now excludes nobody who has this file.
func (l *Lock) Replaced() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return fmt.Errorf("lock %s: %w", l.path, os.ErrClosed)
	}
	return replaced(l.file, l.path)
}

func replaced(file *os.File, path string) error {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(file.Fd()), &st); err != nil {
		return fmt.Errorf("look at the open lock file: %w", err)
	}
	return named(&st, path)
}

// named says why path does not name the open file st.
func named(st *syscall.Stat_t, path string) error {
	var at syscall.Stat_t
	err := syscall.Lstat(path, &at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the lock file %s was removed while it was held", path)
	case err != nil:
		return fmt.Errorf("look at lock file %s: %w", path, err)
	case at.Dev != st.Dev || at.Ino != st.Ino:
		return fmt.Errorf("the lock file %s was replaced by another file", path)
	}
	return nil
}

// File is the open file, to be handed to a child that is to hold the lock too. It is nil while Lock waits, after a wait
// that was given up, and after Close. It stays the Lock's: do not close it.
func (l *Lock) File() *os.File {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file
}

// Close closes this process's copy. The lock is free when every other copy is closed too. Close does not interrupt a
// wait in Lock (end its context for that), but the wait gets nothing any more.
func (l *Lock) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed, l.held = true, false
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

func flock(fd, how int) error {
	_, err := eintr.Retry(func() (int, error) { return 0, systemFlock(fd, how) })
	return err
}

var systemFlock = syscall.Flock // a test has it fail
