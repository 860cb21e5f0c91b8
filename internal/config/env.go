// Package config reads settings from the environment. It promises that every problem is found in one pass, and told
// with the variable, its value (never a secret's) and the rule that it breaks. So a person mends a setup once, and not
// once for each variable. An empty variable counts as not set.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// Problem is one setting that cannot be used.
type Problem struct {
	Name  string // the variable
	Value string // as given, shortened; "" where it is a secret or not set
	Rule  string // what it should be, in words that tell what to type
}

func (p Problem) String() string {
	if p.Value == "" {
		return p.Name + ": " + p.Rule
	}
	return fmt.Sprintf("%s=%q: %s", p.Name, p.Value, p.Rule)
}

// Error is all that is wrong with the settings of one process.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "; ")
}

// Env reads settings and collects what is wrong with them. The zero value is not usable; see New.
type Env struct {
	vars     map[string]string
	problems []Problem
}

// New makes an Env of lines NAME=value, as os.Environ gives them. Of a doubled name the last one counts.
func New(environ []string) *Env {
	vars := make(map[string]string, len(environ))
	for _, line := range environ {
		if name, value, ok := strings.Cut(line, "="); ok && name != "" {
			vars[name] = value
		}
	}
	return &Env{vars: vars}
}

// Again is an Env of the same variables, of which nothing is known to be wrong.
func (e *Env) Again() *Env { return &Env{vars: e.vars} }

// Reject notes that the setting name breaks rule. The value is shown, so it must not be a secret.
func (e *Env) Reject(name, rule string) {
	value := e.vars[name]
	if len(value) > 80 {
		value = strings.ToValidUTF8(value[:80], "") + "..."
	}
	e.problems = append(e.problems, Problem{Name: name, Value: value, Rule: rule})
}

// RejectSecret notes that the secret setting name breaks rule, without its value.
func (e *Env) RejectSecret(name, rule string) {
	e.problems = append(e.problems, Problem{Name: name, Rule: rule})
}

// Err is nil, or an *Error with everything that was rejected so far, in the order it was read.
func (e *Env) Err() error {
	if len(e.problems) == 0 {
		return nil
	}
	return &Error{Problems: e.problems}
}

// String is the value of name, or def when it is not set.
func (e *Env) String(name, def string) string {
	if v := e.vars[name]; v != "" {
		return v
	}
	return def
}

// List reads words that are separated by commas or white space.
func (e *Env) List(name string) []string {
	return strings.FieldsFunc(e.vars[name], func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}

// Duration reads a Go duration from min to max; def when it is not set or wrong.
func (e *Env) Duration(name string, def, min, max time.Duration) time.Duration {
	v := e.vars[name]
	if v == "" {
		return def
	}
	d, err := time.ParseDuration(v)
	switch {
	case err != nil:
		e.Reject(name, fmt.Sprintf("want a duration with its unit, like 500ms, 8s or 5m, from %s to %s",
			short(min), short(max)))
	case d < min:
		e.Reject(name, "want at least "+short(min))
	case d > max:
		e.Reject(name, "want at most "+short(max))
	default:
		return d
	}
	return def
}

// DurationOrOff is Duration, and 0 for "off".
func (e *Env) DurationOrOff(name string, def, min, max time.Duration) time.Duration {
	if strings.EqualFold(e.vars[name], "off") {
		return 0
	}
	return e.Duration(name, def, min, max)
}

// DurationOrForever is Duration, and 0 for "forever" and for what is not set.
func (e *Env) DurationOrForever(name string, min, max time.Duration) time.Duration {
	if strings.EqualFold(e.vars[name], "forever") {
		return 0
	}
	return e.Duration(name, 0, min, max)
}

// short is d without what is zero at its end: 24h and not 24h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Bool reads true, 1, yes, on or false, 0, no, off in any case; def when it is not set or wrong.
func (e *Env) Bool(name string, def bool) bool {
	switch strings.ToLower(strings.TrimSpace(e.vars[name])) {
	case "":
		return def
	case "true", "1", "yes", "on":
		return true
	case "false", "0", "no", "off":
		return false
	}
	e.Reject(name, "want true or false")
	return def
}

// OneOf reads one of the given words in any case; the first one is the default.
func (e *Env) OneOf(name string, words ...string) string {
	v := strings.ToLower(strings.TrimSpace(e.vars[name]))
	if v == "" {
		return words[0]
	}
	for _, w := range words {
		if v == w {
			return w
		}
	}
	e.Reject(name, "want one of "+strings.Join(words, ", "))
	return words[0]
}

// Address reads a host:port to listen on. Where off is true, "off" may be said, and gives "".
func (e *Env) Address(name, def string, off bool) string {
	v := e.String(name, def)
	if off && strings.EqualFold(v, "off") {
		return ""
	}
	host, port, ok := cutLast(v, ":")
	n, err := strconv.Atoi(port)
	bare := !strings.Contains(host, ":") || strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
	if !ok || err != nil || n < 0 || n > 65535 || !bare || strings.ContainsAny(host, " /") {
		rule := `want host:port or :port, like ":8080" or "127.0.0.1:8080"`
		if off {
			rule += `, or "off"`
		}
		e.Reject(name, rule)
		return def
	}
	return v
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// maxSecretBytes bounds a secret file: anything longer is not a token or an address.
const maxSecretBytes = 64 << 10

// Secret reads name, or the file that name_FILE names (Docker and Kubernetes secrets), without surrounding white space
// and byte-order mark. It is "" when neither is set, or when it was rejected.
func (e *Env) Secret(name string) string {
	value, path := e.vars[name], e.vars[name+"_FILE"]
	switch {
	case value != "" && path != "":
		e.RejectSecret(name, "set either "+name+" or "+name+"_FILE, not both")
		return ""
	case path == "":
		return strings.TrimSpace(value)
	}
	content, err := readSecret(path)
	if err != nil {
		e.Reject(name+"_FILE", err.Error())
		return ""
	}
	return content
}

func readSecret(path string) (string, error) {
	b, err := readRegular(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", errors.New("there is no such file")
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("user %d may not read it: chown it to that user or give it mode 0444", os.Getuid())
	case err != nil:
		return "", err
	case len(b) > maxSecretBytes:
		return "", fmt.Errorf("the file has more than %d bytes, which is too long for a secret", maxSecretBytes)
	}
	s := strings.TrimSpace(strings.TrimPrefix(string(b), "\ufeff"))
	if s == "" {
		return "", errors.New("the file is empty")
	}
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return "", errors.New("the file is not text")
	}
	return s, nil
}

// readRegular reads at most one byte more than a secret may have. The file may be reached through links, as Kubernetes
// has it. A pipe is refused: it has its content once, and a bot that is started again would find none.
func readRegular(path string) ([]byte, error) {
	notRegular := errors.New("want a regular file, not a directory, a pipe or a device")
	// Looked at first, because a device may do something when it is opened.
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, notRegular
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() { // another one by now
		return nil, notRegular
	}
	return io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
}
