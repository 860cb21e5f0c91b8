package main

import (
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"tandem/internal/config"
	"tandem/internal/testenv"
)

// FuzzCommandLine compares how WEB_COMMAND is split with what /bin/sh makes of the same line, whose expansions,
// operators and comments are quoted away first: init has none of them.
func FuzzCommandLine(f *testing.F) {
	for _, line := range []string{
		"web", ` a  b	c `, `'a b' "c d" e\ f`, `"a"'b'c`, `'' "" x`, `"a\"b\\c\d"`, `'a\'`, "a\\\nb", "a \\\n b",
		"\"a\\\nb\"", "'a\\\nb'", "\"a\nb\"", "a\nb\n",
		`"\$HOME" '$HOME' $HOME`, "`x` \"`x`\" '`x`'", `a;b&c|d<e>f(g)h`, `*.go ? [a] ~ ~root # no comment`,
		`{a,b} !x A=b`, "é \xff 'ÿ'", `"`, `'`, `\`, `a\`, "\r\n",
		`uvicorn app:app --host 0.0.0.0 --port 8080`, `sh -c 'exec "$0" "$@"' a "b c"`, "\"\\\u00e9\"", "\\\xff", "a\x01\x7f",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsRune(line, 0) || len(line) > 4096 {
			t.Skip("no line of an environment")
		}
		env := config.New([]string{"WEB_COMMAND=" + line})
		have := commandLine(env, "WEB_COMMAND", "web")
		if line == "" {
			return // the default
		}
		out, shErr := exec.Command("/bin/sh", "-fc", `printf '%s\0' first `+withoutExpansion(line)).Output()
		want := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")[1:]
		switch err := env.Err(); {
		case shErr != nil:
			if err == nil {
				t.Fatalf("%q: have %q, sh refuses it: %v", line, have, shErr)
			}
		case len(want) == 0, want[0] == "":
			if err == nil {
				t.Fatalf("%q: have %q, sh finds no command in it", line, have)
			}
		case err != nil:
			if !strings.HasSuffix(line, `\`) { // sh keeps it; for us a line that was cut off is one
				t.Fatalf("%q: %v, sh gives %q", line, err, want)
			}
		case !slices.Equal(have, want):
			t.Fatalf("%q: have %q, sh gives %q", line, have, want)
		}
	})
}

// The same for many lines in one shell, made of what counts in them; those that init refuses are left to the above.
func TestCommandLineIsSplitAsByAShell(t *testing.T) {
	t.Parallel()
	const alphabet = `ab  ''""\\é$#;` + "\n\t"
	seed := testenv.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	var lines []string
	var want [][]string
	var script strings.Builder
	for len(lines) < 3000 {
		var b strings.Builder
		for range 1 + random.IntN(20) {
			b.WriteRune([]rune(alphabet)[random.IntN(len([]rune(alphabet)))])
		}
		env := config.New([]string{"WEB_COMMAND=" + b.String()})
		if words := commandLine(env, "WEB_COMMAND", "web"); env.Err() == nil {
			lines, want = append(lines, b.String()), append(want, words)
			script.WriteString(`printf '%s\0' ` + withoutExpansion(b.String()) + "\nprintf '\\001\\0'\n")
		}
	}
	sh := exec.Command("/bin/sh", "-f")
	sh.Stdin = strings.NewReader(script.String())
	out, err := sh.Output()
	if err != nil {
		t.Fatal(err)
	}
	for i, given := range strings.Split(strings.TrimSuffix(string(out), "\001\000"), "\001\000") {
		if have := strings.Split(strings.TrimSuffix(given, "\000"), "\000"); !slices.Equal(have, want[i]) {
			t.Fatalf("%q: have %q, sh gives %q", lines[i], want[i], have)
		}
	}
}

// withoutExpansion puts a backslash before whatever means something to sh but quotes, blanks and backslashes.
func withoutExpansion(line string) string {
	var b strings.Builder
	quote, escaped := byte(0), false
	for i := range len(line) {
		c := line[i]
		switch {
		case escaped:
			escaped = false
		case quote == '\'':
			if c == quote {
				quote = 0
			}
		case c == '\\':
			escaped = true
		case quote == '"':
			if c == quote {
				quote = 0
			} else if c == '$' || c == '`' {
				b.WriteByte('\\')
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '\n': // it ends a command
			c = ' '
		case strings.IndexByte("$`|&;<>()*?[]#~=%!{}-^:", c) >= 0:
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}
