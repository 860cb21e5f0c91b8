// Package logline makes the log lines of init: those of log/slog, without its reflection and without encoding/json
// behind it, which together would be a quarter of PID 1's executable. web and bot log with log/slog (package logging).
package logline

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"tandem/internal/config"
	"tandem/internal/smalljson"
)

// Level is how important an event is; the numbers are those of log/slog.
type Level int

const (
	Debug Level = -4
	Info  Level = 0
	Warn  Level = 4
	Error Level = 8
)

func (l Level) String() string {
	switch l {
	case Debug:
		return "DEBUG"
	case Info:
		return "INFO"
	case Warn:
		return "WARN"
	}
	return "ERROR"
}

// Settings are LOG_LEVEL and LOG_FORMAT.
type Settings struct {
	Level Level
	JSON  bool
}

// Read takes the settings from env; the format is text when standard error is a terminal and else JSON.
func Read(env *config.Env) Settings {
	var s Settings
	switch env.OneOf("LOG_LEVEL", "info", "debug", "warn", "error") {
	case "debug":
		s.Level = Debug
	case "warn":
		s.Level = Warn
	case "error":
		s.Level = Error
	}
	formats := []string{"json", "text"}
	if isTerminal(os.Stderr) {
		formats = []string{"text", "json"}
	}
	s.JSON = env.OneOf("LOG_FORMAT", formats...) == "json"
	return s
}

// isTerminal asks with the same call as isatty(3).
func isTerminal(f *os.File) bool {
	var termios syscall.Termios
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), syscall.TCGETS, uintptr(unsafe.Pointer(&termios)))
	return errno == 0
}

// Attr is a fact about an event.
type Attr struct {
	Key    string
	text   string
	number int
	isInt  bool
}

// String is a fact in words.
func String(key, value string) Attr { return Attr{Key: key, text: value} }

// Int is a number.
func Int(key string, value int) Attr { return Attr{Key: key, number: value, isInt: true} }

// Value is the fact as text.
func (a Attr) Value() string {
	if a.isInt {
		return strconv.Itoa(a.number)
	}
	return a.text
}

// Logger writes each event to a writer in one line of at most 4096 bytes, with one write(2).
type Logger struct {
	w       io.Writer
	s       Settings
	process string
}

// New makes the logger of a process.
func New(w io.Writer, s Settings, process string) *Logger { return &Logger{w, s, process} }

// Log writes an event: a constant text, and facts.
func (l *Logger) Log(level Level, text string, facts ...Attr) {
	if level < l.s.Level {
		return
	}
	line := textLine
	if l.s.JSON {
		line = jsonLine
	}
	now := time.Now()
	b := line(now, level, text, l.process, facts)
	for limit := maxLine / 2; len(b) >= maxLine && limit > 0; limit /= 2 {
		b = line(now, level, text, l.process, shortened(facts, limit))
	}
	_, _ = l.w.Write(append(b, '\n'))
}

// maxLine is what a pipe takes in one piece (PIPE_BUF of pipe(7)): a longer line might be split by another's.
const maxLine = 4096

// shortened is facts with no text longer than limit bytes, and a bit to say so.
func shortened(facts []Attr, limit int) []Attr {
	short := append([]Attr(nil), facts...)
	for i, f := range short {
		if len(f.text) > limit {
			short[i].text = strings.ToValidUTF8(f.text[:limit], "") + "..."
		}
	}
	return short
}

// Debug, Info, Warn and Error write an event whose facts are pairs of a name and a string or number.
func (l *Logger) Debug(text string, pairs ...any) { l.Log(Debug, text, facts(pairs)...) }
func (l *Logger) Info(text string, pairs ...any)  { l.Log(Info, text, facts(pairs)...) }
func (l *Logger) Warn(text string, pairs ...any)  { l.Log(Warn, text, facts(pairs)...) }
func (l *Logger) Error(text string, pairs ...any) { l.Log(Error, text, facts(pairs)...) }

func facts(pairs []any) []Attr {
	list := make([]Attr, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		key, _ := pairs[i].(string)
		switch v := pairs[i+1].(type) {
		case int:
			list = append(list, Int(key, v))
		case int64:
			list = append(list, Int(key, int(v)))
		default:
			list = append(list, String(key, fmt.Sprint(v)))
		}
	}
	return list
}

func jsonLine(at time.Time, level Level, text, process string, facts []Attr) []byte {
	b := make([]byte, 0, 256)
	b = append(b, `{"time":"`...)
	b = at.AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","level":"`...)
	b = append(b, level.String()...)
	b = append(b, `","msg":`...)
	b = smalljson.AppendString(b, text)
	b = append(b, `,"process":`...)
	b = smalljson.AppendString(b, process)
	for _, f := range facts {
		b = append(b, ',')
		b = smalljson.AppendString(b, f.Key)
		b = append(b, ':')
		if f.isInt {
			b = strconv.AppendInt(b, int64(f.number), 10)
		} else {
			b = smalljson.AppendString(b, f.text)
		}
	}
	return append(b, '}')
}

func textLine(at time.Time, level Level, text, process string, facts []Attr) []byte {
	b := make([]byte, 0, 256)
	b = append(b, "time="...)
	b = at.AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	b = append(b, " level="...)
	b = append(b, level.String()...)
	b = append(b, " msg="...)
	b = appendWord(b, text)
	b = append(b, " process="...)
	b = appendWord(b, process)
	for _, f := range facts {
		b = append(b, ' ')
		b = appendWord(b, f.Key)
		b = append(b, '=')
		if f.isInt {
			b = strconv.AppendInt(b, int64(f.number), 10)
		} else {
			b = appendWord(b, f.text)
		}
	}
	return b
}

// appendWord quotes what would not be one word.
func appendWord(b []byte, s string) []byte {
	plain := s != ""
	for _, r := range s {
		if r <= ' ' || r == '"' || r == '=' || r == utf8.RuneError || !unicode.IsPrint(r) {
			plain = false
		}
	}
	if plain {
		return append(b, s...)
	}
	return strconv.AppendQuote(b, s)
}
