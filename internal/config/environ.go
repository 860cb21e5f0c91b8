package config

import (
	"slices"
	"strings"
)

// Without is environ without the variables that others says are not this process's, but for those named in pass.
func Without(environ []string, others func(string) bool, pass []string) []string {
	kept := make([]string, 0, len(environ))
	for _, line := range environ {
		name, _, _ := strings.Cut(line, "=")
		if !others(name) || slices.Contains(pass, name) {
			kept = append(kept, line)
		}
	}
	return kept
}

// Set is a copy of environ in which name has value; "" takes it out.
func Set(environ []string, name, value string) []string {
	out := make([]string, 0, len(environ)+1)
	for _, line := range environ {
		if !strings.HasPrefix(line, name+"=") {
			out = append(out, line)
		}
	}
	if value != "" {
		out = append(out, name+"="+value)
	}
	return out
}

// LastOfEach drops lines that are no variables, and of a doubled variable all but the last. Go reads the last one and C
// the first, and they must not differ about a secret.
func LastOfEach(environ []string) []string {
	last := make(map[string]int, len(environ))
	for i, line := range environ {
		if name, _, ok := strings.Cut(line, "="); ok && name != "" {
			last[name] = i
		}
	}
	kept := make([]string, 0, len(last))
	for i, line := range environ {
		if name, _, ok := strings.Cut(line, "="); ok && name != "" && last[name] == i {
			kept = append(kept, line)
		}
	}
	return kept
}
