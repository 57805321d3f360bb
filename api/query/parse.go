package query

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weirnet/weir/internal/nearest"
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

var stageWords = []string{"stats", "top", "sort", "limit", "fields"}

func (p *parser) stage(q *Query) (Stage, error) {
	t := p.tok
	if t.kind != tWord || !slices.Contains(stageWords, t.text) {
		e := p.fail(fmt.Sprintf("%s is no stage: the stages are %s", t, strings.Join(stageWords, ", ")))
		e.Near = nearest.Word(t.text, stageWords)
		return nil, e
	}
	p.advance()
	switch t.text {
	case "stats":
		if len(q.Stages) > 0 {
			return nil, errAt(p.text, t.pos, "stats must be the first stage")
		}
		return p.stats()
	case "top":
		if q.Stats() == nil {
			return nil, errAt(p.text, t.pos, "top needs groups: put a stats stage before it, or use sort and limit")
		}
		return p.top(q)
	case "sort":
		by, err := p.column(q)
		return &Sort{by, p.take("desc") || p.take("asc") && false}, err
	case "limit":
		n, err := p.count()
		return &Limit{n}, err
	default:
		if q.Stats() != nil {
			return nil, errAt(p.text, t.pos, "fields is for lists of connections: the columns after stats are its aggregates and its by")
		}
		list, err := p.fields(0)
		return &Fields{list}, err
	}
}

func (p *parser) stats() (Stage, error) {
	s := &Stats{}
	for {
		t := p.tok
		a, err := p.aggregate()
		if err != nil {
			return nil, err
		}
		if len(s.Aggs) == maxAggs {
			return nil, errAt(p.text, t.pos, fmt.Sprintf("more than %d aggregates", maxAggs))
		}
		if slices.ContainsFunc(s.Aggs, func(b Aggregate) bool { return a.Name() == b.Name() }) {
			return nil, errAt(p.text, t.pos, a.Name()+" is there already")
		}
		s.Aggs = append(s.Aggs, a)
		if !p.take(",") {
			break
		}
	}
	if p.take("by") {
		var err error
		if s.By, err = p.fields(maxBy); err != nil {
			return nil, err
		}
	}
	if p.take("every") {
		t := p.tok
		d, err := parseDuration(t.text)
		if err != nil {
			return nil, p.failAt(t, err)
		}
		s.Every = d
		p.advance()
	}
	return s, nil
}

func (p *parser) aggregate() (Aggregate, error) {
	t := p.tok
	fn := Func(slices.Index(funcText[1:], t.text) + 1)
	if t.kind != tWord || fn == 0 {
		e := p.fail(fmt.Sprintf("%s is no aggregate: use %s, active or sum, rate, min, max, p50, p95, p99 and uniq of a field", t, funcText[Conns]))
		e.Near = nearest.Word(t.text, funcText[1:])
		return Aggregate{}, e
	}
	p.advance()
	a := Aggregate{Func: fn}
	if fn == Conns || fn == Active {
		if p.tok.is("(") {
			return a, p.fail(fmt.Sprintf("%s counts connections and takes no field", fn))
		}
		return a, nil
	}
	if !p.take("(") {
		return a, p.fail(fmt.Sprintf("%s is unexpected: expected ( and a field, as in %s(bytes)", p.tok, fn))
	}
	f, at, err := p.field()
	if err != nil {
		return a, err
	}
	if err := aggregable(fn, f); err != nil {
		return a, p.failAt(at, err)
	}
	if !p.take(")") {
		return a, p.fail(fmt.Sprintf("%s is unexpected: expected )", p.tok))
	}
	a.Field = f
	return a, nil
}

// aggregable tells whether fn can be computed of f.
func aggregable(fn Func, f Field) error {
	if !f.single() {
		a, b := f.bothNames()
		return fmt.Errorf("%s is two fields: %s or %s?", f.Name, a, b)
	}
	switch k := f.Kind(); {
	case fn == Uniq, k == KindNumber:
		return nil
	case k == KindTime && (fn == Min || fn == Max):
		return nil
	default:
		return fmt.Errorf("%s is no quantity: %s needs a number with a unit, as bytes or rtt; uniq counts values of any field", f.Name, fn)
	}
}

// fields reads a list of columns; at most limit, where it is above zero.
func (p *parser) fields(limit int) ([]Field, error) {
	var list []Field
	for {
		f, t, err := p.field()
		if err != nil {
			return nil, err
		}
		if !f.single() {
			a, b := f.bothNames()
			return nil, errAt(p.text, t.pos, fmt.Sprintf("%s is two fields: %s or %s?", f.Name, a, b))
		}
		if slices.ContainsFunc(list, func(g Field) bool { return g.Name == f.Name }) {
			return nil, errAt(p.text, t.pos, f.Name+" is there already")
		}
		if list = append(list, f); limit > 0 && len(list) > limit {
			return nil, errAt(p.text, t.pos, fmt.Sprintf("more than %d fields", limit))
		}
		if !p.take(",") {
			return list, nil
		}
	}
}

func (p *parser) count() (int, error) {
	n, err := strconv.Atoi(p.tok.text)
	if err != nil || n < 1 || n > maxRows {
		return 0, p.fail(fmt.Sprintf("%s is no number of rows: give 1 to %d", p.tok, maxRows))
	}
	p.advance()
	return n, nil
}

func (p *parser) top(q *Query) (Stage, error) {
	if slices.ContainsFunc(q.Stages, func(s Stage) bool { _, top := s.(*Top); return top }) {
		return nil, p.fail("a second top: the groups are folded already")
	}
	n, err := p.count()
	if err != nil {
		return nil, err
	}
	s := &Top{N: n}
	if p.take("by") {
		t := p.tok
		if s.By, err = p.column(q); err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(q.Stats().Aggs, func(a Aggregate) bool { return a.Name() == s.By }) {
			return nil, errAt(p.text, t.pos, s.By+" is no aggregate: top ranks groups by one, as in top 10 by "+q.Stats().Aggs[0].Name())
		}
	}
	return s, nil
}

// timeColumn is the column that `every` adds: the begin of the step.
const timeColumn = "time"

// column reads the name of a column of the rows so far.
func (p *parser) column(q *Query) (string, error) {
	t := p.tok
	stats := q.Stats()
	if stats == nil {
		f, _, err := p.field()
		if err != nil {
			return "", err
		}
		if !f.single() {
			a, b := f.bothNames()
			return "", errAt(p.text, t.pos, fmt.Sprintf("%s is two fields: %s or %s?", f.Name, a, b))
		}
		return f.Name, nil
	}
	var names []string
	if stats.Every > 0 {
		names = append(names, timeColumn)
	}
	for _, f := range stats.By {
		names = append(names, f.Name)
	}
	for _, a := range stats.Aggs {
		names = append(names, a.Name())
	}
	name := t.text
	if p.peek().is("(") {
		a, err := p.aggregate()
		if err != nil {
			return "", err
		}
		name = a.Name()
	} else {
		if f, ok := FieldByName(name); ok && !slices.Contains(names, name) {
			name = f.Name
		}
		p.advance()
	}
	if t.kind != tWord || !slices.Contains(names, name) {
		e := errAt(p.text, t.pos, fmt.Sprintf("%s is no column: the columns are %s", t, strings.Join(names, ", ")))
		if utf8.RuneCountInString(name) > 2 {
			e.Near = nearest.Word(name, names)
		}
		return "", e
	}
	return name, nil
}
