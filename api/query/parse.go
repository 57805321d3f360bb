package query

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Parse reads a query and checks it: every field exists, every value is of its type.
// The error is an *Error with the column.
func Parse(text string) (*Query, error) {
	p, err := newParser(text)
	if err != nil {
		return nil, err
	}
	q := &Query{}
	if p.tok.kind != tEnd && !p.tok.is("|") {
		if q.Expr, err = p.or(); err != nil {
			return nil, err
		}
	}
	for p.tok.is("|") {
		p.advance()
		if len(q.Stages) == maxStages {
			return nil, p.fail(fmt.Sprintf("more than %d stages", maxStages))
		}
		s, err := p.stage(q)
		if err != nil {
			return nil, err
		}
		q.Stages = append(q.Stages, s)
	}
	if p.tok.kind != tEnd {
		return nil, p.fail(fmt.Sprintf("%s is unexpected: expected and, or, | or the end", p.tok))
	}
	return q, nil
}

// ParseExpr reads a condition alone, as live filters and sinks take it. An empty text
// gives nil: every record.
func ParseExpr(text string) (Expr, error) {
	q, err := Parse(text)
	if err != nil {
		return nil, err
	}
	if len(q.Stages) > 0 {
		i := 0
		for toks, _ := lex(text); len(toks) > 0; toks = toks[1:] {
			if toks[0].is("|") {
				i = toks[0].pos
				break
			}
		}
		return nil, errAt(text, i, "a filter of single records has no stages: leave out | and what follows")
	}
	return q.Expr, nil
}

type parser struct {
	text  string
	toks  []token
	tok   token
	depth int
	comp  compiler
}

func newParser(text string) (*parser, error) {
	toks, err := lex(text)
	if err != nil {
		return nil, err
	}
	return &parser{text: text, toks: toks[1:], tok: toks[0]}, nil
}

func (p *parser) advance() {
	if p.tok.kind != tEnd {
		p.tok, p.toks = p.toks[0], p.toks[1:]
	}
}

func (p *parser) peek() token {
	if len(p.toks) == 0 {
		return p.tok
	}
	return p.toks[0]
}

func (p *parser) fail(msg string) *Error { return errAt(p.text, p.tok.pos, msg) }

func (p *parser) failAt(t token, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return errAt(p.text, t.pos, err.Error())
}

func (p *parser) take(text string) bool {
	if p.tok.is(text) {
		p.advance()
		return true
	}
	return false
}

func (p *parser) or() (Expr, error) {
	list, err := p.many(p.and, func() bool { return p.take("or") })
	if err != nil || len(list) == 1 {
		return one(list), err
	}
	return &Or{list}, nil
}

func (p *parser) and() (Expr, error) {
	list, err := p.many(p.unary, func() bool { return p.take("and") || p.begins() })
	if err != nil || len(list) == 1 {
		return one(list), err
	}
	return &And{list}, nil
}

func one(list []Expr) Expr {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

func (p *parser) many(part func() (Expr, error), more func() bool) ([]Expr, error) {
	var list []Expr
	for {
		e, err := part()
		if err != nil {
			return nil, err
		}
		if list = append(list, e); !more() {
			return list, nil
		}
	}
}

// begins reports whether a condition can begin here.
func (p *parser) begins() bool {
	switch p.tok.kind {
	case tString:
		return true
	case tWord:
		return !p.tok.is("or") && !p.tok.is("in")
	default:
		return p.tok.is("(")
	}
}

func (p *parser) unary() (Expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.fail(fmt.Sprintf("more than %d parentheses and nots within each other", maxDepth))
	}
	defer func() { p.depth-- }()
	switch {
	case p.take("not"):
		e, err := p.unary()
		return &Not{e}, err
	case p.tok.is("("):
		open := p.tok
		p.advance()
		e, err := p.or()
		if err == nil && !p.take(")") {
			err = p.fail(fmt.Sprintf("%s is unexpected: expected ) for the ( of column %d", p.tok, errAt(p.text, open.pos, "").Column))
		}
		return e, err
	case p.take("has"):
		f, _, err := p.field()
		return &Has{f}, err
	case p.tok.kind == tString, p.tok.kind == tWord && !keyword(p.tok.text):
		if next := p.peek(); p.tok.kind == tWord && (next.kind == tOp || next.is("in") || next.is("not") && p.second().is("in")) {
			return p.cmp()
		}
		return p.word()
	}
	return nil, p.fail(fmt.Sprintf("%s is unexpected: expected a field, a name, not, has or (", p.tok))
}

