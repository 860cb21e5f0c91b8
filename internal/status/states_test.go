package status

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
)

// TestEveryStateSaysWhatIsTrueOfIt: a state that is added gets its line in natures, and nobody else has to know.
func TestEveryStateSaysWhatIsTrueOfIt(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "states.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constants := map[State]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "State" {
				word, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				constants[State(word)] = true
			}
		}
		return true
	})
	if len(constants) < 9 {
		t.Fatalf("the states were not found: %v", constants)
	}
	for s := range constants {
		if _, ok := natures[s]; !ok {
			t.Errorf("natures says nothing of %q", s)
		}
	}
	for s := range natures {
		if !constants[s] {
			t.Errorf("natures speaks of %q, which is no state", s)
		}
	}
}

func TestStates(t *testing.T) {
	for s, want := range map[State]struct{ lives, lasts bool }{
		Starting: {true, false}, Running: {true, true}, Standby: {true, true}, Stopping: {true, false},
		Waiting: {false, false}, Finished: {false, true}, Failed: {false, true}, Disabled: {false, true}, Stopped: {false, true},
		"draining": {true, true}, // of an init that is newer: nothing says that it ended
	} {
		if s.Lives() != want.lives || s.Lasts() != want.lasts {
			t.Errorf("%s: lives %v, lasts %v; want %v", s, s.Lives(), s.Lasts(), want)
		}
	}
}
