package flow

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// The instants that RFC 3339 can write, in milliseconds: the years 0000 to 9999.
const (
	minMillis = -62167219200000
	maxMillis = 253402300799999
)

const msPerDay = 86400000

// appendMillis writes RFC 3339 in UTC with milliseconds. What no four-digit year can
// hold is written as a plain number of milliseconds.
func appendMillis(b []byte, ms int64) []byte {
	if ms < minMillis || ms > maxMillis {
		return strconv.AppendInt(b, ms, 10)
	}
	// Shifted to the year 0000, so that all divisions are of positive numbers.
	ms -= minMillis
	days, rest := ms/msPerDay, ms%msPerDay
	y, m, d := civil(int(days))
	b = append(b, byte('0'+y/1000), byte('0'+y/100%10), byte('0'+y/10%10), byte('0'+y%10), '-')
	b = append2(b, m)
	b = append(b, '-')
	b = append2(b, d)
	b = append(b, 'T')
	b = append2(b, int(rest/3600000))
	b = append(b, ':')
	b = append2(b, int(rest/60000%60))
	b = append(b, ':')
	b = append2(b, int(rest/1000%60))
	n := int(rest % 1000)
	return append(b, '.', byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10), 'Z')
}

func append2(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

// civil turns days since 0000-01-01 into a date of the proleptic Gregorian
// calendar. Its years begin in March, so that the leap day comes last.
func civil(days int) (y, m, d int) {
	days += 146097 - 60 // from 0000-01-01 to -0400-03-01, where an era of 400 years begins
	era := days / 146097
	doe := days % 146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d = doy - (153*mp+2)/5 + 1
	m = mp + 3
	if m > 12 {
		m -= 12
	}
	y = yoe + era*400 - 400
	if mp >= 10 {
		y++
	}
	return y, m, d
}

func parseMillis(s string) (int64, error) {
	if len(s) < 5 || s[4] != '-' {
		return strconv.ParseInt(s, 10, 64)
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, err
	}
	return t.UnixMilli(), nil
}

const hexDigits = "0123456789abcdef"

func appendUUID(b []byte, u *UUID) []byte {
	for i, x := range u {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b = append(b, '-')
		}
		b = append(b, hexDigits[x>>4], hexDigits[x&15])
	}
	return b
}

// ParseUUID reads the text form of a UUID (RFC 9562 section 4).
func ParseUUID(s string) (u UUID, err error) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, errors.New("not a UUID of the form 8-4-4-4-12")
	}
	h := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	if _, err := hex.Decode(u[:], []byte(h)); err != nil {
		return UUID{}, errors.New("not a UUID: a digit is not hexadecimal")
	}
	return u, nil
}

func appendHex64(b []byte, v uint64) []byte {
	for i := 60; i >= 0; i -= 4 {
		b = append(b, hexDigits[v>>uint(i)&15])
	}
	return b
}

// appendEnum writes the word of a value; a value without a word as its number.
func appendEnum(b []byte, words []string, v uint8) []byte {
	if int(v) < len(words) {
		return append(b, words[v]...)
	}
	return strconv.AppendUint(b, uint64(v), 10)
}

// appendBit writes the word of one bit; a bit without a word as "bitN".
func appendBit(b []byte, words []string, n int) []byte {
	if n < len(words) {
		return append(b, words[n]...)
	}
	return strconv.AppendInt(append(b, "bit"...), int64(n), 10)
}

// AppendText appends the value of a field as CSV writes it, unquoted: enums as
// words, bit sets as words joined by |, times in RFC 3339 with milliseconds,
// 64-bit identifiers in 16 hexadecimal digits. It does not look at Has.
func (r *Record) AppendText(b []byte, f FieldID) []byte {
	c := &columns[f]
	p := r.at(f)
	switch c.typ {
	case TypeU8:
		v := *(*uint8)(p)
		switch {
		case c.bits:
			start := len(b)
			for n := range 8 {
				if v&(1<<n) == 0 {
					continue
				}
				if len(b) > start {
					b = append(b, '|')
				}
				b = appendBit(b, c.words, n)
			}
			return b
		case c.words != nil:
			return appendEnum(b, c.words, v)
		}
		return strconv.AppendUint(b, uint64(v), 10)
	case TypeU16:
		return strconv.AppendUint(b, uint64(*(*uint16)(p)), 10)
	case TypeU32:
		return strconv.AppendUint(b, uint64(*(*uint32)(p)), 10)
	case TypeU64:
		if c.ident {
			return appendHex64(b, *(*uint64)(p))
		}
		return strconv.AppendUint(b, *(*uint64)(p), 10)
	case TypeI32:
		return strconv.AppendInt(b, int64(*(*int32)(p)), 10)
	case TypeI64:
		return strconv.AppendInt(b, *(*int64)(p), 10)
	case TypeBool:
		return strconv.AppendBool(b, *(*bool)(p))
	case TypeMillis:
		return appendMillis(b, *(*int64)(p))
	case TypeString:
		return append(b, *(*string)(p)...)
	case TypeAddr:
		return appendAddr(b, *(*netip.Addr)(p))
	case TypeUUID:
		return appendUUID(b, (*UUID)(p))
	}
	return b
}

