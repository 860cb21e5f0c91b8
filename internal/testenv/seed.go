package testenv

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Seed is what a test of random events begins with: TANDEM_SEED, to repeat a run, or a new number. It is logged.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("TANDEM_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("TANDEM_SEED: %v", err)
		}
		seed = n
	}
	t.Logf("TANDEM_SEED=%d", seed)
	return seed
}
