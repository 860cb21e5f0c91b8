package smalljson

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// FuzzString: what AppendString writes is what encoding/json writes, byte for byte, and reads back.
func FuzzString(f *testing.F) {
	for _, s := range []string{"", "plain", "\x00\x1f\x7f\b\f\n\r\t\"\\/", "<&>", "ä€😀\u2028\u2029", "\xff\xc3(\xed\xa0\x80", "a\xf0\x9f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		if err := e.Encode(s); err != nil {
			t.Fatal(err)
		}
		have := AppendString(nil, s)
		if string(have)+"\n" != want.String() {
			t.Fatalf("%q: have %s, want %s", s, have, want.String())
		}
		v, err := parse(have)
		if back := strings.ToValidUTF8(s, "\ufffd"); err != nil || len([]rune(v.(string))) < len([]rune(back)) {
			t.Fatalf("%s: read back as %q, %v", have, v, err)
		}
	})
}

// FuzzParse: any text is taken or refused as encoding/json does, and means the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,-0.5e+3,true,false,null,{}],"b":"c"}`, ` [ ] `, `{"a":1,"a":2}`, `"\u00e4\ud83d\ude00\ud83d\u0041\ud800"`, "\"\\/\xff\"",
		`01`, `-`, `1.`, `1e`, `[1,]`, `{"a"}`, `{a:1}`, `nul`, `truex`, `"a`, "\"\n\"", `"\x"`, `{}{}`, ``, `"\u12"`, `"\ud83d\u12"`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		var want any
		wantErr := d.Decode(&want)
		if wantErr == nil && !json.Valid(text) { // more than one value
			wantErr = errShort
		}
		have, err := parse(text)
		if err != nil && err.Error() == "the JSON is nested too deep" {
			return
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: have %v, %v; encoding/json %v, %v", text, have, err, want, wantErr)
		}
		if err == nil && !reflect.DeepEqual(plain(have), want) {
			t.Fatalf("%q: have %#v, want %#v", text, plain(have), want)
		}
	})
}

// plain is a parsed value as encoding/json gives it.
func plain(v any) any {
	switch v := v.(type) {
	case number:
		return json.Number(v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plain(v[i])
		}
		return list
	case []member:
		m := map[string]any{}
		for _, e := range v {
			m[e.name] = plain(e.value)
		}
		return m
	}
	return v
}

func TestUnmarshalNamesTheMemberThatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		`{"n":"1"}`: `"n"`, `{"n":1.5}`: `"n"`, `{"s":1}`: `"s"`, `{"b":"true"}`: `"b"`, `{"at":"today"}`: `"at"`, `{"list":[1]}`: `"list"`,
		`{"list":{}}`: `"list"`, `{"o":[]}`: `"o"`, `[]`: "want a JSON object", ``: "too early", `{"s":"a"`: "too early",
		strings.Repeat("[", 1000): "too deep",
	} {
		var (
			n, inner int
			s        string
			b        bool
			at       time.Time
			list     []int
		)
		err := Unmarshal([]byte(text), func(f *Fields) {
			f.Int("n", &n)
			f.String("s", &s)
			f.Bool("b", &b)
			f.Time("at", &at)
			f.Object("o", func(f *Fields) { f.Int("inner", &inner) })
			Objects(f, "list", &list, func(v *int, f *Fields) { f.Int("v", v) })
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: have %v, want one with %s", text, err, want)
		}
	}
}

func TestIndent(t *testing.T) {
	const text = `{"a":{},"b":[],"c":[{"d":1},null],"e":"[{\"\\,:}]","f":{"g":[1,2]}}`
	var want bytes.Buffer
	if err := json.Indent(&want, []byte(text), "", "  "); err != nil {
		t.Fatal(err)
	}
	if have := Indent([]byte(text)); string(have) != want.String() {
		t.Errorf("have\n%s\nwant\n%s", have, want.String())
	}
}
