package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"tandem/internal/exitcode"
)

// simulatedToken is the bot of the local Telegram. It opens nothing anywhere else.
const simulatedToken = "123456789:AAF0simulated-token-for-make-demo-00"

// environment is a process environment, NAME to value.
type environment map[string]string

func parse(environ []string) environment {
	env := environment{}
	for _, line := range environ {
		if name, value, ok := strings.Cut(line, "="); ok {
			env[name] = value
		}
	}
	return env
}

func (e environment) list() []string {
	out := make([]string, 0, len(e))
	for name, value := range e {
		out = append(out, name+"="+value)
	}
	slices.Sort(out)
	return out
}

// lockState makes the folder ours alone and says who cannot have it.
func lockState(dir string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Join(dir, "run"), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder for the state: %w", err)
	}
	path := filepath.Join(dir, "demo.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the state: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another demo or run uses %s: "+
				"stop it first, or give this one a folder of its own with -var", dir)
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return f, nil
}

// addresses that web and bot listen on, each with the port that it has when nothing is in the way.
var addresses = []struct{ name, what, host, port string }{
	{"WEB_ADDR", "the page", "127.0.0.1", "8080"},
	{"WEB_OPS_ADDR", "web's metrics", "127.0.0.1", "9090"},
	{"BOT_OPS_ADDR", "the bot's metrics", "127.0.0.1", "9091"},
}

// triedPorts is how many ports are tried from the usual one on.
const triedPorts = 50

// prepare makes the environment that init runs with: the person's own, with the state in dir. What the person
// named stays, but the local Telegram never meets a real token or a real database.
func prepare(o options, environ []string) (environment, error) {
	env := parse(environ)
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", o.dir, err)
	}
	database := "sqlite:" + filepath.Join(dir, "tandem.db")
	if o.real {
		if env["TELEGRAM_BOT_TOKEN"] == "" && env["TELEGRAM_BOT_TOKEN_FILE"] == "" {
			return nil, exitcode.With(exitcode.Config, errors.New("TELEGRAM_BOT_TOKEN is not set: get a token from @BotFather "+
				"(https://t.me/BotFather), then TELEGRAM_BOT_TOKEN=123456789:AA... make run"))
		}
		if env["DATABASE_URL"] == "" && env["DATABASE_URL_FILE"] == "" {
			env["DATABASE_URL"] = database
		}
	} else {
		delete(env, "TELEGRAM_BOT_TOKEN_FILE")
		delete(env, "DATABASE_URL_FILE")
		env["TELEGRAM_BOT_TOKEN"], env["DATABASE_URL"] = simulatedToken, database
	}
	if env["RUN_DIR"] == "" {
		env["RUN_DIR"] = filepath.Join(dir, "run")
		if len(env["RUN_DIR"]) > 80 { // a socket's path is at most 107 bytes; all that is started shares our folder
			env["RUN_DIR"] = filepath.Join(o.dir, "run")
		}
	}
	return env, nil
}

// choosePorts names a free port wherever the person named none. The simulator must listen by then: it takes the
// next free port too.
func choosePorts(env environment, out io.Writer) error {
	var taken []string
	for _, a := range addresses {
		if env[a.name] != "" {
			continue
		}
		first, _ := strconv.Atoi(a.port) // they are numbers, see above
		port, err := freePort(a.host, first, taken)
		if err != nil {
			return fmt.Errorf("looking for a port for %s: %w; name one with %s", a.what, err, a.name)
		}
		if port != a.port {
			fmt.Fprintf(out, "Port %s is taken: %s is on %s.\n", a.port, a.what, port)
		}
		taken = append(taken, port)
		env[a.name] = net.JoinHostPort(a.host, port)
	}
	return nil
}

// freePort is the first port from first on that nobody has and that is not in used.
func freePort(host string, first int, used []string) (string, error) {
	var last error
	for n := first; n < first+triedPorts; n++ {
		port := strconv.Itoa(n)
		if slices.Contains(used, port) {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(host, port))
		if err == nil {
			return port, l.Close()
		}
		last = err
	}
	return "", last
}

// pageURL is where a browser of this machine finds the page.
func pageURL(env environment) string {
	if base := env["WEB_BASE_URL"]; base != "" {
		return strings.TrimRight(base, "/") + "/"
	}
	host, port, err := net.SplitHostPort(env["WEB_ADDR"])
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && (ip.IsUnspecified() || ip.IsLoopback())) {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port) + "/"
}
