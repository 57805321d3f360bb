package sql

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/sinks/clickhouse/ddl"
)

// condition writes a plain condition over the columns of a row. It is never NULL: a test
// of a field that the row does not have is false, and its complement true.
func condition(n query.Node) (string, error) {
	switch n := n.(type) {
	case query.All:
		return joined([]query.Node(n), " AND ", "true")
	case query.Any:
		return joined([]query.Node(n), " OR ", "false")
	case query.None:
		s, err := condition(n.Node)
		return "NOT " + s, err
	case query.Present:
		if n.Label != "" {
			return "isNotNull(" + label(n.ID, n.Label) + ")", nil
		}
		return "isNotNull(" + value(n.ID) + ")", nil
	case query.Test:
		s, err := test(&n)
		return "ifNull(" + s + ", false)", err
	default:
		return "", fmt.Errorf("a condition of kind %T has no SQL", n)
	}
}

func joined(list []query.Node, op, none string) (string, error) {
	if len(list) == 0 {
		return none, nil
	}
	parts := make([]string, 0, len(list))
	for _, x := range list {
		s, err := condition(x)
		if err != nil {
			return "", err
		}
		parts = append(parts, s)
	}
	return "(" + strings.Join(parts, op) + ")", nil
}

// test is true, false or NULL.
func test(t *query.Test) (string, error) {
	v, m := value(t.ID), t.Matcher
	if t.Label != "" {
		return texts(label(t.ID, t.Label), m.Texts), nil
	}
	switch m.Kind {
	case query.KindText:
		return texts(v, m.Texts), nil
	case query.KindAddr:
		return addresses(v, m.Prefixes), nil
	case query.KindBits:
		return fmt.Sprintf("bitAnd(%s, %d) != 0", v, m.Bits), nil
	case query.KindBool:
		return fmt.Sprintf("%s = %t", v, m.Bool), nil
	case query.KindUUID:
		parts := make([]string, 0, len(m.UUIDs))
		for _, u := range m.UUIDs {
			parts = append(parts, v+" = toUUID("+ddl.Quote(uuid(u))+")")
		}
		return either(parts), nil
	case query.KindWord:
		return numbers("CAST("+v+" AS Nullable(Int16))", m.Uints), nil
	case query.KindTime:
		return numbers("toUnixTimestamp64Milli("+v+")", m.Ints), nil
	case query.KindNumber, query.KindID:
		if len(m.Ints) > 0 {
			return numbers(v, m.Ints), nil
		}
		return numbers(v, m.Uints), nil
	default:
		return "", fmt.Errorf("values of kind %d have no SQL", m.Kind)
	}
}

func uuid(u flow.UUID) string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func either(parts []string) string {
	if len(parts) == 0 {
		return "false"
	}
	return "(" + strings.Join(parts, " OR ") + ")"
}

func numbers[T uint64 | int64](v string, list []query.Range[T]) string {
	parts := make([]string, 0, len(list))
	for _, r := range list {
		if r.Lo == r.Hi {
			parts = append(parts, fmt.Sprintf("%s = %d", v, r.Lo))
		} else {
			parts = append(parts, fmt.Sprintf("%s BETWEEN %d AND %d", v, r.Lo, r.Hi))
		}
	}
	return either(parts)
}

// mapped is the network of IPv4 addresses within the column's IPv6.
var mapped = netip.MustParsePrefix("::ffff:0.0.0.0/96")

func addresses(v string, list []netip.Prefix) string {
	within := func(p netip.Prefix) string {
		lo := p.Masked().Addr().As16()
		hi := lo
		bits := p.Bits()
		if p.Addr().Is4() {
			bits += 96
		}
		for i := bits; i < 128; i++ {
			hi[i/8] |= 0x80 >> (i % 8)
		}
		return fmt.Sprintf("%s BETWEEN %s AND %s", v, address(lo), address(hi))
	}
	parts := make([]string, 0, len(list))
	for _, p := range list {
		s := within(p)
		if !p.Addr().Is4() && p.Overlaps(mapped) { // IPv4 addresses are in no network of IPv6
			s = "(" + s + " AND NOT (" + within(mapped) + "))"
		}
		parts = append(parts, s)
	}
	return either(parts)
}

func address(b [16]byte) string {
	return "toIPv6(" + ddl.Quote(netip.AddrFrom16(b).String()) + ")"
}

func texts(v string, list []query.TextPattern) string {
	parts := make([]string, 0, len(list))
	for i := range list {
		parts = append(parts, pattern(v, &list[i]))
	}
	return either(parts)
}

// cut is strings.Cut: what is before and behind the first sep of s.
func cut(s, sep string) (before, after string) {
	at := "position(" + s + ", '" + sep + "')"
	return "substring(" + s + ", 1, " + at + " - 1)", "substring(" + s + ", " + at + " + 1)"
}

func contains(s, sep string) string { return "position(" + s + ", '" + sep + "') > 0" }

func pattern(s string, p *query.TextPattern) string {
	switch p.Form {
	case query.FormOwner:
		kind, name := cut(s, "/")
		whole := one(s, p, p.Text)
		if p.Re != nil {
			return fmt.Sprintf("if(%s, %s OR %s, %s)", contains(s, "/"), one(name, p, ""), whole, whole)
		}
		wantKind, want, both := strings.Cut(p.Text, "/")
		if !both {
			return fmt.Sprintf("if(%s, %s, %s)", contains(s, "/"), one(name, p, p.Text), whole)
		}
		return fmt.Sprintf("if(%s, %s AND %s, %s)", contains(s, "/"), one("lowerUTF8("+kind+")", p, strings.ToLower(wantKind)), one(name, p, want), whole)
	case query.FormService:
		_, rest := cut(s, "/")
		if p.Re != nil {
			// Without a slash nothing is behind it.
			name := "if(" + contains(s, "/") + ", " + rest + ", '')"
			return either([]string{one(s, p, ""), one(name, p, ""), one(bare(name), p, "")})
		}
		name := s
		if !strings.Contains(p.Text, "/") {
			name = "if(" + contains(s, "/") + ", " + rest + ", " + s + ")"
		}
		if !strings.Contains(p.Text, ":") {
			name = bare(name)
		}
		return one(name, p, p.Text)
	default:
		return one(s, p, p.Text)
	}
}

// bare is a service's name without its port.
func bare(s string) string {
	before, _ := cut(s, ":")
	return "if(" + contains(s, ":") + ", " + before + ", " + s + ")"
}

// one compares with the pattern's expression, or with text as its glob or exactly.
func one(s string, p *query.TextPattern, text string) string {
	switch {
	case p.Re != nil:
		// As Go's, a dot is no line's end.
		return "match(" + s + ", " + ddl.Quote("(?-s)"+p.Re.String()) + ")"
	case p.Glob:
		text = strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(text)
		return "like(" + s + ", " + ddl.Quote(strings.ReplaceAll(text, "*", "%")) + ")"
	default:
		return s + " = " + ddl.Quote(text)
	}
}
