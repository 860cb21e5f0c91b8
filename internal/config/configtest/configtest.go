// Package configtest holds together all places where a setting stands: the list of its executable, which -help prints,
// the code that reads it, README, the manual page, .env.example and both compose files. It promises that a setting that
// is missing or different in one of them fails the test of its executable, with the name of the file. What the words
// mean is left to people.
package configtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tandem/internal/config"
)

// root is the repository, seen from the folder of a command.
const root = "../../"

// Reasons has names of settings, each with why a rule does not hold for it.
type Reasons map[string]string

// Executable is one that has settings.
type Executable struct {
	Name     string // as it heads its part of README's table
	Settings []config.Setting
	// Read reads its settings. What it returns differs where they do, and only there.
	Read func(environ []string) (any, error)
	// Base are settings without which Read has an error.
	Base []string

	Prefixes   []string // for whom one name stands that the code puts together, like WEB_ and BOT_ for prefix+"USER"
	Folders    []string // of product code that reads settings, beside the command's own
	NotRead    Reasons  // settings that do not show in what Read returns
	NoSettings Reasons  // names in the code that look like settings and are none of this executable
	NotInFiles Reasons  // settings that .env.example and the compose files leave out
	Manual     string   // its manual page, "" for none
}

// Check compares all places.
func (x Executable) Check(t *testing.T) {
	t.Run("code", x.code)
	t.Run("reading", x.reading)
	t.Run("README", x.readme)
	t.Run("compose", x.files)
	if x.Manual != "" {
		t.Run("manual", x.manual)
	}
}

// names are the settings that a person may set, with those that name a file.
func (x Executable) names() map[string]config.Setting {
	names := map[string]config.Setting{}
	for _, s := range x.Settings {
		for _, name := range strings.Split(s.Name, ", ") {
			names[name] = s
		}
	}
	return names
}

