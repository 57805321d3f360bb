package query

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/nearest"
)

// units are the units that a number of each unit of the table may be written in, as
// multiples of it; a number without a unit is in the field's own.
var units = map[string]map[string]*big.Rat{
	"bytes": {
		"B": rat(1, 1), "kB": rat(1000, 1), "MB": rat(1e6, 1), "GB": rat(1e9, 1), "TB": rat(1e12, 1),
		"KiB": rat(1<<10, 1), "MiB": rat(1<<20, 1), "GiB": rat(1<<30, 1), "TiB": rat(1<<40, 1),
	},
	"us":          {"ns": rat(1, 1000), "us": rat(1, 1), "ms": rat(1000, 1), "s": rat(1e6, 1), "m": rat(60e6, 1)},
	"bit/s":       {"bit/s": rat(1, 1), "kbit/s": rat(1000, 1), "Mbit/s": rat(1e6, 1), "Gbit/s": rat(1e9, 1)},
	"packets":     {"k": rat(1000, 1), "M": rat(1e6, 1)},
	"segments":    {"k": rat(1000, 1), "M": rat(1e6, 1)},
	"connections": {"k": rat(1000, 1), "M": rat(1e6, 1)},
	"records":     {"k": rat(1000, 1), "M": rat(1e6, 1)},
}

// unitOrder is the order in which errors and completion name units.
var unitOrder = map[string][]string{
	"bytes": {"B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"}, "us": {"ns", "us", "ms", "s", "m"},
	"bit/s": {"bit/s", "kbit/s", "Mbit/s", "Gbit/s"}, "packets": {"k", "M"}, "segments": {"k", "M"}, "connections": {"k", "M"}, "records": {"k", "M"},
}

func rat(a, b int64) *big.Rat { return big.NewRat(a, b) }

// number reads a decimal number with a unit of the field's; the value may lie between
// two whole numbers.
func number(text, unit string) (*big.Rat, error) {
	end := 0
	for end < len(text) && (text[end] >= '0' && text[end] <= '9' || text[end] == '.' || text[end] == '-' && end == 0) {
		end++
	}
	digits, suffix := text[:end], text[end:]
	v, ok := new(big.Rat), false
	if len(digits) <= 30 {
		v, ok = v.SetString(digits)
	}
	if !ok {
		return nil, fmt.Errorf("%q is no number: write one like 100%s", clip(text), first(unitOrder[unit]))
	}
	if suffix == "" {
		return v, nil
	}
	m := units[unit]
	if u, ok := m[suffix]; ok {
		return v.Mul(v, u), nil
	}
	if m == nil {
		return nil, fmt.Errorf("%q: the field is a number without a unit", clip(text))
	}
	for _, u := range unitOrder[unit] {
		if strings.EqualFold(u, suffix) {
			return nil, fmt.Errorf("%q is no unit of this field: did you mean %s?", clip(suffix), u)
		}
	}
	return nil, fmt.Errorf("%q is no unit of this field: use %s", clip(suffix), strings.Join(unitOrder[unit], ", "))
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// bounds are the least and the greatest value of a type.
func bounds(t flow.Type) (lo, hi *big.Int) {
	unsigned := func(bits uint) (lo, hi *big.Int) {
		one := big.NewInt(1)
		return new(big.Int), new(big.Int).Sub(new(big.Int).Lsh(one, bits), one)
	}
	switch t {
	case flow.TypeU8:
		return unsigned(8)
	case flow.TypeU16:
		return unsigned(16)
	case flow.TypeU32:
		return unsigned(32)
	case flow.TypeU64:
		return unsigned(64)
	case flow.TypeI32:
		return big.NewInt(math.MinInt32), big.NewInt(math.MaxInt32)
	default:
		return big.NewInt(math.MinInt64), big.NewInt(math.MaxInt64)
	}
}

// span gives the whole numbers that satisfy op v as an inclusive interval within the
// bounds; ok is false where there are none.
func span(op Op, v *big.Rat, lo, hi *big.Int) (from, to *big.Int, ok bool) {
	floor := new(big.Int).Div(v.Num(), v.Denom()) // Euclidean: the floor, as the denominator is positive
	ceil := new(big.Int).Set(floor)
	if !v.IsInt() {
		ceil.Add(ceil, big.NewInt(1))
	}
	one := big.NewInt(1)
	from, to = lo, hi
	switch op {
	case Lt:
		to = new(big.Int).Sub(ceil, one)
	case Le:
		to = floor
	case Gt:
		from = new(big.Int).Add(floor, one)
	case Ge:
		from = ceil
	default: // Eq, In
		if !v.IsInt() {
			return nil, nil, false
		}
		from, to = floor, floor
	}
	if from.Cmp(lo) < 0 {
		from = lo
	}
	if to.Cmp(hi) > 0 {
		to = hi
	}
	return from, to, from.Cmp(to) <= 0
}

// parseTime reads RFC 3339, or milliseconds since the epoch.
func parseTime(text string) (*big.Rat, error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return rat(t.UnixMilli(), 1), nil
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return rat(ms, 1), nil
	}
	return nil, fmt.Errorf("%q is no time: write it like 2006-01-02T15:04:05Z (the range stands beside the query: --since)", clip(text))
}

// parsePrefix reads an address or a CIDR.
func parsePrefix(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a CIDR: write it like 10.0.0.7 or 10.0.0.0/16", clip(text))
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func parseHex64(text string) (uint64, error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 8 {
		return 0, fmt.Errorf("%q is no identifier: write its 16 hexadecimal digits", clip(text))
	}
	v, err := strconv.ParseUint(text, 16, 64)
	return v, err
}

// word finds the number of an enum's word; '-' may stand for '_'.
func word(text string, words []string) (uint64, error) {
	t := strings.ReplaceAll(strings.ToLower(text), "-", "_")
	for i, w := range words {
		if w == t {
			return uint64(i), nil
		}
	}
	if n, err := strconv.ParseUint(text, 10, 8); err == nil {
		return n, nil // a value that this version has no word for
	}
	if near := nearest.Word(t, words); near != "" {
		return 0, fmt.Errorf("%q is unknown: did you mean %s?", clip(text), near)
	}
	return 0, fmt.Errorf("%q is unknown: use one of %s", clip(text), strings.Join(words, ", "))
}

func clip(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "..."
	}
	return s
}

// parseDuration reads 500ms, 10s, 1m, 1h, 1d, and sums of them.
func parseDuration(text string) (time.Duration, error) {
	if d, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(d, 10, 16)
		if err == nil && n > 0 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is no duration: write it like 10s, 1m or 1h", clip(text))
	case d < time.Millisecond || d%time.Millisecond != 0:
		return 0, errors.New("the step is shorter than a millisecond, or no whole number of them")
	}
	return d, nil
}
