package query

import (
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/weirnet/weir/api/flow"
)

// Matcher is the positive part of a comparison: which values of one column satisfy it.
// A store looks each value of a dictionary up once.
type Matcher struct {
	Kind     Kind
	Uints    []Range[uint64] // KindNumber, KindID, KindWord of unsigned columns; sorted, apart
	Ints     []Range[int64]  // the same of signed columns, and KindTime; sorted, apart
	Bits     uint64          // KindBits: one of them is set
	Prefixes []netip.Prefix  // KindAddr
	UUIDs    []flow.UUID     // KindUUID
	Bool     bool            // KindBool
	Texts    []TextPattern   // KindText
}

// Range is an inclusive interval.
type Range[T uint64 | int64] struct{ Lo, Hi T }

// Form says how a text column is compared.
type Form uint8

// The forms.
const (
	FormPlain   Form = iota
	FormOwner        // Kind/name: a pattern without a slash is for the name; the kind's case is ignored
	FormService      // namespace/name:port: a pattern without a slash, or without a colon, leaves that part out
)

// TextPattern is one alternative for a text.
type TextPattern struct {
	Form Form
	Text string         // an exact text, or a glob
	Glob bool           // '*' in Text stands for any text
	Re   *regexp.Regexp // instead of Text; must match the whole
}

func formOf(id flow.FieldID) Form {
	switch id {
	case flow.FSrcWorkload, flow.FDstWorkload:
		return FormOwner
	case flow.FSvcPortName:
		return FormService
	default:
		return FormPlain
	}
}

// Text reports whether one alternative fits.
func (m *Matcher) Text(s string) bool {
	for i := range m.Texts {
		if m.Texts[i].match(s) {
			return true
		}
	}
	return false
}

// Uint reports whether v lies in one of the intervals, or, of KindBits, has one of
// the bits.
func (m *Matcher) Uint(v uint64) bool {
	if m.Kind == KindBits {
		return v&m.Bits != 0
	}
	return within(m.Uints, v)
}

// Int reports whether v lies in one of the intervals.
func (m *Matcher) Int(v int64) bool { return within(m.Ints, v) }

func within[T uint64 | int64](list []Range[T], v T) bool {
	for _, r := range list {
		if v >= r.Lo && v <= r.Hi {
			return true
		}
	}
	return false
}

