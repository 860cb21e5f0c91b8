package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/cgroup"
	"tandem/internal/control"
	"tandem/internal/logging"
	"tandem/internal/proctest"
	"tandem/internal/reap"
	"tandem/internal/rundir"
	"tandem/internal/signals"
	"tandem/internal/status"
	"tandem/internal/supervise"
)

// faulty is an init with a bug, which shows when the file RUN_DIR/go is there.
func faulty(args []string) {
	code := whileNothingRuns(func() int {
		caught := signals.Catch(nil, signalsFailed)
		s, err := readSettings(pair, os.Environ())
		if err != nil {
			panic(err)
		}
		log, lines := logging.NewAsync(2, s.log, "init")
		x := newExecutor(s, log, lines)
		memory, _ := cgroup.Own()
		x.oomWatch = cgroup.NewOOMWatch(memory.OOMKills)
		switch args[0] {
		case "policy":
			x.settings.policy.Jitter = func() float64 { panic("a bug") }
		case "loop":
			x.oomWatch = nil
		case "lock":
			x.lock.tell = func(supervise.Event) { awaitGo(); panic("a bug") }
		case "client":
			x.control.Do = func(string, string, func(control.Outcome)) { panic("a bug") }
		case "status":
			go func() {
				awaitGo()
				x.status.Put(func() *status.Status { panic("a bug") }, nil)
			}()
		case "signals":
			go func() { awaitGo(); close(caught.Others) }()
		case "log":
			failed := make(chan any, 1)
			x.logFailed = failed
			go func() { awaitGo(); failed <- "a bug" }()
		}
		if err := reap.Adopt(); err != nil {
			panic(err)
		}
		x.claimRunDir()
		if args[0] == "end" {
			x.runDir.owned, x.runDir.nobody = &rundir.Owned{}, true // which has no directory to clear
		}
		code := runLoop(x, caught)
		lines.Flush(time.Second)
		return code
	})
	os.Exit(code)
}

