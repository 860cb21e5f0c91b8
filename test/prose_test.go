package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// proseReaders are places of the product that look into words, each with why it must.
var proseReaders = map[string]string{
	"internal/telegram/response.go": "Telegram tells some refusals apart by their words only, which are a part of its API",
	"internal/telegram/send.go":     "as response.go",
	"internal/lockfile/content.go":  "the words in a lock file are a format: who holds it, in this and earlier versions",
	"cmd/demo/run.go":               "the line by which the simulator says where it listens",
}

// TestNoProseIsParsed looks for product code that searches, cuts or compares words that people read: the text of an
// error, a reason, a sentence. What a program acts on is a kind, a state or a count, so that words can be changed.
func TestNoProseIsParsed(t *testing.T) {
	t.Parallel()
	search := regexp.MustCompile(`^(Contains|ContainsAny|HasPrefix|HasSuffix|Cut|CutPrefix|CutSuffix|TrimPrefix|` +
		`Index|LastIndex|EqualFold|MatchString|has)$`)
	words := regexp.MustCompile(`^(Reason|Detail|Details|StatusText|Description|Title|Rule)$`)
	sentence := regexp.MustCompile(`[a-z]{2,} [a-z]| [a-z]+ [a-z]`)
	unused := map[string]bool{}
	for file := range proseReaders {
		unused[file] = true
	}
	files := 0
	for _, root := range []string{"../cmd", "../internal"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			name := strings.TrimPrefix(path, "../")
			switch {
			case err != nil:
				return err
			case entry.IsDir() && forTests("tandem/"+name):
				return filepath.SkipDir
			case entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			files++
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				return err
			}
			found := func(at ast.Node, what string) {
				delete(unused, name)
				if proseReaders[name] == "" {
					t.Errorf("%s:%d looks into %s: give it a kind, a state or a count", name, set.Position(at.Pos()).Line, what)
				}
			}
			isWords := func(e ast.Expr) (what string) {
				ast.Inspect(e, func(n ast.Node) bool {
					switch n := n.(type) {
					case *ast.CallExpr:
						if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Error" && len(n.Args) == 0 {
							what = "the text of an error"
						}
					case *ast.SelectorExpr:
						if words.MatchString(n.Sel.Name) {
							what = n.Sel.Name
						}
					}
					return what == ""
				})
				return what
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					s, ok := n.Fun.(*ast.SelectorExpr)
					if !ok || !search.MatchString(s.Sel.Name) {
						return true
					}
					for _, argument := range n.Args {
						if what := isWords(argument); what != "" {
							found(n, what)
						}
						if l, ok := argument.(*ast.BasicLit); ok && l.Kind == token.STRING {
							if text, err := strconv.Unquote(l.Value); err == nil && sentence.MatchString(text) {
								found(n, "words: "+l.Value)
							}
						}
					}
				case *ast.BinaryExpr: // e.Reason == "..."
					if n.Op == token.EQL || n.Op == token.NEQ {
						for _, side := range [][2]ast.Expr{{n.X, n.Y}, {n.Y, n.X}} {
							l, ok := side[1].(*ast.BasicLit)
							if what := isWords(side[0]); what != "" && ok && l.Value != `""` {
								found(n, what)
							}
						}
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 100 {
		t.Errorf("only %d files were looked through", files)
	}
	for file := range unused {
		t.Errorf("%s looks into no words any more: take it out of the list", file)
	}
}
