package status

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// fill gives every field at any depth a value of its own, so that one that is not written cannot stay unnoticed.
func fill(v reflect.Value, n *int) {
	*n++
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Date(2026, 11, 24, 1, 2, 3, *n*1000, time.UTC)))
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case v.Kind() == reflect.String:
		v.SetString("<" + string(rune('a'+*n)) + ">")
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	default:
		v.SetInt(int64(*n))
	}
}

// TestMembers: the members of the file, and how each is written, are what people and programs read. What is written is
// read back as it was.
func TestMembers(t *testing.T) {
	var full Status
	n := 0
	fill(reflect.ValueOf(&full).Elem(), &n)
	full.Processes, full.Lock = full.Processes[:1], &Lock{"/a&b", true, "<l>"}
	path := filepath.Join(t.TempDir(), "status.json")
	for want, s := range map[string]*Status{
		`{"init":{"pid":3,"started_at":"2026-11-24T01:02:03.000004Z","version":"<f>"},"processes":[{"name":"<i>",` +
			`"critical":true,"state":"<k>","since":"2026-11-24T01:02:03.000012Z","reason":"<n>","status_text":"<o>",` +
			`"pid":15,"started_at":"2026-11-24T01:02:03.000017Z","restarts":18,` +
			`"last_end":{"at":"2026-11-24T01:02:03.000021Z","code":22,"signal":"<x>","reason":"<y>","ran_ms":25,` +
			`"oom_killed":true},"next_start_at":"2026-11-24T01:02:03.000028Z","reason_since_end":true,"in_a_row":30}],` +
			`"lock":{"path":"/a&b","held":true,"holder":"<l>"},"orphans_reaped":60}`: &full,
		`{"init":{"pid":0,"started_at":"0001-01-01T00:00:00Z","version":""},"processes":null,"orphans_reaped":0}`: {},
		`{"init":{"pid":0,"started_at":"0001-01-01T00:00:00Z","version":""},"processes":[{"name":"web","critical":false,` +
			`"state":"","pid":0,"started_at":null,"restarts":0,"last_end":null}],"orphans_reaped":0}`: {
			Processes: []Process{{Name: "web"}},
		},
	} {
		if have := string(s.Marshal()); have != want {
			t.Errorf("have\n%s\nwant\n%s", have, want)
		}
		if err := os.WriteFile(path, s.Marshal(), 0o600); err != nil {
			t.Fatal(err)
		}
		if back, err := Read(path); err != nil || !reflect.DeepEqual(back, s) {
			t.Errorf("read back %+v, %v; want %+v", back, err, s)
		}
	}
}

func TestReadRefusesWhatIsNotAStatus(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status.json")
	for _, content := range []string{"", "{", "[]", `{"init":{"pid":"one"}}`, `{"processes":[7]}`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Read(path); err == nil {
			t.Errorf("%q was read as %+v", content, s)
		}
	}
}
