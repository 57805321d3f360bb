package ipfix

import (
	"fmt"
	"sync"

	"github.com/weirnet/weir/api/flow"
)

// VarLen marks an element of variable length (RFC 7011 section 7).
const VarLen = 65535

const (
	maxTemplateFields = 1024
	minTemplateID     = 256
)

type stepKind uint8

const (
	stepSkip stepKind = iota
	// The next four have the width of their field.
	stepU8
	stepU16
	stepU32
	stepU64
	stepUint // unsigned of another width than its field's (RFC 7011 section 6.2)
	stepInt  // signed, any width
	stepBool
	stepSeconds
	stepMillis
	stepStringFixed
	stepIPv4
	stepIPv6
	stepOctets
	stepPresence
	// These have a variable length.
	stepString
	stepSkipVar
)

// step is one element of a compiled template.
type step struct {
	kind  stepKind
	field flow.FieldID
	typ   flow.Type
	size  uint16 // bytes on the wire; VarLen for variable
	pos   uint16 // of a fixed step, from the start of its segment
	off   uintptr
	bit   uint64 // of field, in word word of a Mask
	word  uint8
	// weak: another element of the template says the same better (seconds beside
	// milliseconds) or as an alternative (the other address family): it never
	// overwrites a value and a zero says nothing.
	weak bool
}

// segment is a run of fixed steps, whose bounds are checked once, and the variable
// ones behind it.
type segment struct {
	fixed []step
	size  int // bytes of fixed and of what is skipped between
	gaps  bool
	vars  []step
	// tail is how a decoder reads on from vars: with those of the segments behind it
	// whose fixed part is one number (a port, a type, an action between names). It
	// ends before segment next.
	tail []step
	next int
}

// Template is an ordered list of elements, compiled. It is immutable.
type Template struct {
	ID    uint16
	Elems []flow.Element

	scopes   int // options template when above 0
	segs     []segment
	options  []flow.Element // of an options template: the elements that have bytes
	minLen   int
	mask     flow.Mask
	presence bool
	unknown  int
}

type elemKey struct {
	pen uint32
	id  uint16
}

type elemRef struct {
	field flow.FieldID
	rank  int
	elem  flow.Element
}

// fieldOf maps every element of the schema to its field.
var fieldOf = sync.OnceValue(func() map[elemKey]elemRef {
	m := make(map[elemKey]elemRef, 192)
	for i := range flow.Fields {
		for rank, e := range flow.Fields[i].Elems {
			m[elemKey{e.PEN, e.ID}] = elemRef{flow.FieldID(i), rank, e}
		}
	}
	m[elemKey{flow.PresenceElement.PEN, flow.PresenceElement.ID}] = elemRef{flow.NumFields, 0, flow.PresenceElement}
	return m
})

// Lookup finds the schema's element by enterprise number and id.
func Lookup(pen uint32, id uint16) (flow.Element, bool) {
	r, ok := fieldOf()[elemKey{pen, id}]
	return r.elem, ok
}

// NewTemplate compiles elements. Those that the schema does not know are kept:
// skipped in decoding and zero in encoding. It fails on an id under 256, on no
// elements or too many, and on elements whose records could be empty.
func NewTemplate(id uint16, elems []flow.Element) (*Template, error) {
	return newTemplate(id, elems, 0)
}

func newTemplate(id uint16, elems []flow.Element, scopes int) (*Template, error) {
	if id < minTemplateID {
		return nil, fmt.Errorf("ipfix: template id %d is below %d", id, minTemplateID)
	}
	if len(elems) == 0 || len(elems) > maxTemplateFields {
		return nil, fmt.Errorf("ipfix: template %d has %d elements, want 1 to %d", id, len(elems), maxTemplateFields)
	}
	t := &Template{ID: id, Elems: elems, scopes: scopes}
	steps := make([]step, 0, len(elems))
	best := map[flow.FieldID]int{}
	for _, e := range elems {
		if s := compileStep(e); s.kind == stepSkip || s.kind == stepSkipVar || s.size == 0 {
			continue // what is not read says nothing better
		}
		if r, ok := fieldOf()[elemKey{e.PEN, e.ID}]; ok && int(r.field) < flow.NumFields {
			if b, seen := best[r.field]; !seen || r.rank < b {
				best[r.field] = r.rank
			}
		}
	}
	for _, e := range elems {
		s := compileStep(e)
		if s.size == 0 { // costs no bytes, so it gets no work: a record's cost stays bounded by its length
			t.unknown++
			continue
		}
		if s.kind != stepSkip && s.kind != stepSkipVar && s.kind != stepPresence {
			r := fieldOf()[elemKey{e.PEN, e.ID}]
			s.weak = r.rank != best[r.field]
			t.mask.Set(s.field)
		}
		switch s.kind {
		case stepSkip, stepSkipVar:
			t.unknown++
		case stepPresence:
			t.presence = true
		default:
		}
		if s.size == VarLen {
			t.minLen++
		} else {
			t.minLen += int(s.size)
		}
		steps = append(steps, s)
		if scopes > 0 {
			t.options = append(t.options, e)
		}
	}
	if t.minLen == 0 {
		return nil, fmt.Errorf("ipfix: template %d describes empty records", id)
	}
	if t.minLen > maxMessageLen {
		return nil, fmt.Errorf("ipfix: template %d describes records of %d bytes, over any message", id, t.minLen)
	}
	t.segs = segmentsOf(steps)
	joinTails(t.segs)
	return t, nil
}