func appendAddr(b []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		return b
	}
	return a.AppendTo(b)
}

// SetText sets a field from the form that AppendText writes and marks it present. An
// error names the field and leaves it as it was.
func (r *Record) SetText(f FieldID, s string) error {
	if int(f) >= NumFields {
		return fmt.Errorf("flow: no field %d", uint8(f))
	}
	if err := r.setText(f, s); err != nil {
		return fmt.Errorf("field %s: %w", Fields[f].Name, err)
	}
	r.Has.Set(f)
	return nil
}

func (r *Record) setText(f FieldID, s string) error {
	c := &columns[f]
	p := r.at(f)
	switch c.typ {
	case TypeU8:
		v, err := parseU8(c, s)
		if err != nil {
			return err
		}
		*(*uint8)(p) = v
	case TypeU16, TypeU32, TypeU64:
		return setUint(c, p, s)
	case TypeI32:
		v, err := strconv.ParseInt(s, 10, 32)
		if err != nil {
			return numberError(s, err)
		}
		*(*int32)(p) = int32(v)
	case TypeI64:
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return numberError(s, err)
		}
		*(*int64)(p) = v
	case TypeBool:
		if s != "true" && s != "false" {
			return fmt.Errorf("%.40q is neither true nor false", s)
		}
		*(*bool)(p) = s == "true"
	case TypeMillis:
		v, err := parseMillis(s)
		if err != nil {
			return fmt.Errorf("%.40q is no RFC 3339 time", s)
		}
		*(*int64)(p) = v
	case TypeString:
		*(*string)(p) = s
	case TypeAddr:
		a, err := parseAddr(s)
		if err != nil {
			return err
		}
		*(*netip.Addr)(p) = a
	case TypeUUID:
		u, err := ParseUUID(s)
		if err != nil {
			return fmt.Errorf("%.40q: %w", s, err)
		}
		*(*UUID)(p) = u
	}
	return nil
}

func parseAddr(s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Errorf("%.60q is no IP address", s)
	}
	return a, nil
}

func numberError(s string, err error) error {
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%.40s is out of range", s)
	}
	return fmt.Errorf("%.40q is no whole number", s)
}

func parseU8(c *column, s string) (uint8, error) {
	if c.bits {
		var v uint8
		if s == "" {
			return 0, nil
		}
		for w := range strings.SplitSeq(s, "|") {
			bit, err := parseBit(c.words, w)
			if err != nil {
				return 0, err
			}
			v |= bit
		}
		return v, nil
	}
	for i, w := range c.words {
		if w == s {
			return uint8(i), nil
		}
	}
	v, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		if c.words != nil {
			return 0, fmt.Errorf("%.40q is none of %s", s, strings.Join(c.words, ", "))
		}
		return 0, numberError(s, err)
	}
	return uint8(v), nil
}

func parseBit(words []string, s string) (uint8, error) {
	for i, w := range words {
		if w == s {
			return 1 << i, nil
		}
	}
	if len(s) == 4 && s[:3] == "bit" && s[3] >= '0' && s[3] <= '7' {
		return 1 << (s[3] - '0'), nil
	}
	return 0, fmt.Errorf("%.40q is none of %s", s, strings.Join(words, ", "))
}

func setUint(c *column, p unsafe.Pointer, s string) error {
	size, base := 64, 10
	switch c.typ {
	case TypeU16:
		size = 16
	case TypeU32:
		size = 32
	default: // TypeU64
	}
	if c.ident {
		if len(s) != 16 {
			return fmt.Errorf("%.40q is not 16 hexadecimal digits", s)
		}
		base = 16
	}
	v, err := strconv.ParseUint(s, base, size)
	if err != nil {
		return numberError(s, err)
	}
	switch size {
	case 16:
		*(*uint16)(p) = uint16(v)
	case 32:
		*(*uint32)(p) = uint32(v)
	default:
		*(*uint64)(p) = v
	}
	return nil
}
