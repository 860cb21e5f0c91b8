package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Size units. As Telegram and Docker count, 1 MB is 2^20 bytes.
const (
	KB = 1 << 10
	MB = 1 << 20
	GB = 1 << 30
	TB = 1 << 40
)

// units are looked for in this order: B ends all of them.
var units = []struct {
	name  string
	bytes int64
}{
	{"KIB", KB}, {"MIB", MB}, {"GIB", GB}, {"TIB", TB}, {"KB", KB}, {"MB", MB}, {"GB", GB}, {"TB", TB},
	{"K", KB}, {"M", MB}, {"G", GB}, {"T", TB}, {"B", 1},
}

// Size reads a number of bytes with its unit, like 20MB or 1.5GB, from min to max; def when it is not set or wrong.
func (e *Env) Size(name string, def, min, max int64) int64 {
	v := e.vars[name]
	if v == "" {
		return def
	}
	n, ok := size(v)
	switch {
	case !ok:
		e.Reject(name, fmt.Sprintf("want a size with its unit, like 20MB or 1GB, from %s to %s",
			SizeWords(min), SizeWords(max)))
	case n < min:
		e.Reject(name, "want at least "+SizeWords(min))
	case n > max:
		e.Reject(name, "want at most "+SizeWords(max))
	default:
		return n
	}
	return def
}

func size(v string) (bytes int64, ok bool) {
	v = strings.ToUpper(strings.TrimSpace(v))
	unit := int64(0) // a number alone is more often a mistake than a number of bytes
	for _, u := range units {
		if rest, found := strings.CutSuffix(v, u.name); found {
			v, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	if v == "0" {
		return 0, true
	}
	if unit == 0 || v == "" || strings.Trim(v, "0123456789.") != "" { // no sign, no exponent, no name of a number
		return 0, false
	}
	f, err := strconv.ParseFloat(v, 64)
	if f *= float64(unit); err != nil || f >= 1<<62 {
		return 0, false
	}
	return int64(f), true
}

// SizeWords is a size as one writes it into a setting.
func SizeWords(n int64) string {
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"TB", TB}, {"GB", GB}, {"MB", MB}, {"kB", KB}} {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " bytes"
}
