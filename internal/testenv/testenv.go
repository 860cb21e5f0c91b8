// Package testenv tells a test what this machine has. A test that needs something else than Go asks here:
// the skip is recorded, so that `make test` can print at its end what was not tried and why, and where
// everything must be there (CI=true or TANDEM_TEST_ALL=1) the same lack is a failure.
package testenv

import (
	"fmt"
	"os"
	"testing"
)

// MustHaveAll says whether a missing part fails a test instead of skipping it.
func MustHaveAll() bool {
	return os.Getenv("CI") == "true" || os.Getenv("TANDEM_TEST_ALL") == "1"
}

// Missing skips the test for reason, a sentence that says what is missing and how to get it.
func Missing(t testing.TB, reason string) {
	t.Helper()
	if MustHaveAll() {
		t.Fatalf("this machine must be able to run every test (CI or TANDEM_TEST_ALL is set): %s", reason)
	}
	Untested(t, reason)
}

// Untested skips the test on every machine of this kind, CI included: for what its kernel or hardware
// cannot show.
func Untested(t testing.TB, reason string) {
	t.Helper()
	if path := os.Getenv("TANDEM_SKIPS"); path != "" {
		if f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
			fmt.Fprintf(f, "%s: %s\n", t.Name(), reason)
			f.Close()
		}
	}
	t.Skip(reason)
}
