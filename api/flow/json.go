package flow

import (
	"math/bits"
	"net/netip"
	"strconv"
	"unicode/utf8"
)

// AppendJSON appends the record as one flat JSON object without spaces: keys are
// Field.Name in the order of the table, absent fields are left out, enums are
// words, bit sets arrays of words, times RFC 3339 in UTC with milliseconds,
// addresses, UUIDs and 64-bit identifiers text. Bytes that are not UTF-8 become
// U+FFFD, as in encoding/json.
func AppendJSON(b []byte, r *Record) []byte {
	return append(plainJSON.AppendMembers(append(b, '{'), r), '}')
}

// JSONForm is a way to write records as JSON, for stores with rules of their own.
type JSONForm struct {
	keys   [NumFields]string // "name": as it stands in the object
	fields Mask              // those written
	search bool
}

var plainJSON = newJSONForm(func(f FieldID) string { return Fields[f].Name }, false)

// NewSearchJSON makes the form for search engines: keys are what name gives, fields
// without a name are left out, times are milliseconds since the Unix epoch, and an
// address is written without its zone, or not at all if it is none.
func NewSearchJSON(name func(FieldID) string) *JSONForm { return newJSONForm(name, true) }

func newJSONForm(name func(FieldID) string, search bool) *JSONForm {
	w := &JSONForm{search: search}
	for f := range FieldID(NumFields) {
		if n := name(f); n != "" {
			w.keys[f] = string(append(AppendJSONString(nil, n), ':'))
			w.fields.Set(f)
		}
	}
	return w
}

// AppendMembers appends the fields that the record has, with commas between, and no
// braces around them.
func (w *JSONForm) AppendMembers(b []byte, r *Record) []byte {
	first := true
	for i, m := range r.Has {
		m &= w.fields[i]
		for m != 0 {
			f := FieldID(i<<6 | bits.TrailingZeros64(m))
			m &= m - 1
			if w.search && columns[f].typ == TypeAddr && !(*(*netip.Addr)(r.at(f))).IsValid() {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			b = append(b, w.keys[f]...)
			b = w.appendValue(b, r, f)
		}
	}
	return b
}

// appendValue appends the value of a field that the record has.
func (w *JSONForm) appendValue(b []byte, r *Record, f FieldID) []byte {
	c := &columns[f]
	switch c.typ {
	case TypeU16, TypeU32, TypeI32, TypeI64, TypeBool:
		return r.AppendText(b, f)
	case TypeU64:
		if !c.ident {
			return r.AppendText(b, f)
		}
	case TypeU8:
		v := *(*uint8)(r.at(f))
		if c.bits {
			return appendBits(b, c.words, v)
		}
		if c.words == nil {
			return r.AppendText(b, f)
		}
	case TypeMillis:
		if w.search {
			return strconv.AppendInt(b, *(*int64)(r.at(f)), 10)
		}
	case TypeString:
		return AppendJSONString(b, *(*string)(r.at(f)))
	case TypeAddr:
		a := *(*netip.Addr)(r.at(f))
		if w.search {
			a = a.WithZone("")
		}
		if a.Zone() != "" {
			return AppendJSONString(b, a.String())
		}
		return append(appendAddr(append(b, '"'), a), '"')
	default: // text that needs no escape
	}
	// Words, digits, colons and dots: nothing in these needs an escape.
	b = append(b, '"')
	b = r.AppendText(b, f)
	return append(b, '"')
}

func appendBits(b []byte, words []string, v uint8) []byte {
	b = append(b, '[')
	for n := range 8 {
		if v&(1<<n) == 0 {
			continue
		}
		if b[len(b)-1] != '[' {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = appendBit(b, words, n)
		b = append(b, '"')
	}
	return append(b, ']')
}

// AppendJSONString appends s as a JSON string (RFC 8259 section 7). Bytes that are not
// UTF-8 become U+FFFD.
func AppendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = append(b, s[start:i]...)
			b = appendEscape(b, c)
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b = append(b, s[start:i]...)
			b = append(b, `\ufffd`...)
			i++
			start = i
			continue
		}
		i += n
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