// Addr reports whether a is in one of the networks.
func (m *Matcher) Addr(a netip.Addr) bool {
	a = a.Unmap()
	for _, p := range m.Prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// UUID reports whether u is one of those wanted.
func (m *Matcher) UUID(u flow.UUID) bool { return slices.Contains(m.UUIDs, u) }

func (p *TextPattern) match(s string) bool {
	switch p.Form {
	case FormOwner:
		kind, name, ok := strings.Cut(s, "/")
		if !ok {
			return p.one(s)
		}
		if p.Re != nil {
			return p.one(name) || p.one(s)
		}
		wantKind, want, both := strings.Cut(p.Text, "/")
		if !both {
			return p.one(name)
		}
		if p.Glob {
			return glob(strings.ToLower(wantKind), strings.ToLower(kind)) && glob(want, name)
		}
		return strings.EqualFold(wantKind, kind) && want == name
	case FormService:
		name := s
		if p.Re != nil {
			_, name, _ = strings.Cut(s, "/")
			bare, _, _ := strings.Cut(name, ":")
			return p.one(s) || p.one(name) || p.one(bare)
		}
		if !strings.Contains(p.Text, "/") {
			if _, rest, ok := strings.Cut(s, "/"); ok {
				name = rest
			}
		}
		if !strings.Contains(p.Text, ":") {
			name, _, _ = strings.Cut(name, ":")
		}
		return p.one(name)
	default:
		return p.one(s)
	}
}

func (p *TextPattern) one(s string) bool {
	switch {
	case p.Re != nil:
		return p.Re.MatchString(s)
	case p.Glob:
		return glob(p.Text, s)
	default:
		return p.Text == s
	}
}

// glob matches a whole text; '*' stands for any text. Its cost is at most the product
// of the lengths.
func glob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	if len(parts) == 1 {
		return s == pattern
	}
	s = s[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return strings.HasSuffix(s, parts[len(parts)-1])
}

// compiler makes Matchers and keeps count of what they cost.
type compiler struct{ regex, values int }

// matcher compiles the positive operator op for one column.
func (c *compiler) matcher(f Field, id flow.FieldID, op Op, values []Value) (*Matcher, error) {
	m := &Matcher{Kind: KindOf(id)}
	if f.Label != "" {
		m.Kind = KindText
	}
	if err := allowed(f, m.Kind, op); err != nil {
		return nil, err
	}
	for _, v := range values {
		if c.values++; c.values > 4*maxValues {
			return nil, fmt.Errorf("more than %d values in one query", 2*maxValues)
		}
		if err := c.value(m, f, id, op, v); err != nil {
			return nil, err
		}
	}
	m.Uints, m.Ints = join(m.Uints), join(m.Ints)
	return m, nil
}

// allowed tells which operators a kind has.
func allowed(f Field, k Kind, op Op) error {
	switch op {
	case Lt, Le, Gt, Ge:
		if k != KindNumber && k != KindID && k != KindTime {
			return fmt.Errorf("%s has no order: use = != =~ or in", f.Name)
		}
	case Match:
		if k != KindText && k != KindWord {
			return fmt.Errorf("%s is no text: use = != < <= > >= or in", f.Name)
		}
	default:
	}
	return nil
}

func (c *compiler) value(m *Matcher, f Field, id flow.FieldID, op Op, v Value) error {
	row := &flow.Fields[id]
	if v.Glob && op != Match && m.Kind != KindText && m.Kind != KindWord {
		hint := ""
		if m.Kind == KindAddr {
			hint = ": write a network as 10.0.0.0/16"
		}
		return fmt.Errorf("%s is no text and takes no *%s", f.Name, hint)
	}
	switch m.Kind {
	case KindText:
		p, err := c.pattern(formOf(id), op, v)
		if f.Label != "" {
			p.Form = FormPlain
		}
		m.Texts = append(m.Texts, p)
		return err
	case KindWord:
		return c.words(m, flow.EnumWords[id], op, v)
	case KindBits:
		n, err := word(v.Text, flow.EnumWords[id])
		if err == nil && int(n) >= len(flow.EnumWords[id]) {
			err = fmt.Errorf("%q is no bit", v.Text)
		}
		m.Bits |= 1 << n
		return err
	case KindBool:
		if v.Text != "true" && v.Text != "false" {
			return fmt.Errorf("%q is neither true nor false", clip(v.Text))
		}
		m.Bool = v.Text == "true"
		return nil
	case KindAddr:
		p, err := parsePrefix(v.Text)
		m.Prefixes = append(m.Prefixes, p)
		return err
	case KindUUID:
		u, err := flow.ParseUUID(v.Text)
		m.UUIDs = append(m.UUIDs, u)
		return err
	default:
		return numeric(m, f, row, op, v)
	}
}

func (c *compiler) pattern(form Form, op Op, v Value) (TextPattern, error) {
	p := TextPattern{Form: form, Text: v.Text, Glob: v.Glob}
	if op != Match {
		return p, nil
	}
	p.Glob, p.Text = false, ""
	var err error
	p.Re, err = c.compile(v.Text)
	return p, err
}

func (c *compiler) words(m *Matcher, words []string, op Op, v Value) error {
	if op != Match && !v.Glob {
		n, err := word(v.Text, words)
		m.Uints = append(m.Uints, Range[uint64]{n, n})
		return err
	}
	p, err := c.pattern(FormPlain, op, v)
	if err != nil {
		return err
	}
	for i, w := range words {
		if p.one(w) {
			m.Uints = append(m.Uints, Range[uint64]{uint64(i), uint64(i)})
		}
	}
	return nil
}

func numeric(m *Matcher, f Field, row *flow.Field, op Op, v Value) error {
	var (
		n   *big.Rat
		err error
	)
	switch {
	case m.Kind == KindTime:
		n, err = parseTime(v.Text)
	case row.Type == flow.TypeU64 && row.Unit == "":
		var u uint64
		u, err = parseHex64(v.Text)
		n = new(big.Rat).SetInt(new(big.Int).SetUint64(u))
	case row.Name == "proto":
		n = protocol(v.Text)
		if n == nil {
			n, err = number(v.Text, "")
		}
	default:
		n, err = number(v.Text, row.Unit)
	}
	if err != nil {
		return err
	}
	lo, hi := bounds(row.Type)
	if r := new(big.Rat).SetInt(hi); n.Cmp(r) > 0 {
		return fmt.Errorf("%s goes to %s and %q is above that", f.Name, hi, clip(v.Text))
	}
	if r := new(big.Rat).SetInt(lo); n.Cmp(r) < 0 {
		return fmt.Errorf("%s begins at %s and %q is below that", f.Name, lo, clip(v.Text))
	}
	from, to, ok := span(op, n, lo, hi)
	if !ok {
		return nil
	}
	if lo.Sign() < 0 {
		m.Ints = append(m.Ints, Range[int64]{from.Int64(), to.Int64()})
	} else {
		m.Uints = append(m.Uints, Range[uint64]{from.Uint64(), to.Uint64()})
	}
	return nil
}

func protocol(text string) *big.Rat {
	for _, p := range flow.Protocols {
		if strings.EqualFold(p.Word, text) {
			return rat(int64(p.Number), 1)
		}
	}
	return nil
}

// join sorts intervals and joins those that touch.
func join[T uint64 | int64](list []Range[T]) []Range[T] {
	slices.SortFunc(list, func(a, b Range[T]) int {
		switch {
		case a.Lo < b.Lo:
			return -1
		case a.Lo > b.Lo:
			return 1
		}
		return 0
	})
	out := list[:0]
	for _, r := range list {
		if n := len(out); n > 0 && (r.Lo <= out[n-1].Hi || r.Lo == out[n-1].Hi+1) {
			out[n-1].Hi = max(out[n-1].Hi, r.Hi)
			continue
		}
		out = append(out, r)
	}
	return out
}

// compile makes a regular expression that must match the whole text, and refuses those
// that grow beyond what a query may cost before they are compiled.
func (c *compiler) compile(text string) (*regexp.Regexp, error) {
	if len(text) > maxRegex {
		return nil, fmt.Errorf("a regular expression of %d bytes: the longest allowed has %d", len(text), maxRegex)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		if e, ok := errors.AsType[*syntax.Error](err); ok {
			return nil, fmt.Errorf("no regular expression (RE2): %s: %s", e.Code, clip(e.Expr))
		}
		return nil, fmt.Errorf("no regular expression (RE2): %w", err)
	}
	c.regex += size(tree)
	if c.regex > maxRegexN {
		return nil, fmt.Errorf("the regular expressions of the query are too large (more than %d steps): use smaller repetitions", maxRegexN)
	}
	re, err := regexp.Compile("^(?:" + text + ")$")
	if err != nil {
		return nil, fmt.Errorf("no regular expression (RE2): %w", err)
	}
	return re, nil
}

// size estimates the instructions of a regular expression; it stops counting where it
// is beyond the limit.
func size(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)/2
	for _, s := range re.Sub {
		n += size(s)
	}
	if re.Op == syntax.OpRepeat {
		times := max(re.Min, re.Max, 1)
		n = min(n, maxRegexN+1) * times
	}
	return min(n, maxRegexN+1)
}