func awaitGo() {
	for {
		if _, err := os.Stat(filepath.Join(os.Getenv("RUN_DIR"), "go")); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Edges 14 and 50: wherever a bug in init shows, both processes get their signal and their time, and then init ends
// with its own status and says why, never leaving a container half alive.
func TestFault(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for where, trigger := range map[string]func(*tandem){
		// The policy asks for a random number when the bot ends.
		"policy": func(i *tandem) { kill(t, i, i.awaitState("bot", status.Running).PID) },
		"loop": func(i *tandem) { // a web in state T has to be woken for its signal
			web, _ := i.Find(i.awaitState("web", status.Running).PID)
			proctest.Freeze(t, web.PID)
			kill(t, i, i.awaitState("bot", status.Running).PID)
		},
		"lock":    nil,
		"client":  func(i *tandem) { _, _ = i.init("restart", "bot") },
		"status":  nil,
		"signals": nil,
		"log":     nil,
		"end":     func(i *tandem) { i.Signal(syscall.SIGTERM) },
	} {
		t.Run(where, func(t *testing.T) {
			both(t, func(t *testing.T, under proctest.Under) {
				dir := runDir(t, 0)
				words := filepath.Join(dir, "words")
				if err := os.WriteFile(words, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				p := proctest.Start(t, proctest.Options{Path: self, Args: []string{"@faulty", where}, Under: under,
					Env: []string{"RUN_DIR=" + dir,
						"WEB_COMMAND=" + proctest.Command("good", "web", "300ms"),
						"BOT_COMMAND=" + proctest.Command("good", "bot", "300ms"),
						"STOP_TIMEOUT=30s", "TERMINATION_LOG=" + words}})
				i := &tandem{p, t, dir}
				i.WaitLine(soon, "web ready")
				if where != "lock" {
					i.WaitLine(soon, "bot ready")
				}
				if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
				if trigger != nil {
					trigger(i)
				}
				i.ends(70)
				i.WaitLine(soon, "init failed", "panic")
				if i.Count("web stops") != 1 {
					t.Error("web did not get its signal, or not its time")
				}
				if killed := where == "policy" || where == "loop" || where == "lock"; !killed && i.Count("bot stops") != 1 {
					t.Error("the bot did not get its signal, or not its time")
				}
				if b, err := os.ReadFile(words); err != nil || !strings.Contains(string(b), "init ended with 70") ||
					!strings.Contains(string(b), "panic") {
					if where != "status" && where != "end" { // there the last words themselves fail, or are written before
						t.Errorf("last words: %q, %v", b, err)
					}
				}
			})
		})
	}
	if code := whileNothingRuns(func() int { panic("a bug") }); code != 70 {
		t.Errorf("a panic before the loop: %d", code)
	}
	x := &executor{log: logging.New(os.Stderr, logging.Settings{Level: slog.LevelError}, "init")}
	if code := x.afterTheLoop("test", 3, func() { panic("a bug") }); code != 70 {
		t.Errorf("a panic after the loop: %d", code)
	}
	if code := x.afterTheLoop("test", 3, func() {}); code != 3 {
		t.Errorf("no panic after the loop: %d", code)
	}
}

// Edge 50: no goroutine of init is without a recover. One that is started where nothing can go wrong, to wait and
// close, needs none.
func TestEveryGoroutineRecovers(t *testing.T) {
	t.Parallel()
	started := 0
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if .Main}}{{$.Dir}}{{end}}{{end}}",
		".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, dir := range strings.Fields(string(out)) {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		bodies := map[string]*ast.BlockStmt{}
		var parsed []*ast.File
		set := token.NewFileSet()
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(set, file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, f)
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
					bodies[fn.Name.Name] = fn.Body
				}
			}
		}
		for _, f := range parsed {
			ast.Inspect(f, func(n ast.Node) bool {
				if g, ok := n.(*ast.GoStmt); ok {
					started++
					if body := bodyOf(g.Call, bodies); body == nil || !safe(body, bodies) {
						t.Errorf("%s: a goroutine whose panic would end init", set.Position(g.Pos()))
					}
				}
				return true
			})
		}
	}
	if started < 5 {
		t.Errorf("found only %d goroutines", started)
	}
}

func bodyOf(call *ast.CallExpr, bodies map[string]*ast.BlockStmt) *ast.BlockStmt {
	switch f := call.Fun.(type) {
	case *ast.FuncLit:
		return f.Body
	case *ast.Ident:
		return bodies[f.Name]
	case *ast.SelectorExpr:
		return bodies[f.Sel.Name]
	}
	return nil
}

// safe says that body recovers, or does nothing but wait, close, and call what recovers.
func safe(body *ast.BlockStmt, bodies map[string]*ast.BlockStmt) bool {
	if recovers(body) {
		return true
	}
	for _, s := range body.List {
		switch s := s.(type) {
		case *ast.DeferStmt:
		case *ast.ForStmt: // for f() {}
			call, ok := s.Cond.(*ast.CallExpr)
			if !ok || len(s.Body.List) > 0 || bodyOf(call, bodies) == nil || !recovers(bodyOf(call, bodies)) {
				return false
			}
		case *ast.ExprStmt:
			if _, receives := s.X.(*ast.UnaryExpr); receives {
				continue
			}
			call, ok := s.X.(*ast.CallExpr)
			if !ok {
				return false
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Close" {
				continue
			}
			if called := bodyOf(call, bodies); called == nil || !recovers(called) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func recovers(body *ast.BlockStmt) bool {
	found := false
	for _, s := range body.List {
		d, ok := s.(*ast.DeferStmt)
		if !ok {
			continue
		}
		if sel, ok := d.Call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "panicToLoop" {
			return true
		}
		if lit, ok := d.Call.Fun.(*ast.FuncLit); ok {
			ast.Inspect(lit, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok && id.Name == "recover" {
					found = true
				}
				return true
			})
		}
	}
	return found
}
