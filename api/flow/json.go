package flow

import (
	"math/bits"
	"net/netip"
	"unicode/utf8"
)

// AppendJSON appends the record as one flat JSON object without spaces: keys are
// Field.Name in the order of the table, absent fields are left out, enums are
// words, bit sets arrays of words, times RFC 3339 in UTC with milliseconds,
// addresses, UUIDs and 64-bit identifiers text. Bytes that are not UTF-8 become
// U+FFFD, as in encoding/json.
func AppendJSON(b []byte, r *Record) []byte {
	b = append(b, '{')
	first := true
	for w, m := range r.Has {
		for m != 0 {
			f := w<<6 | bits.TrailingZeros64(m)
			m &= m - 1
			if f >= NumFields {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			b = append(b, columns[f].key...)
			b = r.appendJSONValue(b, FieldID(f))
		}
	}
	return append(b, '}')
}

func (r *Record) appendJSONValue(b []byte, f FieldID) []byte {
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
	case TypeString:
		return appendJSONString(b, *(*string)(r.at(f)))
	case TypeAddr:
		if a := *(*netip.Addr)(r.at(f)); a.Zone() != "" {
			return appendJSONString(b, a.String())
		}
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

// appendJSONString quotes s (RFC 8259 section 7).
func appendJSONString(b []byte, s string) []byte {
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
