package flow

import (
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// ParseJSON reads what AppendJSON writes into r, which it clears first. It is strict:
// an unknown or repeated field, a value of the wrong type or out of range, invalid
// UTF-8 and anything after the object are errors that name the field or the byte.
func ParseJSON(b []byte, r *Record) error {
	*r = Record{}
	p := jsonParser{b: b}
	if err := p.object(r); err != nil {
		return fmt.Errorf("flow: json: %w", err)
	}
	return nil
}

type jsonParser struct {
	b   []byte
	i   int
	buf []byte // holds a string that had escapes
}

func (p *jsonParser) space() {
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

// token skips spaces and takes the byte c.
func (p *jsonParser) token(c byte) bool {
	p.space()
	if p.i < len(p.b) && p.b[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *jsonParser) fail(what string) error {
	if p.i >= len(p.b) {
		return fmt.Errorf("ends at byte %d: %s", p.i, what)
	}
	return fmt.Errorf("byte %d: %s", p.i, what)
}

func (p *jsonParser) object(r *Record) error {
	if !p.token('{') {
		return p.fail("want an object")
	}
	if !p.token('}') {
		for {
			if err := p.member(r); err != nil {
				return err
			}
			if p.token(',') {
				continue
			}
			if p.token('}') {
				break
			}
			return p.fail("want , or }")
		}
	}
	p.space()
	if p.i != len(p.b) {
		return p.fail("more after the object")
	}
	return nil
}

func (p *jsonParser) member(r *Record) error {
	key, err := p.str()
	if err != nil {
		return err
	}
	f, ok := byName[string(key)]
	if !ok {
		return fmt.Errorf("unknown field %.60q", key)
	}
	if r.Has.Has(f) {
		return fmt.Errorf("field %s stands twice", f)
	}
	if !p.token(':') {
		return p.fail("want :")
	}
	text, err := p.value(&columns[f])
	if err != nil {
		return fmt.Errorf("field %s: %w", f, err)
	}
	return r.SetText(f, text)
}

// value reads a value of the column's type and gives it as CSV would write it.
func (p *jsonParser) value(c *column) (string, error) {
	switch c.typ {
	case TypeU16, TypeU32, TypeI32, TypeI64:
		return p.number()
	case TypeU64:
		if !c.ident {
			return p.number()
		}
	case TypeBool:
		return p.word()
	case TypeU8:
		if c.bits {
			return p.words()
		}
		if c.words == nil {
			return p.number()
		}
	default: // a string
	}
	s, err := p.str()
	return string(s), err
}

var errWholeNumber = errors.New("want a whole number")

func (p *jsonParser) number() (string, error) {
	p.space()
	start := p.i
	for p.i < len(p.b) && (p.b[p.i] == '-' || p.b[p.i] >= '0' && p.b[p.i] <= '9') {
		p.i++
	}
	s := string(p.b[start:p.i])
	digits := s
	if digits != "" && digits[0] == '-' {
		digits = digits[1:]
	}
	if digits == "" || digits[0] == '0' && len(digits) > 1 {
		return "", errWholeNumber
	}
	return s, nil
}

func (p *jsonParser) word() (string, error) {
	p.space()
	start := p.i
	for p.i < len(p.b) && p.b[p.i] >= 'a' && p.b[p.i] <= 'z' {
		p.i++
	}
	return string(p.b[start:p.i]), nil
}

func (p *jsonParser) words() (string, error) {
	if !p.token('[') {
		return "", p.fail("want an array of words")
	}
	if p.token(']') {
		return "", nil
	}
	var text []byte
	for {
		s, err := p.str()
		if err != nil {
			return "", err
		}
		if len(s) == 0 {
			return "", p.fail("empty word")
		}
		if text != nil {
			text = append(text, '|')
		}
		text = append(text, s...)
		if p.token(',') {
			continue
		}
		if p.token(']') {
			return string(text), nil
		}
		return "", p.fail("want , or ]")
	}
}

// str reads a string. The result is valid until the next call.
func (p *jsonParser) str() ([]byte, error) {
	if !p.token('"') {
		return nil, p.fail("want a string")
	}
	start := p.i
	p.buf = p.buf[:0]
	plain := true
	for p.i < len(p.b) {
		c := p.b[p.i]
		switch {
		case c == '"':
			s := p.b[start:p.i]
			if !plain {
				s = append(p.buf, s...)
				p.buf = s
			}
			p.i++
			if !utf8.Valid(s) {
				return nil, p.fail("string before it is not UTF-8")
			}
			return s, nil
		case c == '\\':
			p.buf = append(p.buf, p.b[start:p.i]...)
			plain = false
			if err := p.escape(); err != nil {
				return nil, err
			}
			start = p.i
		case c < 0x20:
			return nil, p.fail("control character in a string")
		default:
			p.i++
		}
	}
	return nil, p.fail("string has no end")
}

func (p *jsonParser) escape() error {
	if p.i+1 >= len(p.b) {
		p.i = len(p.b)
		return p.fail("escape has no end")
	}
	c := p.b[p.i+1]
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
		return p.unicode()
	default:
		return p.fail("unknown escape")
	}
	p.buf = append(p.buf, c)
	p.i += 2
	return nil
}

func (p *jsonParser) unicode() error {
	r, ok := hex4(p.b, p.i)
	if !ok {
		return p.fail(`want \u and four hexadecimal digits`)
	}
	p.i += 6
	if utf16.IsSurrogate(r) {
		low, ok := hex4(p.b, p.i)
		if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
			return p.fail("half of a surrogate pair before it")
		}
		p.i += 6
	}
	p.buf = utf8.AppendRune(p.buf, r)
	return nil
}

// hex4 reads \uXXXX at place i.
func hex4(b []byte, i int) (r rune, ok bool) {
	if i+6 > len(b) || b[i] != '\\' || b[i+1] != 'u' {
		return 0, false
	}
	for _, c := range b[i+2 : i+6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