// segmentsOf cuts the steps where a variable one is followed by a fixed one. Fixed
// bytes that nobody wants cost nothing: positions step over them.
func segmentsOf(steps []step) []segment {
	var segs []segment
	for i := 0; i < len(steps); {
		var g segment
		for ; i < len(steps) && steps[i].size != VarLen; i++ {
			s := steps[i]
			s.pos = uint16(g.size)
			g.size += int(s.size)
			if s.kind == stepSkip {
				g.gaps = true
			} else {
				g.fixed = append(g.fixed, s)
			}
		}
		from := i
		for i < len(steps) && steps[i].size == VarLen {
			i++
		}
		g.vars = steps[from:i:i]
		segs = append(segs, g)
	}
	return segs
}

// joinTails works out the tails: a name more or less is read in the time that it
// takes to begin another segment. A segment that was joined has no tail of its own.
func joinTails(segs []segment) {
	for i := 0; i < len(segs); {
		g := &segs[i]
		g.tail = g.vars
		for i++; i < len(segs) && segs[i].single(); i++ {
			g.tail = append(append(g.tail, segs[i].fixed...), segs[i].vars...)
		}
		g.next = i
	}
}

// single tells whether the fixed part is one number as wide as its field.
func (g *segment) single() bool {
	return !g.gaps && len(g.fixed) == 1 && g.fixed[0].kind >= stepU8 && g.fixed[0].kind <= stepU64
}

func compileStep(e flow.Element) step {
	skip := step{kind: stepSkip, size: e.Len}
	if e.Len == VarLen {
		skip.kind = stepSkipVar
	}
	r, ok := fieldOf()[elemKey{e.PEN, e.ID}]
	if !ok {
		return skip
	}
	if int(r.field) == flow.NumFields {
		if e.Len != flow.PresenceElement.Len {
			return skip
		}
		return step{kind: stepPresence, size: e.Len}
	}
	s := step{field: r.field, typ: flow.Fields[r.field].Type, size: e.Len, off: flow.Offsets[r.field]}
	s.word, s.bit = uint8(r.field>>6), 1<<(r.field&63)
	s.kind = kindOf(r.elem.Enc, e.Len)
	if s.kind >= stepU8 && s.kind <= stepU64 && widthOf(s.typ) != int(e.Len) {
		s.kind = stepUint
	}
	if s.kind == stepSkip {
		return skip
	}
	return s
}

// widthOf gives the bytes of an unsigned field, 0 for another type.
func widthOf(t flow.Type) int {
	switch t {
	case flow.TypeU8:
		return 1
	case flow.TypeU16:
		return 2
	case flow.TypeU32:
		return 4
	case flow.TypeU64:
		return 8
	default:
		return 0
	}
}

// kindOf picks the step for an encoding at a length; stepSkip where the length is
// none that the encoding allows.
func kindOf(enc flow.Encoding, n uint16) stepKind {
	switch enc {
	case flow.EncUnsigned:
		switch {
		case n == 1:
			return stepU8
		case n == 2:
			return stepU16
		case n == 4:
			return stepU32
		case n == 8:
			return stepU64
		case n > 0 && n < 8:
			return stepUint
		}
	case flow.EncSigned:
		if n > 0 && n <= 8 {
			return stepInt
		}
	case flow.EncBool:
		if n == 1 {
			return stepBool
		}
	case flow.EncSeconds:
		if n == 4 {
			return stepSeconds
		}
	case flow.EncMillis:
		if n == 8 {
			return stepMillis
		}
	case flow.EncString:
		if n == VarLen {
			return stepString
		}
		return stepStringFixed
	case flow.EncIPv4:
		if n == 4 {
			return stepIPv4
		}
	case flow.EncIPv6:
		if n == 16 {
			return stepIPv6
		}
	case flow.EncOctets:
		if n == 16 {
			return stepOctets
		}
	}
	return stepSkip
}

// Mask gives the fields that the template can carry.
func (t *Template) Mask() flow.Mask { return t.mask }

// Unknown counts the elements that the schema does not know.
func (t *Template) Unknown() int { return t.unknown }
