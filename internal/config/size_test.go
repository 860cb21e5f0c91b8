package config

import (
	"strings"
	"testing"
)

func TestSize(t *testing.T) {
	for v, want := range map[string]int64{
		"": 7, "20MB": 20 * MB, "20 mb": 20 * MB, "1.5GB": 3 * GB / 2, "1G": GB, "512KiB": 512 * KB, "0": 0,
		"4096B": 4096, "2TB": 2 * TB,
	} {
		e := New([]string{"X=" + v})
		if got := e.Size("X", 7, 0, 4*TB); got != want || e.Err() != nil {
			t.Errorf("%q is %d (%v), want %d", v, got, e.Err(), want)
		}
	}
	for v, rule := range map[string]string{
		"much": "want a size", "-1MB": "want a size", "1e3": "want a size", "MB": "want a size", "20XB": "want a size",
		"1.2.3": "want a size", "Inf": "want a size", "NaN": "want a size", "0x10": "want a size", "5TB": "at most 4TB",
		"4096":                   "want a size",
		"99999999999999999999GB": "want a size", "1B": "at least 1kB",
	} {
		e := New([]string{"X=" + v})
		if got := e.Size("X", 7, KB, 4*TB); got != 7 || e.Err() == nil || !strings.Contains(e.Err().Error(), rule) {
			t.Errorf("%q is %d, and the error is %v", v, got, e.Err())
		}
	}
}