// code looks for settings that the code reads and the list does not have.
func (x Executable) code(t *testing.T) {
	known := x.names()
	unused := Reasons{}
	for name, why := range x.NoSettings {
		unused[name] = why
	}
	look := func(at, name string) {
		delete(unused, name)
		_, listed := known[name]
		_, file := known[strings.TrimSuffix(name, "_FILE")]
		if !listed && !file && x.NoSettings[name] == "" {
			t.Errorf("%s: %s is not in the list of %s's settings, which -help prints", at, name, x.Name)
		}
	}
	setting := regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$`)
	part := regexp.MustCompile(`^[A-Z0-9]+(_[A-Z0-9]+)*$`)
	for _, folder := range append([]string{"."}, x.Folders...) {
		paths, err := filepath.Glob(folder + "/*.go")
		if err != nil || paths == nil {
			t.Fatal(folder, err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BinaryExpr: // prefix+"USER"
					left, named := n.X.(*ast.Ident)
					if right, ok := literal(n.Y); ok && named && left.Name == "prefix" && part.MatchString(right) {
						for _, prefix := range x.Prefixes {
							look(path, prefix+right)
						}
						return false
					}
				case *ast.BasicLit:
					if name, ok := literal(n); ok && setting.MatchString(name) {
						look(path, name)
					}
				}
				return true
			})
		}
	}
	for name := range unused {
		t.Errorf("%s is not in the code any more: take it out of NoSettings", name)
	}
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(l.Value)
	return text, err == nil
}

// reading looks for settings that are told of and not read, for defaults that are not what counts, and for times and
// numbers without a bound.
func (x Executable) reading(t *testing.T) {
	t.Chdir(t.TempDir()) // RUN_DIR is made where it is missing
	read := func(more ...string) (any, error) { return x.Read(append(slices.Clone(x.Base), more...)) }
	without, err := read()
	if err != nil {
		t.Fatalf("%q: %v", x.Base, err)
	}
	if again, err := read(); err != nil || !reflect.DeepEqual(again, without) {
		t.Fatalf("read twice: %+v, then %+v, %v", without, again, err)
	}
	for name, s := range x.names() {
		if x.NotRead[name] != "" {
			continue
		}
		if s.Default != "" {
			if have, err := read(name + "=" + s.Default); err != nil || !reflect.DeepEqual(have, without) {
				t.Errorf("%s=%s is not what counts without it: %+v, want %+v; %v", name, s.Default, have, without, err)
			}
		}
		if have, err := read(name + "=/proc/no/such:thing,=1"); err == nil && reflect.DeepEqual(have, without) {
			t.Errorf("%s is not read", name)
		}
		if _, err := time.ParseDuration(s.Default); err == nil {
			most := regexp.MustCompile(name + `.*(at most|to) \d+[hm]`)
			for _, large := range []string{"2562047h", "99999999999999999999h"} {
				if _, err := read(name + "=" + large); err == nil || !most.MatchString(err.Error()) {
					t.Errorf("%s=%s: %v, want an error that names the largest value", name, large, err)
				}
			}
		}
		if strings.HasSuffix(name, "_USER") {
			continue // there is a user of every number
		}
		for _, number := range []string{"2000000000", "1000000000000", "99999999999999999999"} {
			if have, err := read(name + "=" + number); err == nil && isNumber(reflect.ValueOf(have), number) {
				t.Errorf("%s=%s is taken as a number", name, number)
			}
		}
	}
}

// isNumber says whether a field anywhere in v is that number.
func isNumber(v reflect.Value, number string) bool {
	switch v.Kind() {
	case reflect.Int, reflect.Int64, reflect.Int32:
		return strconv.FormatInt(v.Int(), 10) == number
	case reflect.Uint, reflect.Uint64, reflect.Uint32:
		return strconv.FormatUint(v.Uint(), 10) == number
	case reflect.Pointer, reflect.Interface:
		return !v.IsNil() && isNumber(v.Elem(), number)
	case reflect.Struct:
		for i := range v.NumField() {
			if isNumber(v.Field(i), number) {
				return true
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if isNumber(v.Index(i), number) {
				return true
			}
		}
	}
	return false
}

// row is a row of README's table of settings.
type row struct {
	section  string
	names    []string
	defaults []string
}

func rows(t *testing.T) []row {
	t.Helper()
	text := read(t, "README.md")
	_, text, _ = strings.Cut(text, "\n## Settings\n")
	text, _, _ = strings.Cut(text, "\n## ")
	var all []row
	section := ""
	quoted := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 5 {
			continue
		}
		if head := regexp.MustCompile(`\*\*(\w+)\*\*`).FindStringSubmatch(cells[1]); head != nil {
			section = head[1]
			continue
		}
		r := row{section: section}
		for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
			r.names = append(r.names, m[1])
		}
		for _, m := range quoted.FindAllStringSubmatch(cells[2], -1) {
			r.defaults = append(r.defaults, m[1])
		}
		if r.names != nil {
			all = append(all, r)
		}
	}
	if len(all) < 20 {
		t.Fatalf("README's table of settings cannot be read: %v", all)
	}
	return all
}

func (x Executable) readme(t *testing.T) {
	known, said := x.names(), map[string]bool{}
	for _, r := range rows(t) {
		if r.section != x.Name && r.section != "all" {
			continue
		}
		for i, name := range r.names {
			said[name] = true
			s, ok := known[name]
			switch {
			case !ok:
				t.Errorf("README's part %s has %s, which %s -help does not have", r.section, name, x.Name)
			case s.Default == "":
			case len(r.defaults) == 0 || r.defaults[min(i, len(r.defaults)-1)] != s.Default:
				t.Errorf("README: the default of %s is %q, and %s in %s -help", name, r.defaults, s.Default, x.Name)
			}
		}
	}
	text := read(t, "README.md")
	for name, s := range known {
		if s.By == "" && !said[name] {
			t.Errorf("README's table of settings lacks %s, in part %s", name, x.Name)
		}
		if s.Secret && !strings.Contains(text, "`"+name+"_FILE`") {
			t.Errorf("README does not say that %s_FILE is read", name)
		}
	}
}

// Settings of the compose files that are for them, or for another image.
var composeOwn = Reasons{
	"POSTGRES_PASSWORD": "becomes a part of DATABASE_URL", "POSTGRES_IMAGE": "an image", "TANDEM_IMAGE": "an image",
	"TANDEM_BIND": "where Docker publishes the page",
	"TANDEM_PORT": "where Docker publishes the page", "GOPROXY": "for the build",
}

// files compares .env.example and the compose files with the list.
func (x Executable) files(t *testing.T) {
	names, documented := x.names(), map[string]bool{}
	for _, r := range rows(t) {
		for _, name := range r.names {
			documented[name] = true
		}
	}
	wanted := map[string]string{}
	for name, s := range names {
		if s.By != "" || x.NotInFiles[name] != "" {
			continue
		}
		wanted[name] = s.Default
		if s.Secret {
			wanted[name+"_FILE"] = ""
		}
	}
	example := map[string]string{}
	line := regexp.MustCompile(`(?m)^#?([A-Z][A-Z0-9_]*)=(.*)$`)
	for _, m := range line.FindAllStringSubmatch(read(t, ".env.example"), -1) {
		example[m[1]] = m[2]
	}
	variable := regexp.MustCompile(`(?m)^ {6}([A-Z][A-Z0-9_]*): \$\{([A-Z0-9_]+):-\}$`)
	passed := func(file string) map[string]string {
		found := map[string]string{}
		for _, m := range variable.FindAllStringSubmatch(read(t, file), -1) {
			if m[1] != m[2] && composeOwn[m[2]] == "" {
				t.Errorf("%s: %s comes from %s", file, m[1], m[2])
			}
			found[m[1]] = ""
		}
		return found
	}
	for file, has := range map[string]map[string]string{
		".env.example": example, "docker-compose.yml": passed("docker-compose.yml"),
		"docker-compose.sqlite.yml": passed("docker-compose.sqlite.yml"),
	} {
		for name, value := range wanted {
			have, ok := has[name]
			if !ok {
				t.Errorf("%s lacks %s, which somebody who runs the container may want to set "+
					"(else say why not in NotInFiles)", file, name)
			} else if file == ".env.example" && value != "" && have != value {
				t.Errorf("%s: %s=%s, and the default is %s", file, name, have, value)
			}
		}
		for name := range has {
			if x.NotInFiles[name] != "" {
				t.Errorf("%s has %s: take it out of NotInFiles", file, name)
			}
			if !documented[name] && !documented[strings.TrimSuffix(name, "_FILE")] && composeOwn[name] == "" {
				t.Errorf("%s has %s, which README does not have", file, name)
			}
		}
	}
	for name, why := range x.NotInFiles {
		if _, ok := names[name]; !ok || why == "" {
			t.Errorf("NotInFiles has %s, which is no setting, or has no reason", name)
		}
	}
}

