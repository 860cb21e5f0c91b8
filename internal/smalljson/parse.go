package smalljson

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// A parsed value is nil, a bool, a string, a number, a []any or a []member.
type (
	number string // as it is written
	member struct {
		name  string
		value any
	}
)

// maxDepth is how deep values may lie in one another; what init writes has a depth of 4.
const maxDepth = 100

var errShort = errors.New("the JSON ends too early")

type parser struct {
	text  []byte
	at    int
	depth int
}

// parse reads the one value that text is; see RFC 8259.
func parse(text []byte) (any, error) {
	p := &parser{text: text}
	v, err := p.value()
	if err == nil && p.skipSpace() {
		err = p.unexpected()
	}
	return v, err
}

// skipSpace goes to the next character that counts and says whether there is one.
func (p *parser) skipSpace() bool {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return true
		}
	}
	return false
}

func (p *parser) unexpected() error {
	if p.at >= len(p.text) {
		return errShort
	}
	return fmt.Errorf("unexpected %q at byte %d of the JSON", p.text[p.at], p.at)
}

// take goes past c if that comes next.
func (p *parser) take(c byte) bool {
	if p.skipSpace() && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) value() (any, error) {
	if !p.skipSpace() {
		return nil, errShort
	}
	if p.depth++; p.depth > maxDepth {
		return nil, errors.New("the JSON is nested too deep")
	}
	defer func() { p.depth-- }()
	switch c := p.text[p.at]; {
	case c == '{':
		return p.members()
	case c == '[':
		return p.list()
	case c == '"':
		return p.string()
	case c == '-' || isDigit(c):
		return p.number()
	}
	for _, w := range []struct {
		word  string
		value any
	}{{"null", nil}, {"true", true}, {"false", false}} {
		if end := p.at + len(w.word); end <= len(p.text) && string(p.text[p.at:end]) == w.word {
			p.at = end
			return w.value, nil
		}
	}
	return nil, p.unexpected()
}

func (p *parser) members() ([]member, error) {
	p.at++
	list := []member{}
	if p.take('}') {
		return list, nil
	}
	for {
		if !p.skipSpace() || p.text[p.at] != '"' {
			return nil, p.unexpected()
		}
		name, err := p.string()
		if err != nil {
			return nil, err
		}
		if !p.take(':') {
			return nil, p.unexpected()
		}
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		list = append(list, member{name, v})
		if p.take('}') {
			return list, nil
		}
		if !p.take(',') {
			return nil, p.unexpected()
		}
	}
}

func (p *parser) list() ([]any, error) {
	p.at++
	list := []any{}
	if p.take(']') {
		return list, nil
	}
	for {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		if p.take(']') {
			return list, nil
		}
		if !p.take(',') {
			return nil, p.unexpected()
		}
	}
}

func (p *parser) number() (number, error) {
	begin := p.at
	next := func(wanted string) bool { // goes past one of the characters wanted
		for i := range len(wanted) {
			if p.at < len(p.text) && p.text[p.at] == wanted[i] {
				p.at++
				return true
			}
		}
		return false
	}
	digits := func() bool {
		from := p.at
		for p.at < len(p.text) && isDigit(p.text[p.at]) {
			p.at++
		}
		return p.at > from
	}
	next("-")
	if !next("0") && !digits() {
		return "", p.unexpected()
	}
	if next(".") && !digits() {
		return "", p.unexpected()
	}
	if next("eE") {
		next("+-")
		if !digits() {
			return "", p.unexpected()
		}
	}
	return number(p.text[begin:p.at]), nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func (p *parser) string() (string, error) {
	p.at++
	var out []byte
	for p.at < len(p.text) {
		c := p.text[p.at]
		switch {
		case c == '"':
			p.at++
			return string(out), nil
		case c < ' ':
			return "", p.unexpected()
		case c == '\\':
			p.at++
			r, err := p.escaped()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
		default:
			r, size := utf8.DecodeRune(p.text[p.at:])
			p.at += size
			out = utf8.AppendRune(out, r) // what is not UTF-8 is U+FFFD
		}
	}
	return "", errShort
}

// escaped reads what follows a backslash.
func (p *parser) escaped() (rune, error) {
	if p.at >= len(p.text) {
		return 0, errShort
	}
	c := p.text[p.at]
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		p.at++
		r, ok := p.hex4()
		if !ok {
			return 0, p.unexpected()
		}
		if !utf16.IsSurrogate(r) {
			return r, nil
		}
		// Half a pair: the other half must follow, or this one stands for nothing.
		before := p.at
		if p.at+1 < len(p.text) && p.text[p.at] == '\\' && p.text[p.at+1] == 'u' {
			p.at += 2
			if other, ok := p.hex4(); ok {
				if whole := utf16.DecodeRune(r, other); whole != utf8.RuneError {
					return whole, nil
				}
			}
		}
		p.at = before
		return utf8.RuneError, nil
	default:
		return 0, p.unexpected()
	}
	p.at++
	return rune(c), nil
}

func (p *parser) hex4() (rune, bool) {
	if p.at+4 > len(p.text) {
		p.at = len(p.text)
		return 0, false
	}
	n, err := strconv.ParseUint(string(p.text[p.at:p.at+4]), 16, 16)
	if err != nil {
		return 0, false
	}
	p.at += 4
	return rune(n), true
}
