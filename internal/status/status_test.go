package status

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// fill gives every field at any depth a value of its own, so that one left out of fields cannot stay unnoticed.
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

// TestMarshalIsWhatTheTagsSay: init writes and reads the file without encoding/json, web's users know it by the tags.
func TestMarshalIsWhatTheTagsSay(t *testing.T) {
	var full Status
	n := 0
	fill(reflect.ValueOf(&full).Elem(), &n)
	path := filepath.Join(t.TempDir(), "status.json")
	for name, s := range map[string]*Status{"all there is": &full, "nothing": {}, "a process": {Processes: []Process{{Name: "web"}}}} {
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		if err := e.Encode(s); err != nil {
			t.Fatal(err)
		}
		have := append(s.Marshal(), '\n')
		if !bytes.Equal(have, want.Bytes()) {
			t.Errorf("%s: have\n%swant\n%s", name, have, want.Bytes())
		}
		if err := os.WriteFile(path, want.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if back, err := Read(path); err != nil || !reflect.DeepEqual(back, s) {
			t.Errorf("%s: read back %+v, %v; want %+v", name, back, err, s)
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
