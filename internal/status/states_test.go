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
	for s, lives := range map[State]bool{
		Starting: true, Running: true, Suspended: true, Standby: true, Stopping: true,
		Waiting: false, Finished: false, Failed: false, Disabled: false, Stopped: false,
		"dreaming": true, // of an init that is newer: nothing says that it ended
	} {
		if s.Lives() != lives {
			t.Errorf("%s: lives %v, want %v", s, s.Lives(), lives)
		}
	}
}
