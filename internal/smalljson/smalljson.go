// Package smalljson writes and reads the small JSON documents of init without reflection: encoding/json would be a
// quarter of PID 1's executable. A type says its fields once, in a function that both writes and reads them:
//
//	func (e *End) fields(f *smalljson.Fields) {
//		f.Time("at", &e.At)
//		f.Int("code", &e.Code)
//	}
//
//	line := smalljson.Marshal(e.fields)
//	err := smalljson.Unmarshal(line, e.fields)
//
// What it writes is what encoding/json writes with HTML left alone. What it reads may be any JSON; as in
// encoding/json, members that are not asked for, missing ones and null change nothing.
package smalljson

import (
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// Fields are the members of one object, being written or read.
type Fields struct {
	out []byte // of a writer

	in  []member // of a reader
	err *error   // its first error; nil says that this is a writer
}

// Marshal writes the object whose members fields names.
func Marshal(fields func(*Fields)) []byte {
	f := &Fields{}
	f.object(fields)
	return f.out
}

// Unmarshal reads the object in text into what fields points to.
func Unmarshal(text []byte, fields func(*Fields)) error {
	v, err := parse(text)
	if err != nil {
		return err
	}
	members, ok := v.([]member)
	if !ok {
		return fmt.Errorf("want a JSON object, have %T", v)
	}
	fields(&Fields{in: members, err: &err})
	return err
}

// Writing says whether the members are written rather than read.
func (f *Fields) Writing() bool { return f.err == nil }

func (f *Fields) object(fields func(*Fields)) {
	f.out = append(f.out, '{')
	fields(f)
	f.out = append(f.out, '}')
}

func (f *Fields) name(name string) {
	if f.out[len(f.out)-1] != '{' {
		f.out = append(f.out, ',')
	}
	f.out = append(AppendString(f.out, name), ':')
}

// member is the value of the last member of that name; nil where there is none or null.
func (f *Fields) member(name string) (v any) {
	for _, m := range f.in {
		if m.name == name {
			v = m.value
		}
	}
	return v
}

// read puts the member name, if it is there, into to.
func read[T any](f *Fields, name string, to *T) {
	v := f.member(name)
	if v == nil {
		return
	}
	have, ok := v.(T)
	if !ok {
		f.fail(name, fmt.Errorf("want %T, have %T", *to, v))
		return
	}
	*to = have
}

func (f *Fields) fail(name string, err error) {
	if *f.err == nil {
		*f.err = fmt.Errorf("JSON member %q: %w", name, err)
	}
}

// String is a member that is a string.
func (f *Fields) String(name string, v *string) {
	if !f.Writing() {
		read(f, name, v)
		return
	}
	f.name(name)
	f.out = AppendString(f.out, *v)
}

// OmitEmpty is a string that is left out where it is empty.
func (f *Fields) OmitEmpty(name string, v *string) {
	if !f.Writing() || *v != "" {
		f.String(name, v)
	}
}

// Bool is a member that is true or false.
func (f *Fields) Bool(name string, v *bool) {
	if !f.Writing() {
		read(f, name, v)
		return
	}
	f.name(name)
	f.out = strconv.AppendBool(f.out, *v)
}

// Int is a member that is a whole number.
func (f *Fields) Int(name string, v *int) {
	if !f.Writing() {
		var n number
		read(f, name, &n)
		if n == "" {
			return
		}
		i, err := strconv.Atoi(string(n))
		if err != nil {
			f.fail(name, err)
			return
		}
		*v = i
		return
	}
	f.name(name)
	f.out = strconv.AppendInt(f.out, int64(*v), 10)
}

// Time is a member that is a time as in RFC 3339, with as many digits of the second as it has.
func (f *Fields) Time(name string, v *time.Time) {
	if !f.Writing() {
		var s string
		read(f, name, &s)
		if s == "" {
			return
		}
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			f.fail(name, err)
			return
		}
		*v = t
		return
	}
	f.name(name)
	f.out = append(f.out, '"')
	f.out = v.AppendFormat(f.out, time.RFC3339Nano)
	f.out = append(f.out, '"')
}

// OrNull is a member that is null where *p is nil.
func OrNull[T any](f *Fields, name string, p **T, member func(name string, v *T)) {
	if f.Writing() && *p == nil {
		f.null(name)
		return
	}
	OrOmit(f, name, p, member)
}

// OrOmit is a member that is left out where *p is nil.
func OrOmit[T any](f *Fields, name string, p **T, member func(name string, v *T)) {
	if !f.Writing() && f.member(name) != nil {
		*p = new(T)
	}
	if *p != nil {
		member(name, *p)
	}
}

func (f *Fields) null(name string) {
	f.name(name)
	f.out = append(f.out, "null"...)
}

// Object is a member that is an object.
func (f *Fields) Object(name string, fields func(*Fields)) {
	if f.Writing() {
		f.name(name)
		f.object(fields)
		return
	}
	var in []member
	read(f, name, &in)
	fields(&Fields{in: in, err: f.err})
}

// Objects is a member that is a list of objects; nil is written as null.
func Objects[T any](f *Fields, name string, list *[]T, fields func(*T, *Fields)) {
	if !f.Writing() {
		var in []any
		read(f, name, &in)
		if in == nil {
			return
		}
		*list = make([]T, len(in))
		for i, v := range in {
			if members, ok := v.([]member); ok {
				fields(&(*list)[i], &Fields{in: members, err: f.err})
			} else if v != nil {
				f.fail(name, fmt.Errorf("want a list of objects, have %T in it", v))
			}
		}
		return
	}
	if *list == nil {
		f.null(name)
		return
	}
	f.name(name)
	f.out = append(f.out, '[')
	for i := range *list {
		if i > 0 {
			f.out = append(f.out, ',')
		}
		f.object(func(f *Fields) { fields(&(*list)[i], f) })
	}
	f.out = append(f.out, ']')
}

const hex = "0123456789abcdef"

// AppendString appends s as a JSON string; what is not UTF-8 in it becomes U+FFFD.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				b = append(b, `\ufffd`...)
			case r == '\u2028' || r == '\u2029': // ends of lines for JavaScript
				b = append(b, `\u202`...)
				b = append(b, hex[r&0xf])
			default:
				b = append(b, s[i:i+size]...)
			}
			i += size
			continue
		}
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			if c < ' ' {
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
			} else {
				b = append(b, c)
			}
		}
		i++
	}
	return append(b, '"')
}

// Indent is text, which Marshal wrote, for people: a member a line.
func Indent(text []byte) []byte {
	var out []byte
	depth, quoted := 0, false
	line := func() {
		out = append(out, '\n')
		for range depth {
			out = append(out, "  "...)
		}
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quoted:
			out = append(out, c)
			if c == '\\' {
				i++
				out = append(out, text[i])
			}
			quoted = c != '"'
		case c == '{' || c == '[':
			out = append(out, c)
			if text[i+1] != c+2 { // the bracket that closes it
				depth++
				line()
			}
		case c == '}' || c == ']':
			if text[i-1] != c-2 {
				depth--
				line()
			}
			out = append(out, c)
		case c == ',':
			out = append(out, c)
			line()
		case c == ':':
			out = append(out, ": "...)
		default:
			out = append(out, c)
			quoted = c == '"'
		}
	}
	return out
}
