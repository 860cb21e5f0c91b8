// Report reads what `go test -json` prints and says what `go test` would: a line for each package, and what the failed
// tests printed, as soon as they have failed. It adds to the file -times a line for each test: seconds, package, test.
//
// A test has a line if it runs by itself: a subtest only if it is parallel, because else its parent's time has it.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	times := flag.String("times", "", "the `file` to add the tests' times to")
	flag.Parse()
	var to io.Writer = io.Discard
	if *times != "" {
		f, err := os.OpenFile(*times, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			fmt.Fprintln(os.Stderr, "report:", err)
			os.Exit(1)
		}
		defer f.Close()
		to = f
	}
	if err := report(os.Stdin, os.Stdout, to); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

// event is what `go doc test2json` says.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// one is a test, or with an empty name what a package printed beside its tests.
type one struct{ pkg, test string }

func report(in io.Reader, out, times io.Writer) error {
	printed := map[one][]string{} // of tests that have not ended
	parallel := map[one]bool{}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF && line == "" {
			return nil
		}
		if err != nil && err != io.EOF {
			return err
		}
		var e event
		if json.Unmarshal([]byte(line), &e) != nil {
			fmt.Fprint(out, line) // go's own, such as a pattern that matches no package
			continue
		}
		x := one{e.Package, e.Test}
		switch e.Action {
		case "build-output":
			fmt.Fprint(out, e.Output)
		case "output":
			if !noise(e.Output) {
				printed[x] = append(printed[x], e.Output)
			}
			if e.Test == "" && (strings.HasPrefix(e.Output, "ok  \t") || strings.HasPrefix(e.Output, "FAIL\t")) {
				if strings.HasPrefix(e.Output, "FAIL") { // a panic ends a package in the middle of its tests
					for other := range printed {
						if other.pkg == e.Package && other.test != "" {
							printed[one{e.Package, ""}] = append(printed[other], printed[one{e.Package, ""}]...)
							delete(printed, other)
						}
					}
				} else {
					printed[x] = printed[x][len(printed[x])-1:]
				}
				fmt.Fprint(out, strings.Join(printed[x], ""))
				delete(printed, x)
			}
		case "pause":
			parallel[x] = true
		case "pass", "fail", "skip":
			if e.Test == "" {
				continue
			}
			if e.Action == "fail" {
				// Its name comes last where go test prints it, as with -v, and is looked for first.
				if n := len(printed[x]) - 1; n > 0 && strings.Contains(printed[x][n], "--- FAIL: ") {
					printed[x] = append(printed[x][n:], printed[x][:n]...)
				}
				fmt.Fprint(out, strings.Join(printed[x], ""))
			}
			delete(printed, x)
			if !strings.Contains(e.Test, "/") || parallel[x] {
				fmt.Fprintf(times, "%.1f\t%s\t%s\n", e.Elapsed, strings.TrimPrefix(e.Package, "tandem/"), e.Test)
			}
		}
	}
}

// noise is what `go test` prints with -v only.
func noise(line string) bool {
	return line == "PASS\n" || strings.HasPrefix(line, "=== ") || strings.HasSuffix(line, "[no test files]\n")
}