// manual compares the manual page with the list.
func (x Executable) manual(t *testing.T) {
	page := strings.ReplaceAll(read(t, x.Manual), `\`, "")
	_, page, found := strings.Cut(page, "\n.SH ENVIRONMENT\n")
	page, _, _ = strings.Cut(page, "\n.SH ")
	if !found {
		t.Fatalf("%s has no part ENVIRONMENT", x.Manual)
	}
	text := map[string]string{} // of each name
	for _, entry := range strings.Split(page, "\n.TP\n")[1:] {
		head, words, _ := strings.Cut(entry, "\n")
		head = strings.TrimPrefix(strings.TrimPrefix(head, ".BR"), ".B")
		for _, name := range regexp.MustCompile(`[A-Z][A-Z0-9_]+`).FindAllString(head, -1) {
			text[name] = words
		}
	}
	for name, s := range x.names() {
		words, ok := text[name]
		_, defaults, _ := strings.Cut(words, "Default ")
		switch {
		case !ok:
			t.Errorf("%s lacks %s", x.Manual, name)
		case s.Default != "" && !regexp.MustCompile(`(^|\s)`+regexp.QuoteMeta(s.Default)+`([\s.,;]|$)`).
			MatchString(defaults):
			t.Errorf("%s: %s has another default than %s: %q", x.Manual, name, s.Default, words)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(root + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
