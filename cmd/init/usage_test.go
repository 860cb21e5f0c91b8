package main

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The manual page tells of every flag, setting and status that -help tells of, and of no other.
func TestManualAgreesWithHelp(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/man/init.8")
	if err != nil {
		t.Fatal(err)
	}
	manual := strings.ReplaceAll(string(page), `\`, "")
	for what, pattern := range map[string]string{
		"settings": `\b(?:WEB|BOT|ENABLE|POLL|LOG|STOP|RUN|TERMINATION|TELEGRAM)_[A-Z_]+\b|\bGOMEMLIMIT\b`,
		"flags":    `--[a-z][a-z-]+|(?m:^| |\()-[cgrepsw]\b`,
		"statuses": `\b(?:64|70|75|78|126|127)\b`,
	} {
		in := func(text string) []string {
			found := map[string]bool{}
			for _, word := range regexp.MustCompile(pattern).FindAllString(text, -1) {
				found[strings.Trim(word, " _(")] = true
			}
			return slices.Sorted(maps.Keys(found))
		}
		inHelp, inManual := in(help()), in(manual)
		inHelp = slices.DeleteFunc(inHelp, func(s string) bool { return s == "LOG" })
		for _, word := range inHelp {
			if !slices.Contains(inManual, word) {
				t.Errorf("%s: %s is in -help and not in the manual", what, word)
			}
		}
		for _, word := range inManual {
			if !slices.Contains(inHelp, word) {
				t.Errorf("%s: %s is in the manual and not in -help", what, word)
			}
		}
		if len(inHelp) < 5 {
			t.Errorf("only %q found", inHelp)
		}
	}
}
