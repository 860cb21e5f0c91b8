package config

import "strings"

// Setting is one thing that an executable can be told in its environment. Each executable has one list of them. -help
// prints the list, and a test compares it with the code that reads it, with README, the manual page, .env.example and
// the compose files.
type Setting struct {
	Name    string // "WEB_USER, BOT_USER" are two that differ only in whom they are for
	Default string // what counts without it, as one could write it; "" for nothing
	Unset   string // what counts without it, in words, where Default does not say all
	Says    string // what it is for
	Secret  bool   // it may come in a file, which NAME_FILE names
	By      string // who sets it, where no person does
}

// Settings that more than one executable has.
var (
	LogLevel  = Setting{Name: "LOG_LEVEL", Default: "info", Says: "debug, info, warn or error"}
	LogFormat = Setting{Name: "LOG_FORMAT", Default: "json", Unset: "on a terminal text",
		Says: "json or text, to standard error, one event a line"}
)

// RunDirs says what counts without RUN_DIR.
const RunDirs = "the first of /run/tandem, $XDG_RUNTIME_DIR/tandem and /tmp/tandem-UID that is ours and writable"

// text is all that -help says beside the name.
func (s Setting) text() string {
	text := s.Says
	if s.By != "" {
		text = "set by " + s.By + ": " + text
	}
	var more []string
	if s.Secret {
		more = append(more, "or "+s.Name+"_FILE=/path")
	}
	switch {
	case s.Default != "" && s.Unset != "":
		more = append(more, "default "+s.Default+"; "+s.Unset)
	case s.Default != "":
		more = append(more, "default "+s.Default)
	case s.Unset != "":
		more = append(more, "default: "+s.Unset)
	}
	if more != nil {
		text += " (" + strings.Join(more, "; ") + ")"
	}
	return text
}

// Where -help has its words.
const (
	helpColumn = 32
	helpWidth  = 120
)

// Help is the list as -help prints it: the name, and what it says in a column beside it.
func Help(list []Setting) string {
	var b strings.Builder
	for _, s := range list {
		line := "  " + s.Name
		if len(line)+2 > helpColumn { // the words begin below it
			b.WriteString(line + "\n")
			line = ""
		}
		line += strings.Repeat(" ", helpColumn-len(line))
		for i, word := range strings.Fields(s.text()) {
			switch {
			case i == 0:
				line += word
			case len(line)+1+len(word) > helpWidth:
				b.WriteString(line + "\n")
				line = strings.Repeat(" ", helpColumn) + word
			default:
				line += " " + word
			}
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}