func (p *parser) second() token {
	if len(p.toks) < 2 {
		return p.tok
	}
	return p.toks[1]
}

// field reads the name of a field.
func (p *parser) field() (Field, token, error) {
	t := p.tok
	if t.kind != tWord {
		return Field{}, t, p.fail(fmt.Sprintf("%s is unexpected: expected the name of a field", t))
	}
	f, ok := FieldByName(t.text)
	if !ok {
		e := p.fail(fmt.Sprintf("%s is no field", t))
		e.Near = nearestField(t.text)
		return f, t, e
	}
	p.advance()
	return f, t, nil
}

func (p *parser) word() (Expr, error) {
	t := p.tok
	if t.text == "" {
		return nil, p.fail("an empty name: write one between the quotes")
	}
	if f, ok := FieldByName(t.text); ok && t.kind == tWord {
		return nil, p.fail(fmt.Sprintf("%s is a field: write %s = ..., has %s, or \"%s\" in quotes for a name", t.text, f.Name, f.Name, t.text))
	}
	if _, err := netip.ParseAddr(t.text); err == nil {
		return nil, p.fail(fmt.Sprintf("%s is an address: write ip = %s", t, t.text))
	}
	if _, err := netip.ParsePrefix(t.text); err == nil {
		return nil, p.fail(fmt.Sprintf("%s is a network: write ip = %s", t, t.text))
	}
	v := p.value()
	_, err := p.comp.word(v)
	if err != nil {
		return nil, p.failAt(t, err)
	}
	return &Word{v}, nil
}

// value takes the token as a value.
func (p *parser) value() Value {
	v := Value{p.tok.text, p.tok.kind == tWord && strings.Contains(p.tok.text, "*")}
	p.advance()
	return v
}

func (p *parser) cmp() (Expr, error) {
	f, at, err := p.field()
	if err != nil {
		return nil, err
	}
	e := &Cmp{Field: f}
	switch {
	case p.take("not"):
		p.advance() // in
		e.Op = NotIn
	case p.take("in"):
		e.Op = In
	default:
		e.Op = Op(slices.Index(opText[:], p.tok.text))
		p.advance()
	}
	if e.Op != In && e.Op != NotIn {
		return e, p.values(e, at)
	}
	if !p.take("(") {
		return nil, p.fail(fmt.Sprintf("%s is unexpected: expected ( and a list, as in (a, b)", p.tok))
	}
	for {
		if len(e.Values) == maxValues {
			return nil, p.fail(fmt.Sprintf("more than %d values in a list", maxValues))
		}
		if err := p.values(e, at); err != nil {
			return nil, err
		}
		switch {
		case p.take(")"):
			if _, err := p.comp.cmp(e); err != nil {
				return nil, p.failAt(at, err)
			}
			return e, nil
		case !p.take(","):
			return nil, p.fail(fmt.Sprintf("%s is unexpected: expected , or )", p.tok))
		}
	}
}

// values reads one value of e and checks it.
func (p *parser) values(e *Cmp, at token) error {
	t := p.tok
	if t.kind != tWord && t.kind != tString {
		return p.fail(fmt.Sprintf("%s is unexpected: expected a value for %s", t, e.Field.Name))
	}
	v := p.value()
	if e.Op == Match || e.Op == NoMatch {
		v.Glob = false // the text is an expression, whatever it holds
	}
	if _, err := p.comp.cmp(&Cmp{e.Field, e.Op, []Value{v}}); err != nil {
		// An operator that the field does not have is the operator's fault.
		op, _ := e.Op.negative()
		if allowed(e.Field, e.Field.Kind(), op) != nil {
			t = at
		}
		return p.failAt(t, err)
	}
	e.Values = append(e.Values, v)
	return nil
}
