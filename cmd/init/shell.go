package main

import (
	"path/filepath"
	"strings"

	"tandem/internal/config"
)

// warnOfShell says once for each command that has words only a shell understands that none is at work. The command may
// hold secrets, so that no more than the word is said.
func (x *executor) warnOfShell(environ []string) {
	if x.settings.mode == commandOnly {
		return
	}
	env := config.New(environ)
	for id, name := range []string{"WEB_COMMAND", "BOT_COMMAND"} {
		if x.settings.policy.Names[id] == "" {
			continue
		}
		if word := shellWord(env.String(name, "")); word != "" {
			x.log.Warn("no shell is at work in a command: the program gets this as it is written", "setting", name,
				"word", quote(word), "next", "for a shell: "+name+"=\"sh -c '...'\"")
		}
	}
}

// shellWord is what a shell would act on in a command, "" for nothing: a variable, an operator, or an assignment in
// front. What is quoted from a shell is not meant for one, and a command that is a shell has one.
func shellWord(line string) string {
	if first, _, _ := strings.Cut(strings.TrimLeft(line, " \t\n"), " "); isShell(first) {
		return ""
	}
	var inSingle, inDouble bool
	word, first := 0, true // where the word begins, and whether it is the first one
	for i := 0; i < len(line); i++ {
		c, rest := line[i], line[i:]
		switch {
		case inSingle:
			inSingle = c != '\''
		case c == '\\':
			i++
		case c == '\'' && !inDouble:
			inSingle = true
		case c == '"':
			inDouble = !inDouble
		case c == '`':
			return "`"
		case c == '$':
			if v := variable(rest); v != "" {
				return v
			}
		case inDouble:
		case c == ' ' || c == '\t' || c == '\n':
			if word < i {
				first = false
			}
			word = i + 1
		case c == '=' && first && isName(line[word:i]):
			return line[word : i+1]
		case strings.IndexByte("&|;<>", c) >= 0:
			if op := operator(line, word, i); op != "" {
				return op
			}
		}
	}
	return ""
}

func isShell(program string) bool {
	switch filepath.Base(strings.Trim(program, `"'`)) {
	case "sh", "bash", "dash", "ash", "zsh", "ksh", "busybox":
		return true
	}
	return false
}

// variable is the $NAME, ${NAME} or $( that s begins with.
func variable(s string) string {
	switch {
	case strings.HasPrefix(s, "$("):
		return "$("
	case strings.HasPrefix(s, "${"):
		if end := strings.IndexByte(s, '}'); end > 0 {
			return s[:end+1]
		}
		return "${"
	}
	end := 1
	for end < len(s) && isName(s[1:end+1]) {
		end++
	}
	if end == 1 {
		return ""
	}
	return s[:end]
}

// isName says whether s can be the name of a variable.
func isName(s string) bool {
	for i, c := range []byte(s) {
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// operator is the operator of a shell at line[i], in a word that begins at word; "" for a character that is more likely
// a part of an argument, such as an address with & in it.
func operator(line string, word, i int) string {
	end := i
	for end < len(line) && strings.IndexByte("&|;<>", line[end]) >= 0 {
		end++
	}
	alone := i == word || strings.Trim(line[word:i], "0123456789") == ""
	ends := end == len(line) || line[end] == ' ' || line[end] == '\t' || line[end] == '\n'
	switch {
	case alone && (ends || line[i] == '<' || line[i] == '>'):
		return line[word:end]
	case line[i] == ';' && ends:
		return line[i:end]
	}
	return ""
}
