// Package unixsocket makes the sockets of PID 1 in RUN_DIR.
//
// It promises that the file of a socket has its mode whatever the umask is, and at no moment a wider one, that a stale
// one is replaced, and that no thread waits for a client, but Go's poller. What is said on the socket is left to its
// callers.
//
// It is made of system calls. Package net was tried: it adds 438 kB to PID 1, with a resolver in it that nobody calls.
// And where net writes to a client that has left it raises SIGPIPE, which PID 1 catches and would pass on to web.
package unixsocket

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxPathBytes is how long the path of a socket may be: sun_path of unix(7) without the zero byte at its end.
const maxPathBytes = 107

// Datagrams makes a socket at path that gets datagrams, each with the number of the process that sent it.
func Datagrams(path string, mode uint32) (*os.File, error) {
	return bind(path, unix.SOCK_DGRAM, mode, func(fd int) error {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1) // without it the sender is nobody
		return nil
	})
}

// Listen makes a socket at path that clients can connect to; as many as backlog wait to be accepted.
func Listen(path string, mode uint32, backlog int) (*os.File, error) {
	return bind(path, unix.SOCK_STREAM, mode, func(fd int) error { return unix.Listen(fd, backlog) })
}

func bind(path string, kind int, mode uint32, then func(fd int) error) (*os.File, error) {
	if len(path) > maxPathBytes {
		return nil, errors.New("the path is longer than the 107 bytes that the kernel takes")
	}
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	_ = os.Remove(path)
	err = unix.Fchmod(fd, mode) // bind makes the file with the socket's mode, less what the umask takes away
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = setMode(path, mode)
	}
	if err == nil {
		err = then(fd)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// setMode gives the socket at path the bits that the umask took away. Whoever can write the directory may have put
// something else there: only a socket without a second name is touched.
func setMode(path string, mode uint32) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&0o7777 == mode {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || st.Nlink != 1 {
		return errors.New("somebody has put something else in its place")
	}
	if unix.Fchmodat(fd, "", mode, unix.AT_EMPTY_PATH) == nil {
		return nil
	}
	return os.Chmod("/proc/self/fd/"+strconv.Itoa(fd), os.FileMode(mode)) // kernels before 6.6
}
